//! Extended attributes of an object that is reached by descriptor and name.
//!
//! The `*xattrat` calls (6.13) take just that; before, the path of the magic link of
//! an `O_PATH` descriptor does. Both leave symlinks themselves to be read.

use std::ffi::CStr;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fd::{AsFd, AsRawFd, BorrowedFd};
use rustix::fs::AtFlags;
use rustix::io::Errno;

use super::{Result, Spot, hold, magic_link, raw};
use crate::format::acl;
use crate::sys::procfs;

const SYS_SETXATTRAT: libc::c_long = 463;
const SYS_GETXATTRAT: libc::c_long = 464;
const SYS_LISTXATTRAT: libc::c_long = 465;
const SYS_REMOVEXATTRAT: libc::c_long = 466;

/// Set once the kernel said that it has no `*xattrat` calls.
static NO_XATTRAT: AtomicBool = AtomicBool::new(false);

/// `struct xattr_args` of `linux/xattr.h`.
#[repr(C)]
struct XattrArgs {
    value: u64,
    size: u32,
    flags: u32,
}

fn check(ret: libc::c_long) -> Result<usize> {
    usize::try_from(ret).map_err(|_| {
        let code = std::io::Error::last_os_error().raw_os_error();
        let errno = Errno::from_raw_os_error(code.unwrap_or(libc::EIO));
        if errno == Errno::NOSYS {
            NO_XATTRAT.store(true, Ordering::Relaxed);
        }
        errno
    })
}

/// Runs the new call on directory, name and flags, or the old one on a path.
///
/// With an empty name the new calls want a descriptor that is open for I/O, which an
/// `O_PATH` one is not (EBADF): so that is followed by its magic link.
fn either<T>(
    spot: Spot<'_>,
    new: impl FnOnce(BorrowedFd<'_>, &CStr, AtFlags) -> Result<T>,
    old: impl FnOnce(&str) -> Result<T>,
) -> Result<T> {
    super::may_wait();
    if !NO_XATTRAT.load(Ordering::Relaxed) {
        let done = match spot {
            Spot::Fd(fd) => {
                let (fds, number) = magic_link(fd)?;
                new(fds, &raw::c_name(number.as_bytes())?, AtFlags::empty())
            }
            Spot::At(..) | Spot::Across(..) => {
                let (dir, name, flags) = spot.parts()?;
                new(dir, &raw::c_name(&name)?, flags)
            }
        };
        match done {
            Err(Errno::NOSYS) => {}
            other => return other,
        }
    }
    let held = hold(spot)?;
    old(&procfs::path_of_descriptor(held.as_fd()))
}

/// Reads an attribute; an empty buffer asks for the size.
/// ENODATA: there is none. ERANGE: the buffer is too small.
pub(crate) fn get_xattr(spot: Spot<'_>, name: &[u8], buf: &mut [u8]) -> Result<usize> {
    let name = raw::c_name(name)?;
    let args = XattrArgs {
        value: if buf.is_empty() { 0 } else { buf.as_mut_ptr() as u64 },
        size: u32::try_from(buf.len()).unwrap_or(u32::MAX),
        flags: 0,
    };
    let new = |dir: BorrowedFd<'_>, path: &CStr, flags: AtFlags| {
        // SAFETY: `args` describes `buf`, which is borrowed mutably for this
        // function; the strings and `args` outlive the call.
        check(unsafe {
            libc::syscall(
                SYS_GETXATTRAT,
                dir.as_raw_fd(),
                path.as_ptr(),
                flags.bits(),
                name.as_ptr(),
                &raw const args,
                size_of::<XattrArgs>(),
            )
        })
    };
    either(spot, new, |path| match buf {
        // An empty buffer makes rustix answer without asking the kernel.
        [] => rustix::fs::getxattr_query(path, &*name),
        buf => rustix::fs::getxattr(path, &*name, buf),
    })
}

