//! Calls that rustix does not offer.

use std::cell::Cell;
use std::ffi::CString;

use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::mount::OpenTreeFlags;

use super::{Result, Spot};
use crate::interface::options::AccessTimes;

/// `fchmodat2` (6.6): the number is the same on every architecture.
const SYS_FCHMODAT2: libc::c_long = 452;

fn check(ret: libc::c_long) -> Result<usize> {
    usize::try_from(ret).map_err(|_| {
        let code = std::io::Error::last_os_error().raw_os_error();
        Errno::from_raw_os_error(code.unwrap_or(libc::EIO))
    })
}

pub(super) fn c_name(name: &[u8]) -> Result<CString> {
    CString::new(name).map_err(|_| Errno::INVAL)
}

/// chmod that follows no symlink. ENOSYS before 6.6.
pub(super) fn fchmodat2(spot: Spot<'_>, mode: u32) -> Result<()> {
    let (dir, name, flags) = spot.parts()?;
    let name = c_name(&name)?;
    // SAFETY: the descriptor is borrowed for the call, the name is a C string
    // that outlives it, the other arguments are numbers.
    let ret =
        unsafe { libc::syscall(SYS_FCHMODAT2, dir.as_raw_fd(), name.as_ptr(), mode, flags.bits()) };
    check(ret).map(drop)
}

/// Writes the dirty pages of a file and waits for the device to take them.
///
/// Nothing is said of metadata and of the device's own cache: a journalling
/// file system orders both before whatever it records later.
pub(crate) fn flush_range(fd: impl AsFd) -> Result<()> {
    let flags = libc::SYNC_FILE_RANGE_WAIT_BEFORE
        | libc::SYNC_FILE_RANGE_WRITE
        | libc::SYNC_FILE_RANGE_WAIT_AFTER;
    // SAFETY: only numbers are passed; the descriptor is borrowed for the call.
    let ret = unsafe { libc::sync_file_range(fd.as_fd().as_raw_fd(), 0, 0, flags) };
    check(ret.into()).map(drop)
}

/// Begins to hand the data of a file to the device.
pub(crate) fn begin_flush(fd: impl AsFd) -> Result<()> {
    let flags = libc::SYNC_FILE_RANGE_WRITE;
    // SAFETY: only numbers are passed; the descriptor is borrowed for the call.
    let ret = unsafe { libc::sync_file_range(fd.as_fd().as_raw_fd(), 0, 0, flags) };
    check(ret.into()).map(drop)
}

/// Whether anybody has a file open, or mapped, for writing. Where the file
/// system cannot tell, it counts as if somebody had.
///
/// `fd`: opened for reading only. The answer comes from a lease that is taken
/// and given back at once (fcntl(2), `F_SETLEASE`).
pub(crate) fn has_writers(fd: impl AsFd) -> bool {
    !can_lease(fd.as_fd(), libc::F_RDLCK)
}

/// `F_SETSIG` (linux/fcntl.h).
const F_SETSIG: libc::c_int = 10;

fn can_lease(fd: BorrowedFd<'_>, kind: libc::c_int) -> bool {
    let fd = fd.as_raw_fd();
    // Who opens the file meanwhile makes the kernel send a signal: one that by itself ends no
    // process, as SIGIO would.
    // SAFETY: only numbers are passed; the descriptor is borrowed for the call.
    if unsafe { libc::fcntl(fd, F_SETSIG, libc::SIGURG) } != 0 {
        return false;
    }
    // SAFETY: only numbers are passed; the descriptor is borrowed for the call.
    let taken = unsafe { libc::fcntl(fd, libc::F_SETLEASE, kind) } == 0;
    if taken {
        // SAFETY: as above.
        unsafe { libc::fcntl(fd, libc::F_SETLEASE, libc::F_UNLCK) };
    }
    taken
}

/// Whether anybody else has a file open, or mapped. Where the file system cannot tell, it
/// counts as if somebody had.
pub(crate) fn has_users(fd: impl AsFd) -> bool {
    !can_lease(fd.as_fd(), libc::F_WRLCK)
}

/// `FS_IOC_FSGETXATTR` and `FS_IOC_FSSETXATTR` (linux/fs.h).
const FSGETXATTR: libc::c_ulong = 0x801c_581f;
const FSSETXATTR: libc::c_ulong = 0x401c_5820;

/// Flags and project of an inode, as a `struct fsxattr`.
pub(crate) fn get_fsxattr(fd: impl AsFd) -> Result<[u8; 28]> {
    let mut out = [0; 28];
    // SAFETY: the command fills a structure of exactly 28 bytes, which `out`
    // is; the descriptor is borrowed for the call.
    let ret = unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), FSGETXATTR as _, out.as_mut_ptr()) };
    check(ret.into()).map(|_| out)
}

/// Sets them.
pub(crate) fn set_fsxattr(fd: impl AsFd, flags: &[u8; 28]) -> Result<()> {
    // SAFETY: the command reads a structure of exactly 28 bytes, which `flags`
    // is; the descriptor is borrowed for the call.
    let ret = unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), FSSETXATTR as _, flags.as_ptr()) };
    check(ret.into()).map(drop)
}

