//! Reading and writing at offsets.

use rustix::fd::AsFd;
use rustix::io::Errno;

use super::{Result, noted_fd, taking_space};

/// Runs a call again as long as a signal interrupts it.
pub(crate) fn retry_interrupted<T>(mut call: impl FnMut() -> Result<T>) -> Result<T> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            other => return other,
        }
    }
}

/// Reads at an offset; less than asked for only at the end of the file, or
/// where an error came after some data.
pub(crate) fn read_at(fd: impl AsFd, buf: &mut [u8], offset: u64) -> Result<usize> {
    super::may_wait();
    let mut done = 0;
    while let Some(rest) = buf.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match retry_interrupted(|| rustix::io::pread(&fd, &mut *rest, offset + done as u64)) {
            Ok(0) => break,
            Ok(got) => done += got,
            Err(errno) if done == 0 => return noted_fd("read", fd.as_fd(), Err(errno)),
            Err(_) => break,
        }
    }
    Ok(done)
}

/// Writes all of `data` by calls of `put`, which gets what is left and how much
/// was written before. Less only where an error came after some data.
pub(crate) fn write_with(
    data: &[u8],
    mut put: impl FnMut(&[u8], u64) -> Result<usize>,
) -> Result<usize> {
    let mut done = 0;
    while let Some(rest) = data.get(done..).filter(|rest| !rest.is_empty()) {
        match retry_interrupted(|| put(rest, done as u64)) {
            Ok(0) => break,
            Ok(put) => done += put,
            Err(errno) if done == 0 => return Err(errno),
            Err(_) => break,
        }
    }
    Ok(done)
}

/// Writes at an offset, as [`write_with`].
pub(crate) fn write_at(fd: impl AsFd, data: &[u8], offset: u64) -> Result<usize> {
    super::may_wait();
    let written = taking_space(|| {
        write_with(data, |rest, done| rustix::io::pwrite(&fd, rest, offset + done))
    });
    noted_fd("write", fd.as_fd(), written)
}
