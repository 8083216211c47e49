//! Attributes: how they are set, and what the rest of the crate calls them.

use rustix::fd::{AsFd, BorrowedFd};
use rustix::fs::{self, AtFlags, Gid, Mode, Statx, StatxFlags, Timespec, Timestamps, Uid};
use rustix::io::Errno;

use super::{Result, Spot, create_unnamed, hold, magic_link, may_wait, raw, stat_fd, taking_space};
use crate::format::time::Timestamp;
use crate::interface::types::{Attr, SetTime};

/// Inode flags (ioctl_iflags(2)).
pub(crate) fn get_flags(fd: impl AsFd) -> Result<u32> {
    fs::ioctl_getflags(fd).map(|flags| flags.bits())
}

/// Sets inode flags.
pub(crate) fn set_flags(fd: impl AsFd, flags: u32) -> Result<()> {
    taking_space(|| fs::ioctl_setflags(fd, fs::IFlags::from_bits_retain(flags)))
}

/// The file is on a file system without blocks (proc, sysfs, cgroup): its
/// content is made up when it is read.
pub(crate) fn is_generated(fd: impl AsFd) -> bool {
    fs::fstatvfs(fd).is_ok_and(|vfs| vfs.f_blocks == 0)
}

/// Nothing can be written by way of its mount.
pub(crate) fn is_on_read_only(fd: impl AsFd) -> bool {
    fs::fstatvfs(fd).is_ok_and(|vfs| vfs.f_flag.contains(fs::StatVfsMountFlags::RDONLY))
}

/// The file system of a directory gives changes that follow each other
/// different ctimes, once each has been looked at (multigrain timestamps,
/// since 6.13 for ext4, xfs, btrfs and tmpfs); others take the time of the last
/// timer tick.
pub(crate) fn has_fine_clock(dir: BorrowedFd<'_>) -> bool {
    let tried = create_unnamed(dir, 0o600).and_then(|fd| {
        let mut before = stat_fd(&fd)?.stx_ctime;
        // A tick may come between two of them, but hardly each time.
        for mode in [0o400, 0o600, 0o400, 0o600] {
            set_mode(Spot::Fd(fd.as_fd()), mode)?;
            let now = stat_fd(&fd)?.stx_ctime;
            if (now.tv_sec, now.tv_nsec) == (before.tv_sec, before.tv_nsec) {
                return Ok(false);
            }
            before = now;
        }
        Ok(true)
    });
    tried.unwrap_or(false)
}

/// Sets the permission bits (all twelve). EOPNOTSUPP for a symlink.
pub(crate) fn set_mode(spot: Spot<'_>, mode: u32) -> Result<()> {
    match raw::fchmodat2(spot, mode) {
        Err(Errno::NOSYS) => {
            // Before 6.6 only a descriptor keeps the call from following a link.
            let held = hold(spot)?;
            if fs::FileType::from_raw_mode(stat_fd(&held)?.stx_mode.into()).is_symlink() {
                return Err(Errno::OPNOTSUPP);
            }
            let (fds, number) = magic_link(held.as_fd())?;
            fs::chmodat(fds, number, Mode::from_raw_mode(mode), AtFlags::empty())
        }
        other => other,
    }
}

/// Sets owner and group, symlinks not followed.
pub(crate) fn set_owner(spot: Spot<'_>, uid: Option<u32>, gid: Option<u32>) -> Result<()> {
    let (dir, name, flags) = spot.parts()?;
    fs::chownat(dir, &*name, uid.map(Uid::from_raw), gid.map(Gid::from_raw), flags)
}

/// Sets access and modification time; `None` leaves one.
pub(crate) fn set_times(
    spot: Spot<'_>,
    atime: Option<SetTime>,
    mtime: Option<SetTime>,
) -> Result<()> {
    may_wait();
    let times = Timestamps { last_access: timespec(atime), last_modification: timespec(mtime) };
    match spot {
        Spot::At(..) | Spot::Across(..) => {
            let (dir, name, flags) = spot.parts()?;
            fs::utimensat(dir, &*name, &times, flags)
        }
        // AT_EMPTY_PATH is known to utimensat from 5.8 on; an O_PATH
        // descriptor is enough for it.
        Spot::Fd(fd) => fs::utimensat(fd, "", &times, AtFlags::EMPTY_PATH),
    }
}

/// Gives an object the access and modification time that another has, or had.
pub(crate) fn copy_times(from: &Statx, to: Spot<'_>) -> Result<()> {
    let at = |time: fs::StatxTimestamp| Some(SetTime::At(time.into()));
    set_times(to, at(from.stx_atime), at(from.stx_mtime))
}

fn timespec(time: Option<SetTime>) -> Timespec {
    match time {
        None => Timespec { tv_sec: 0, tv_nsec: fs::UTIME_OMIT },
        Some(SetTime::Now) => Timespec { tv_sec: 0, tv_nsec: fs::UTIME_NOW },
        Some(SetTime::At(at)) => Timespec { tv_sec: at.sec, tv_nsec: at.nsec.into() },
    }
}

impl From<rustix::fs::StatxTimestamp> for Timestamp {
    fn from(time: rustix::fs::StatxTimestamp) -> Self {
        Timestamp { sec: time.tv_sec, nsec: time.tv_nsec }
    }
}

impl From<&Statx> for Attr {
    fn from(stat: &Statx) -> Self {
        let has_btime = stat.stx_mask & StatxFlags::BTIME.bits() != 0;
        Attr {
            ino: stat.stx_ino,
            mode: stat.stx_mode.into(),
            nlink: stat.stx_nlink,
            uid: stat.stx_uid,
            gid: stat.stx_gid,
            rdev: fs::makedev(stat.stx_rdev_major, stat.stx_rdev_minor),
            size: stat.stx_size,
            blocks: stat.stx_blocks,
            blksize: stat.stx_blksize,
            atime: stat.stx_atime.into(),
            mtime: stat.stx_mtime.into(),
            ctime: stat.stx_ctime.into(),
            btime: has_btime.then(|| stat.stx_btime.into()),
            statx_attributes: stat.stx_attributes.bits(),
        }
    }
}
