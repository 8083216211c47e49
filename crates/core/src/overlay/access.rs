//! Times of access.
//!
//! Those of storage objects the storage's file system keeps, through a clone
//! of its mount that has the option asked for. Those of base objects are kept
//! here, by number, and go to META of the index now and then: like a disk
//! file system's they may be a little behind after a crash.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use rustix::fd::OwnedFd;
use rustix::fs::Statx;

use super::{OpenFile, Overlay};
use crate::meta::{AccessTable, MOST_ACCESSES, Record};
use crate::node::Node;
use crate::options::AccessTimes;
use crate::sys::{self, Result};
use crate::types::{NodeId, Timestamp};

/// Seconds after which relatime moves a time of access in any case (mount(8)).
const DAY: i64 = 24 * 60 * 60;

/// New times of access that are collected before they are written.
const BATCH: usize = 1024;

/// Places for objects whose time of access need not be looked at again.
const RESTING: usize = 512;

/// Times of access of base objects.
pub(super) struct Accesses {
    policy: AccessTimes,
    /// Whether there is any, to spare everybody the lock.
    any: AtomicBool,
    /// The table of the index's META, of which there is no second one.
    times: Arc<AccessTable>,
    /// Those that are not written yet.
    unsaved: Mutex<Vec<u64>>,
    /// Numbers of objects that were opened lately, each with the second before
    /// which its time of access does not move: files that are opened again and
    /// again are not looked at each time.
    resting: Mutex<Box<[(u64, i64)]>>,
}

impl Accesses {
    /// `times`: those that META of the index says; see [`SharedIndex`].
    ///
    /// [`SharedIndex`]: crate::shared_index::SharedIndex
    pub fn new(policy: AccessTimes, times: Arc<AccessTable>) -> Accesses {
        let any = AtomicBool::new(!times.read().is_empty());
        let resting = Mutex::new(vec![(0, i64::MIN); RESTING].into());
        Accesses { policy, any, times, unsaved: Mutex::default(), resting }
    }

    /// It is known that reading an object moves nothing.
    fn rests(&self, number: u64) -> bool {
        let resting = self.resting.lock();
        let known = resting.get(number as usize % RESTING);
        known.is_some_and(|&(of, until)| of == number && Timestamp::now().sec < until)
    }

    /// A base object's attributes stay as they are, so that time alone makes an
    /// access due.
    fn let_rest(&self, number: u64, atime: Timestamp) {
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
    fn is_due(&self, atime: Timestamp, stat: &Statx, is_dir: bool) -> bool {
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

    /// A base object was accessed now. The result tells whether enough has
    /// come together to be written.
    fn note(&self, number: u64) -> bool {
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

impl Overlay {
    /// Whether reading a node now would move its time of access: what a server
    /// has cached of its content must not be used then without asking.
    pub fn access_is_due(&self, node: NodeId) -> bool {
        if !self.keeps_accesses() {
            return false;
        }
        let Ok(node) = self.node(node) else { return false };
        let stat = self.stat(&node);
        stat.is_ok_and(|stat| self.access_moves(&node, &stat))
    }

    /// The same of reading an open file.
    pub fn reading_is_due(&self, file: &OpenFile) -> bool {
        let (mode, node) = (file.mode(), file.node());
        let reads = !mode.write && !mode.no_access_time && node.in_storage();
        file.access_is_due() || reads && self.access_is_due(node.id)
    }

    /// The same, of an object whose attributes are known.
    pub(super) fn access_moves(&self, node: &Node, stat: &Statx) -> bool {
        let real = stat.stx_atime.into();
        let atime = if node.in_storage() { real } else { self.accesses.shown(node.ino, real) };
        !self.is_read_only() && self.accesses.is_due(atime, stat, node.is_dir())
    }

    /// Whether the first read from a base file that was opened moves its time.
    pub(super) fn reading_moves(&self, node: &Node, fd: &OwnedFd) -> bool {
        // Of what others change, and of what the kernel makes up, nothing is known for long.
        let lasting = self.live.is_none() && !self.submounts;
        if !self.keeps_accesses() || lasting && self.accesses.rests(node.ino) {
            return false;
        }
        let Ok(stat) = sys::stat_fd(fd) else { return false };
        // Whether the mount is read-only may change, so that does not count here.
        let atime = self.accesses.shown(node.ino, stat.stx_atime.into());
        let moves = self.accesses.is_due(atime, &stat, node.is_dir());
        if lasting && !moves {
            self.accesses.let_rest(node.ino, atime);
        }
        moves
    }

    /// Whether there is any access that moves a time.
    fn keeps_accesses(&self) -> bool {
        !self.is_read_only() && self.accesses.policy != AccessTimes::Never
    }

    /// A base object is read: moves its time of access if that is due.
    pub(super) fn accessed(&self, node: &Node, stat: &Statx) {
        if !node.in_storage() && self.access_moves(node, stat) {
            self.note_access(node);
        }
    }

    /// A base object is read, and its time of access is due.
    pub(super) fn note_access(&self, node: &Node) {
        if self.accesses.note(node.ino) {
            self.save_accesses();
        }
    }

    /// Writes times of access that are not written yet.
    pub(super) fn save_accesses(&self) {
        let mut numbers = std::mem::take(&mut *self.accesses.unsaved.lock());
        if numbers.is_empty() || self.is_read_only() {
            return;
        }
        numbers.sort_unstable();
        numbers.dedup();
        let records: Vec<Record> = {
            let times = self.accesses.times.read();
            let time =
                |number| times.get(&number).map(|at| (number, Timestamp::from_nanoseconds(*at)));
            let records = numbers.into_iter().filter_map(time);
            records.map(|(number, at)| Record::Access { number, at }).collect()
        };
        let saved: Result<()> = self.prepare_index().and_then(|dir| {
            let _lock = dir.mutate.lock();
            dir.append(&records)
        });
        if let Err(errno) = saved {
            tracing::debug!("times of access are not recorded: {errno}");
        }
    }

    /// Whether reading an open file has to be noted.
    pub(super) fn note_reading(&self, file: &OpenFile) {
        if file.access_due.load(Ordering::Relaxed) && !file.node().in_storage() {
            // Under strictatime each time counts.
            let again = self.accesses.policy == AccessTimes::Always;
            file.access_due.store(again, Ordering::Relaxed);
            self.note_access(file.node());
        }
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
