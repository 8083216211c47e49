//! Which ids a walk through the whole tree can find: with it, a handle of nothing
//! costs no other walk.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

use hashbrown::HashSet;

use crate::interface::types::NodeId;
use crate::locks::{Rank, RwLock};

/// So many objects are remembered, 4 bytes each. Larger trees are walked through
/// for each handle of nothing.
const MOST: usize = 4 << 20;

/// Ids kept that look as if they were there, and are not.
const VAIN: usize = 1024;

/// The ids that were found by the last walk, and those that have come since.
///
/// Of each only 32 bits of a hash with a secret key are kept: one in some thousand ids
/// looks like one that is there, and nobody can choose such ones.
#[derive(Default)]
pub(crate) struct Census {
    key: RandomState,
    inner: RwLock<Inner, { Rank::Census as u8 }>,
    /// Objects that began to get another name, and those that have it.
    begun: AtomicU64,
    ended: AtomicU64,
}

#[derive(Default)]
struct Inner {
    /// A walk has begun, or one has ended that counts.
    collects: bool,
    counts: bool,
    /// Of the walk, sorted.
    walked: Vec<u32>,
    since: HashSet<u32>,
    vain: HashSet<u64>,
}

/// What a walk finds.
pub(crate) struct Count {
    found: Vec<u32>,
    moves: Option<u64>,
}

/// An object gets another name, by which a walk could miss it.
pub(crate) struct Moving<'a>(&'a Census);

impl Drop for Moving<'_> {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, Ordering::SeqCst);
    }
}

impl Census {
    /// An object is about to get another name.
    pub fn moving(&self) -> Moving<'_> {
        self.begun.fetch_add(1, Ordering::SeqCst);
        Moving(self)
    }

    fn hash(&self, id: NodeId) -> u32 {
        (self.key.hash_one(id.0) >> 32) as u32
    }

    /// A node was entered.
    pub fn met(&self, id: NodeId) {
        if !self.inner.read().collects {
            return;
        }
        let hash = self.hash(id);
        let mut inner = self.inner.write();
        inner.since.insert(hash);
        inner.vain.remove(&id.0);
        if inner.since.len() > MOST {
            *inner = Inner::default();
        }
    }

    /// No walk can find this id.
    pub fn lacks(&self, id: NodeId) -> bool {
        let inner = self.inner.read();
        if !inner.counts {
            return false;
        }
        let hash = self.hash(id);
        let there = inner.walked.binary_search(&hash).is_ok() || inner.since.contains(&hash);
        !there || inner.vain.contains(&id.0)
    }

    /// A walk begins.
    pub fn begin(&self) -> Count {
        *self.inner.write() = Inner { collects: true, ..Inner::default() };
        let ended = self.ended.load(Ordering::SeqCst);
        let begun = self.begun.load(Ordering::SeqCst);
        Count { found: Vec::new(), moves: (begun == ended).then_some(begun) }
    }

    /// The walk has come to this object.
    pub fn add(&self, count: &mut Count, id: NodeId) {
        if count.found.len() < MOST {
            count.found.push(self.hash(id));
        }
    }

    /// The walk has seen everything, and `id` was not there.
    pub fn complete(&self, count: Count, id: NodeId) {
        let Count { mut found, moves } = count;
        let still = moves == Some(self.begun.load(Ordering::SeqCst));
        found.sort_unstable();
        found.dedup();
        found.shrink_to_fit();
        let mut inner = self.inner.write();
        // What has grown too large meanwhile has begun anew.
        if !still || found.len() >= MOST || !inner.collects {
            *inner = Inner::default();
            return;
        }
        inner.counts = true;
        inner.walked = found;
        drop(inner);
        self.in_vain(id);
    }

    /// It looked as if it could be there.
    fn in_vain(&self, id: NodeId) {
        let hash = self.hash(id);
        let mut inner = self.inner.write();
        if !inner.since.contains(&hash) && inner.vain.len() < VAIN {
            inner.vain.insert(id.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_never_said_to_be_missing() {
        let census = Census::default();
        let id = |i: u64| NodeId(1000 + i);
        assert!(!census.lacks(id(0)));
        let mut count = census.begin();
        (0..1000).for_each(|i| census.add(&mut count, id(i)));
        census.met(id(1000));
        census.complete(count, id(5000));
        census.met(id(1001));
        assert!((0..1002).all(|i| !census.lacks(id(i))));
        assert!((2000..9000).filter(|i| census.lacks(id(*i))).count() > 6990);
        assert!(census.lacks(id(5000)));
        census.met(id(5000));
        assert!(!census.lacks(id(5000)));
    }

    #[test]
    fn a_walk_during_which_something_moved_does_not_count() {
        let census = Census::default();
        let id = NodeId(7);
        for when in 0..3 {
            let early = (when == 0).then(|| census.moving());
            let count = census.begin();
            let inside = (when == 1).then(|| census.moving());
            drop((early, inside));
            census.complete(count, id);
            assert_eq!(census.lacks(id), when == 2);
        }
    }
}
