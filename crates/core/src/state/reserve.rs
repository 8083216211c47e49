//! Space that is kept back for deletions.
//!
//! To delete a base file on a full storage takes room: for the copy of its directory,
//! and for META. So some files in the storage hold a little, and are given up one by
//! one where a deletion finds none (docs/FORMAT.md, section 10).

use std::sync::atomic::AtomicBool;

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, FallocateFlags, OFlags};
use rustix::io::Errno;

use crate::locks::{Mutex, Rank};
use crate::sys;
use crate::sys::{Result, Spot};

/// This part of the storage's file system is kept back, ...
pub(crate) const PART: u64 = 32;

/// ... and no more than so many bytes, unless the user says otherwise: room for the
/// copies of some hundred directories, at up to 12 KiB each on ext4.
pub(crate) const MOST: u64 = 4 << 20;

/// In so many files at most, of whole pages.
pub(crate) const PIECES: u64 = 16;
pub(crate) const PAGE: u64 = 4096;

/// So much is written for each where space can be had by writing only (flash file
/// systems, which compress besides).
const PIECE_WRITTEN: u64 = PAGE;

/// So many times what is missing must be free before it is taken again.
pub(crate) const PLENTY: u64 = 4;

/// On btrfs, where directories and names take space of another kind than data,
/// attributes of this number and size in bytes for each file.
const ATTRIBUTES: u32 = 8;
const ATTRIBUTE: usize = 3500;

/// The reserve of a storage.
#[derive(Default)]
pub(crate) struct Reserve {
    pub pieces: Mutex<Pieces, { Rank::Reserve as u8 }>,
    /// Something was given up.
    pub short: AtomicBool,
}

#[derive(Default)]
pub(crate) struct Pieces {
    pub dir: Option<OwnedFd>,
    /// Bytes of each.
    pub size: u64,
    /// How many there are, and are to be: named by their numbers, from 0 on.
    pub there: u64,
    pub wanted: u64,
    /// They hold room for names, too.
    pub names: bool,
}

impl Pieces {
    /// Finds out how many there are.
    pub(crate) fn count(&mut self) {
        let Some(dir) = &self.dir else { return };
        let size = if can_allocate(dir) { self.size } else { self.size.min(PIECE_WRITTEN) };
        let is_there = |number: u64| {
            let name = number.to_string();
            let stat = sys::stat(Spot::at(dir.as_fd(), name.as_bytes()));
            stat.is_ok_and(|stat| {
                // The size of the file system may change a little, ...
                (size / 2..=size * 2).contains(&stat.stx_size)
                    // ... and a copy of the storage may have holes instead.
                    && stat.stx_blocks.saturating_mul(512) >= stat.stx_size
            })
        };
        self.there = (0..self.wanted).find(|number| !is_there(*number)).unwrap_or(self.wanted);
        // Those of a mount that wanted more.
        self.remove_from(self.there);
    }

    /// Makes what is missing; whether something still is.
    pub(crate) fn fill(&mut self) -> bool {
        let Some(dir) = &self.dir else { return false };
        while self.there < self.wanted {
            let missing = (self.wanted - self.there).saturating_mul(self.size);
            let room = rustix::fs::fstatvfs(dir)
                .map_or(0, |vfs| vfs.f_bavail.saturating_mul(vfs.f_frsize));
            if room / PLENTY < missing {
                return true;
            }
            let name = self.there.to_string();
            if let Err(errno) = make(dir.as_fd(), name.as_bytes(), self.size, self.names) {
                tracing::debug!("less is kept back for deletions: {errno}");
                let _ = rustix::fs::unlinkat(dir, &*name, AtFlags::empty());
                return true;
            }
            self.there += 1;
        }
        false
    }

    /// Removes those from a number on.
    pub(crate) fn remove_from(&mut self, first: u64) {
        let Some(dir) = &self.dir else { return };
        for number in (first..self.there.max(PIECES)).rev() {
            let name = number.to_string();
            // Some file systems free what was removed some time later.
            if let Ok(file) = sys::open_at(dir.as_fd(), name.as_bytes(), OFlags::WRONLY) {
                let _ = rustix::fs::ftruncate(file, 0);
            }
            let _ = rustix::fs::unlinkat(dir, &*name, AtFlags::empty());
        }
        self.there = first;
    }
}

/// Whether the first piece says that space can be had without writing.
fn can_allocate(dir: &OwnedFd) -> bool {
    let probe = sys::open_at(dir.as_fd(), b"0", OFlags::RDWR)
        .and_then(|file| rustix::fs::fallocate(file, FallocateFlags::KEEP_SIZE, 0, 1));
    !matches!(probe, Err(Errno::OPNOTSUPP | Errno::NOSYS))
}

/// A file that takes so many bytes.
fn make(dir: BorrowedFd<'_>, name: &[u8], size: u64, names: bool) -> Result<()> {
    let file = match sys::create_private(dir, name) {
        Err(Errno::EXIST) => sys::open_at(dir, name, OFlags::RDWR)?,
        other => other?,
    };
    if names {
        for number in 0..ATTRIBUTES {
            let attribute = format!("user.mini_fo.reserve{number}");
            let value = [b'x'; ATTRIBUTE];
            sys::set_xattr(Spot::Fd(file.as_fd()), attribute.as_bytes(), &value, 0)?;
        }
    }
    match rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, size) {
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => write(&file, size.min(PIECE_WRITTEN)),
        other => other,
    }
}

/// Writes what cannot be compressed.
fn write(file: &OwnedFd, size: u64) -> Result<()> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_ne_bytes()
    };
    let bytes: Vec<u8> = (0..size / 8).flat_map(|_| next()).collect();
    sys::write_with(&bytes, |rest, done| rustix::io::pwrite(file, rest, done)).map(drop)
}
