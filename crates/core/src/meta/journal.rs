//! The META file: reading, appending, writing anew.

use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, Mode, OFlags, Statx};
use rustix::io::Errno;

use super::{Index, Line, Record, parse_line};
use crate::name::{META_NAME, temp_name};
use crate::sys::{self, Spot};
use crate::trust::{self, Unusable};

/// Longest line that is read or written, in bytes. The path of a redirect may
/// be far beyond `PATH_MAX`, and each of its bytes written as four.
const LINE_MAX: usize = 4 << 20;

/// Damaged lines of one file that are told one by one: rubbish must not fill
/// the memory.
const DAMAGE_LISTED: usize = 100;

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
    /// Lines that were skipped: the first 100 of them.
    pub damage: Vec<Damage>,
    /// How many lines were skipped.
    pub damages: u64,
    /// The file ends in half a line: what a crash left of an append. Nothing
    /// was told to be safe of it, and the next append begins here instead, at
    /// this many bytes.
    pub torn_at: Option<u64>,
}

/// Reads META of a storage directory. No file means no records.
///
/// # Errors
/// As `open(2)` and `read(2)`; EIO: it does not count, because others may have
/// written it (as if it were not there, whiteouts would be gone), which the log
/// tells. What is in the file is never an error.
pub fn load(dir: BorrowedFd<'_>) -> Result<Loaded, Errno> {
    look(dir).map_err(|unusable| match unusable {
        Unusable::Failed(errno) => errno,
        Unusable::Foreign(foreign) => {
            tracing::error!("META of a storage directory does not count: {foreign}");
            Errno::IO
        }
    })
}

/// As [`load`], and says why META does not count.
///
/// # Errors
/// As [`load`].
pub fn look(dir: BorrowedFd<'_>) -> Result<Loaded, Unusable> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let fd = match rustix::fs::openat(dir, META_NAME, flags, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(Loaded::default()),
        Err(Errno::LOOP | Errno::NXIO) => {
            let stat = sys::stat(Spot::At(dir, META_NAME.as_bytes()))?;
            return not_a_file(&stat);
        }
        other => other?,
    };
    let stat = sys::stat_fd(&fd)?;
    if !rustix::fs::FileType::from_raw_mode(stat.stx_mode.into()).is_file() {
        return not_a_file(&stat);
    }
    trust::check(&stat, true).map_err(Unusable::Foreign)?;
    Ok(read_lines(BufReader::with_capacity(64 * 1024, File::from(fd)))?)
}

/// Damage, if it is at least of this user's making.
fn not_a_file(stat: &Statx) -> Result<Loaded, Unusable> {
    trust::check_owner(stat).map_err(Unusable::Foreign)?;
    let damage = Damage { line: 0, reason: "it is not a regular file" };
    Ok(Loaded { damage: vec![damage], damages: 1, ..Loaded::default() })
}

fn read_lines(mut reader: impl BufRead) -> Result<Loaded, Errno> {
    let mut loaded = Loaded::default();
    let (mut line, mut number, mut at) = (Vec::new(), 0, 0);
    loop {
        line.clear();
        // Rubbish without a newline must not fill the memory.
        let mut limited = reader.by_ref().take(LINE_MAX as u64);
        if limited.read_until(b'\n', &mut line).map_err(errno)? == 0 {
            return Ok(loaded);
        }
        number += 1;
        let mut damaged = |reason| {
            loaded.damages += 1;
            if loaded.damage.len() < DAMAGE_LISTED {
                loaded.damage.push(Damage { line: number, reason });
            }
        };
        let Some(text) = line.strip_suffix(b"\n") else {
            if line.len() == LINE_MAX
                && let Some(skipped) = skip_line(&mut reader)?
            {
                damaged("it is longer than any record");
                at += line.len() as u64 + skipped;
                continue;
            }
            loaded.torn_at = Some(at);
            return Ok(loaded);
        };
        at += line.len() as u64;
        match parse_line(text) {
            Line::Record(record) => loaded.index.take(record),
            Line::Damaged(reason) => damaged(reason),
            Line::Unknown | Line::Empty => {}
        }
    }
}

