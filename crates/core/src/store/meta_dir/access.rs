//! Getting into storage directories that their owners have closed.

use rustix::fd::BorrowedFd;
use rustix::fs::{IFlags, OFlags};
use rustix::io::Errno;

use crate::sys::{self, Result, Spot};

/// Runs something in a storage directory, and once more after making it
/// accessible for that long, if it was refused: whoever owns a directory may
/// have closed it to himself or made it immutable, and what we do there for
/// ourselves needs no right (a copy-up changes nothing that programs see).
pub(crate) fn with_access<T>(dir: BorrowedFd<'_>, mut run: impl FnMut() -> Result<T>) -> Result<T> {
    match run() {
        Err(Errno::ACCESS) => with_permission(dir, run),
        Err(Errno::PERM) => unprotected(dir, run),
        other => other,
    }
}

fn with_permission<T>(dir: BorrowedFd<'_>, mut run: impl FnMut() -> Result<T>) -> Result<T> {
    let mode = u32::from(sys::stat_fd(dir)?.stx_mode) & 0o7777;
    if mode & 0o700 == 0o700 {
        return Err(Errno::ACCESS);
    }
    sys::set_mode(Spot::Fd(dir), mode | 0o700).map_err(|_| Errno::ACCESS)?;
    let done = run();
    let now = sys::stat_fd(dir).map(|stat| u32::from(stat.stx_mode) & 0o7777);
    // Somebody may have set another one meanwhile.
    if now.is_ok_and(|now| now == mode | 0o700) {
        told(sys::set_mode(Spot::Fd(dir), mode));
    }
    done
}

/// What was done stands: that a directory could not be closed again is no
/// reason to call it a failure.
fn told(restored: Result<()>) {
    if let Err(errno) = restored {
        tracing::error!("a storage directory was opened for a moment and stays so: {errno}");
    }
}

/// Without the flags of `chattr +i` and `+a`.
fn unprotected<T>(dir: BorrowedFd<'_>, mut run: impl FnMut() -> Result<T>) -> Result<T> {
    let protecting = IFlags::IMMUTABLE.union(IFlags::APPEND).bits();
    let opened = sys::open(Spot::at(dir, b"."), OFlags::RDONLY | OFlags::DIRECTORY)
        .and_then(|fd| sys::get_flags(&fd).map(|flags| (fd, flags)));
    let Ok((fd, flags)) = opened else { return Err(Errno::PERM) };
    if flags & protecting == 0 {
        return Err(Errno::PERM);
    }
    sys::set_flags(&fd, flags & !protecting).map_err(|_| Errno::PERM)?;
    let done = run();
    if sys::get_flags(&fd).is_ok_and(|now| now & protecting == 0) {
        told(sys::set_flags(&fd, flags));
    }
    done
}
