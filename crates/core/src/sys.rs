//! System calls by directory descriptor and single name.
//!
//! The only module of this crate with `unsafe`: rustix does not offer the
//! calls used there. Everything above speaks of a [`Spot`]: an entry of a held
//! directory, or an object whose name is gone.

mod data;
pub(crate) mod descriptors;
mod failure;
mod fsid;
mod list;
pub(crate) mod magic;
mod names;
pub(crate) mod own;
pub mod procfs;
mod raw;
mod rights;
pub(crate) mod trust;
mod xattr;

use std::borrow::Cow;

use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{
    self, AtFlags, Gid, Mode, OFlags, ResolveFlags, Statx, StatxFlags, Timespec, Timestamps, Uid,
};
use rustix::io::Errno;

use crate::format::time::Timestamp;
use crate::interface::types::{Attr, SetTime};
use crate::locks::{Rank, is_free};

pub(crate) use data::{read_at, retry_interrupted, write_at, write_with};
pub(crate) use failure::noted_fd;
pub use failure::{SystemFailure, is_trouble, take_failure};
pub(crate) use fsid::{fsid, lasting};
pub(crate) use list::{RawEntry, each_entry, read_entries};
pub(crate) use names::{
    StoredDir, Within, Written, is_taken_everywhere, mkdir, mknod, rename, symlink, unlink,
};
pub(crate) use raw::{
    allow_writing, begin_flush, clear_umask, clone_with_access_times, flush_range, get_fsxattr,
    has_users, has_writers, replace_fd, seal_tree, set_fsxattr, with_umask,
};
pub(crate) use rights::taking_space;
pub use rights::{Rights, as_them, with_rights};
pub(crate) use xattr::{copy_xattrs, get_xattr, list_xattrs, remove_xattr, set_xattr};

/// Result of a system call.
pub(crate) type Result<T> = std::result::Result<T, Errno>;

/// Every single name is resolved with these: no symlink, no way up, no
/// magic link, and no other mount (a submount of the base shows as empty).
const RESOLVE: ResolveFlags = ResolveFlags::BENEATH
    .union(ResolveFlags::NO_MAGICLINKS)
    .union(ResolveFlags::NO_SYMLINKS)
    .union(ResolveFlags::NO_XDEV);

/// Where an object is reached.
#[derive(Clone, Copy)]
pub(crate) enum Spot<'a> {
    /// An entry of a directory: descriptor (may be `O_PATH`) and single name.
    At(Within<'a>, &'a [u8]),
    /// The same in the base; where something is mounted there, what is mounted.
    Across(BorrowedFd<'a>, &'a [u8]),
    /// The object itself, as an `O_PATH` descriptor.
    Fd(BorrowedFd<'a>),
}

impl<'a> Spot<'a> {
    /// An entry of a directory.
    pub fn at(dir: impl Into<Within<'a>>, name: &'a [u8]) -> Self {
        Spot::At(dir.into(), name)
    }

    /// Descriptor, name and flags for the `*at` calls that know `AT_EMPTY_PATH`.
    /// ENOENT: nothing there can have that name.
    fn parts(self) -> Result<(BorrowedFd<'a>, Cow<'a, [u8]>, AtFlags)> {
        let (dir, name) = match self {
            Spot::At(dir, name) => (dir.fd(), dir.existing(name)?),
            Spot::Across(dir, name) => (dir, Cow::Borrowed(name)),
            Spot::Fd(fd) => return Ok((fd, Cow::Borrowed(b""), AtFlags::EMPTY_PATH)),
        };
        Ok((dir, name, AtFlags::SYMLINK_NOFOLLOW))
    }
}

/// A system call that may wait follows: nobody may wait for what a lock keeps that is a
/// leaf ([`Rank::TableNames`] and those behind it).
fn may_wait() {
    debug_assert!(is_free(Rank::TableNames));
}

/// The magic link of a descriptor, for calls without `AT_EMPTY_PATH`: an entry of
/// `/proc/self/fd`, which is not looked for from the root.
fn magic_link(fd: BorrowedFd<'_>) -> Result<(BorrowedFd<'static>, String)> {
    Ok((procfs::fds()?, fd.as_raw_fd().to_string()))
}

