//! Which files of a storage count as mini_fo's own.
//!
//! META, the index and maps decide what a mount shows: owners, set-ID bits,
//! devices, the content of closed files. Whoever owns a directory could put
//! such files there if he can enter the storage, so they count only where
//! nobody but the user of this process can have written them (docs/FORMAT.md,
//! section 9). All is asked of the opened object, never of a path.
#![forbid(unsafe_code)]

use std::fmt;

use rustix::fd::AsFd;
use rustix::fs::Statx;
use rustix::io::Errno;

use crate::sys;

/// Why a file of mini_fo's own does not count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Foreign {
    /// Who mounts.
    pub user: u32,
    /// Who owns it.
    pub owner: u32,
    /// Its permission bits.
    pub mode: u32,
    /// How many names it has.
    pub names: u32,
}

impl Foreign {
    /// What makes something with these attributes foreign, if it is.
    fn of(stat: &Statx) -> Foreign {
        let mode = u32::from(stat.stx_mode) & 0o7777;
        Foreign { user: user(), owner: stat.stx_uid, mode, names: stat.stx_nlink }
    }
}

impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Foreign { user, owner, mode, names } = self;
        if owner != user {
            write!(f, "it belongs to user {owner}, not to user {user} who mounts")
        } else if mode & 0o022 != 0 {
            write!(f, "others may write it (mode {mode:04o})")
        } else {
            write!(f, "it has {names} names (hard links), by which others may write it")
        }
    }
}

/// Why a file of mini_fo's own cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unusable {
    /// It does not count.
    Foreign(Foreign),
    /// It cannot be read.
    Failed(Errno),
}

impl From<Errno> for Unusable {
    fn from(errno: Errno) -> Unusable {
        Unusable::Failed(errno)
    }
}

/// The user whom files of mini_fo's own must belong to: root of a user namespace
/// sees itself, and what it made, as 0.
pub(crate) fn user() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Whether something counts with these attributes; `alone`: it must not have a
/// second name.
pub(crate) fn check(stat: &Statx, alone: bool) -> Result<(), Foreign> {
    let foreign = Foreign::of(stat);
    // With an ACL the bits of the group are the most that it allows anybody. No
    // name: META was written anew since it was opened.
    let good =
        foreign.owner == foreign.user && foreign.mode & 0o022 == 0 && (!alone || foreign.names < 2);
    if good { Ok(()) } else { Err(foreign) }
}

/// Whether something, of which no more is used, is at least this user's.
pub(crate) fn check_owner(stat: &Statx) -> Result<(), Foreign> {
    let foreign = Foreign::of(stat);
    if foreign.owner == foreign.user { Ok(()) } else { Err(foreign) }
}

/// As [`check`], of an opened file. EIO: it does not
/// count, which the log tells.
pub(crate) fn check_opened(fd: impl AsFd, what: &str, alone: bool) -> Result<(), Errno> {
    check(&sys::stat_fd(fd)?, alone).map_err(|foreign| {
        tracing::error!("{what} in the storage does not count: {foreign}");
        Errno::IO
    })
}