/// A private clone of a mount (`recursive`: and of all below it), read-only
/// and without access times, that nothing else can reach: what is opened
/// through it cannot be written.
///
/// In a user namespace the mounts that were there before are locked together: what
/// is below comes with it, and access times stay as they are. Whoever wants no
/// mounts from below has to stop at them, as without a clone.
///
/// # Errors
/// EPERM without `CAP_SYS_ADMIN` over the mount namespace; ENOSYS before 5.12.
pub(crate) fn seal_tree(dir: BorrowedFd<'_>, recursive: bool) -> Result<OwnedFd> {
    let flags = libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOATIME | libc::MOUNT_ATTR_NODIRATIME;
    let clear = libc::MOUNT_ATTR__ATIME;
    clone_tree(dir, recursive, flags, clear).or_else(|errno| match errno {
        Errno::INVAL | Errno::PERM => clone_tree(dir, true, libc::MOUNT_ATTR_RDONLY, 0),
        errno => Err(errno),
    })
}

/// A private clone of a mount that moves times of access as asked for.
///
/// # Errors
/// As [`seal_tree`].
pub(crate) fn clone_with_access_times(
    dir: BorrowedFd<'_>,
    access_times: AccessTimes,
) -> Result<OwnedFd> {
    let flags = match access_times {
        AccessTimes::Relative => libc::MOUNT_ATTR_RELATIME,
        AccessTimes::Always => libc::MOUNT_ATTR_STRICTATIME,
        AccessTimes::NotOfDirectories => libc::MOUNT_ATTR_RELATIME | libc::MOUNT_ATTR_NODIRATIME,
        AccessTimes::Never => libc::MOUNT_ATTR_NOATIME | libc::MOUNT_ATTR_NODIRATIME,
    };
    let clear = (libc::MOUNT_ATTR__ATIME | libc::MOUNT_ATTR_NODIRATIME) & !flags;
    clone_tree(dir, false, flags, clear | libc::MOUNT_ATTR__ATIME)
}

fn clone_tree(dir: BorrowedFd<'_>, recursive: bool, set: u64, clear: u64) -> Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    flags.set(OpenTreeFlags::AT_RECURSIVE, recursive);
    let clone = rustix::mount::open_tree(dir, "", flags)?;
    let recursive = if recursive { libc::AT_RECURSIVE } else { 0 };
    set_mount(clone.as_fd(), recursive, set, clear, libc::MS_PRIVATE)?;
    Ok(clone)
}

/// Lets a private clone of a mount be written, unless its file system cannot be.
///
/// # Errors
/// As [`seal_tree`]; EINVAL: it is no such clone.
pub(crate) fn allow_writing(clone: BorrowedFd<'_>) -> Result<()> {
    set_mount(clone, 0, 0, libc::MOUNT_ATTR_RDONLY, 0)
}

fn set_mount(
    mount: BorrowedFd<'_>,
    flags: libc::c_int,
    set: u64,
    clear: u64,
    propagation: u64,
) -> Result<()> {
    // SAFETY: `mount_attr` is a structure of integers; all zero is valid.
    let mut attr: libc::mount_attr = unsafe { std::mem::zeroed() };
    attr.attr_set = set;
    attr.attr_clr = clear;
    attr.propagation = propagation;
    // SAFETY: the descriptor is borrowed for the call, the name an empty C string,
    // and `attr` a live structure whose size is passed along.
    let ret = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | flags,
            &raw const attr,
            size_of::<libc::mount_attr>(),
        )
    };
    check(ret).map(drop)
}

thread_local! {
    /// The umask of this thread once it is its own, else `None`.
    static UMASK: Cell<Option<u32>> = const { Cell::new(None) };
}

/// Runs `create` with the caller's umask, so that the storage file system
/// itself decides between umask and default ACL. `create` gets the mode to
/// use.
pub(crate) fn with_umask<T>(umask: u32, mode: u32, create: impl FnOnce(u32) -> T) -> T {
    let umask = umask & 0o777;
    if set_umask(umask) { create(mode) } else { create(mode & !umask) }
}

/// What this thread creates gets the mode that is asked for. `false`: that of the
/// process counts, and cannot be set for a thread.
pub(crate) fn clear_umask() -> bool {
    set_umask(0)
}

fn set_umask(umask: u32) -> bool {
    if UMASK.get().is_none() {
        // SAFETY: takes a number; this thread gets a copy of its own of
        // umask, root and working directory, nothing else changes.
        if unsafe { libc::unshare(libc::CLONE_FS) } != 0 {
            return false;
        }
    }
    if UMASK.get() != Some(umask) {
        rustix::process::umask(rustix::fs::Mode::from_raw_mode(umask));
        UMASK.set(Some(umask));
    }
    true
}

/// Sets the file-system user ID of this thread alone (libc's function would do
/// so, too, but what it promises is the process).
pub(super) fn set_fsuid(uid: u32) {
    // SAFETY: a number; no memory is touched. It returns the former ID, and
    // where it is refused all stays as it was.
    unsafe { libc::syscall(libc::SYS_setfsuid, uid) };
}

/// Makes the descriptor `old` refer to what `new` refers to, in one step: calls
/// that use it meanwhile see the one or the other.
pub(crate) fn replace_fd(old: BorrowedFd<'_>, new: BorrowedFd<'_>) -> Result<()> {
    // SAFETY: both descriptors are borrowed for the call. `old` stays open and
    // of the same owner; only what it refers to changes.
    let ret = unsafe { libc::dup3(new.as_raw_fd(), old.as_raw_fd(), libc::O_CLOEXEC) };
    check(ret.into()).map(drop)
}
