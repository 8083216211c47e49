//! The end of META once more, in an extended attribute of the file.
//!
//! META is file data: disk file systems write it seconds after the changes of
//! names that rely on it. Attributes are metadata, which their journals order.
//! So what the device may not have of META stands in its attribute, too, before
//! anything relies on it (docs/FORMAT.md, section 4).

use std::collections::hash_map::RandomState;
use std::fs::File;
use std::hash::{BuildHasher, Hasher};
use std::os::unix::fs::FileExt;

use rustix::fd::{AsFd, BorrowedFd};
use rustix::fs::{Mode, OFlags, XattrFlags};
use rustix::io::Errno;

use crate::format::name::MetaName;

/// Name of the attribute.
pub(super) const TAIL: &str = "user.mini_fo.tail";

/// Bytes of META that it holds at most: with name and header they fit into the
/// one block of 4 KiB that ext4 has for the attributes of a file.
pub(super) const LIMIT: usize = 3072;

/// Bytes of the longest value that the kernel lets an attribute have
/// (`XATTR_SIZE_MAX` of linux/limits.h).
const LONGEST: usize = 1 << 16;

/// What the attribute says.
pub(super) struct Tail {
    /// Where in META the bytes belong. The device has what is before.
    pub from: u64,
    /// The bytes: whole lines.
    pub bytes: Vec<u8>,
}

impl Tail {
    /// Where in META they end.
    pub fn end(&self) -> u64 {
        self.from.saturating_add(self.bytes.len() as u64)
    }
}

/// What META of a storage is called, and which mount has written attributes that count.
/// Others do not: their mount has ended in order, everything is in META, and somebody may
/// have edited that since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    /// The name of META.
    pub meta: MetaName,
    /// The mount, if it did not end (yet).
    pub(super) id: Option<u64>,
}

impl Session {
    /// One of its own for a mount.
    pub fn new(meta: MetaName) -> Session {
        Session { meta, id: Some(RandomState::new().build_hasher().finish()) }
    }

    /// None: META alone counts.
    pub fn none(meta: MetaName) -> Session {
        Session { meta, id: None }
    }

    /// It did not end (yet).
    pub fn is_open(self) -> bool {
        self.id.is_some()
    }
}

#[cfg(test)]
impl Default for Session {
    fn default() -> Session {
        Session::none(MetaName::DEFAULT)
    }
}

/// Name of the attribute of the root's META: the mount that writes to the storage,
/// or did not end in order.
const SESSION: &str = "user.mini_fo.session";

/// The mount for writing that has not ended in order, if any. `dir`: the root of
/// the storage.
pub fn session(dir: BorrowedFd<'_>, meta: MetaName) -> Session {
    let read = || -> Option<u64> {
        let mut value = [0; 16];
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = rustix::fs::openat(dir, meta.as_str(), flags, Mode::empty()).ok()?;
        let length = rustix::fs::fgetxattr(file, SESSION, &mut value[..]).ok()?;
        u64::from_str_radix(std::str::from_utf8(value.get(..length)?).ok()?, 16).ok()
    };
    Session { meta, id: read() }
}

impl Session {
    /// Says so in META of the storage's root, and brings that to the device.
    ///
    /// # Errors
    /// As `fsetxattr(2)` and `fsync(2)`.
    pub(super) fn begin(self, meta: &File) -> Result<(), Errno> {
        if let Some(session) = self.id {
            let value = format!("{session:016x}");
            rustix::fs::fsetxattr(meta, SESSION, value.as_bytes(), XattrFlags::empty())?;
            rustix::fs::fsync(meta)?;
        }
        Ok(())
    }

    /// The session ends in order.
    ///
    /// # Errors
    /// As `fremovexattr(2)`.
    pub(super) fn end(meta: &File) -> Result<(), Errno> {
        match rustix::fs::fremovexattr(meta, SESSION) {
            Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(()),
            other => other,
        }
    }
}

/// Sets the attribute.
///
/// # Errors
/// ENOSPC, EDQUOT: no room; EOPNOTSUPP: the file system has no attributes.
pub(super) fn write(
    meta: BorrowedFd<'_>,
    session: Session,
    from: u64,
    bytes: &[u8],
) -> Result<(), Errno> {
    let session = session.id.ok_or(Errno::OPNOTSUPP)?;
    let mut value = format!("1 {session:016x} {from}\n").into_bytes();
    value.extend_from_slice(bytes);
    rustix::fs::fsetxattr(meta, TAIL, &value, XattrFlags::empty())
}

/// Takes the attribute away, if there is one.
pub(super) fn remove(meta: BorrowedFd<'_>) -> Result<(), Errno> {
    match rustix::fs::fremovexattr(meta, TAIL) {
        Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(()),
        other => other,
    }
}

/// Reads the attribute, if this session wrote it.
pub(super) fn read(meta: impl AsFd, session: Session) -> Result<Option<Tail>, Errno> {
    let Some(session) = session.id else { return Ok(None) };
    let mut value = vec![0; LIMIT + 64];
    let mut read = rustix::fs::fgetxattr(&meta, TAIL, &mut value[..]);
    if read == Err(Errno::RANGE) {
        // Longer than we write it: it counts all the same.
        value.resize(LONGEST, 0);
        read = rustix::fs::fgetxattr(&meta, TAIL, &mut value[..]);
    }
    let length = match read {
        Err(Errno::NODATA | Errno::OPNOTSUPP) => return Ok(None),
        other => other?,
    };
    value.truncate(length);
    Ok(parse(&value, session))
}

fn parse(value: &[u8], session: u64) -> Option<Tail> {
    let end = value.iter().position(|byte| *byte == b'\n')?;
    let (header, bytes) = (value.get(..end)?, value.get(end + 1..)?);
    let from = std::str::from_utf8(header).ok()?.strip_prefix(&*format!("1 {session:016x} "))?;
    let from = from.parse().ok()?;
    let whole = bytes.is_empty() || bytes.ends_with(b"\n");
    whole.then(|| Tail { from, bytes: bytes.to_vec() })
}

/// What the attribute says of META.
pub(super) enum Said {
    /// Nothing: there is none, or the file is another one than it speaks of
    /// (somebody has edited it).
    Nothing,
    /// What is there already, from one byte to before another.
    There(u64, u64),
    /// What META lacks.
    Missing(Tail),
}

/// Compares META with its attribute. Sectors of the file that the device has not
/// are NUL, if need be with later ones behind them.
pub(super) fn said(meta: &File, size: u64, session: Session) -> Result<Said, Errno> {
    let Some(tail) = read(meta, session)?.filter(|tail| tail.from <= size) else {
        return Ok(Said::Nothing);
    };
    let mut there = vec![0; tail.bytes.len()];
    let mut length = 0;
    while let Some(rest) = there.get_mut(length..).filter(|rest| !rest.is_empty()) {
        match meta.read_at(rest, tail.from + length as u64) {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Errno::from_io_error(&error).unwrap_or(Errno::IO)),
        }
    }
    there.truncate(length);
    if there == tail.bytes {
        return Ok(Said::There(tail.from, tail.end()));
    }
    let lost = tail.bytes.iter().zip(&there).all(|(said, found)| said == found || *found == 0);
    Ok(if lost { Said::Missing(tail) } else { Said::Nothing })
}
