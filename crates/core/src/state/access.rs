//! Times of access.
//!
//! Those of storage objects the storage's file system keeps, through a clone
//! of its mount that has the option asked for. Those of base objects are kept
//! here, by number, and go to META of the index now and then: like a disk
//! file system's they may be a little behind after a crash.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::Statx;

use crate::format::meta::{AccessTable, MOST_ACCESSES};
use crate::format::time::Timestamp;
use crate::interface::options::AccessTimes;
use crate::locks::{Mutex, Rank};

/// Seconds after which relatime moves a time of access in any case (mount(8)).
const DAY: i64 = 24 * 60 * 60;

/// New times of access that are collected before they are written.
const BATCH: usize = 1024;

/// Places for objects whose time of access need not be looked at again.
const RESTING: usize = 512;

/// Times of access of base objects.
pub(crate) struct Accesses {
    pub policy: AccessTimes,
    /// Whether there is any, to spare everybody the lock.
    any: AtomicBool,
    /// The table of the index's META, of which there is no second one.
    pub times: Arc<AccessTable>,
    /// Those that are not written yet.
    pub unsaved: Mutex<Vec<u64>, { Rank::Unsaved as u8 }>,
    /// Numbers of objects that were opened lately, each with the second before
    /// which its time of access does not move: files that are opened again and
    /// again are not looked at each time.
    resting: Mutex<Box<[(u64, i64)]>, { Rank::Resting as u8 }>,
}

impl Accesses {
    /// `times`: those that META of the index says; see [`SharedIndex`].
    ///
    /// [`SharedIndex`]: crate::store::shared_index::SharedIndex
    pub fn new(policy: AccessTimes, times: Arc<AccessTable>) -> Accesses {
        let any = AtomicBool::new(!times.read().is_empty());
        let resting = Mutex::new(vec![(0, i64::MIN); RESTING].into());
        Accesses { policy, any, times, unsaved: Mutex::default(), resting }
    }

    /// It is known that reading an object moves nothing.
    pub fn rests(&self, number: u64) -> bool {
        let resting = self.resting.lock();
        let known = resting.get(number as usize % RESTING);
        known.is_some_and(|&(of, until)| of == number && Timestamp::now().sec < until)
    }

    /// A base object's attributes stay as they are, so that time alone makes an
    /// access due.
    pub fn let_rest(&self, number: u64, atime: Timestamp) {
        if let Some(place) = self.resting.lock().get_mut(number as usize % RESTING) {
            *place = (number, atime.sec.saturating_add(DAY));
        }
    }

    /// The time of access that a base object shows.
    pub fn shown(&self, number: u64, base: Timestamp) -> Timestamp {
        if !self.any.load(Ordering::Relaxed) {
            return base;
        }
        self.times.read().get(&number).map_or(base, |at| Timestamp::from_nanoseconds(*at))
    }

    /// Whether an access moves the time, by the rules of mount(8).
    pub fn is_due(&self, atime: Timestamp, stat: &Statx, is_dir: bool) -> bool {
        match self.policy {
            AccessTimes::Never => false,
            AccessTimes::NotOfDirectories if is_dir => false,
            AccessTimes::Always => true,
            AccessTimes::NotOfDirectories | AccessTimes::Relative => {
                atime <= stat.stx_mtime.into()
                    || atime <= stat.stx_ctime.into()
                    || Timestamp::now().sec - atime.sec >= DAY
            }
        }
    }

    /// Base objects show the times that they have themselves. The result: some did not.
    pub fn forget_all(&self) -> bool {
        self.unsaved.lock().clear();
        self.resting.lock().fill((0, i64::MIN));
        let mut times = self.times.write();
        let any = !times.is_empty();
        times.clear();
        any
    }

    /// A base object was accessed now. The result tells whether enough has
    /// come together to be written.
    pub fn note(&self, number: u64) -> bool {
        let mut times = self.times.write();
        if times.len() >= MOST_ACCESSES && !times.contains_key(&number) {
            return false;
        }
        times.insert(number, Timestamp::now().to_nanoseconds());
        self.any.store(true, Ordering::Relaxed);
        drop(times);
        let mut unsaved = self.unsaved.lock();
        unsaved.push(number);
        unsaved.len() >= BATCH
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rest_ends_after_a_day_and_is_one_object_s() {
        let accesses = Accesses::new(AccessTimes::Relative, Arc::default());
        let ago = |seconds| Timestamp { sec: Timestamp::now().sec - seconds, ..Timestamp::now() };
        assert!(!accesses.rests(7));
        accesses.let_rest(7, ago(DAY - 60));
        assert!(accesses.rests(7));
        assert!(!accesses.rests(7 + RESTING as u64));
        accesses.let_rest(7, ago(DAY));
        assert!(!accesses.rests(7));
        accesses.let_rest(7, ago(0));
        accesses.let_rest(7 + RESTING as u64, ago(0));
        assert!(!accesses.rests(7) && accesses.rests(7 + RESTING as u64));
    }
}
