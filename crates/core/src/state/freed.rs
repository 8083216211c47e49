//! Numbers that were given up a moment ago.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use hashbrown::HashSet;
use rustix::fs::Statx;

use crate::format::numbers::{INO_BITS, STORAGE_BIT, storage_ino};
use crate::locks::{Mutex, Rank};

/// How long the number of a removed object could come again: a storage with a
/// coarse clock gives what it makes within one tick (at most 10 ms) the same
/// time of birth.
const AGAIN: Duration = Duration::from_millis(100);

/// Numbers of storage objects that were removed a moment ago.
#[derive(Default)]
pub(crate) struct Freed(Mutex<Recent, { Rank::Freed as u8 }>);

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
