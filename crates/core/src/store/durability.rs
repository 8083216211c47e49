//! How what META says reaches the device, and when.
#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Condvar;
use rustix::fd::{AsFd, OwnedFd};

use crate::locks::{Mutex, Rank, RwLock};
use crate::store::meta::{Firm, Session};
use crate::sys::magic::{BTRFS, EXT4, TMPFS, XFS};
use crate::sys::{self, Result};

/// How META is read and written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    pub firm: Firm,
    pub session: Session,
    /// The session is an earlier mount's, which has left what this one could not put
    /// in order: it does not end with this mount.
    pub goes_on: bool,
}

/// What all directories of a storage share.
#[derive(Debug)]
pub(crate) struct Durability {
    /// They change once at most, where a read-only mount begins to write.
    terms: RwLock<Terms, { Rank::Terms as u8 }>,
    /// Some META has what was not handed to the device yet.
    dirty: Mutex<bool, { Rank::Dirty as u8 }>,
    wake: Condvar,
    /// Objects were copied up that no transaction has on the device yet.
    fresh: AtomicBool,
    /// Names were moved that no transaction has on the device yet.
    moved: AtomicBool,
    /// Held while they are brought there: who comes meanwhile must wait for it.
    settling: Mutex<(), { Rank::Syncing as u8 }>,
    /// Counts what was written to META.
    writes: AtomicU64,
    /// The count at the last look.
    seen: AtomicU64,
    /// Some META may be open for writing.
    pub open: AtomicBool,
}

impl Durability {
    /// What the file system of the storage can do.
    pub fn firm_of(storage: impl AsFd, volatile: bool) -> Firm {
        match rustix::fs::fstatfs(storage).map(|stat| stat.f_type) {
            _ if volatile => Firm::No,
            Ok(TMPFS) => Firm::No,
            // Their journal orders attributes with the changes of names that follow.
            Ok(EXT4 | XFS) => Firm::Attribute,
            // Its transactions do that, but not its log.
            Ok(BTRFS) => Firm::AttributeAndSync,
            _ => Firm::Sync,
        }
    }

    pub fn new(terms: Terms) -> Durability {
        Durability {
            terms: RwLock::new(terms),
            dirty: Mutex::new(false),
            wake: Condvar::new(),
            fresh: AtomicBool::new(false),
            moved: AtomicBool::new(false),
            settling: Mutex::new(()),
            writes: AtomicU64::new(0),
            seen: AtomicU64::new(0),
            open: AtomicBool::new(false),
        }
    }

    pub fn terms(&self) -> Terms {
        *self.terms.read()
    }

    /// Others count from here on. Whoever has read META has to read it again.
    pub fn set_terms(&self, terms: Terms) {
        *self.terms.write() = terms;
    }

    /// What a change of names relies on is synced before it.
    pub fn syncs_before_changes(&self) -> bool {
        self.terms().firm == Firm::AttributeAndSync
    }

    /// An object is copied up, or has been just now: called before it gets its name
    /// and after.
    pub fn copied_up(&self) {
        if self.syncs_before_changes() {
            self.fresh.store(true, Ordering::SeqCst);
        }
    }

    /// The names of some directory are about to reach the device. On btrfs a sync of
    /// a directory brings there that a new object exists, but not what it is: a copy
    /// would hide what the base has, and be empty. So all of the storage goes there
    /// first. The result tells whether it did.
    pub fn settle_copies(&self, storage: impl AsFd) -> Result<bool> {
        self.settle_if(storage, |all| all.fresh.load(Ordering::SeqCst))
    }

    /// A directory is about to be synced. On btrfs that may also bring a name there that
    /// an object was moved to, and leave the one that it had before.
    pub fn settle_names(&self, storage: impl AsFd) -> Result<bool> {
        let moved = |all: &Self| all.moved.load(Ordering::SeqCst);
        self.settle_if(storage, |all| all.fresh.load(Ordering::SeqCst) || moved(all))
    }

    fn settle_if(&self, storage: impl AsFd, is_owed: impl Fn(&Self) -> bool) -> Result<bool> {
        if !self.syncs_before_changes() {
            return Ok(false);
        }
        let _lock = self.settling.lock();
        if !is_owed(self) {
            return Ok(false);
        }
        // Before: what comes meanwhile is owed again.
        let fresh = self.fresh.swap(false, Ordering::SeqCst);
        let moved = self.moved.swap(false, Ordering::SeqCst);
        self.sync_all(storage).inspect_err(|_| {
            self.fresh.fetch_or(fresh, Ordering::SeqCst);
            self.moved.fetch_or(moved, Ordering::SeqCst);
        })?;
        Ok(true)
    }

    /// A name is moved, or has been just now: called before and after.
    pub fn name_moved(&self) {
        if self.syncs_before_changes() {
            self.moved.store(true, Ordering::SeqCst);
        }
    }

    /// On btrfs, hands all of the storage to the device.
    pub fn sync_all(&self, storage: impl AsFd) -> Result<()> {
        if self.syncs_before_changes() { rustix::fs::syncfs(storage) } else { Ok(()) }
    }

    /// META of some directory was written.
    pub fn touched(&self) {
        self.writes.fetch_add(1, Ordering::Relaxed);
        if self.terms().firm != Firm::No && !std::mem::replace(&mut *self.dirty.lock(), true) {
            self.wake.notify_one();
        }
    }

    /// Some META is open, and none was written since the last call.
    pub fn is_idle(&self) -> bool {
        let writes = self.writes.load(Ordering::Relaxed);
        self.seen.swap(writes, Ordering::Relaxed) == writes && self.open.load(Ordering::Acquire)
    }

    /// Waits until there is something to hand over, at most so long; whether
    /// there is.
    pub fn wait(&self, most: Duration) -> bool {
        let mut dirty = self.dirty.lock();
        if !*dirty {
            dirty.wait(&self.wake, most);
        }
        std::mem::take(&mut dirty)
    }
}

/// How copied data is made to reach the device before the name of the copy.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum WriteOut {
    /// It need not: nothing survives anyway, or the user does not mind.
    None,
    /// The journal orders what is recorded later after data that is written.
    Journal,
    /// It has to be synced.
    Sync,
}

impl WriteOut {
    /// For the file system of the storage, by `f_type` of statfs(2).
    pub fn of(storage: &OwnedFd, volatile: bool) -> WriteOut {
        match rustix::fs::fstatfs(storage).map(|stat| stat.f_type) {
            _ if volatile => WriteOut::None,
            Ok(TMPFS) => WriteOut::None,
            Ok(EXT4 | XFS) => WriteOut::Journal,
            _ => WriteOut::Sync,
        }
    }

    /// Makes sure that what was written to a file reaches the device before
    /// what is recorded from now on.
    pub fn write_out<F: AsFd>(self, file: impl FnOnce() -> Result<F>) -> Result<()> {
        match self {
            WriteOut::None => Ok(()),
            WriteOut::Journal => sys::flush_range(file()?),
            WriteOut::Sync => rustix::fs::fdatasync(file()?),
        }
    }
}
