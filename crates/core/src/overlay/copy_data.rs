//! Copying the data of a file, by the cheapest way that the layers offer.

use rustix::fd::OwnedFd;
use rustix::io::Errno;

use crate::sys::{self, Result};

/// Largest piece that one call copies, so that a signal can end it.
const PIECE: u64 = 1 << 30;

/// Copies what is data of `start..end` and leaves holes as they are.
pub(super) fn copy_extents(from: &OwnedFd, to: &OwnedFd, start: u64, end: u64) -> Result<()> {
    use rustix::fs::{SeekFrom, seek};
    let mut at = start;
    while at < end {
        let data = match seek(from, SeekFrom::Data(at)) {
            Ok(data) if data >= end => return Ok(()),
            Ok(data) => data,
            Err(Errno::NXIO) => return Ok(()),
            // A file system that knows no holes.
            Err(Errno::INVAL | Errno::OPNOTSUPP) => at,
            Err(errno) => return Err(errno),
        };
        let hole = match seek(from, SeekFrom::Hole(data)) {
            Ok(hole) => hole.min(end),
            Err(_) => end,
        };
        copy_range(from, to, data, hole)?;
        at = hole.max(data + 1);
    }
    Ok(())
}

fn copy_range(from: &OwnedFd, to: &OwnedFd, start: u64, end: u64) -> Result<()> {
    let (mut source, mut target) = (start, start);
    while source < end {
        let want = usize::try_from((end - source).min(PIECE)).unwrap_or(usize::MAX);
        let copied = sys::taking_space(|| {
            rustix::fs::copy_file_range(from, Some(&mut source), to, Some(&mut target), want)
        });
        match copied {
            Ok(1..) | Err(Errno::INTR) => {}
            // At the end, or so says a file system that cannot do it.
            Ok(0) | Err(Errno::XDEV | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
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
        let want = usize::try_from(end - at).unwrap_or(len).min(len);
        let part = buf.get_mut(..want).ok_or(Errno::IO)?;
        let got = sys::retry_interrupted(|| rustix::io::pread(from, &mut *part, at))?;
        if got == 0 {
            return Ok(());
        }
        let data = part.get(..got).unwrap_or_default();
        if sys::write_at(to, data, at)? < got {
            return Err(Errno::NOSPC);
        }
        at += got as u64;
    }
    Ok(())
}
