//! The data of one partial file, in both layers.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::fd::OwnedFd;
use rustix::fs::{FallocateFlags, OFlags, SeekFrom};
use rustix::io::Errno;

use super::Data;
use super::map::Map;
use crate::format::mark::Mark;
use crate::locks::{Mutex, Rank, RwLock, is_held};
use crate::store::durability::WriteOut;
use crate::sys::descriptors::Ticket;
use crate::sys::{self, Result};

/// Bytes that are copied under one lock.
const PIECE: u64 = 1 << 20;

/// A partial file that somebody has open: all its handles share one.
///
/// Locks: `writing` comes after `copy_up` of the node and before every
/// `mutate`; `map` is a leaf.
pub(crate) struct PartialFile {
    pub mark: Mark,
    /// The data of the base file.
    base: Data,
    /// Which blocks are in the storage. No data is read or written under it.
    map: RwLock<Map, { Rank::Map as u8 }>,
    /// Held by whoever brings blocks into the storage.
    pub writing: Mutex<(), { Rank::Writing as u8 }>,
    /// All of the data is in the storage.
    whole: AtomicBool,
    /// The file of the map was opened for reading only.
    map_shut: AtomicBool,
    /// Something was written since it was opened.
    pub changed: AtomicBool,
    /// Where the file ends, if not where the storage file does; else `u64::MAX`.
    end: AtomicU64,
    /// How data is made to reach the device.
    order: WriteOut,
    /// Of base file and map.
    _ticket: Ticket,
}

impl PartialFile {
    /// `map_file`: what is recorded, if anything is. `end`: see
    /// [`PartialFile::set_end`]. `storage`: its storage file.
    ///
    /// # Errors
    /// EIO: the map is damaged.
    pub fn new(
        mark: Mark,
        base: Data,
        storage: &OwnedFd,
        (map_file, end): (Option<OwnedFd>, Option<u64>),
        order: WriteOut,
    ) -> Result<PartialFile> {
        let map_shut = AtomicBool::new(map_file.as_ref().is_some_and(is_for_reading));
        let mut map = match map_file {
            Some(file) => Map::load(file, mark.size, storage)?,
            None => Map::empty(mark.size),
        };
        // Cut off, and a crash came before that was recorded, which is made up
        // for before the file can grow.
        if end.is_none() {
            let _ = map.end_at(sys::stat_fd(storage)?.stx_size);
        }
        Ok(PartialFile {
            end: AtomicU64::new(end.unwrap_or(u64::MAX)),
            mark,
            base,
            map: RwLock::new(map),
            map_shut,
            writing: Mutex::new(()),
            whole: AtomicBool::new(false),
            changed: AtomicBool::new(false),
            order,
            _ticket: Ticket::beyond(2),
        })
    }

    /// Where the file ends, if the storage file ends elsewhere.
    pub fn set_end(&self, end: Option<u64>) {
        self.end.store(end.unwrap_or(u64::MAX), Ordering::Release);
    }

    /// Its size in bytes.
    pub fn size(&self, storage: &OwnedFd) -> Result<u64> {
        match self.end.load(Ordering::Acquire) {
            u64::MAX => sys::stat_fd(storage).map(|stat| stat.stx_size),
            end => Ok(end),
        }
    }

    /// Nothing is missing in the storage any more.
    pub fn is_whole(&self) -> bool {
        self.whole.load(Ordering::Acquire)
    }

    /// The mark is gone.
    pub fn set_whole(&self) {
        debug_assert!(is_held(Rank::Writing, None));
        self.whole.store(true, Ordering::Release);
    }

    /// Bytes that are not in the storage.
    pub fn missing(&self) -> u64 {
        if self.is_whole() { 0 } else { self.map.read().missing() }
    }

    /// Nothing has been written into what the base has, and nothing cut off.
    pub fn is_untouched(&self) -> bool {
        let map = self.map.read();
        !self.is_whole() && map.limit() == self.mark.size && !map.is_recorded()
    }

    /// The data of the base file.
    pub fn base(&self) -> &Data {
        &self.base
    }

    /// Whether the byte `at` is in the storage, and the end of the stretch from there, at
    /// most to `end`, of which the same is true.
    pub fn run(&self, at: u64, end: u64) -> (bool, u64) {
        if self.is_whole() { (true, end) } else { self.map.read().run(at, end) }
    }

    /// A descriptor of the file in which the map is recorded.
    pub fn map_file(&self) -> Result<Option<OwnedFd>> {
        self.map.read().file()
    }

    /// There is a map on the device.
    pub fn is_recorded(&self) -> bool {
        self.map.read().is_recorded()
    }

    /// The map cannot be written by the descriptor that it has.
    pub fn is_map_shut(&self) -> bool {
        self.map_shut.load(Ordering::Acquire)
    }

