//! When times of access move, and when they are written.

use std::sync::atomic::Ordering;

use rustix::fd::OwnedFd;
use rustix::fs::Statx;

use crate::format::meta::Record;
use crate::format::time::Timestamp;
use crate::interface::options::AccessTimes;
use crate::interface::types::NodeId;
use crate::reach::overlay::Overlay;
use crate::state::open_file::OpenFile;
use crate::sys::{self, Result};
use crate::tree::node::Node;

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
    pub(crate) fn access_moves(&self, node: &Node, stat: &Statx) -> bool {
        let real = stat.stx_atime.into();
        let atime = if node.in_storage() { real } else { self.accesses.shown(node.ino(), real) };
        !self.is_read_only() && self.accesses.is_due(atime, stat, node.is_dir())
    }

    /// Whether the first read from a base file that was opened moves its time.
    pub(crate) fn reading_moves(&self, node: &Node, fd: &OwnedFd) -> bool {
        // Of what others change, and of what the kernel makes up, nothing is known for long.
        let lasting = self.live.is_none() && !self.submounts;
        if !self.keeps_accesses() || lasting && self.accesses.rests(node.ino()) {
            return false;
        }
        let Ok(stat) = sys::stat_fd(fd) else { return false };
        // Whether the mount is read-only may change, so that does not count here.
        let atime = self.accesses.shown(node.ino(), stat.stx_atime.into());
        let moves = self.accesses.is_due(atime, &stat, node.is_dir());
        if lasting && !moves {
            self.accesses.let_rest(node.ino(), atime);
        }
        moves
    }

    /// Whether there is any access that moves a time.
    fn keeps_accesses(&self) -> bool {
        !self.is_read_only() && self.accesses.policy != AccessTimes::Never
    }

    /// A base object is read: moves its time of access if that is due.
    pub(crate) fn accessed(&self, node: &Node, stat: &Statx) {
        if !node.in_storage() && self.access_moves(node, stat) {
            self.note_access(node);
        }
    }

    /// A base object is read, and its time of access is due.
    pub(crate) fn note_access(&self, node: &Node) {
        if self.accesses.note(node.ino()) {
            self.save_accesses();
        }
    }

    /// Writes times of access that are not written yet.
    pub(crate) fn save_accesses(&self) {
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
        let saved: Result<()> = self.prepare_index().and_then(|dir| dir.edit().append(&records));
        if let Err(errno) = saved {
            tracing::debug!("times of access are not recorded: {errno}");
        }
    }

    /// Whether reading an open file has to be noted.
    pub(crate) fn note_reading(&self, file: &OpenFile) {
        if file.access_due.load(Ordering::Relaxed) && !file.node().in_storage() {
            // Under strictatime each time counts.
            let again = self.accesses.policy == AccessTimes::Always;
            file.access_due.store(again, Ordering::Relaxed);
            self.note_access(file.node());
        }
    }
}