fn errno(err: std::io::Error) -> Errno {
    Errno::from_io_error(&err).unwrap_or(Errno::IO)
}

/// Reads on behind the next newline, which is so many bytes away. `None`:
/// there is none.
fn skip_line(reader: &mut impl BufRead) -> Result<Option<u64>, Errno> {
    let mut skipped = 0;
    loop {
        let buffer = match reader.fill_buf() {
            Err(err) if err.kind() == std::io::ErrorKind::Interrupted => continue,
            other => other.map_err(errno)?,
        };
        let newline = buffer.iter().position(|byte| *byte == b'\n');
        let (length, end) = (buffer.len(), buffer.is_empty());
        let passed = newline.map_or(length, |at| at + 1);
        reader.consume(passed);
        skipped += passed as u64;
        if newline.is_some() || end {
            return Ok(newline.map(|_| skipped));
        }
    }
}

/// Opens META for [`append_to`], making it if need be.
///
/// # Errors
/// As `open(2)`; EIO for what is not a regular file and keeps no records, or
/// does not count.
pub fn open_for_append(dir: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDWR | OFlags::APPEND | OFlags::NOFOLLOW;
    let flags = flags | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let mode = Mode::RUSR | Mode::WUSR;
    match rustix::fs::openat(dir, META_NAME, flags, Mode::empty()) {
        Err(Errno::NOENT) => {
            let fd = rustix::fs::openat(dir, META_NAME, flags | OFlags::CREATE, mode)?;
            // A umask or a default ACL may have changed it.
            rustix::fs::fchmod(&fd, mode)?;
            Ok(fd)
        }
        Ok(fd) => {
            let stat = rustix::fs::fstat(&fd)?;
            let regular = rustix::fs::FileType::from_raw_mode(stat.st_mode).is_file();
            trust::check_opened(&fd, META_NAME, true)?;
            if regular { Ok(fd) } else { Err(Errno::IO) }
        }
        Err(errno) => Err(errno),
    }
}

/// The lines of records. ENAMETOOLONG: one could not be read again.
fn encode(records: &[Record], out: &mut Vec<u8>) -> Result<(), Errno> {
    for record in records {
        let start = out.len();
        record.encode(out);
        if out.len() - start > LINE_MAX {
            return Err(Errno::NAMETOOLONG);
        }
    }
    Ok(())
}

/// Appends records with one write. `torn_at`: see [`Loaded::torn_at`].
///
/// # Errors
/// As `write(2)`; ENAMETOOLONG for a record beyond the longest line. META is
/// then as it was before.
pub fn append_to(
    meta: BorrowedFd<'_>,
    records: &[Record],
    torn_at: Option<u64>,
) -> Result<(), Errno> {
    let mut bytes = Vec::with_capacity(64 * records.len());
    encode(records, &mut bytes)?;
    if let Some(size) = torn_at {
        // With an end, half a line could say what nobody meant.
        rustix::fs::ftruncate(meta, size)?;
    }
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
/// As `open(2)`, `write(2)`, `fsync(2)`, `rename(2)`; ENAMETOOLONG as for
/// [`append_to`]. META is then as before.
pub fn rewrite(dir: BorrowedFd<'_>, index: &mut Index) -> Result<(), Errno> {
    let mut bytes = Vec::new();
    let mut encoded = Ok(());
    index.each_record(|record| {
        encoded = encoded.and_then(|()| encode(std::slice::from_ref(record), &mut bytes));
    });
    encoded?;
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
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    match rustix::fs::openat(dir, META_NAME, flags, Mode::empty()) {
        Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(errno),
        Ok(fd) => rustix::fs::fsync(fd),
    }
}
