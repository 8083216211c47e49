//! Copying the data of a file, by the cheapest way that the layers offer.

use rustix::fd::OwnedFd;
use rustix::io::Errno;

use crate::format::print::{Hash, Hasher};
use crate::sys::{self, Result};

/// Largest piece that one call copies, so that a signal can end it.
const PIECE: u64 = 1 << 30;

/// Bytes that are read at once.
const BUFFER: usize = 1 << 20;

/// Up to so many bytes a whole file is read and written instead of being copied by the
/// kernel: that costs next to nothing more, and its content can be hashed.
const READ_WHOLE: u64 = 64 << 10;

/// What a hole has at least, in bytes.
const BLOCK: usize = 4096;

/// Copies what is data of `start..end` and leaves holes as they are.
pub(crate) fn copy_extents(from: &OwnedFd, to: &OwnedFd, start: u64, end: u64) -> Result<()> {
    let mut at = start;
    while let Some((data, hole)) = next_data(from, at, end)? {
        copy_range(from, to, data, hole)?;
        at = hole;
    }
    Ok(())
}

/// The first stretch of data in `at..end`, from where to where (or to where it
/// was looked: more may follow); `None`: nothing but holes.
pub(crate) fn next_data(from: &OwnedFd, at: u64, end: u64) -> Result<Option<(u64, u64)>> {
    use rustix::fs::{SeekFrom, seek};
    if at >= end {
        return Ok(None);
    }
    let data = match seek(from, SeekFrom::Data(at)) {
        Ok(data) if data >= end => return Ok(None),
        Ok(data) => data,
        Err(Errno::NXIO) => return Ok(None),
        // A file system that knows no holes.
        Err(Errno::INVAL | Errno::OPNOTSUPP) => at,
        Err(errno) => return Err(errno),
    };
    let hole = match seek(from, SeekFrom::Hole(data)) {
        Ok(hole) => hole.min(end).max(data + 1),
        Err(_) => end,
    };
    // Some file systems (squashfs) store holes and do not tell where.
    if (data, hole) == (at, end) && is_sparse(from) {
        return next_nonzero(from, at, end);
    }
    Ok(Some((data, hole)))
}

/// A file takes less space than its size would need.
fn is_sparse(file: &OwnedFd) -> bool {
    sys::stat_fd(file).is_ok_and(|stat| stat.stx_blocks < stat.stx_size / 512)
}

/// As [`next_data`], by reading: zeros count as a hole, in whole blocks.
fn next_nonzero(from: &OwnedFd, mut at: u64, end: u64) -> Result<Option<(u64, u64)>> {
    let mut buf = vec![0; BUFFER];
    while at < end {
        let want = usize::try_from(end - at).unwrap_or(BUFFER).min(BUFFER);
        let part = buf.get_mut(..want).ok_or(Errno::IO)?;
        let got = sys::read_at(from, part, at)?;
        if got == 0 {
            return Ok(None);
        }
        let blocks = || part.get(..got).unwrap_or_default().chunks(BLOCK);
        let is_data = |block: &[u8]| block.iter().any(|byte| *byte != 0);
        if let Some(first) = blocks().position(is_data) {
            let count = blocks().skip(first).position(|block| !is_data(block));
            let last = count.map_or(got, |count| (first + count) * BLOCK);
            return Ok(Some((at + (first * BLOCK) as u64, at + last as u64)));
        }
        at += got as u64;
    }
    Ok(None)
}

/// Copies a file of this size that has no holes to an empty one. The result is the hash of
/// what was read, if all of it was: the kernel tells nothing of what it copies.
pub(crate) fn copy_dense(from: &OwnedFd, to: &OwnedFd, size: u64) -> Result<Option<Hash>> {
    let at = if size > READ_WHOLE { copy_by_kernel(from, to, 0, size)? } else { 0 };
    if at == size {
        return Ok(None);
    }
    let read =
        |buf: &mut [u8], at| sys::retry_interrupted(|| rustix::io::pread(from, &mut *buf, at));
    let (hash, end) = copy_hashed(read, to, at, size)?;
    if end < size {
        // It has become shorter.
        rustix::fs::ftruncate(to, size)?;
    }
    Ok((at == 0 && end == size).then_some(hash))
}

/// As [`copy_by`]; the result is the hash of what was read, and where that ended.
pub(super) fn copy_hashed(
    read: impl Fn(&mut [u8], u64) -> Result<usize>,
    to: &OwnedFd,
    at: u64,
    end: u64,
) -> Result<(Hash, u64)> {
    let (mut hasher, mut reached) = (Hasher::new(), at);
    copy_by(read, to, (at, end), |piece| {
        hasher.add(piece);
        reached += piece.len() as u64;
    })?;
    Ok((hasher.end(), reached))
}

fn copy_range(from: &OwnedFd, to: &OwnedFd, start: u64, end: u64) -> Result<()> {
    match copy_by_kernel(from, to, start, end)? {
        at if at < end => copy_buffered(from, to, at, end),
        _ => Ok(()),
    }
}

/// Lets the kernel copy what it can. The result is how far it came.
fn copy_by_kernel(from: &OwnedFd, to: &OwnedFd, start: u64, end: u64) -> Result<u64> {
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
                return Ok(source);
            }
            Err(errno) => return Err(errno),
        }
    }
    Ok(end)
}

/// From `at` to `end`, or to the end of the source.
pub(crate) fn copy_buffered(from: &OwnedFd, to: &OwnedFd, at: u64, end: u64) -> Result<()> {
    copy_by(
        |buf, at| sys::retry_interrupted(|| rustix::io::pread(from, &mut *buf, at)),
        to,
        (at, end),
        |_| {},
    )
}

/// The same of what `read` gives, which reads at an offset. `seen` gets each piece.
pub(super) fn copy_by(
    read: impl Fn(&mut [u8], u64) -> Result<usize>,
    to: &OwnedFd,
    (mut at, end): (u64, u64),
    mut seen: impl FnMut(&[u8]),
) -> Result<()> {
    let len = usize::try_from(end - at).unwrap_or(BUFFER).min(BUFFER);
    let mut buf = vec![0; len];
    while at < end {
        let want = usize::try_from(end - at).unwrap_or(len).min(len);
        let part = buf.get_mut(..want).ok_or(Errno::IO)?;
        let got = read(part, at)?;
        if got == 0 {
            return Ok(());
        }
        let data = part.get(..got).unwrap_or_default();
        if sys::write_at(to, data, at)? < got {
            return Err(Errno::NOSPC);
        }
        seen(data);
        at += got as u64;
    }
    Ok(())
}
