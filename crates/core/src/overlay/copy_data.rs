//! Copying the data of a file, by the cheapest way that the layers offer.

use rustix::fd::OwnedFd;
use rustix::io::Errno;

use crate::sys::Result;

/// Largest piece that one call copies, so that a signal can end it.
const PIECE: u64 = 1 << 30;

/// Copies what is data and leaves holes as they are.
pub(super) fn copy_extents(from: &OwnedFd, to: &OwnedFd, size: u64) -> Result<()> {
    use rustix::fs::{SeekFrom, seek};
    rustix::fs::ftruncate(to, size)?;
    let mut at = 0;
    while at < size {
        let start = match seek(from, SeekFrom::Data(at)) {
            Ok(start) => start,
            Err(Errno::NXIO) => return Ok(()),
            // A file system that knows no holes.
            Err(Errno::INVAL | Errno::OPNOTSUPP) => at,
            Err(errno) => return Err(errno),
        };
        let end = match seek(from, SeekFrom::Hole(start)) {
            Ok(end) => end.min(size),
            Err(_) => size,
        };
        copy_range(from, to, start, end)?;
        at = end.max(start + 1);
    }
    Ok(())
}

fn copy_range(from: &OwnedFd, to: &OwnedFd, start: u64, end: u64) -> Result<()> {
    let (mut source, mut target) = (start, start);
    while source < end {
        let want = usize::try_from((end - source).min(PIECE)).unwrap_or(usize::MAX);
        match rustix::fs::copy_file_range(from, Some(&mut source), to, Some(&mut target), want) {
            Ok(0) => return Ok(()),
            Ok(_) | Err(Errno::INTR) => {}
            Err(Errno::XDEV | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                return copy_buffered(from, to, source, end);
            }
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// From `at` to `end`, or to the end of the source.
pub(super) fn copy_buffered(from: &OwnedFd, to: &OwnedFd, mut at: u64, end: u64) -> Result<()> {
    let len = usize::try_from((end - at).min(1 << 20)).unwrap_or(1 << 20);
    let mut buf = vec![0; len];
    while at < end {
        let got = match rustix::io::pread(from, &mut buf, at) {
            Ok(0) => return Ok(()),
            Err(Errno::INTR) => continue,
            other => other?,
        };
        let mut rest = buf.get(..got).unwrap_or_default();
        while !rest.is_empty() {
            match rustix::io::pwrite(to, rest, at) {
                Ok(0) => return Err(Errno::IO),
                Ok(put) => {
                    at += put as u64;
                    rest = rest.get(put..).unwrap_or_default();
                }
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
    }
    Ok(())
}
