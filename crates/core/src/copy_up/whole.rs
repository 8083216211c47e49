//! From partial to whole: fetching what is missing, cutting, settling.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::copy_up::partial::Need;
use crate::format::meta::Record;
use crate::interface::types::SetTime;
use crate::locks::{Rank, is_held};
use crate::reach::overlay::Overlay;
use crate::reach::refs::NodeRef;
use crate::state::open_file::OpenFile;
use crate::store::durability::WriteOut;
use crate::store::partial::{PartialFile, read_mark};
use crate::sys::own::Own;
use crate::sys::{self, Result, Spot};
use crate::tree::node::{Contents, Node};

/// Up to so many bytes a rest is fetched without recording each piece.
const SMALL_REST: u64 = 128 << 20;

/// So many missing bytes are fetched once nobody writes the file any more.
const WORTH_FETCHING: u64 = 1 << 20;

impl Overlay {
    /// Brings all data of a partial file into the storage, or as much as is to
    /// be there for `need`.
    pub(crate) fn fill(&self, node: &Arc<Node>, need: Need) -> Result<()> {
        // Opening it may be refused where only appending to it is allowed.
        if !self.wants_all(need, 0) || !self.is_partial(node)? {
            return Ok(());
        }
        check_following(node)?;
        let target = self.open_target(node)?;
        let Some(partial) = self.partial_file(node, &target)? else { return Ok(()) };
        if !self.wants_all(need, partial.mark.size) {
            return Ok(());
        }
        if need != Need::Data && !has_one_name(&target) {
            return Ok(());
        }
        match self.make_whole(node, &partial, &target) {
            // It stays partial: what will be written may still have room.
            Err(Errno::NOSPC | Errno::DQUOT) if need != Need::Data => Ok(()),
            other => other,
        }
    }

    /// Brings all data of a partial file into the storage.
    pub(crate) fn make_whole(
        &self,
        node: &Arc<Node>,
        partial: &PartialFile,
        target: &OwnedFd,
    ) -> Result<()> {
        let missing = partial.missing();
        let _slow = self.slow_if(missing);
        let mut next = Some(0).filter(|_| missing > SMALL_REST);
        // A large rest in recorded pieces, so that others can write meanwhile.
        while let Some(at) = next {
            if self.partials.ending.load(Ordering::Relaxed) {
                return Err(Errno::INTR);
            }
            let _lock = self.lock_slow(&partial.writing);
            if partial.is_whole() {
                return Ok(());
            }
            self.prepare_map(partial)?;
            let piece = || partial.fetch_piece(target, at, true);
            next = self.unseen_in_file(node, target, piece)?;
        }
        let _lock = self.lock_slow(&partial.writing);
        if partial.is_whole() {
            return Ok(());
        }
        let mut next = Some(0);
        while let Some(at) = next {
            let piece = || partial.fetch_piece(target, at, false);
            next = self.unseen_in_file(node, target, piece).inspect_err(|_| {
                let _ = self.unseen_in_file(node, target, || partial.drop_unrecorded(target));
            })?;
        }
        if partial.base().size()? != partial.mark.size {
            return Err(Errno::IO);
        }
        self.partials.order.write_out(|| Ok(target))?;
        self.unmark(node, partial, target)
    }

    /// Everything is in the storage: takes the mark away.
    fn unmark(&self, node: &Arc<Node>, partial: &PartialFile, target: &OwnedFd) -> Result<()> {
        debug_assert!(is_held(Rank::Writing, None));
        let removed = self.unseen_in_file(node, target, || {
            match self.own.remove(Spot::Fd(target.as_fd()), Own::Partial) {
                Err(Errno::NODATA) => Ok(()),
                other => other,
            }
        });
        match removed {
            // Its owner has closed the file to himself: the map tells it.
            Err(Errno::ACCESS | Errno::PERM) => {
                self.prepare_map(partial)?;
                // The record may overtake the journal.
                self.sync_now(target)?;
                partial.cut(0)?;
            }
            other => {
                other?;
                self.drop_unneeded_map(target, partial.mark.map);
            }
        }
        partial.set_whole();
        node.set_contents(Contents::Whole);
        Ok(())
    }

