//! Which files of a storage count as mini_fo's own.
//!
//! META, the index and maps decide what a mount shows: owners, set-ID bits,
//! devices, the content of closed files. Whoever owns a directory could put
//! such files there if he can enter the storage, so they count only where
//! nobody but the user of this process can have written them (docs/FORMAT.md,
//! section 9). All is asked of the opened object, never of a path.
#![forbid(unsafe_code)]

use rustix::fd::AsFd;
use rustix::fs::Statx;
use rustix::io::Errno;

use crate::interface::error::Foreign;
use crate::sys;

/// What makes something with these attributes foreign, if it is.
fn foreign(stat: &Statx) -> Foreign {
    let mode = u32::from(stat.stx_mode) & 0o7777;
    Foreign { user: user(), owner: stat.stx_uid, mode, names: stat.stx_nlink }
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
    let foreign = foreign(stat);
    // With an ACL the bits of the group are the most that it allows anybody. No
    // name: META was written anew since it was opened.
    let good =
        foreign.owner == foreign.user && foreign.mode & 0o022 == 0 && (!alone || foreign.names < 2);
    if good { Ok(()) } else { Err(foreign) }
}

/// Whether something, of which no more is used, is at least this user's.
pub(crate) fn check_owner(stat: &Statx) -> Result<(), Foreign> {
    let foreign = foreign(stat);
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
