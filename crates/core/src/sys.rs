//! System calls by directory descriptor and single name.
//!
//! The only module of this crate with `unsafe`: rustix does not offer the
//! calls used there. Everything above speaks of a [`Spot`]: an entry of a held
//! directory, or an object whose name is gone.

mod attr;
mod data;
pub(crate) mod descriptors;
mod failure;
mod fsid;
mod list;
pub(crate) mod magic;
mod names;
pub(crate) mod own;
pub mod procfs;
pub(crate) mod project;
mod raw;
mod rights;
pub(crate) mod trust;
mod xattr;

use std::borrow::Cow;

use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{self, AtFlags, Mode, OFlags, ResolveFlags, Statx, StatxFlags};
use rustix::io::Errno;

use crate::locks::{Rank, is_free};

pub(crate) use attr::{
    copy_times, get_flags, has_fine_clock, is_generated, is_on_read_only, set_flags, set_mode,
    set_owner, set_times,
};
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

/// ENOENT as `None`: an expected answer, not a failure.
pub(crate) fn absent<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno),
    }
}
