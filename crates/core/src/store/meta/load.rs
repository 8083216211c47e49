//! Reading META.

use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader, Cursor, Read};
use std::os::unix::fs::FileExt;

use rustix::fd::BorrowedFd;
use rustix::fs::{Mode, OFlags, Statx};
use rustix::io::Errno;

use super::Session;
use super::file::LINE_MAX;
use super::tail::{self, Said};
use crate::format::meta::{Index, Line, Record, parse_line};
use crate::store::itself;
use crate::sys::trust;
use crate::sys::trust::Unusable;
use crate::sys::{self, Spot};

/// Damaged lines of one file that are told one by one: rubbish must not fill
/// the memory.
const DAMAGE_LISTED: usize = 100;

/// Bytes that are looked at of a file that may be META by another name. Which directory
/// it belongs to may stand at its end: of a copy that was mounted.
const LOOKED_AT: u64 = 64 << 20;

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
    /// A power cut has taken the end of the file, and its attribute has it
    /// (docs/FORMAT.md, section 4). The next [`Journal::open`] writes it.
    ///
    /// [`Journal::open`]: super::Journal::open
    pub completed: bool,
    /// The first line that was never written whole, it seems.
    hole: Option<Hole>,
}

/// A damaged line, or one with NUL bytes, which no record has.
#[derive(Clone, Copy, Debug)]
struct Hole {
    /// Where it begins.
    at: u64,
    /// It has NUL bytes.
    of_zeros: bool,
    /// Records follow on which others may rely.
    facts_behind: bool,
}

