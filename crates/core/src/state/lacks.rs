//! Names that base directories are known not to have.
//!
//! The base does not change (where it may, nothing is kept here), so what was
//! absent stays so: a name that is made, moved or removed needs no second look.
#![forbid(unsafe_code)]

use std::hash::BuildHasher;

use hashbrown::DefaultHashBuilder;

use crate::interface::types::NodeId;
use crate::locks::{Mutex, Rank};

const SHARDS: usize = 16;

/// Names kept in each shard; a new one takes the place of another.
const SLOTS: usize = 256;

type Slot = Option<(NodeId, Box<[u8]>)>;

/// A bounded memory of absent names.
pub(crate) struct Lacks {
    hasher: DefaultHashBuilder,
    shards: [Mutex<Vec<Slot>, { Rank::Lacks as u8 }>; SHARDS],
}

impl Lacks {
    /// Knows nothing.
    pub fn new() -> Lacks {
        let shards = std::array::from_fn(|_| Mutex::default());
        Lacks { hasher: DefaultHashBuilder::default(), shards }
    }

    fn shard(&self, dir: NodeId, name: &[u8]) -> (&Mutex<Vec<Slot>, { Rank::Lacks as u8 }>, usize) {
        let hash = self.hasher.hash_one((dir.0, name)) as usize;
        let [first, ..] = &self.shards;
        (self.shards.get(hash % SHARDS).unwrap_or(first), hash / SHARDS % SLOTS)
    }

    /// The base directory of a node was seen not to have a name.
    pub fn note(&self, dir: NodeId, name: &[u8]) {
        let (shard, at) = self.shard(dir, name);
        let mut slots = shard.lock();
        if slots.is_empty() {
            slots.resize_with(SLOTS, || None);
        }
        if let Some(slot) = slots.get_mut(at) {
            *slot = Some((dir, name.into()));
        }
    }

    /// The base may have any name again.
    pub fn forget(&self) {
        self.shards.iter().for_each(|shard| shard.lock().clear());
    }

    /// Whether that was seen, as far as is remembered.
    pub fn knows(&self, dir: NodeId, name: &[u8]) -> bool {
        let (shard, at) = self.shard(dir, name);
        let slots = shard.lock();
        let known = slots.get(at).and_then(Option::as_ref);
        known.is_some_and(|(node, known)| *node == dir && **known == *name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_noted_is_known_and_memory_is_bounded() {
        let lacks = Lacks::new();
        assert!(!lacks.knows(NodeId(7), b"a"));
        lacks.note(NodeId(7), b"a");
        assert!(lacks.knows(NodeId(7), b"a"));
        assert!(!lacks.knows(NodeId(8), b"a") && !lacks.knows(NodeId(7), b"b"));
        for n in 0..100_000u32 {
            let name = n.to_string();
            lacks.note(NodeId(9), name.as_bytes());
            assert!(lacks.knows(NodeId(9), name.as_bytes()));
        }
        let kept: usize = lacks.shards.iter().map(|shard| shard.lock().len()).sum();
        assert_eq!(kept, SHARDS * SLOTS);
    }
}
