//! What the file system of a storage can hold at all.
//!
//! Some hold no permissions, no symbolic links, or take `a` and `A` for one name
//! (FAT, exFAT). Owners, modes, devices, FIFOs, sockets, symbolic links and extended
//! attributes are kept in META there, and names are escaped.

use std::path::Path;

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, FileType, FsWord, Mode, OFlags};
use rustix::io::Errno;

use super::{Result, io};
use crate::format::name::MetaName;
use crate::interface::error::{OpenError, Warning};
use crate::interface::options::OpenOptions;
use crate::state::holds::Holds;
use crate::sys;
use crate::sys::Spot;
use crate::sys::magic::{BCACHEFS, BTRFS, EXT4, F2FS, JFFS2, RAMFS, TMPFS, UBIFS, XFS, ZFS};

/// File systems that hold everything: they need not be tried.
const HOLD_ALL: [FsWord; 10] = [EXT4, XFS, BTRFS, TMPFS, RAMFS, F2FS, UBIFS, JFFS2, ZFS, BCACHEFS];

/// Of a storage that is full, above all.
const CANNOT_BE_TRIED: &str = "what its file system can hold cannot be tried out; make some \
     room there, or mount with -o poor_storage";

/// Tries it out, in a directory that is gone again afterwards, where the kind of
/// file system does not tell.
///
/// # Errors
/// It cannot be tried out, as of a full one: to take it for one that holds
/// everything would lose what it does not.
fn found(path: &Path, storage: &OwnedFd, meta: MetaName) -> Result<Holds> {
    let kind = rustix::fs::fstatfs(storage).map(|stat| stat.f_type);
    if kind.is_ok_and(|kind| HOLD_ALL.contains(&kind)) && !ignores_case(storage) {
        return Ok(Holds::ALL);
    }
    let failed = |errno| io(path, CANNOT_BE_TRIED, errno);
    let before = sys::stat_fd(storage).map_err(failed)?;
    let temp = meta.temp();
    rustix::fs::mkdirat(storage, &*temp, Mode::RWXU).map_err(failed)?;
    let tried = sys::open_dir(storage.as_fd(), &temp).and_then(|dir| try_out(dir.as_fd()));
    let gone = rustix::fs::unlinkat(storage, &*temp, AtFlags::REMOVEDIR);
    let times = sys::copy_times(&before, Spot::Fd(storage.as_fd()));
    if let Err(errno) = gone.and(times) {
        tracing::warn!(
            "storage {}: what was tried there has left a trace: {errno}",
            path.display()
        );
    }
    tried.map_err(failed)
}

/// Refuses a storage that cannot hold what programs ask for, unless that is accepted.
pub(super) fn check(
    options: &OpenOptions,
    storage: &OwnedFd,
    warnings: &mut Vec<Warning>,
) -> Result<Holds> {
    let holds = match found(&options.storage, storage, options.meta_name) {
        Err(_) if options.accept_poor_storage => Holds::LEAST,
        other => other?,
    };
    if holds.missing.is_empty() {
        return Ok(holds);
    }
    let (path, missing) = (options.storage.clone(), holds.missing.join(", "));
    if !options.accept_poor_storage {
        return Err(OpenError::StoragePoor { path, missing });
    }
    warnings.push(Warning::StoragePoor { path, missing });
    Ok(holds)
}

/// Whether an attempt tells that it can never succeed. Some say EIO then.
fn never(result: rustix::io::Result<()>) -> rustix::io::Result<bool> {
    match result {
        Ok(()) => Ok(false),
        Err(errno @ (Errno::NOSPC | Errno::DQUOT)) => Err(errno),
        Err(_) => Ok(true),
    }
}

/// Directories of ext4, f2fs and tmpfs may take `a` and `A` for one name (chattr +F).
fn ignores_case(dir: &OwnedFd) -> bool {
    const CASEFOLD: u32 = 0x4000_0000;
    sys::open(Spot::at(dir, b"."), OFlags::RDONLY | OFlags::DIRECTORY)
        .and_then(sys::get_flags)
        .is_ok_and(|flags| flags & CASEFOLD != 0)
}

fn make(dir: BorrowedFd<'_>, name: &[u8]) -> rustix::io::Result<()> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
    rustix::fs::openat(dir, name, flags, Mode::RUSR | Mode::WUSR).map(drop)
}

const PROBE: &[u8] = b"Probe";
const DOT: &[u8] = b"dot";
const LINK: &[u8] = b"link";
const SYMLINK: &[u8] = b"symlink";
const FIFO: &[u8] = b"fifo";
/// Names that some refuse; the last is no UTF-8.
const STRANGE: [&[u8]; 4] = [b"a:b*?\"<>|\\", b"trailing. ", &[b'n'; 255], b"\xff\xfe"];

fn try_out(dir: BorrowedFd<'_>) -> rustix::io::Result<Holds> {
    let holds = attempts(dir);
    for name in STRANGE.into_iter().chain([PROBE, DOT, LINK, SYMLINK, FIFO]) {
        let _ = rustix::fs::unlinkat(dir, name, AtFlags::empty());
    }
    holds
}

fn attempts(dir: BorrowedFd<'_>) -> rustix::io::Result<Holds> {
    let mut missing = Vec::new();
    make(dir, PROBE)?;
    let there = |name: &[u8]| sys::stat(Spot::at(dir, name)).is_ok();
    let modes = sys::set_mode(Spot::at(dir, PROBE), 0o640).is_ok()
        && sys::stat(Spot::at(dir, PROBE))
            .is_ok_and(|stat| u32::from(stat.stx_mode) & 0o7777 == 0o640);
    let mut names = !there(b"pROBE");
    // What drops a trailing dot takes the second for the first.
    make(dir, DOT)?;
    names &= !there(b"dot.");
    for name in STRANGE {
        names &= !never(make(dir, name))?;
    }
    if !names {
        missing.push("long names with capitals or special characters (they are escaped)");
    }
    if never(rustix::fs::linkat(dir, PROBE, dir, LINK, AtFlags::empty()))? {
        missing.push("hard links");
    }
    let symlinks = !never(rustix::fs::symlinkat(PROBE, dir, SYMLINK))?;
    let mode = Mode::RUSR;
    let specials = !never(rustix::fs::mknodat(dir, FIFO, FileType::Fifo, mode, 0))?;
    Ok(Holds { modes, symlinks, specials, names: Some(names), missing })
}
