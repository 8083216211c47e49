//! Between the vocabulary of the overlay and that of the FUSE server.
#![forbid(unsafe_code)]

use std::time::Duration;

use fuse_server as fuse;
use mini_fo_core as core;
use rustix::io::Errno;

/// Nobody but the daemon changes the layers, so what the kernel was told
/// stays true until it asks for a change itself.
pub const LONG: Duration = Duration::from_secs(24 * 60 * 60);

pub fn attr(attr: &core::Attr) -> fuse::Attr {
    fuse::Attr {
        ino: attr.ino,
        size: attr.size,
        blocks: attr.blocks,
        atime: timestamp(attr.atime),
        mtime: timestamp(attr.mtime),
        ctime: timestamp(attr.ctime),
        mode: attr.mode,
        nlink: attr.nlink,
        uid: attr.uid,
        gid: attr.gid,
        rdev: attr.rdev,
        blksize: attr.blksize,
        flags: 0,
    }
}

pub fn timestamp(time: core::Timestamp) -> fuse::Timestamp {
    fuse::Timestamp { sec: time.sec, nsec: time.nsec }
}

fn set_time(time: fuse::SetTime) -> core::SetTime {
    match time {
        fuse::SetTime::Now => core::SetTime::Now,
        fuse::SetTime::At(at) => core::SetTime::At(core::Timestamp { sec: at.sec, nsec: at.nsec }),
    }
}

pub fn set_attr(set: &fuse::SetAttr) -> core::SetAttr {
    core::SetAttr {
        mode: set.mode.map(|mode| mode & 0o7777),
        uid: set.uid,
        gid: set.gid,
        size: set.size,
        atime: set.atime.map(set_time),
        mtime: set.mtime.map(set_time),
        kill_suid_sgid: set.kill_suidgid,
    }
}

pub fn caller(req: &fuse::Request, umask: u32) -> core::Caller {
    core::Caller { uid: req.uid, gid: req.gid, umask: umask & 0o777 }
}

/// `flags`: those of open(2).
///
/// The kernel works out where an append goes, and direct I/O that reaches the
/// daemon has no aligned buffer; so neither is asked of the layers.
pub fn open_mode(flags: u32, kill_suidgid: bool) -> core::OpenMode {
    let touching = (libc::O_WRONLY | libc::O_NONBLOCK) as u32;
    core::OpenMode {
        write: writes(flags),
        truncate: flags & libc::O_TRUNC as u32 != 0,
        append: false,
        no_access_time: flags & libc::O_NOATIME as u32 != 0,
        at_end: flags & libc::O_APPEND as u32 != 0,
        idle: flags & touching == touching,
        direct: false,
        kill_suid_sgid: kill_suidgid,
    }
}

pub fn writes(flags: u32) -> bool {
    flags & libc::O_ACCMODE as u32 != libc::O_RDONLY as u32
}

/// Whether a mapping through such an open can be written.
pub fn maps(flags: u32) -> bool {
    flags & libc::O_ACCMODE as u32 == libc::O_RDWR as u32
}

/// `flags`: those of renameat2(2); `by`: who asks, to be told where it matters.
pub fn rename_mode(
    flags: u32,
    by: impl FnOnce() -> Result<core::Caller, Errno>,
) -> Result<core::RenameMode, Errno> {
    match flags {
        0 => Ok(core::RenameMode::Replace),
        libc::RENAME_NOREPLACE => Ok(core::RenameMode::NoReplace),
        libc::RENAME_EXCHANGE => Ok(core::RenameMode::Exchange),
        libc::RENAME_WHITEOUT => Ok(core::RenameMode::Whiteout { by: by()? }),
        _ => Err(Errno::INVAL),
    }
}

pub fn space(space: &core::SpaceInfo) -> fuse::StatFs {
    fuse::StatFs {
        blocks: space.blocks,
        bfree: space.bfree,
        bavail: space.bavail,
        files: space.files,
        ffree: space.ffree,
        bsize: space.bsize,
        frsize: space.frsize,
        namelen: space.namelen,
    }
}
