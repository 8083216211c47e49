//! The META file: reading, appending, writing anew.

use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader};

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use super::{Index, Line, Record, parse_line};
use crate::name::{META_NAME, temp_name};

/// Longest line that is read: every field escaped fourfold fits easily.
const LINE_MAX: usize = 64 * 1024;

/// A line that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Its number, from 1.
    pub line: u64,
    /// What is wrong.
    pub reason: &'static str,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.reason)
    }
}

/// What a META file says.
#[derive(Debug, Default)]
pub struct Loaded {
    /// The records that count.
    pub index: Index,
    /// Lines that were skipped.
    pub damage: Vec<Damage>,
    /// The last line has no newline; the next append must begin with one.
    pub unfinished_tail: bool,
}

/// Reads META of a storage directory. No file means no records.
///
/// # Errors
/// As `open(2)` and `read(2)`; what is in the file is never an error.
pub fn load(dir: BorrowedFd<'_>) -> Result<Loaded, Errno> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let fd = match rustix::fs::openat(dir, META_NAME, flags, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(Loaded::default()),
        Err(Errno::LOOP | Errno::NXIO) => return Ok(not_a_file()),
        other => other?,
    };
    let stat = rustix::fs::fstat(&fd)?;
    if !rustix::fs::FileType::from_raw_mode(stat.st_mode).is_file() {
        return Ok(not_a_file());
    }
    read_lines(BufReader::with_capacity(64 * 1024, File::from(fd)))
}

fn not_a_file() -> Loaded {
    let damage = Damage { line: 0, reason: "it is not a regular file" };
    Loaded { damage: vec![damage], ..Loaded::default() }
}

fn read_lines(mut reader: impl BufRead) -> Result<Loaded, Errno> {
    let mut loaded = Loaded::default();
    let (mut line, mut number) = (Vec::new(), 0);
    loop {
        line.clear();
        let got = reader.read_until(b'\n', &mut line);
        let got = got.map_err(|err| Errno::from_io_error(&err).unwrap_or(Errno::IO))?;
        if got == 0 {
            return Ok(loaded);
        }
        number += 1;
        let mut damaged = |reason| loaded.damage.push(Damage { line: number, reason });
        let Some(text) = line.strip_suffix(b"\n") else {
            loaded.unfinished_tail = true;
            damaged("it is the last one and has no newline");
            return Ok(loaded);
        };
        if text.len() > LINE_MAX {
            damaged("it is longer than any record");
            continue;
        }
        match parse_line(text) {
            Line::Record(record) => loaded.index.apply(&record),
            Line::Damaged(reason) => damaged(reason),
            Line::Unknown | Line::Empty => {}
        }
    }
}

/// Opens META for [`append_to`], making it if need be.
///
/// # Errors
/// As `open(2)`.
pub fn open_for_append(dir: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDWR | OFlags::APPEND | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mode = Mode::RUSR | Mode::WUSR;
    match rustix::fs::openat(dir, META_NAME, flags, Mode::empty()) {
        Err(Errno::NOENT) => {
            let fd = rustix::fs::openat(dir, META_NAME, flags | OFlags::CREATE, mode)?;
            // A umask or a default ACL may have changed it.
            rustix::fs::fchmod(&fd, mode)?;
            Ok(fd)
        }
        other => other,
    }
}

/// Appends records with one write. `end_line`: what is there ends in half a
/// line.
///
/// # Errors
/// As `write(2)`; META is then as it was before.
pub fn append_to(meta: BorrowedFd<'_>, records: &[Record], end_line: bool) -> Result<(), Errno> {
    let mut bytes = Vec::with_capacity(64 * records.len());
    if end_line {
        bytes.push(b'\n');
    }
    records.iter().for_each(|record| record.encode(&mut bytes));
    loop {
        let written = match rustix::io::write(meta, &bytes) {
            Err(Errno::INTR) => continue,
            other => other?,
        };
        if written == bytes.len() {
            return Ok(());
        }
        // The device filled up in the middle: take back what was written.
        let size = u64::try_from(rustix::fs::fstat(meta)?.st_size).map_err(|_| Errno::IO)?;
        rustix::fs::ftruncate(meta, size.saturating_sub(written as u64))?;
        return Err(Errno::NOSPC);
    }
}

/// Writes META anew: the records of `index` and nothing else. It appears
/// whole or not at all, also after a crash.
///
/// # Errors
/// As `open(2)`, `write(2)`, `fsync(2)`, `rename(2)`; META is then as before.
pub fn rewrite(dir: BorrowedFd<'_>, index: &mut Index) -> Result<(), Errno> {
    let mut bytes = Vec::new();
    index.each_record(|record| record.encode(&mut bytes));
    let temp = temp_name();
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let mode = Mode::RUSR | Mode::WUSR;
    let fd = rustix::fs::openat(dir, &*temp, flags, mode)?;
    let written =
        fill(&fd, &bytes).and_then(|()| rustix::fs::renameat(dir, &*temp, dir, META_NAME));
    if written.is_err() {
        let _ = rustix::fs::unlinkat(dir, &*temp, AtFlags::empty());
    }
    written?;
    index.rewritten();
    Ok(())
}

fn fill(fd: &OwnedFd, mut bytes: &[u8]) -> Result<(), Errno> {
    rustix::fs::fchmod(fd, Mode::RUSR | Mode::WUSR)?;
    while !bytes.is_empty() {
        match rustix::io::write(fd, bytes) {
            Ok(0) => return Err(Errno::IO),
            Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    rustix::fs::fdatasync(fd.as_fd())
}

/// Hands META of a directory to the device, if there is one.
///
/// # Errors
/// As `fsync(2)`.
pub fn sync(dir: BorrowedFd<'_>) -> Result<(), Errno> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::openat(dir, META_NAME, flags, Mode::empty()) {
        Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(errno),
        Ok(fd) => rustix::fs::fsync(fd),
    }
}
