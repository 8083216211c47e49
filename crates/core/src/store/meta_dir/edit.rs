//! Who changes entries of a directory, or what META says of them: nobody can without this.

use std::ops::Deref;

use rustix::fs::Statx;
use rustix::io::Errno;

use super::changes::{JournalState, Savepoint};
use super::mutate::Mutating;
use super::{INDEX, MetaDir, with_access};
use crate::format::meta::{Index, Record};
use crate::format::time::Timestamp;
use crate::interface::types::NodeId;
use crate::locks::{Among, Rank, WriteGuard};
use crate::store::meta::{self, Session};
use crate::sys::{self, Result, Spot, Within};

/// The right to change what META of a directory says, and its entries: whoever has it is
/// the only one.
pub(crate) struct MetaEdit<'a> {
    dir: &'a MetaDir,
    _lock: Mutating<'a>,
}

impl Deref for MetaEdit<'_> {
    type Target = MetaDir;

    fn deref(&self) -> &MetaDir {
        self.dir
    }
}

impl MetaDir {
    /// Waits until nobody else changes anything.
    pub fn edit(&self) -> MetaEdit<'_> {
        let order = self.order(Among::Numbered(self.node.0));
        MetaEdit { dir: self, _lock: self.mutate.lock(order) }
    }

    /// The same, for one who changes entries of other directories already, and keeps
    /// everybody away who could take this one before those.
    pub fn edit_beside(&self) -> MetaEdit<'_> {
        let order = self.order(Among::Beside(self.node.0));
        MetaEdit { dir: self, _lock: self.mutate.lock(order) }
    }

    /// Where its lock comes: that of the index after all others.
    fn order(&self, among: Among) -> (Rank, Among) {
        (if self.is_index() { Rank::MutateIndex } else { Rank::Mutate }, among)
    }

    pub(super) fn is_index(&self) -> bool {
        self.node == INDEX
    }

    /// The same; `None`: somebody else does.
    pub fn try_edit(&self) -> Option<MetaEdit<'_>> {
        let order = self.order(Among::Beside(self.node.0));
        self.mutate.try_lock(order).map(|lock| MetaEdit { dir: self, _lock: lock })
    }
}

