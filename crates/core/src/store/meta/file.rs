//! The file of META, as it is opened and as lines get into it.

use std::fs::File;
use std::os::unix::fs::FileExt;

use rustix::fd::{BorrowedFd, OwnedFd};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::format::meta::Record;
use crate::format::name::MetaName;
use crate::sys::trust;

/// Longest line that is read or written, in bytes. The path of a redirect may
/// be far beyond `PATH_MAX`, and each of its bytes written as four.
pub(super) const LINE_MAX: usize = 4 << 20;

/// The file, its size, and whether it was made just now.
pub(super) fn open_file(
    dir: BorrowedFd<'_>,
    meta: MetaName,
) -> Result<(OwnedFd, u64, bool), Errno> {
    let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let mode = Mode::RUSR | Mode::WUSR;
    match rustix::fs::openat(dir, meta.as_str(), flags, Mode::empty()) {
        Err(Errno::NOENT) => {
            let fd = rustix::fs::openat(dir, meta.as_str(), flags | OFlags::CREATE, mode)?;
            // A umask or a default ACL may have changed it.
            rustix::fs::fchmod(&fd, mode)?;
            Ok((fd, 0, true))
        }
        Ok(fd) => {
            let stat = rustix::fs::fstat(&fd)?;
            let size = u64::try_from(stat.st_size).map_err(|_| Errno::IO)?;
            let regular = FileType::from_raw_mode(stat.st_mode).is_file();
            trust::check_opened(&fd, meta.as_str(), true)?;
            if regular { Ok((fd, size, false)) } else { Err(Errno::IO) }
        }
        Err(errno) => Err(errno),
    }
}

/// The lines of records. ENAMETOOLONG: one could not be read again.
pub(super) fn encode<'r>(
    records: impl IntoIterator<Item = &'r Record>,
    out: &mut Vec<u8>,
) -> Result<(), Errno> {
    for record in records {
        let start = out.len();
        record.encode(out);
        if out.len() - start > LINE_MAX {
            return Err(Errno::NAMETOOLONG);
        }
    }
    Ok(())
}

pub(super) fn write_at(file: &File, bytes: &[u8], at: u64) -> Result<(), Errno> {
    file.write_all_at(bytes, at).map_err(errno)
}

pub(super) fn errno(error: std::io::Error) -> Errno {
    match Errno::from_io_error(&error) {
        Some(errno) => errno,
        // Nothing was written, which is how some file systems say that.
        None if error.kind() == std::io::ErrorKind::WriteZero => Errno::NOSPC,
        None => Errno::IO,
    }
}
