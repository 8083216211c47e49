//! Reading directories.

use rustix::fd::AsFd;
use rustix::fs::{FileType, OFlags, RawDir};
use rustix::io::Errno;

use super::noted_fd;
use super::{Result, Spot, Within, open_untraced};

/// Bytes of entries that one system call reads.
const BUFFER: usize = 32 * 1024;

/// An entry as a layer has it.
pub(crate) struct RawEntry<'a> {
    /// The name, `.` and `..` included.
    pub name: &'a [u8],
    /// `d_ino`.
    pub ino: u64,
    /// Type bits of `st_mode`; 0: unknown.
    pub kind: u32,
    /// Position of the next entry.
    pub next: u64,
}

/// Calls `each` for the entries of a directory until it returns `false`.
pub(crate) fn each_entry<'a>(
    dir: impl Into<Within<'a>>,
    each: impl FnMut(RawEntry<'_>) -> bool,
) -> Result<()> {
    let dir = dir.into();
    let fd = open_untraced(Spot::At(dir, b"."), OFlags::RDONLY | OFlags::DIRECTORY)?;
    read_entries(Within::new(fd.as_fd(), dir.written()), each)
}

/// As [`each_entry`], from the descriptor's position on.
pub(crate) fn read_entries<'a>(
    dir: impl Into<Within<'a>>,
    mut each: impl FnMut(RawEntry<'_>) -> bool,
) -> Result<()> {
    let mut buf: Vec<u8> = Vec::with_capacity(BUFFER);
    let dir = dir.into();
    let mut entries = RawDir::new(dir.fd(), buf.spare_capacity_mut());
    while let Some(entry) = entries.next() {
        let entry = match entry {
            Err(Errno::INTR) => continue,
            // A removed directory.
            Err(Errno::NOENT) => return Ok(()),
            other => noted_fd("getdents", dir.fd(), other)?,
        };
        // What nobody has written so is no entry of ours.
        let Some(name) = dir.written().shown(entry.file_name().to_bytes()) else { continue };
        let raw = RawEntry {
            name: &name,
            ino: entry.ino(),
            kind: match entry.file_type() {
                FileType::Unknown => 0,
                known => known.as_raw_mode() & libc::S_IFMT,
            },
            next: entry.next_entry_cookie(),
        };
        if !each(raw) {
            break;
        }
    }
    Ok(())
}