/// Reads META of a storage directory. No file means no records. `session`: what it
/// is called, and the mount that did not end in order, if any; else the present one.
///
/// # Errors
/// As `open(2)` and `read(2)`; EIO: it does not count, because others may have
/// written it (as if it were not there, whiteouts would be gone), which the log
/// tells. What is in the file is never an error.
pub fn load(dir: BorrowedFd<'_>, session: Session) -> Result<Loaded, Errno> {
    look(dir, session).map_err(|unusable| match unusable {
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
pub fn look(dir: BorrowedFd<'_>, session: Session) -> Result<Loaded, Unusable> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    // It may be a file of a base, and no META: not even its time of access is to move.
    let name = session.meta.as_str();
    let opened = match rustix::fs::openat(dir, name, flags | OFlags::NOATIME, Mode::empty()) {
        Err(Errno::PERM) => rustix::fs::openat(dir, name, flags, Mode::empty()),
        other => other,
    };
    let fd = match opened {
        Err(Errno::NOENT) => return Ok(Loaded::default()),
        Err(Errno::LOOP | Errno::NXIO) => {
            let stat = sys::stat(Spot::at(dir, name.as_bytes()))?;
            return not_a_file(&stat);
        }
        other => other?,
    };
    let stat = sys::stat_fd(&fd)?;
    if !rustix::fs::FileType::from_raw_mode(stat.stx_mode.into()).is_file() {
        return not_a_file(&stat);
    }
    trust::check(&stat, true).map_err(Unusable::Foreign)?;
    let file = File::from(fd);
    let said = tail::said(&file, stat.stx_size, session)?;
    let end = match &said {
        Said::Nothing => None,
        Said::There(_, end) => Some(*end),
        Said::Missing(tail) => Some(tail.end()),
    };
    let unended = session.is_open();
    let mut loaded = read_lines(with_tail(&file, &said))?;
    // Of what was not synced the device may have later sectors without earlier ones.
    // What has to count stands before `end`, and without an attribute before what
    // is about times alone.
    if let Some(hole) = loaded.hole.filter(|hole| match end {
        Some(end) => hole.at >= end,
        None => unended && hole.of_zeros && !hole.facts_behind,
    }) {
        loaded = read_lines(with_tail(&file, &said).take(hole.at))?;
        loaded.torn_at = Some(hole.at);
    }
    loaded.completed = matches!(said, Said::Missing(_));
    Ok(loaded)
}

/// What a file says of the directory that it lies in, if it is META of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tells {
    /// It does not count, cannot be read, or begins with no record.
    Nothing,
    /// It is META, of whatever directory.
    Meta,
    /// That of a storage's root.
    Storage,
    /// That of the root of this very storage: nobody can have made that up.
    Itself,
}

/// What a file in a directory says of it. `now`: which directory it is.
pub fn tells(dir: BorrowedFd<'_>, name: &[u8], now: &Record) -> Tells {
    let counts = |stat: Statx| {
        sys::kind(&stat) == libc::S_IFREG && stat.stx_size > 0 && trust::check(&stat, true).is_ok()
    };
    // What is somebody else's is not opened: that could move a time of access.
    if !sys::stat(Spot::at(dir, name)).is_ok_and(counts) {
        return Tells::Nothing;
    }
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let opened = match rustix::fs::openat(dir, name, flags | OFlags::NOATIME, Mode::empty()) {
        Err(Errno::PERM) => rustix::fs::openat(dir, name, flags, Mode::empty()),
        other => other,
    };
    let Ok(fd) = opened else { return Tells::Nothing };
    if !sys::stat_fd(&fd).is_ok_and(counts) {
        return Tells::Nothing;
    }
    let file = File::from(fd);
    let mut reader = BufReader::new(ReadFrom { file: &file, at: 0 }.take(LOOKED_AT));
    // Whatever is no META is told by its first bytes.
    if !matches!(reader.fill_buf(), Ok([kind, b' ', ..]) if kind.is_ascii_alphabetic()) {
        return Tells::Nothing;
    }
    let (mut line, mut told) = (Vec::new(), Tells::Nothing);
    // Rubbish without a newline must not fill the memory.
    let mut next =
        |line: &mut Vec<u8>| reader.by_ref().take(LINE_MAX as u64).read_until(b'\n', line);
    while next(&mut line).is_ok_and(|length| length > 0) {
        let says = match line.strip_suffix(b"\n").map(parse_line) {
            Some(Line::Record(record)) if itself::fits(&record, now) => return Tells::Itself,
            Some(Line::Record(Record::Origin { .. } | Record::Storage { .. })) => Tells::Storage,
            Some(Line::Record(_)) => Tells::Meta,
            _ if told == Tells::Nothing => return Tells::Nothing,
            _ => Tells::Nothing,
        };
        told = told.max(says);
        line.clear();
    }
    told
}

/// META from its beginning; what the device has not reads as if it had.
fn with_tail<'a>(file: &'a File, said: &'a Said) -> impl BufRead + use<'a> {
    let (from, bytes, to) = match said {
        Said::Missing(tail) => (tail.from, &*tail.bytes, tail.end()),
        Said::Nothing | Said::There(..) => (0, &[][..], 0),
    };
    let before = ReadFrom { file, at: 0 }.take(from);
    let whole = before.chain(Cursor::new(bytes)).chain(ReadFrom { file, at: to });
    BufReader::with_capacity(64 * 1024, whole)
}

/// Damage, if it is at least of this user's making.
fn not_a_file(stat: &Statx) -> Result<Loaded, Unusable> {
    trust::check_owner(stat).map_err(Unusable::Foreign)?;
    let damage = Damage { line: 0, reason: "it is not a regular file" };
    Ok(Loaded { damage: vec![damage], damages: 1, ..Loaded::default() })
}

/// A file from some byte on.
struct ReadFrom<'a> {
    file: &'a File,
    at: u64,
}

impl Read for ReadFrom<'_> {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        let read = self.file.read_at(buf, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
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
        let start = at;
        let Some(text) = line.strip_suffix(b"\n") else {
            if line.len() == LINE_MAX
                && let Some(skipped) = skip_line(&mut reader)?
            {
                loaded.skip(number, "it is longer than any record");
                at += line.len() as u64 + skipped;
                continue;
            }
            loaded.torn_at = Some(at);
            return Ok(loaded);
        };
        at += line.len() as u64;
        let parsed = parse_line(text);
        let of_zeros = text.contains(&0);
        if of_zeros || matches!(parsed, Line::Damaged(_)) {
            loaded.hole.get_or_insert(Hole { at: start, of_zeros, facts_behind: false });
        }
        match parsed {
            Line::Record(record) => {
                if let Some(hole) = loaded.hole.as_mut().filter(|_| !record.is_cosmetic()) {
                    hole.facts_behind = true;
                }
                loaded.index.take(record);
            }
            Line::Damaged(reason) => loaded.skip(number, reason),
            Line::Unknown | Line::Empty => {}
        }
    }
}

impl Loaded {
    fn skip(&mut self, line: u64, reason: &'static str) {
        self.damages += 1;
        if self.damage.len() < DAMAGE_LISTED {
            self.damage.push(Damage { line, reason });
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