    /// Removes the map of a file whose mark was taken away. It must not be gone
    /// as long as a power cut could bring the mark back.
    fn drop_unneeded_map(&self, file: &OwnedFd, map: u64) {
        let ordered = self.partials.order != WriteOut::Sync;
        if ordered || rustix::fs::fsync(file).is_ok() {
            self.drop_map(map);
        }
    }

    /// The storage file of a node, to bring data into it. Nothing is read.
    fn open_target(&self, node: &Arc<Node>) -> Result<OwnedFd> {
        self.change_at(node, |spot| sys::open(spot, OFlags::WRONLY | OFlags::NONBLOCK))
    }

    /// Cuts or extends a partial file.
    pub(crate) fn resize_partial(&self, node: &Arc<Node>, size: u64) -> Result<()> {
        let target = self.open_target(node)?;
        if size == 0 {
            return self.empty_partial(node, &target);
        }
        check_following(node)?;
        let Some(partial) = self.partial_file(node, &target)? else {
            return rustix::fs::ftruncate(target, size);
        };
        let _lock = self.lock_slow(&partial.writing);
        if partial.is_whole() || size >= partial.limit() {
            if !partial.may_grow() {
                self.prepare_map(&partial)?;
            }
            return rustix::fs::ftruncate(target, size);
        }
        let _slow = self.slow_section();
        self.prepare_map(&partial)?;
        rustix::fs::ftruncate(&target, size)?;
        // The map must not say so before it is true, nor too late: what comes
        // behind the cut would show what the base has there.
        let recorded = self.sync_now(&target).and_then(|()| partial.cut(size));
        let recorded =
            recorded.and_then(|()| partial.map_file()?.map_or(Ok(()), |file| self.sync_now(&file)));
        if let Err(errno) = recorded {
            // It is cut. The map gets it before the file can grow.
            tracing::warn!("a map of partial data is told of a cut later: {errno}");
            partial.cut_untold(size);
        }
        Ok(())
    }

    fn sync_now(&self, file: &OwnedFd) -> Result<()> {
        match self.ordering {
            WriteOut::None => Ok(()),
            _ => rustix::fs::fdatasync(file),
        }
    }

    /// Cuts a partial file to nothing; what the base has does not matter.
    fn empty_partial(&self, node: &Arc<Node>, target: &OwnedFd) -> Result<()> {
        // Nobody may believe in the mark meanwhile.
        let _making = self.lock_copy_up(node);
        if let Some(partial) = self.partials.open(node.id) {
            let _lock = self.lock_slow(&partial.writing);
            rustix::fs::ftruncate(target, 0)?;
            return if partial.is_whole() { Ok(()) } else { self.unmark(node, &partial, target) };
        }
        rustix::fs::ftruncate(target, 0)?;
        let mark = read_mark(self.own, Spot::Fd(target.as_fd())).unwrap_or_default();
        match self.own.remove(Spot::Fd(target.as_fd()), Own::Partial) {
            Ok(()) | Err(Errno::NODATA) => {
                if let Some(mark) = mark {
                    self.drop_unneeded_map(target, mark.map);
                }
                node.set_contents(Contents::Whole);
                Ok(())
            }
            // An empty file must not get back what the base has when it grows:
            // the map will tell.
            Err(Errno::ACCESS | Errno::PERM) => match self.make_partial_file(node, target)? {
                Some(partial) => {
                    let _lock = self.lock_slow(&partial.writing);
                    self.unmark(node, &partial, target)
                }
                None => Ok(()),
            },
            Err(errno) => Err(errno),
        }
    }

    /// Runs a change of a storage file that programs must not see in its times.
    fn unseen_in_file<T>(
        &self,
        node: &Arc<Node>,
        file: &OwnedFd,
        change: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        debug_assert!(is_held(Rank::Writing, None));
        let entries = self.spoken_of(node).unwrap_or_default();
        let (value, before, after) = {
            // Nobody else sets times meanwhile.
            let _place = node.place_mut();
            let before = sys::stat_fd(file)?;
            // Also where it fails: it may have left traces.
            let value = change();
            let mtime = SetTime::At(before.stx_mtime.into());
            sys::set_times(Spot::Fd(file.as_fd()), None, Some(mtime))?;
            (value, before, sys::stat_fd(file)?)
        };
        let real = after.stx_ctime.into();
        for (dir, name) in entries {
            let edit = dir.edit();
            let shown = dir.shown_ctime(&name, before.stx_ctime.into());
            if let Err(errno) = edit.append(&[Record::Ctime { name, shown, real }]) {
                tracing::warn!("a copy of data shows in the change time of its file: {errno}");
            }
        }
        value
    }

