//! The numbers that storage objects show (docs/FORMAT.md, section 5), and node
//! ids. Those of base objects: `identity.rs`.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use hashbrown::HashSet;
use parking_lot::Mutex;
use rustix::fs::{Statx, StatxFlags};

use crate::types::NodeId;

/// Marks the numbers of objects that exist in the storage only.
pub(crate) const STORAGE_BIT: u64 = 1 << 62;

/// Bits of a number that are kept where 22 more have to tell something else.
pub(crate) const INO_BITS: u32 = 40;

/// 2^64 divided by the golden ratio: near values become far ones.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// 22 bits made of a value.
pub(crate) fn spread(value: u64) -> u64 {
    value.wrapping_mul(SPREAD) >> (64 - (62 - INO_BITS))
}

pub(crate) fn with_upper(ino: u64, upper: u64) -> u64 {
    upper << INO_BITS | ino & ((1 << INO_BITS) - 1)
}

/// The number shown for an object that only the storage has: its own, and
/// bits of its time of birth, because storage file systems give the numbers of
/// deleted files away again.
pub(crate) fn storage_ino(stat: &Statx) -> u64 {
    let mut born = stat.stx_ino >> INO_BITS;
    if stat.stx_mask & StatxFlags::BTIME.bits() != 0 {
        let (sec, nsec) = (stat.stx_btime.tv_sec, stat.stx_btime.tv_nsec);
        born ^= (sec as u64).wrapping_mul(1_000_000_000).wrapping_add(nsec.into());
    }
    STORAGE_BIT | with_upper(stat.stx_ino, spread(born))
}

/// The node id of an object with this number.
pub(crate) fn node_id(number: u64) -> NodeId {
    // 0 is none and 1 the root, whatever numbers the base gives.
    if number <= NodeId::ROOT.0 { NodeId(number | 1 << 61) } else { NodeId(number) }
}

/// How long the number of a removed object could come again: a storage with a
/// coarse clock gives what it makes within one tick (at most 10 ms) the same
/// time of birth.
const AGAIN: Duration = Duration::from_millis(100);

/// Numbers of storage objects that were removed a moment ago.
#[derive(Default)]
pub(crate) struct Freed(Mutex<Recent>);

#[derive(Default)]
struct Recent {
    numbers: HashSet<u64>,
    order: VecDeque<(Instant, u64)>,
}

impl Freed {
    /// An object with this number has lost its last name.
    pub fn note(&self, number: u64) {
        if number & STORAGE_BIT == 0 {
            return;
        }
        let now = Instant::now();
        let mut recent = self.0.lock();
        while let Some((_, old)) = recent.order.front().filter(|(at, _)| now - *at > AGAIN) {
            let old = *old;
            recent.numbers.remove(&old);
            recent.order.pop_front();
        }
        if recent.numbers.insert(number) {
            recent.order.push_back((now, number));
        }
    }

    /// The number for a new object: its own, unless that was just given up.
    pub fn number(&self, stat: &Statx) -> u64 {
        let own = storage_ino(stat);
        let recent = self.0.lock();
        let others = (1..1 << (62 - INO_BITS)).map(|other| own ^ other << INO_BITS);
        std::iter::once(own).chain(others).find(|n| !recent.numbers.contains(n)).unwrap_or(own)
    }
}
