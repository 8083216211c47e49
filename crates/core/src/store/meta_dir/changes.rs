//! Changes of what META says.

use std::sync::atomic::Ordering;

use rustix::io::Errno;

use super::{ANY, MetaDir, with_access};
use crate::format::meta::{Index, Record, Said};
use crate::format::name::MetaName;
use crate::format::time::Timestamp;
use crate::interface::types::NodeId;
use crate::store::durability::Terms;
use crate::store::meta;
use crate::store::meta::{Firm, Journal, Session};
use crate::sys::{self, Result, Spot, Within};

/// The file of META, and what has to be done to it.
#[derive(Default)]
pub(super) struct JournalState {
    file: Option<Journal>,
    /// Where META ends in half a line, which the next append drops.
    torn_at: Option<u64>,
    /// The device has what META said before the file was opened.
    synced: bool,
    /// A sync of META has failed while it was closed: it is to be written anew.
    doubtful: bool,
    /// Syncs of the open file that go on: what they say must find it.
    syncs: u32,
    /// How often META was written anew.
    rewrites: u64,
    /// What the index says already and META does not: the next append has it.
    owed: Vec<Record>,
}

impl JournalState {
    /// META was read.
    pub fn loaded(torn_at: Option<u64>, owed: Vec<Record>) -> JournalState {
        JournalState { torn_at, owed, ..JournalState::default() }
    }

    /// META was read again.
    pub fn loaded_again(&mut self, torn_at: Option<u64>, owed: Vec<Record>) {
        let rewrites = self.rewrites + 1;
        *self = JournalState { torn_at, owed, rewrites, ..JournalState::default() };
    }

    /// A sync has failed: META is to be written anew.
    fn is_doubtful(&self) -> bool {
        self.doubtful || self.file.as_ref().is_some_and(Journal::is_doubtful)
    }

    /// META is not there any more.
    pub fn removed(&mut self) {
        // Counted up: whoever syncs the old file must not take it for a new one.
        *self = JournalState { rewrites: self.rewrites + 1, ..JournalState::default() };
    }
}

/// What META said at some point, of the names that are about to change.
pub(crate) struct Mark {
    /// Size of the file in bytes.
    size: u64,
    rewrites: u64,
    said: Vec<(Box<[u8]>, Said)>,
}

/// Decides about records that hold only if a change of storage names came to
/// happen before a crash. The result is what META has to be told.
pub(crate) fn decide(dir: Within<'_>, index: &mut Index) -> Result<Vec<Record>> {
    let mut owed = Vec::new();
    let pending = index.pending().to_vec();
    for when in &pending {
        let Record::When { arrived, storage_ino, record } = when else { continue };
        let Some(name) = record.name() else { continue };
        let there = with_access(dir.fd(), || sys::absent(sys::stat(Spot::at(dir, name))))?;
        let is = |ino| *storage_ino == ANY || ino == *storage_ino;
        if there.is_some_and(|stat| is(stat.stx_ino)) == *arrived {
            index.apply(record);
            owed.push((**record).clone());
        }
    }
    for name in pending.iter().filter_map(Record::name) {
        let settled = Record::Settled { name: name.into() };
        index.apply(&settled);
        owed.push(settled);
    }
    Ok(owed)
}