    /// A file was closed. The result tells that [`Overlay::settle_closed`] is
    /// to be called, by a thread that has time.
    pub fn closed(&self, file: &Arc<OpenFile>) -> bool {
        let changed = |partial: Arc<PartialFile>| partial.changed.load(Ordering::Relaxed);
        if !file.writes() || !file.partial().is_some_and(changed) {
            return false;
        }
        let Some(node) = self.refer(file.node()) else {
            Self::settled(self.make_firm(file));
            return false;
        };
        let mut closed = self.partials.closed.lock();
        if closed.files.len() >= self.partials.closed_most {
            // Each has descriptors, of which there are not many.
            drop(closed);
            self.settle_one(&node, file);
            return false;
        }
        closed.files.push((node.park(), Arc::clone(file)));
        !std::mem::replace(&mut closed.served, true)
    }

    /// Brings what was written to closed partial files onto the device, and
    /// fetches the rest of their data where that is little.
    pub fn settle_closed(&self) {
        let _settling = self.partials.settling.lock();
        loop {
            let files = {
                let mut closed = self.partials.closed.lock();
                closed.served = !closed.files.is_empty();
                std::mem::take(&mut closed.files)
            };
            if files.is_empty() {
                return;
            }
            for (node, file) in files {
                let node = self.resume(node);
                if !self.partials.ending.load(Ordering::Relaxed) {
                    self.settle_one(&node, &file);
                }
            }
        }
    }

    /// The same of those that wait now, by who needs their descriptors.
    pub(crate) fn settle_some(&self) {
        let files = std::mem::take(&mut self.partials.closed.lock().files);
        for (node, file) in files {
            self.settle_one(&self.resume(node), &file);
        }
    }

    fn settle_one(&self, node: &NodeRef<'_>, file: &OpenFile) {
        let quarter = file.partial().map_or(0, |partial| partial.mark.size / 4);
        Self::settled(self.settle(node, file, WORTH_FETCHING.max(quarter)));
    }

    /// The same in a hurry: little is fetched, and nothing more is begun after
    /// `most`. What is left stays partial, which is as safe.
    pub(crate) fn settle_at_the_end(&self, most: Duration) {
        let begun = Instant::now();
        self.partials.ending.store(true, Ordering::Relaxed);
        let files = std::mem::take(&mut self.partials.closed.lock().files);
        let mut left = 0;
        for (node, file) in files {
            let node = self.resume(node);
            if begun.elapsed() >= most {
                left += 1;
            } else {
                Self::settled(self.settle(&node, &file, WORTH_FETCHING));
            }
        }
        if left > 0 {
            tracing::info!(
                "{left} files stay in part in the base: there was no time to fetch more"
            );
        }
    }

    fn settled(done: Result<()>) {
        if let Err(errno) = done {
            // It stays partial, and what was synced is as safe as before.
            tracing::warn!("a file stays in part in the base: {errno}");
        }
    }

    /// `fetch`: so many missing bytes at most. `node`: that of the file, which is
    /// known as long as this runs.
    fn settle(&self, node: &NodeRef<'_>, file: &OpenFile, fetch: u64) -> Result<()> {
        let Some(partial) = file.partial() else { return Ok(()) };
        if partial.missing() <= fetch {
            let target = self.open_target(node)?;
            if has_one_name(&target) {
                return self.make_whole(node, &partial, &target);
            }
        }
        self.make_firm(file)
    }

    /// Brings what was written onto the device, by the file's own descriptor.
    fn make_firm(&self, file: &OpenFile) -> Result<()> {
        match file.partial() {
            Some(partial) => partial.make_firm(self.current(file)?.fd(), false),
            None => Ok(()),
        }
    }
}

/// EIO: the storage file has not the size that shows, and could not get it.
fn check_following(node: &Node) -> Result<()> {
    if node.contents() == Contents::Stale { Err(Errno::IO) } else { Ok(()) }
}

/// Filling a file shows in its change time, unless META speaks of each name.
fn has_one_name(file: &OwnedFd) -> bool {
    sys::stat_fd(file).is_ok_and(|stat| stat.stx_nlink == 1)
}