    /// The file of the map, opened for writing.
    pub fn take_map(&self, file: &OwnedFd) -> Result<()> {
        debug_assert!(is_held(Rank::Writing, None));
        if is_for_reading(file) {
            return Err(Errno::ROFS);
        }
        self.map.read().reopen(file)?;
        self.map_shut.store(false, Ordering::Release);
        Ok(())
    }

    /// A change of `start..end` needs the map.
    pub fn concerns(&self, start: u64, end: u64) -> bool {
        let map = self.map.read();
        if !map.limit_is_recorded() && !self.is_whole() {
            return true;
        }
        let end = end.min(map.limit());
        if self.is_whole() || start >= end {
            return false;
        }
        let (stored, to) = map.run(start, end);
        !stored || to < end
    }

    /// The file may grow: whoever loads the map would not show what the base
    /// has in place of what was cut off.
    pub fn may_grow(&self) -> bool {
        self.is_whole() || self.map.read().limit_is_recorded()
    }

    /// Records from where on the data is the storage's, unless it is.
    pub fn record_limit(&self) -> Result<()> {
        self.map.write().record_limit()
    }

    /// Takes a file to record the map in.
    pub fn record_in(&self, file: OwnedFd) -> Result<()> {
        self.map.write().record_in(file)
    }

    /// Reads from whichever layer has the data. Less than asked for only at
    /// the end of the file.
    ///
    /// # Errors
    /// EIO: the base file has become shorter; as `pread(2)`.
    pub fn read(&self, storage: &OwnedFd, buf: &mut [u8], offset: u64) -> Result<usize> {
        let most = self.end.load(Ordering::Acquire).saturating_sub(offset);
        let len = usize::try_from(most).unwrap_or(usize::MAX).min(buf.len());
        let buf = buf.get_mut(..len).unwrap_or_default();
        let end = offset.saturating_add(len as u64);
        let mut done = 0;
        loop {
            let at = offset + done as u64;
            let Some(rest) = buf.get_mut(done..).filter(|rest| !rest.is_empty()) else {
                return Ok(done);
            };
            let (stored, to) = self.run(at, end);
            let len = usize::try_from(to - at).unwrap_or(usize::MAX);
            let part = rest.get_mut(..len).ok_or(Errno::IO)?;
            let got = if stored {
                sys::read_at(storage, part, at)
            } else {
                touch(storage, at);
                self.base
                    .read_at(part, at)
                    .and_then(|got| if got < part.len() { Err(Errno::IO) } else { Ok(got) })
            };
            match got {
                Ok(got) if got == len => done += got,
                Ok(got) => return Ok(done + got),
                Err(errno) if done == 0 => return Err(errno),
                Err(_) => return Ok(done),
            }
        }
    }

    /// Prepares a write of `start..end` to the storage: what the touched
    /// blocks keep of the base is copied.
    pub fn before_write(&self, target: &OwnedFd, start: u64, end: u64) -> Result<()> {
        debug_assert!(is_held(Rank::Writing, None));
        let (block, limit) = {
            let map = self.map.read();
            (map.block(), map.limit())
        };
        if start >= limit || start >= end {
            return Ok(());
        }
        let first = start / block * block;
        let last = (end - 1) / block * block;
        if start > first || end < (first + block).min(limit) {
            self.fetch(target, first, first + block)?;
        }
        if last != first && end < (last + block).min(limit) {
            self.fetch(target, last, last + block)?;
        }
        let tail = limit / block * block;
        if end > tail && self.shares_tail(target)? {
            self.fetch(target, tail, limit)
        } else {
            Ok(())
        }
    }

    /// What is behind the limit may be in one block of the file system with the
    /// last that is before: that there is no hole says nothing then.
    fn shares_tail(&self, target: &OwnedFd) -> Result<bool> {
        let (limit, block, stored) = {
            let map = self.map.read();
            (map.limit(), map.block(), map.has(map.limit().saturating_sub(1)))
        };
        Ok(!stored && limit % block != 0 && sys::stat_fd(target)?.stx_size > limit)
    }

    /// Of a write of `start..end` all up to `done` was written. The result is up
    /// to where it is in the storage from now on.
    pub fn written(&self, start: u64, done: u64, end: u64) -> Result<u64> {
        debug_assert!(is_held(Rank::Writing, None));
        let mut map = self.map.write();
        // Of a block that was not filled the rest is still the base's, so none
        // of it counts.
        let cut = done < end && !map.has(done);
        let done = if cut { (done / map.block() * map.block()).max(start) } else { done };
        map.set(start, done).map(|()| done)
    }

    /// Copies what is missing of `start..end` from the base, but for blocks in
    /// which that has nothing: they stay the base's.
    fn fetch_extents(&self, target: &OwnedFd, start: u64, end: u64) -> Result<()> {
        let (block, limit) = (self.map.read().block(), self.limit());
        let mut at = start;
        while let Some((data, hole)) = self.base.next_data(at, end.min(limit))? {
            let to = hole.div_ceil(block) * block;
            self.fetch(target, (data / block * block).max(start), to)?;
            at = to;
        }
        Ok(())
    }