/// Where the object behind a descriptor lies: the path from the root of its
/// mounts.
pub(crate) fn path_of(fd: BorrowedFd<'_>) -> Result<Vec<u8>> {
    let (fds, number) = magic_link(fd)?;
    fs::readlinkat(fds, number, Vec::new()).map(|path| path.into_bytes())
}

/// Opens a single name. EXDEV: a mount point. EAGAIN, with `O_NONBLOCK`: somebody
/// has a lease on the file, and is told to give it back.
pub(crate) fn open_at<'a>(
    dir: impl Into<Within<'a>>,
    name: &[u8],
    flags: OFlags,
) -> Result<OwnedFd> {
    may_wait();
    let (dir, flags) = (dir.into(), flags | OFlags::CLOEXEC | OFlags::NOFOLLOW);
    let name = dir.existing(name)?;
    let opened = retry_open(flags, || fs::openat2(dir.fd(), &*name, flags, Mode::empty(), RESOLVE));
    failure::noted("open", Spot::At(dir, &name), opened)
}

/// As [`open_at`], into whatever is mounted there.
fn open_across(dir: BorrowedFd<'_>, name: &[u8], flags: OFlags) -> Result<OwnedFd> {
    let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let resolve = RESOLVE.difference(ResolveFlags::NO_XDEV);
    let opened = retry_open(flags, || fs::openat2(dir, name, flags, Mode::empty(), resolve));
    failure::noted("open", Spot::Across(dir, name), opened)
}

/// Opens a directory by single name for use as a directory descriptor.
pub(crate) fn open_dir<'a>(dir: impl Into<Within<'a>>, name: &[u8]) -> Result<OwnedFd> {
    open_at(dir, name, OFlags::PATH | OFlags::DIRECTORY)
}

/// Opens an object for I/O. `flags` hold the access mode.
pub(crate) fn open(spot: Spot<'_>, flags: OFlags) -> Result<OwnedFd> {
    match spot {
        Spot::At(dir, name) => open_at(dir, name, flags),
        Spot::Across(dir, name) => open_across(dir, name, flags),
        Spot::Fd(fd) => {
            let (fds, number) = magic_link(fd)?;
            let opened = fs::openat(fds, number, flags | OFlags::CLOEXEC, Mode::empty());
            failure::noted("open", spot, opened)
        }
    }
}

/// As [`open`], leaving no trace in the access time where the rights suffice
/// (owner or `CAP_FOWNER`, open(2)).
pub(crate) fn open_untraced(spot: Spot<'_>, flags: OFlags) -> Result<OwnedFd> {
    match open(spot, flags | OFlags::NOATIME) {
        Err(Errno::PERM) => open(spot, flags),
        other => other,
    }
}

/// An `O_PATH` descriptor of the object itself.
pub(crate) fn hold(spot: Spot<'_>) -> Result<OwnedFd> {
    match spot {
        Spot::At(dir, name) => open_at(dir, name, OFlags::PATH),
        Spot::Across(dir, name) => open_across(dir, name, OFlags::PATH),
        Spot::Fd(fd) => rustix::io::fcntl_dupfd_cloexec(fd, 0),
    }
}

/// Creates and opens a regular file that must not exist.
pub(crate) fn create<'a>(
    dir: impl Into<Within<'a>>,
    name: &[u8],
    flags: OFlags,
    mode: u32,
) -> Result<OwnedFd> {
    let flags = flags | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let dir = dir.into();
    let name = dir.written().stored(name)?;
    let made = fs::openat(dir.fd(), &*name, flags, Mode::from_raw_mode(mode & 0o7777));
    failure::noted("create", Spot::At(dir, &name), made)
}

/// Creates an unnamed file in a directory. EOPNOTSUPP, EISDIR, EINVAL: the
/// file system has none (open(2), `O_TMPFILE`).
pub(crate) fn create_unnamed(dir: BorrowedFd<'_>, mode: u32) -> Result<OwnedFd> {
    fs::openat(
        dir,
        ".",
        OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC,
        Mode::from_raw_mode(mode & 0o7777),
    )
}

