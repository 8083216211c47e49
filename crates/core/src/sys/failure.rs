//! What failed last in a thread, so that the log can say why a program got an error that
//! nobody expects: which call, on what.
#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::fmt;

use rustix::fd::BorrowedFd;
use rustix::io::Errno;

use super::{Result, Spot, path_of};

thread_local! {
    static LAST: RefCell<Option<SystemFailure>> = const { RefCell::new(None) };
}

/// A system call that failed in a way that no program is to see.
#[derive(Clone, Debug)]
pub struct SystemFailure {
    call: &'static str,
    errno: Errno,
    path: Vec<u8>,
}

impl fmt::Display for SystemFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = String::from_utf8_lossy(&self.path);
        write!(f, "{} of {}: {}", self.call, path.escape_debug(), self.errno)
    }
}

/// An error of the machine, and no answer to a request: of the device, or of what the
/// process may use.
#[must_use]
pub fn is_trouble(errno: Errno) -> bool {
    matches!(
        errno,
        Errno::IO
            | Errno::UCLEAN
            | Errno::BADMSG
            | Errno::NODEV
            | Errno::REMOTEIO
            | Errno::NOTCONN
            | Errno::TIMEDOUT
            | Errno::MFILE
            | Errno::NFILE
            | Errno::NOMEM
    )
}

/// The last such call of this thread that had this result. It is told once.
pub fn take_failure(errno: Errno) -> Option<SystemFailure> {
    LAST.with_borrow_mut(Option::take).filter(|failure| failure.errno == errno)
}

/// Remembers a call that failed on an object.
pub(super) fn noted<T>(call: &'static str, spot: Spot<'_>, result: Result<T>) -> Result<T> {
    if let Err(errno) = result
        && is_trouble(errno)
    {
        let (dir, name) = match spot {
            Spot::At(dir, name) => (dir.fd(), name),
            Spot::Across(dir, name) => (dir, name),
            Spot::Fd(fd) => (fd, &b""[..]),
        };
        remember(call, errno, dir, name);
    }
    result
}

/// The same of a call on an open file.
pub(crate) fn noted_fd<T>(call: &'static str, fd: BorrowedFd<'_>, result: Result<T>) -> Result<T> {
    noted(call, Spot::Fd(fd), result)
}

#[cold]
fn remember(call: &'static str, errno: Errno, dir: BorrowedFd<'_>, name: &[u8]) {
    let mut path = path_of(dir).unwrap_or_else(|_| b"?".to_vec());
    if !name.is_empty() && name != b"." {
        path.push(b'/');
        path.extend_from_slice(name);
    }
    LAST.set(Some(SystemFailure { call, errno, path }));
}

#[cfg(test)]
mod tests {
    use rustix::fd::AsFd;

    use super::*;

    #[test]
    fn what_failed_is_told_once() {
        let dir = tempfile::TempDir::new().unwrap();
        let fd = std::fs::File::open(dir.path()).unwrap();
        let spot = Spot::at(fd.as_fd(), b"a\nb");
        assert_eq!(noted("stat", spot, Err::<(), _>(Errno::NOENT)), Err(Errno::NOENT));
        assert!(take_failure(Errno::NOENT).is_none());
        assert_eq!(noted("stat", spot, Err::<(), _>(Errno::IO)), Err(Errno::IO));
        let told = take_failure(Errno::IO).unwrap().to_string();
        let path = dir.path().display();
        assert_eq!(told, format!("stat of {path}/a\\nb: {}", Errno::IO));
        assert!(take_failure(Errno::IO).is_none());
    }
}