impl MetaDir {
    fn opened<'a>(&self, state: &'a mut JournalState) -> Result<&'a mut Journal> {
        if state.file.is_none() {
            let dir = self.writable()?.fd();
            let Terms { firm, session, .. } = self.durability.terms();
            let open = || Journal::open(dir, state.torn_at, firm, session);
            let _held = self.hold_attributes();
            let file = with_access(dir, open)?;
            (state.file, state.torn_at) = (Some(file), None);
            self.durability.open.store(true, Ordering::Release);
        }
        state.file.as_mut().ok_or(Errno::IO)
    }

    /// Closes META: an open file would keep the storage's file system from becoming
    /// read-only. The next change opens it again. `false`: it is in use.
    pub fn close_journal(&self) -> bool {
        // A change that can be taken back counts on the file that it has marked.
        let Some(_mutate) = self.mutate.try_lock() else { return false };
        let mut state = self.journal.lock();
        let Some(file) = &state.file else { return true };
        if file.is_doubtful() || state.syncs > 0 {
            return false;
        }
        // What the device lacks is in the attribute, and read again with it.
        state.synced = file.is_synced();
        state.file = None;
        true
    }

    /// Makes sure that META is there, so that appending changes no directory
    /// time. `mutate` is held.
    pub fn open_journal(&self) -> Result<()> {
        self.opened(&mut self.journal.lock()).map(drop)
    }

    /// Appends records to META and takes them into the index. Unless only times
    /// depend on them, they reach the device before any change of storage names
    /// that follows. `mutate` is held.
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

    /// As [`MetaDir::append`], of what has come to hold already: where META does
    /// not take it now, it gets it with the next records. `mutate` is held.
    pub fn append_late(&self, records: Vec<Record>) {
        if let Err(errno) = self.append(&records) {
            tracing::warn!("META is told later what has changed: {errno}");
            let mut index = self.meta.write();
            records.iter().for_each(|record| index.apply(record));
            drop(index);
            self.journal.lock().owed.extend(records);
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

    /// This mount writes to the storage: META of its root says so.
    pub fn begin_session(&self) -> Result<()> {
        self.opened(&mut self.journal.lock())?.begin_session()
    }

    /// It ends in order, and everything is on the device.
    pub fn end_session(&self) -> Result<()> {
        self.opened(&mut self.journal.lock())?.end_session()
    }

    /// Something is owed to META, so this directory must stay in memory.
    pub fn owes(&self) -> bool {
        !self.journal.lock().owed.is_empty()
    }

    /// Tells META what is owed to it, before an object may come to be of which
    /// it would speak. `mutate` is held.
    pub fn pay(&self) -> Result<()> {
        if self.journal.lock().owed.is_empty() { Ok(()) } else { self.write(&[]).map(drop) }
    }

    /// Marks what META says of some names, for [`MetaDir::roll_back`]. `mutate` is
    /// held.
    pub fn mark(&self, names: &[&[u8]]) -> Result<Mark> {
        self.pay()?;
        let mut state = self.journal.lock();
        let size = self.opened(&mut state)?.size();
        let rewrites = state.rewrites;
        drop(state);
        let meta = self.meta.read();
        let said = names.iter().map(|name| ((*name).into(), meta.said(name))).collect();
        Ok(Mark { size, rewrites, said })
    }

    /// Makes META say again what it said at a mark. Takes no space where only
    /// appending was done since. `mutate` has been held all the time.
    pub fn roll_back(&self, mark: Mark) {
        let mut index = self.meta.write();
        for (name, said) in mark.said {
            index.say(&name, said);
        }
        drop(index);
        let mut state = self.journal.lock();
        let appended = mark.rewrites == state.rewrites;
        let cut = match &mut state.file {
            Some(file) if appended => file.cut(mark.size),
            _ => Err(Errno::STALE),
        };
        drop(state);
        if let Err(errno) = cut.or_else(|_| self.rewrite()) {
            tracing::error!("META keeps records of a change that was taken back: {errno}");
        }
    }

    /// Writes META anew, as the index has it. `mutate` is held.
    fn meta_name(&self) -> MetaName {
        self.durability.terms().session.meta
    }

    fn rewrite(&self) -> Result<()> {
        let dir = self.writable()?;
        {
            let _held = self.hold_attributes();
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
        // It is synced, but its name is not.
        *state = JournalState { rewrites, ..JournalState::default() };
        Ok(())
    }

    /// The same, so that the directory's times stay.
    fn rewrite_unseen(&self) -> Result<()> {
        self.keeping_times(|_| self.rewrite(), |()| Vec::new())
    }

    /// Drops dead records. A failure costs nothing but space.
    fn compact(&self) {
        if let Err(errno) = self.rewrite_unseen() {
            tracing::warn!("META is not compacted: {errno}");
        }
    }

    /// Writes META anew where most of it is dead, for the room. `mutate` is held.
    pub fn squeeze(&self) -> bool {
        self.meta.read().is_mostly_dead() && self.rewrite_unseen().is_ok()
    }

    /// Writes META anew as the index has it, in any case. `mutate` is held.
    pub fn write_anew(&self) -> Result<()> {
        self.rewrite_unseen()
    }

    /// Takes a redirect that does not count any more out of the file: readers
    /// of 2005 take the first one they find. `mutate` is held.
    pub fn tidy(&self) {
        if self.meta.read().has_stale_redirect() {
            self.compact();
        }
    }

    /// Hands META to the device, if it may have anything new.
    ///
    /// No lock is held while the device works, and who comes meanwhile waits
    /// for a call of his own: what he was told to be safe must be.
    pub fn sync_meta(&self) -> Result<()> {
        let Some(dir) = self.storage() else {
            return Ok(());
        };
        if self.journal.lock().is_doubtful() {
            // The kernel tells of a failure once, and may have dropped the data.
            let _lock = self.mutate.lock();
            self.rewrite_unseen()?;
        }
        let (opened, rewrites) = {
            let mut state = self.journal.lock();
            let opened = match &state.file {
                Some(file) => match file.to_sync()? {
                    None => return Ok(()),
                    opened => opened,
                },
                // Another sync has failed just now.
                None if state.doubtful => return Err(Errno::IO),
                None if state.synced => return Ok(()),
                None => None,
            };
            state.syncs += u32::from(opened.is_some());
            (opened, state.rewrites)
        };
        let Some((fd, point)) = opened else {
            let synced = with_access(dir.fd(), || meta::sync(dir.fd(), self.meta_name()));
            let mut state = self.journal.lock();
            if state.rewrites == rewrites {
                (state.synced, state.doubtful) = (synced.is_ok(), synced.is_err());
            }
            return synced;
        };
        let synced = rustix::fs::fdatasync(fd);
        let mut state = self.journal.lock();
        // One that was written anew or removed meanwhile counts from 0.
        if state.rewrites == rewrites {
            state.syncs = state.syncs.saturating_sub(1);
            match (&mut state.file, synced) {
                (Some(file), Ok(())) => file.synced_to(&point),
                (Some(file), Err(_)) => file.sync_failed(),
                (None, _) => {}
            }
        }
        synced
    }

    /// Begins to hand META to the device.
    pub fn write_back(&self) -> Result<()> {
        let opened = match &self.journal.lock().file {
            Some(file) => file.to_sync()?,
            None => None,
        };
        let Some((fd, _)) = opened else { return Ok(()) };
        match self.durability.terms().firm {
            // What others rely on was synced at once.
            Firm::No | Firm::Sync => Ok(()),
            Firm::Attribute | Firm::AttributeAndSync => sys::begin_flush(fd),
        }
    }

    /// Runs a change of the storage directory that programs must not see in
    /// its times, and puts them back.
    ///
    /// `records` are made after the change and go to META together with the
    /// one that keeps the shown ctime. `mutate` is held.
    pub fn unseen<T>(
        &self,
        change: impl Fn(Within<'_>) -> Result<T>,
        records: impl FnOnce(&T) -> Vec<Record>,
    ) -> Result<T> {
        // What is owed was decided by the names as they are now.
        self.pay()?;
        self.open_journal()?;
        self.keeping_times(change, records)
    }

    /// The same, where META is as it should be, or is about to be replaced.
    fn keeping_times<T>(
        &self,
        change: impl Fn(Within<'_>) -> Result<T>,
        records: impl FnOnce(&T) -> Vec<Record>,
    ) -> Result<T> {
        let dir = self.writable()?;
        let held = self.hold_attributes();
        let before = sys::stat_fd(dir.fd())?;
        let shown = self.shown_ctime(b".", before.stx_ctime.into());
        let (value, timed) = with_access(dir.fd(), || {
            let changed = change(dir);
            // Also where it failed: it may have left traces on the way.
            let timed = sys::copy_times(&before, Spot::Fd(dir.fd()));
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

    /// The ctime to show for an entry whose own is `real`.
    pub fn shown_ctime(&self, name: &[u8], real: Timestamp) -> Timestamp {
        self.meta.read().ctime(name, real).unwrap_or(real)
    }

    /// The type that a storage entry shows whose own is `kind`.
    pub fn shown_kind(&self, name: &[u8], kind: u32) -> u32 {
        if kind != libc::S_IFREG {
            return kind;
        }
        let meta = self.meta.read();
        meta.kept(name).and_then(|kept| kept.device).map_or(kind, |(device, _)| device)
    }

    /// The directory was changed where programs must see it. Where clocks are
    /// coarse its ctime may be the one of a change that they must not (tmpfs
    /// takes that of the removed entry at an unlink). `mutate` is held.
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
}
