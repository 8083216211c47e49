//! META as a whole: written anew, and handed to the device.

use std::fs::File;

use rustix::fd::{BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use super::Session;
use super::file::{encode, write_at};
use crate::format::meta::Index;
use crate::format::name::MetaName;

/// Writes META anew: the records of `index` and nothing else. It appears
/// whole or not at all, also after a crash. `session`: of the storage's root the
/// present one, of others none.
///
/// # Errors
/// As `open(2)`, `write(2)`, `fsync(2)`, `rename(2)`; ENAMETOOLONG as for
/// [`super::Journal::append`]. META is then as before.
pub fn rewrite(dir: BorrowedFd<'_>, index: &Index, session: Session) -> Result<(), Errno> {
    let mut bytes = Vec::new();
    let mut encoded = Ok(());
    index.each_record(|record| {
        encoded = encoded.and_then(|()| encode(std::slice::from_ref(record), &mut bytes));
    });
    encoded?;
    let (temp, meta) = (session.meta.temp(), session.meta.as_str());
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let mode = Mode::RUSR | Mode::WUSR;
    let fd = rustix::fs::openat(dir, &*temp, flags, mode)?;
    let written =
        fill(fd, &bytes, session).and_then(|()| rustix::fs::renameat(dir, &*temp, dir, meta));
    if written.is_err() {
        let _ = rustix::fs::unlinkat(dir, &*temp, AtFlags::empty());
    }
    written
}

fn fill(fd: OwnedFd, bytes: &[u8], session: Session) -> Result<(), Errno> {
    rustix::fs::fchmod(&fd, Mode::RUSR | Mode::WUSR)?;
    let file = File::from(fd);
    write_at(&file, bytes, 0)?;
    session.begin(&file)?;
    rustix::fs::fdatasync(&file)
}

/// Hands META of a directory to the device, if there is one.
///
/// # Errors
/// As `fsync(2)`.
pub fn sync(dir: BorrowedFd<'_>, meta: MetaName) -> Result<(), Errno> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    match rustix::fs::openat(dir, meta.as_str(), flags, Mode::empty()) {
        Err(Errno::NOENT) => Ok(()),
        // Something else under its name holds no records.
        Err(Errno::LOOP | Errno::NXIO) => Ok(()),
        Err(errno) => Err(errno),
        Ok(fd) => match rustix::fs::fsync(fd) {
            Err(Errno::INVAL) => Ok(()),
            other => other,
        },
    }
}
