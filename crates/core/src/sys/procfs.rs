//! The process's way to `/proc`.
//!
//! A daemon may find that its root, and with it `/proc`, lies in the tree that it
//! serves (`pivot_root(2)`), or that somebody has unmounted `/proc`. So a descriptor
//! is kept from before, and nothing is walked from the root.
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStringExt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{self, Mode, OFlags};
use rustix::io::Errno;

/// `/proc`.
static DIR: OnceLock<OwnedFd> = OnceLock::new();

/// `/proc/self/fd`.
static FDS: OnceLock<OwnedFd> = OnceLock::new();

/// The root of the process is [`DIR`].
static IS_ROOT: AtomicBool = AtomicBool::new(false);

const FLAGS: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// A path of `mountinfo` (proc_pid_mountinfo(5)) as it is: there blanks and the like
/// are written as `\ooo`, three octal digits.
pub fn unescape(text: &[u8]) -> OsString {
    let octal = |digits: &[u8]| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok();
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, tail)) = rest.split_first() {
        let code = match byte {
            b'\\' => tail.get(..3).and_then(octal),
            _ => None,
        };
        out.push(code.unwrap_or(byte));
        rest = match code {
            Some(_) => tail.get(3..).unwrap_or(&[]),
            None => tail,
        };
    }
    OsString::from_vec(out)
}

/// Uses this descriptor of a proc file system from now on. To be called once,
/// before anything here is used, by the process that goes on.
///
/// # Errors
/// ENOENT: this process is not to be seen there.
pub fn keep(dir: OwnedFd) -> rustix::io::Result<()> {
    let fds = fs::openat(&dir, "self/fd", FLAGS, Mode::empty())?;
    // A second descriptor is not taken, as told.
    let _ = (FDS.set(fds), DIR.set(dir));
    Ok(())
}

/// The process has made the kept proc file system its root.
pub fn is_root_now() {
    IS_ROOT.store(true, Ordering::Release);
}

/// The proc file system: the kept descriptor, or what `/proc` is at the first use.
///
/// # Errors
/// As `open(2)`.
pub fn dir() -> rustix::io::Result<BorrowedFd<'static>> {
    opened(&DIR, "/proc")
}

/// The directory whose entry `N` is a magic link to descriptor `N`.
pub(crate) fn fds() -> rustix::io::Result<BorrowedFd<'static>> {
    opened(&FDS, "/proc/self/fd")
}

fn opened(kept: &'static OnceLock<OwnedFd>, path: &str) -> Result<BorrowedFd<'static>, Errno> {
    if let Some(fd) = kept.get() {
        return Ok(fd.as_fd());
    }
    let fd = fs::open(path, FLAGS, Mode::empty())?;
    Ok(kept.get_or_init(|| fd).as_fd())
}

/// The magic link of a descriptor, as a path from the root, for calls that take
/// nothing else. Where the process could not give itself a root of its own, the
/// root may be somebody else's to move.
pub fn path_of_descriptor(fd: BorrowedFd<'_>) -> String {
    let root = if IS_ROOT.load(Ordering::Acquire) { "" } else { "/proc" };
    format!("{root}/self/fd/{}", fd.as_raw_fd())
}

/// Reads a file, `self/status` say.
///
/// # Errors
/// As `open(2)` and `read(2)`.
pub fn read(path: &str) -> io::Result<Vec<u8>> {
    let file = fs::openat(dir()?, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let mut text = Vec::new();
    File::from(file).read_to_end(&mut text)?;
    Ok(text)
}

/// The target of a link, `self` or `1/ns/user` say.
///
/// # Errors
/// As `readlink(2)`.
pub fn read_link(path: &str) -> io::Result<Vec<u8>> {
    Ok(fs::readlinkat(dir()?, path, Vec::new())?.into_bytes())
}