/// Lists the attribute names, each ended by NUL; an empty buffer asks for the
/// size.
pub(crate) fn list_xattrs(spot: Spot<'_>, buf: &mut [u8]) -> Result<usize> {
    let (address, len) = (if buf.is_empty() { 0 } else { buf.as_mut_ptr() as usize }, buf.len());
    let new = |dir: BorrowedFd<'_>, path: &CStr, flags: AtFlags| {
        // SAFETY: address and length are those of `buf`, which is borrowed
        // mutably for this function; the path outlives the call.
        check(unsafe {
            libc::syscall(
                SYS_LISTXATTRAT,
                dir.as_raw_fd(),
                path.as_ptr(),
                flags.bits(),
                address,
                len,
            )
        })
    };
    either(spot, new, |path| match buf {
        [] => rustix::fs::listxattr_query(path),
        buf => rustix::fs::listxattr(path, buf),
    })
}

/// Sets an attribute. `flags`: 0, `XATTR_CREATE` (1) or `XATTR_REPLACE` (2).
pub(crate) fn set_xattr(spot: Spot<'_>, name: &[u8], value: &[u8], flags: u32) -> Result<()> {
    let name = raw::c_name(name)?;
    let args = XattrArgs {
        value: value.as_ptr() as u64,
        size: u32::try_from(value.len()).map_err(|_| Errno::TOOBIG)?,
        flags,
    };
    let new = |dir: BorrowedFd<'_>, path: &CStr, at: AtFlags| {
        // SAFETY: `args` describes `value`; it, the strings and `args` outlive
        // the call, which only reads them.
        check(unsafe {
            libc::syscall(
                SYS_SETXATTRAT,
                dir.as_raw_fd(),
                path.as_ptr(),
                at.bits(),
                name.as_ptr(),
                &raw const args,
                size_of::<XattrArgs>(),
            )
        })
        .map(drop)
    };
    let old_flags = rustix::fs::XattrFlags::from_bits_retain(flags);
    either(spot, new, |path| rustix::fs::setxattr(path, &*name, value, old_flags))
}

/// Removes an attribute. ENODATA: there is none.
pub(crate) fn remove_xattr(spot: Spot<'_>, name: &[u8]) -> Result<()> {
    let name = raw::c_name(name)?;
    let new = |dir: BorrowedFd<'_>, path: &CStr, flags: AtFlags| {
        // SAFETY: numbers and C strings that outlive the call.
        check(unsafe {
            libc::syscall(
                SYS_REMOVEXATTRAT,
                dir.as_raw_fd(),
                path.as_ptr(),
                flags.bits(),
                name.as_ptr(),
            )
        })
        .map(drop)
    };
    either(spot, new, |path| rustix::fs::removexattr(path, &*name))
}

/// Copies every attribute that the reader may read and the target can hold. `names`: all
/// that there are, each ended by NUL; `get` reads one, as [`get_xattr`].
///
/// An access list that is there and cannot be read counts as refused, with an
/// empty value: without it nobody may gain.
///
/// `skip` names attributes that are not wanted. What the target refuses
/// (EPERM, EOPNOTSUPP, a label of a security module) is left out and handed to
/// `refused`, with its value.
pub(crate) fn copy_xattrs(
    names: &[u8],
    get: impl Fn(&[u8], &mut [u8]) -> Result<usize>,
    to: Spot<'_>,
    skip: impl Fn(&[u8]) -> bool,
    mut refused: impl FnMut(&[u8], &[u8]),
) -> Result<()> {
    let mut value = Vec::new();
    for name in names.split(|byte| *byte == 0).filter(|name| !name.is_empty() && !skip(name)) {
        match get(name, &mut []) {
            Ok(size) => value.resize(size, 0),
            Err(Errno::PERM | Errno::ACCESS | Errno::OPNOTSUPP) if name == acl::ACCESS => {
                refused(name, &[]);
                continue;
            }
            Err(Errno::NODATA | Errno::PERM | Errno::ACCESS | Errno::OPNOTSUPP) => continue,
            Err(errno) => return Err(errno),
        }
        let size = if value.is_empty() { 0 } else { get(name, &mut value)? };
        value.truncate(size);
        match set_xattr(to, name, &value, 0) {
            Ok(()) => {}
            Err(Errno::PERM | Errno::OPNOTSUPP | Errno::ACCESS | Errno::INVAL) => {
                refused(name, &value);
            }
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}
