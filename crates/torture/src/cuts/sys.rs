//! A system call that neither the standard library nor rustix has.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

/// Writes the cached data of a file to the disk, and waits, as the kernel does
/// by itself after some time: no metadata, and no flush.
///
/// # Errors
/// sync_file_range(2).
pub fn write_back(file: &File) -> io::Result<()> {
    let flags = libc::SYNC_FILE_RANGE_WAIT_BEFORE
        | libc::SYNC_FILE_RANGE_WRITE
        | libc::SYNC_FILE_RANGE_WAIT_AFTER;
    // SAFETY: takes a descriptor and numbers alone.
    match unsafe { libc::sync_file_range(file.as_raw_fd(), 0, 0, flags) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
