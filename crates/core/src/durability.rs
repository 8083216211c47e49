//! How what META says reaches the device, and when.
#![forbid(unsafe_code)]

use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use rustix::fd::AsFd;
use rustix::fs::FsWord;

use crate::meta::{Firm, Session};

/// `f_type` of ext4 and xfs, whose journal orders attributes with the changes
/// of names that follow (`linux/magic.h`).
const ORDERED: [FsWord; 2] = [0xef53, 0x5846_5342];

/// `f_type` of btrfs, whose transactions do that, but not its log.
const BTRFS: FsWord = 0x9123_683e;

/// `f_type` of tmpfs.
const TMPFS: FsWord = 0x0102_1994;

/// What all directories of a storage share.
#[derive(Debug)]
pub(crate) struct Durability {
    pub firm: Firm,
    pub session: Session,
    /// Some META has what was not handed to the device yet.
    dirty: Mutex<bool>,
    wake: Condvar,
}

impl Durability {
    /// What the file system of the storage can do.
    pub fn firm_of(storage: impl AsFd, volatile: bool) -> Firm {
        match rustix::fs::fstatfs(storage).map(|stat| stat.f_type) {
            _ if volatile => Firm::No,
            Ok(TMPFS) => Firm::No,
            Ok(kind) if ORDERED.contains(&kind) => Firm::Attribute,
            Ok(BTRFS) => Firm::AttributeAndSync,
            _ => Firm::Sync,
        }
    }

    pub fn new(firm: Firm, session: Session) -> Durability {
        Durability { firm, session, dirty: Mutex::new(false), wake: Condvar::new() }
    }

    /// What a change of names relies on is synced before it.
    pub fn syncs_before_changes(&self) -> bool {
        self.firm == Firm::AttributeAndSync
    }

    /// META of some directory was written.
    pub fn touched(&self) {
        if self.firm != Firm::No && !std::mem::replace(&mut *self.dirty.lock(), true) {
            self.wake.notify_one();
        }
    }

    /// Waits until there is something to hand over, at most so long; whether
    /// there is.
    pub fn wait(&self, most: Duration) -> bool {
        let mut dirty = self.dirty.lock();
        if !*dirty {
            self.wake.wait_for(&mut dirty, most);
        }
        std::mem::take(&mut dirty)
    }
}
