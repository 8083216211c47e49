//! Space that is kept back for deletions: what is done with it.

use std::sync::atomic::Ordering;

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::Mode;
use rustix::io::Errno;

use crate::reach::overlay::Overlay;
use crate::state::reserve::{MOST, PAGE, PART, PIECES};
use crate::sys::magic::BTRFS;
use crate::sys::{self, Result, Spot, Within, trust};

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
        self.settle_far();
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

    /// What an earlier mount has kept back can be used up; no more is.
    pub(crate) fn use_reserve(&self) -> Result<()> {
        let Some(dir) = self.reserve_dir(false)? else { return Ok(()) };
        let mut pieces = self.reserve.pieces.lock();
        let size = |number: u64| {
            sys::stat(Spot::at(dir.as_fd(), number.to_string().as_bytes())).map(|s| s.stx_size)
        };
        pieces.size = size(0).unwrap_or(0);
        pieces.there = (0..PIECES).find(|number| size(*number).is_err()).unwrap_or(PIECES);
        pieces.wanted = pieces.there;
        pieces.names = rustix::fs::fstatfs(&self.storage)?.f_type == BTRFS;
        pieces.dir = Some(dir);
        Ok(())
    }

    /// The directory of the reserve. `None`: there is none, and none is wanted.
    fn reserve_dir(&self, wanted: bool) -> Result<Option<OwnedFd>> {
        let name = self.meta.reserve().as_bytes();
        let opened = sys::absent(sys::open_dir(self.storage.as_fd(), name))?;
        let dir = match opened {
            None if !wanted => return Ok(None),
            None => {
                let root = self.root_dir.edit();
                let make = |dir: Within<'_>| sys::mkdir(dir, name, Mode::RWXU);
                root.unseen(make, |()| Vec::new())?;
                sys::open_dir(self.storage.as_fd(), name)?
            }
            Some(dir) => dir,
        };
        trust::check(&sys::stat_fd(&dir)?, false).map_err(|_| Errno::PERM)?;
        Ok(Some(dir))
    }

    /// Runs a deletion, with what is kept back if it finds no room. `far`: one that
    /// takes least of it, where it can be done so; in a directory that the storage has,
    /// or in one that it has not.
    pub(crate) fn deleting(
        &self,
        delete: impl Fn() -> Result<()>,
        far: impl Fn(bool) -> Result<Option<()>>,
    ) -> Result<()> {
        // Else each would take of what the others need, only to find that it is too little.
        let mut full = self.far_first || self.reserve.short.load(Ordering::Relaxed);
        loop {
            let low = full && self.is_low();
            let mut done = if low { far(false) } else { Ok(None) };
            if matches!(done, Ok(None) | Err(Errno::NOSPC)) {
                done = delete().map(Some);
            }
            if low && matches!(done, Err(Errno::NOSPC)) {
                done = far(true).and_then(|done| done.map(Some).ok_or(Errno::NOSPC));
            }
            match done {
                Err(Errno::NOSPC) if !full => full = true,
                // That is no help to a user over his quota.
                Err(Errno::NOSPC) if self.give_up_some() => {}
                other => return other.map(drop),
            }
        }
    }

    /// Does something that finds its room in what is kept back for deletions, if there is
    /// no other. Whoever calls it has no lock that comes after that of the reserve.
    pub(crate) fn with_reserve<T>(&self, mut work: impl FnMut() -> Result<T>) -> Result<T> {
        loop {
            match work() {
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

    /// Somebody else may have used some of it meanwhile.
    pub(crate) fn count_reserve(&self) {
        let mut pieces = self.reserve.pieces.lock();
        if pieces.dir.is_some() {
            pieces.count();
            let short = pieces.there < pieces.wanted;
            self.reserve.short.store(short, Ordering::Relaxed);
        }
    }

    /// Takes again what was given up, where there is plenty of room.
    pub(crate) fn refill_reserve(&self) {
        if !self.reserve.short.load(Ordering::Relaxed) {
            return;
        }
        let mut pieces = self.reserve.pieces.lock();
        let short = pieces.fill();
        self.reserve.short.store(short, Ordering::Relaxed);
    }

    /// The reserve is to be kept from when on this mount writes, if it ever does.
    pub(crate) fn keep_reserve_later(&self, most: Option<u64>) {
        if let Some(later) = &self.later {
            later.lock().reserve = Some(most);
        }
    }
}
