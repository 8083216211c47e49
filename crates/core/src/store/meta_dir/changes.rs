//! Changes of what META says.

use std::sync::atomic::Ordering;

use rustix::io::Errno;

use super::{ANY, MetaDir, with_access};
use crate::format::meta::{Index, NameSnapshot, Record};
use crate::format::name::MetaName;
use crate::format::time::Timestamp;
use crate::store::durability::Terms;
use crate::store::meta::{self, Firm, Journal};
use crate::sys::{self, Result, Spot, Within};

/// The file of META, and what has to be done to it.
#[derive(Default)]
pub(super) struct JournalState {
    pub file: Option<Journal>,
    /// Where META ends in half a line, which the next append drops.
    pub torn_at: Option<u64>,
    /// The device has what META said before the file was opened.
    pub synced: bool,
    /// A sync of META has failed while it was closed: it is to be written anew.
    pub doubtful: bool,
    /// Syncs of the open file that go on: what they say must find it.
    pub syncs: u32,
    /// How often META was written anew.
    pub rewrites: u64,
    /// What the index says already and META does not: the next append has it.
    pub owed: Vec<Record>,
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
    pub fn is_doubtful(&self) -> bool {
        self.doubtful || self.file.as_ref().is_some_and(Journal::is_doubtful)
    }

    /// The open file is not META any more, or will not be: what waits for it goes with it.
    pub fn forget_waiting(&mut self) {
        if let Some(file) = &mut self.file {
            file.forget_waiting();
        }
    }

    /// META is not there any more.
    pub fn removed(&mut self) {
        self.forget_waiting();
        // Counted up: whoever syncs the old file must not take it for a new one.
        *self = JournalState { rewrites: self.rewrites + 1, ..JournalState::default() };
    }
}

/// What META said at some point, of the names that are about to change.
pub(crate) struct Savepoint {
    /// Size of the file in bytes.
    pub(super) size: u64,
    pub(super) rewrites: u64,
    /// What waited to be written.
    pub(super) waiting: Vec<u8>,
    pub(super) said: Vec<(Box<[u8]>, NameSnapshot)>,
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
    pub(super) fn opened<'a>(&self, state: &'a mut JournalState) -> Result<&'a mut Journal> {
        if state.file.is_none() {
            let dir = self.writable()?.fd();
            let Terms { firm, session, .. } = self.durability.terms();
            let open = || Journal::open(dir, state.torn_at, firm, session);
            let _held = self.hold_attributes_too();
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
        let Some(_edit) = self.try_edit() else { return false };
        let mut state = self.journal.lock();
        let syncs = state.syncs > 0;
        let Some(file) = &mut state.file else { return true };
        if file.is_doubtful() || syncs {
            return false;
        }
        file.write_waiting();
        // What the device lacks is in the attribute, and read again with it.
        state.synced = file.is_synced();
        state.file = None;
        true
    }

    /// This mount writes to the storage: META of its root says so.
    pub fn begin_session(&self) -> Result<()> {
        let _edit = self.edit();
        self.opened(&mut self.journal.lock())?.begin_session()
    }

    /// It ends in order, and everything is on the device.
    pub fn end_session(&self) -> Result<()> {
        let _edit = self.edit();
        self.opened(&mut self.journal.lock())?.end_session()
    }

    /// Something is owed to META, so this directory must stay in memory.
    pub fn owes(&self) -> bool {
        !self.journal.lock().owed.is_empty()
    }

    /// Something waits to be written ([`MetaDir::write_waiting`]) before it leaves the memory.
    pub fn waits(&self) -> bool {
        self.journal.lock().file.as_ref().is_some_and(|file| !file.waiting().is_empty())
    }

    pub(super) fn meta_name(&self) -> MetaName {
        self.durability.terms().session.meta
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
            self.edit().rewrite_unseen()?;
        }
        let (opened, rewrites) = {
            let mut state = self.journal.lock();
            let (doubtful, synced) = (state.doubtful, state.synced);
            let opened = match &mut state.file {
                Some(file) => match file.begin_sync()? {
                    None => return Ok(()),
                    opened => opened,
                },
                // Another sync has failed just now.
                None if doubtful => return Err(Errno::IO),
                None if synced => return Ok(()),
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

    /// Writes what waits for a sync: one comes that does not go through here.
    pub fn write_waiting(&self) {
        if let Some(file) = &mut self.journal.lock().file {
            file.write_waiting();
        }
    }

    /// Begins to hand META to the device.
    pub fn write_back(&self) -> Result<()> {
        let opened = match &mut self.journal.lock().file {
            Some(file) => file.begin_sync()?,
            None => None,
        };
        let Some((fd, _)) = opened else { return Ok(()) };
        match self.durability.terms().firm {
            // What others rely on was synced at once.
            Firm::No | Firm::Sync => Ok(()),
            Firm::Attribute | Firm::AttributeAndSync => sys::begin_flush(fd),
        }
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
}