/// As [`create`], a file of our own that nobody else may use, for reading and
/// writing: mode 0600 whatever the umask, which is some caller's, and a default
/// ACL say. With less, a user could not use it again.
pub(crate) fn create_private<'a>(dir: impl Into<Within<'a>>, name: &[u8]) -> Result<OwnedFd> {
    private(create(dir, name, OFlags::RDWR, 0o600)?)
}

/// As [`create_private`], without a name; errors as [`create_unnamed`].
pub(crate) fn create_private_unnamed(dir: BorrowedFd<'_>) -> Result<OwnedFd> {
    private(create_unnamed(dir, 0o600)?)
}

fn private(file: OwnedFd) -> Result<OwnedFd> {
    fs::fchmod(&file, Mode::RUSR | Mode::WUSR)?;
    Ok(file)
}

/// Gives the object behind `fd` (also an unnamed file) a name.
pub(crate) fn link_fd<'a>(
    fd: BorrowedFd<'_>,
    dir: impl Into<Within<'a>>,
    name: &[u8],
) -> Result<()> {
    let dir = dir.into();
    let (name, dir) = (&*dir.written().stored(name)?, dir.fd());
    // Without CAP_DAC_READ_SEARCH AT_EMPTY_PATH is refused with ENOENT before
    // 6.10 (linkat(2)); the magic link does the same.
    match fs::linkat(fd, "", dir, name, AtFlags::EMPTY_PATH) {
        Err(Errno::NOENT) => {
            let (fds, number) = magic_link(fd)?;
            fs::linkat(fds, number, dir, name, AtFlags::SYMLINK_FOLLOW)
        }
        other => other,
    }
}

/// Attributes of an object, symlinks not followed.
pub(crate) fn stat(spot: Spot<'_>) -> Result<Statx> {
    may_wait();
    let (dir, name, flags) = spot.parts()?;
    let mask = StatxFlags::BASIC_STATS | StatxFlags::BTIME | StatxFlags::MNT_ID;
    let stat = fs::statx(dir, &*name, flags | AtFlags::NO_AUTOMOUNT, mask);
    failure::noted("statx", spot, stat)
}

/// Type bits of a `st_mode`.
pub(crate) fn kind(stat: &Statx) -> u32 {
    u32::from(stat.stx_mode) & libc::S_IFMT
}

/// `st_dev`.
pub(crate) fn device(stat: &Statx) -> u64 {
    fs::makedev(stat.stx_dev_major, stat.stx_dev_minor)
}

/// `st_dev` and `st_ino`: which object it is, among those that exist now.
pub(crate) fn dev_ino(stat: &Statx) -> (u64, u64) {
    (device(stat), stat.stx_ino)
}

/// Attributes of an open descriptor.
pub(crate) fn stat_fd(fd: impl AsFd) -> Result<Statx> {
    stat(Spot::Fd(fd.as_fd()))
}

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

/// Target of a symlink, at most 4,095 bytes.
pub(crate) fn read_link(spot: Spot<'_>) -> Result<Vec<u8>> {
    let (dir, name, _) = spot.parts()?;
    let target = fs::readlinkat(dir, &*name, Vec::new());
    failure::noted("readlink", spot, target).map(|target| target.into_bytes())
}

/// Runs a call again as long as it is interrupted or must be tried again
/// (openat2(2): EAGAIN when a rename races with the resolution).
/// With `O_NONBLOCK` EAGAIN speaks of a lease, and is not tried again.
fn retry_open<T>(flags: OFlags, mut call: impl FnMut() -> Result<T>) -> Result<T> {
    let leased = flags.contains(OFlags::NONBLOCK);
    retry(|| match call() {
        Err(Errno::AGAIN) if leased => Ok(None),
        other => other.map(Some),
    })?
    .ok_or(Errno::AGAIN)
}

fn retry<T>(mut call: impl FnMut() -> Result<T>) -> Result<T> {
    loop {
        match call() {
            Err(Errno::INTR | Errno::AGAIN) => {}
            other => return other,
        }
    }
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

/// ENOENT as `None`: an expected answer, not a failure.
pub(crate) fn absent<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno),
    }
}