impl MetaEdit<'_> {
    /// Nobody has changed anything since [`MetaDir::version`] was this, until this edit.
    pub fn follows(&self, version: Option<u64>) -> bool {
        version.is_some_and(|version| self.dir.mutate.follows(version))
    }

    /// What META says, to be changed apart from its file.
    pub fn index_mut(&self) -> WriteGuard<'_, Index> {
        self.meta.write()
    }

    /// Its own META has been told of names that META of the storage's root hides here.
    pub fn says_itself(&self, names: &[Box<[u8]>]) {
        self.far.lock().retain(|far| !names.contains(far));
    }

    /// META of the storage's root says from now on that a name is hidden here.
    pub fn hide_far(&self, name: &[u8]) {
        self.meta.write().apply(&Record::Hide { name: name.into() });
        self.far.lock().push(name.into());
    }

    /// Its META has nothing to say any more of what is below.
    pub fn forget_below(&self) {
        self.meta.write().forget_hidden();
        self.journal.lock().removed();
    }

    /// Makes sure that META is there, so that appending changes no directory
    /// time.
    pub fn open_journal(&self) -> Result<()> {
        self.opened(&mut self.journal.lock()).map(drop)
    }

    /// Appends records to META and takes them into the index. Unless only times
    /// depend on them, they reach the device before any change of storage names
    /// that follows.
    pub fn append(&self, records: &[Record]) -> Result<()> {
        if !self.write(records)? {
            return Ok(());
        }
        let mut index = self.meta.write();
        records.iter().for_each(|record| index.apply(record));
        let wasteful = index.is_wasteful();
        drop(index);
        if wasteful {
            self.compact();
        }
        Ok(())
    }

    /// Appends records, and before them what is owed. The result tells whether
    /// there was anything.
    fn write(&self, records: &[Record]) -> Result<bool> {
        let mut state = self.journal.lock();
        if records.is_empty() && state.owed.is_empty() {
            return Ok(false);
        }
        if state.is_doubtful() {
            // The device may have lost of it what nothing tells any more.
            drop(state);
            self.rewrite_unseen()?;
            state = self.journal.lock();
        }
        let owed = std::mem::take(&mut state.owed);
        let written = self.opened(&mut state).and_then(|file| {
            if owed.is_empty() {
                return file.append(records);
            }
            file.append(&[&owed, records].concat())
        });
        if written.is_err() {
            state.owed = owed;
        }
        written?;
        drop(state);
        self.durability.touched();
        Ok(true)
    }

    /// As [`MetaEdit::append`], of what has come to hold already: where META does
    /// not take it now, it gets it with the next records.
    pub fn append_late(&self, records: Vec<Record>) {
        if let Err(errno) = self.append(&records) {
            tracing::warn!("META is told later what has changed: {errno}");
            let mut index = self.meta.write();
            records.iter().for_each(|record| index.apply(record));
            drop(index);
            self.journal.lock().owed.extend(records);
        }
    }

    /// Tells META what is owed to it, before an object may come to be of which
    /// it would speak.
    pub fn pay(&self) -> Result<()> {
        if self.journal.lock().owed.is_empty() { Ok(()) } else { self.write(&[]).map(drop) }
    }

    /// Remembers what META says of some names, for [`MetaEdit::roll_back`].
    pub fn savepoint(&self, names: &[&[u8]]) -> Result<Savepoint> {
        self.pay()?;
        let mut state = self.journal.lock();
        let file = self.opened(&mut state)?;
        let (size, waiting) = (file.size(), file.waiting().to_vec());
        let rewrites = state.rewrites;
        drop(state);
        let meta = self.meta.read();
        let said = names.iter().map(|name| ((*name).into(), meta.said(name))).collect();
        Ok(Savepoint { size, rewrites, waiting, said })
    }

    /// Makes META say again what it said at a savepoint. Takes no space where only
    /// appending was done since, by this edit.
    pub fn roll_back(&self, savepoint: Savepoint) {
        let mut index = self.meta.write();
        for (name, said) in savepoint.said {
            index.say(&name, said);
        }
        drop(index);
        let mut state = self.journal.lock();
        let appended = savepoint.rewrites == state.rewrites;
        let cut = match &mut state.file {
            Some(file) if appended => {
                file.wait_again(savepoint.waiting);
                file.cut(savepoint.size)
            }
            _ => Err(Errno::STALE),
        };
        drop(state);
        if let Err(errno) = cut.or_else(|_| self.rewrite()) {
            tracing::error!("META keeps records of a change that was taken back: {errno}");
        }
    }

    /// Writes META anew, as the index has it.
    fn rewrite(&self) -> Result<()> {
        let dir = self.writable()?;
        {
            let _held = self.hold_attributes_too();
            let index = self.meta.read();
            let root = self.node == NodeId::ROOT;
            let session = self.durability.terms().session;
            let session = if root { session } else { Session::none(session.meta) };
            with_access(dir.fd(), || meta::rewrite(dir.fd(), &index, session))?;
        }
        self.meta.write().rewritten();
        let mut state = self.journal.lock();
        // The file that was open has no name any more.
        let rewrites = state.rewrites + 1;
        state.forget_waiting();
        // It is synced, but its name is not.
        *state = JournalState { rewrites, ..JournalState::default() };
        Ok(())
    }

    /// The same, so that the directory's times stay.
    pub fn rewrite_unseen(&self) -> Result<()> {
        self.keeping_times(|_| self.rewrite(), |()| Vec::new())
    }

    /// Drops dead records. A failure costs nothing but space.
    fn compact(&self) {
        if let Err(errno) = self.rewrite_unseen() {
            tracing::warn!("META is not compacted: {errno}");
        }
    }

    /// Writes META anew where most of it is dead, for the room.
    pub fn squeeze(&self) -> bool {
        self.meta.read().is_mostly_dead() && self.rewrite_unseen().is_ok()
    }

    /// Takes whiteouts and redirects that do not count any more out of the file, for
    /// readers of 2005: they know nothing that takes a whiteout back, and take the first
    /// redirect that they find.
    pub fn tidy(&self) {
        if self.meta.read().has_stale() {
            self.compact();
        }
    }

    /// Runs a change of the storage directory that programs must not see in
    /// its times, and puts them back.
    ///
    /// `records` are made after the change and go to META together with the
    /// one that keeps the shown ctime.
    pub fn unseen<T>(
        &self,
        change: impl Fn(Within<'_>) -> Result<T>,
        records: impl FnOnce(&T) -> Vec<Record>,
    ) -> Result<T> {
        let dir = self.writable()?;
        let _held = self.hold_attributes_too();
        // Before META is made, if there is none.
        let before = sys::stat_fd(dir.fd())?;
        // What is owed was decided by the names as they are now.
        self.pay()?;
        self.open_journal()?;
        self.keeping_times_of(&before, change, records)
    }

    /// The same, where META is as it should be, or is about to be replaced.
    fn keeping_times<T>(
        &self,
        change: impl Fn(Within<'_>) -> Result<T>,
        records: impl FnOnce(&T) -> Vec<Record>,
    ) -> Result<T> {
        let _held = self.hold_attributes_too();
        let before = sys::stat_fd(self.writable()?.fd())?;
        self.keeping_times_of(&before, change, records)
    }

    /// The same; `before`: what the directory was.
    fn keeping_times_of<T>(
        &self,
        before: &Statx,
        change: impl Fn(Within<'_>) -> Result<T>,
        records: impl FnOnce(&T) -> Vec<Record>,
    ) -> Result<T> {
        let dir = self.writable()?;
        let held = self.hold_attributes_too();
        let shown = self.shown_ctime(b".", before.stx_ctime.into());
        let (value, timed) = with_access(dir.fd(), || {
            let changed = change(dir);
            // Also where it failed: it may have left traces on the way.
            let timed = sys::copy_times(before, Spot::Fd(dir.fd()));
            Ok((changed?, timed))
        })?;
        let timed = timed.and_then(|()| sys::stat_fd(dir.fd()));
        drop(held);
        let kept = timed.and_then(|stat| {
            let real = stat.stx_ctime.into();
            let mut records = records(&value);
            records.push(Record::Ctime { name: Box::from(&b"."[..]), shown, real });
            self.append(&records)
        });
        if let Err(errno) = kept {
            // The change itself stands: a full device only costs the old times.
            tracing::warn!("what nobody should see shows in the times of its directory: {errno}");
        }
        Ok(value)
    }

    /// The directory was changed where programs must see it. Where clocks are
    /// coarse its ctime may be the one of a change that they must not (tmpfs
    /// takes that of the removed entry at an unlink).
    pub fn seen(&self) {
        let Some((shown, recorded)) = self.meta.read().ctime_record(b".") else { return };
        // Time goes on: what differs once does not become equal again.
        if shown == recorded || *self.left_behind.lock() == Some(recorded) {
            return;
        }
        let moved = self.writable().and_then(|dir| sys::stat_fd(dir.fd())).and_then(|stat| {
            let real: Timestamp = stat.stx_ctime.into();
            if real != recorded {
                *self.left_behind.lock() = Some(recorded);
                return Ok(());
            }
            self.append(&[Record::Ctime { name: Box::from(&b"."[..]), shown: real, real }])
        });
        if let Err(errno) = moved {
            tracing::debug!("the change time of a directory is an older one: {errno}");
        }
    }

    /// A change of storage names follows that relies on what META says.
    pub fn secure(&self) -> Result<()> {
        let mut state = self.journal.lock();
        if let Some(file) = &mut state.file {
            return file.secure();
        }
        match self.storage() {
            Some(dir) if !state.synced && self.durability.syncs_before_changes() => {
                with_access(dir.fd(), || meta::sync(dir.fd(), self.meta_name()))?;
                state.synced = true;
                Ok(())
            }
            _ => Ok(()),
        }
    }
}
