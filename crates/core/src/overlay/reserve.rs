//! Space that is kept back for deletions.
//!
//! To delete a base file on a full storage takes room: for the copy of its directory,
//! and for META. So some files in the storage hold a little, and are given up one by
//! one where a deletion finds none (docs/FORMAT.md, section 10).

use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, FallocateFlags, Mode, OFlags};
use rustix::io::Errno;

use super::Overlay;
use crate::magic::BTRFS;
use crate::sys::{self, Result, Spot, Within};
use crate::trust;

/// This part of the storage's file system is kept back, ...
const PART: u64 = 32;

/// ... and no more than so many bytes, unless the user says otherwise: room for the
/// copies of some hundred directories, at up to 12 KiB each on ext4.
const MOST: u64 = 4 << 20;

/// In so many files at most, of whole pages.
const PIECES: u64 = 16;
const PAGE: u64 = 4096;

/// So much is written for each where space can be had by writing only (flash file
/// systems, which compress besides).
const PIECE_WRITTEN: u64 = PAGE;

/// So many times what is missing must be free before it is taken again.
const PLENTY: u64 = 4;

/// On btrfs, where directories and names take space of another kind than data,
/// attributes of this number and size in bytes for each file.
const ATTRIBUTES: u32 = 8;
const ATTRIBUTE: usize = 3500;

/// The reserve of a storage.
#[derive(Default)]
pub(super) struct Reserve {
    pieces: Mutex<Pieces>,
    /// Something was given up.
    short: AtomicBool,
}

#[derive(Default)]
struct Pieces {
    dir: Option<OwnedFd>,
    /// Bytes of each.
    size: u64,
    /// How many there are, and are to be: named by their numbers, from 0 on.
    there: u64,
    wanted: u64,
    /// They hold room for names, too.
    names: bool,
}

impl Overlay {
    /// Keeps some space back for deletions. To be called when the mount stands;
    /// `most`: so many bytes at most, 0: none.
    pub fn keep_reserve(&self, most: Option<u64>) {
        if self.is_read_only() {
            self.keep_reserve_later(most);
            return;
        }
        if let Err(errno) = self.open_reserve(most.unwrap_or(MOST)) {
            tracing::warn!("no space is kept back for deletions: {errno}");
        }
        if !self.reserve.short.load(Ordering::Relaxed) {
            self.settle_far();
        }
    }

    fn open_reserve(&self, most: u64) -> Result<()> {
        let vfs = rustix::fs::fstatvfs(&self.storage)?;
        let size = (vfs.f_blocks.saturating_mul(vfs.f_frsize) / PART).min(most);
        let wanted = (size / PAGE).min(PIECES);
        let Some(dir) = self.reserve_dir(wanted > 0)? else { return Ok(()) };
        let mut pieces = self.reserve.pieces.lock();
        pieces.dir = Some(dir);
        pieces.wanted = wanted;
        pieces.size = size.checked_div(wanted).unwrap_or(0) / PAGE * PAGE;
        pieces.names = rustix::fs::fstatfs(&self.storage)?.f_type == BTRFS;
        let short = match wanted {
            0 => {
                pieces.remove_from(0);
                false
            }
            _ => {
                pieces.count();
                pieces.fill()
            }
        };
        drop(pieces);
        self.reserve.short.store(short, Ordering::Relaxed);
        Ok(())
    }

    /// The directory of the reserve. `None`: there is none, and none is wanted.
    fn reserve_dir(&self, wanted: bool) -> Result<Option<OwnedFd>> {
        let name = self.meta.reserve().as_bytes();
        let opened = sys::absent(sys::open_dir(self.storage.as_fd(), name))?;
        let dir = match opened {
            None if !wanted => return Ok(None),
            None => {
                let _lock = self.root_dir.mutate.lock();
                let make = |dir: Within<'_>| sys::mkdir(dir, name, Mode::RWXU);
                self.root_dir.unseen(make, |()| Vec::new())?;
                sys::open_dir(self.storage.as_fd(), name)?
            }
            Some(dir) => dir,
        };
        trust::check(&sys::stat_fd(&dir)?, false).map_err(|_| Errno::PERM)?;
        Ok(Some(dir))
    }

    /// Runs a deletion, with what is kept back if it finds no room. `far`: one that
    /// takes least of it, where it can be done so.
    pub(super) fn deleting(
        &self,
        delete: impl Fn() -> Result<()>,
        far: impl Fn() -> Result<Option<()>>,
    ) -> Result<()> {
        // Else each would take of what the others need, only to find that it is too little.
        let mut full = self.far_first || self.reserve.short.load(Ordering::Relaxed);
        loop {
            let far_done = if full && self.is_low() { far().transpose() } else { None };
            match far_done.unwrap_or_else(&delete) {
                Err(Errno::NOSPC) if !full => full = true,
                // That is no help to a user over his quota.
                Err(Errno::NOSPC) if self.give_up_some() => {}
                other => return other,
            }
        }
    }

    /// Half of the reserve is used up.
    fn is_low(&self) -> bool {
        let pieces = self.reserve.pieces.lock();
        self.far_first || pieces.there <= pieces.wanted / 2
    }

    /// Gives up a part of the reserve. `false`: nothing is left.
    fn give_up_some(&self) -> bool {
        let mut pieces = self.reserve.pieces.lock();
        let Some(last) = pieces.there.checked_sub(1) else { return false };
        self.reserve.short.store(true, Ordering::Relaxed);
        tracing::debug!("the storage is full: a deletion takes of what was kept back");
        pieces.remove_from(last);
        if pieces.names
            && let Ok(storage) = self.storage_opened()
        {
            // What a transaction has freed can be had after it.
            let _slow = self.slow_section();
            let _ = rustix::fs::syncfs(storage);
        }
        true
    }

    /// Takes again what was given up, where there is plenty of room.
    pub(super) fn refill_reserve(&self) {
        if !self.reserve.short.load(Ordering::Relaxed) {
            return;
        }
        let mut pieces = self.reserve.pieces.lock();
        let short = pieces.fill();
        self.reserve.short.store(short, Ordering::Relaxed);
    }
}

impl Pieces {
    /// Finds out how many there are.
    fn count(&mut self) {
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
    fn fill(&mut self) -> bool {
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
    fn remove_from(&mut self, first: u64) {
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