    /// Copies what is missing of `start..end` from the base, holes as zeros: in
    /// a block that is (to be) written to, there must be none (see `Map::load`).
    /// `start` and `end` do not cut a block.
    fn fetch(&self, target: &OwnedFd, start: u64, end: u64) -> Result<()> {
        let mut at = start;
        let end = end.min(self.map.read().limit());
        while at < end {
            let (stored, to) = self.map.read().run(at, end);
            if !stored {
                self.base.copy_buffered(target, at, to)?;
                if self.base.size()? < to {
                    return Err(Errno::IO);
                }
                let tail = to == self.limit() && self.shares_tail(target)?;
                if tail && self.order != WriteOut::None {
                    rustix::fs::fdatasync(target)?;
                }
                self.written(at, to, to)?;
            }
            at = to;
        }
        Ok(())
    }

    /// Copies what is missing of one piece from byte `from` on. The result is
    /// where the next piece begins; `None`: nothing is left.
    ///
    /// Where it is not recorded, until the mark is gone: all
    /// that was copied counts as missing until then.
    pub fn fetch_piece(&self, target: &OwnedFd, from: u64, record: bool) -> Result<Option<u64>> {
        debug_assert!(is_held(Rank::Writing, None));
        if self.is_whole() {
            // What the map has last is no longer true.
            return Ok(None);
        }
        // A block of which a part was copied would count as a whole.
        let piece = PIECE.max(self.map.read().block());
        let end = from.saturating_add(piece).min(self.limit());
        if record {
            self.fetch_extents(target, from, end)?;
        } else {
            let mut at = from;
            while at < end {
                let (stored, to) = self.map.read().run(at, end);
                if !stored && clear(target, at, to)? {
                    self.base.copy_extents(target, at, to)?;
                } else if !stored {
                    self.base.copy_buffered(target, at, to)?;
                }
                at = to;
            }
        }
        Ok((end < self.limit()).then_some(end))
    }

    /// Gives the space back that unrecorded pieces have.
    pub fn drop_unrecorded(&self, target: &OwnedFd) -> Result<()> {
        debug_assert!(is_held(Rank::Writing, None));
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        let (mut at, limit) = (0, self.limit());
        while at < limit {
            let (stored, to) = self.map.read().run(at, limit);
            if !stored {
                rustix::fs::fallocate(target, flags, at, to - at)?;
            }
            at = to;
        }
        Ok(())
    }

    /// Data beyond `size` was cut off in the storage: what comes there later
    /// is not the base's.
    pub fn cut(&self, size: u64) -> Result<()> {
        debug_assert!(is_held(Rank::Writing, None));
        self.map.write().end_at(size)
    }

    /// The same, where it cannot be recorded now.
    pub fn cut_untold(&self, size: u64) {
        self.map.write().end_untold(size);
    }

    /// From where on the data is the storage's.
    pub fn limit(&self) -> u64 {
        self.map.read().limit()
    }

    /// Hands the data to the device, with what says where it is there, and then
    /// records what that makes firm. `sync`: the record reaches the device, too.
    pub fn make_firm(&self, storage: &OwnedFd, sync: bool) -> Result<()> {
        let order = self.order;
        let (seen, file) = {
            let map = self.map.read();
            (map.states(), map.file()?)
        };
        let Some(file) = file else { return Ok(()) };
        // Also of a volatile mount fsync(2) says that it is safe.
        if sync || order != WriteOut::None {
            // The record may overtake the journal, so its order is not enough.
            rustix::fs::fdatasync(storage)?;
        }
        self.map.write().make_firm(&seen)?;
        if sync { rustix::fs::fdatasync(file) } else { Ok(()) }
    }
}

fn is_for_reading(file: &OwnedFd) -> bool {
    rustix::fs::fcntl_getfl(file)
        .is_ok_and(|flags| !flags.intersects(OFlags::RDWR | OFlags::WRONLY))
}

/// Frees what is data of `start..end`: writes that failed may have left it, and
/// it would show where the base has holes. `false`: the file system cannot.
fn clear(target: &OwnedFd, start: u64, end: u64) -> Result<bool> {
    match rustix::fs::seek(target, SeekFrom::Data(start)) {
        Ok(data) if data >= end => return Ok(true),
        Err(Errno::NXIO) => return Ok(true),
        Ok(_) | Err(Errno::INVAL | Errno::OPNOTSUPP) => {}
        Err(errno) => return Err(errno),
    }
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    match rustix::fs::fallocate(target, flags, start, end - start) {
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(false),
        other => other.map(|()| true),
    }
}

/// Reading moves the time of access of the storage file, whichever layer has
/// the data.
fn touch(storage: &OwnedFd, at: u64) {
    // A handle that passes the page cache by may refuse one byte: then not.
    let _ = rustix::io::pread(storage, &mut [0], at);
}

#[cfg(test)]
mod tests;
