//! Which blocks of a partial file lie in the storage: a file of the index
//! (docs/FORMAT.md, section 6).

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::SeekFrom;
use rustix::io::Errno;

use crate::sys::{self, Result};

/// Bytes before the states.
const HEADER: usize = 4096;

/// Smallest block, in bytes: the one of most file systems and of a page.
pub(crate) const BLOCK_MIN: u64 = 4096;

/// Most blocks of a file; larger files have larger blocks. A map is a quarter
/// of this many bytes in memory.
const BLOCKS_MAX: u64 = 1 << 20;

/// The block is in the storage, and its data on the device.
const FIRM: u8 = 0b01;
/// The block is in the storage, if there is data (a power cut may leave a hole).
const TENTATIVE: u8 = 0b10;
/// Either.
const ANY: u8 = FIRM | TENTATIVE;

/// The state of each block of one file.
pub(crate) struct Map {
    /// Bytes of a block, a power of two.
    block: u64,
    /// From this byte on everything is in the storage.
    limit: u64,
    /// The limit has still to be recorded.
    unsaid: bool,
    /// Two bits for each block, the lowest first.
    states: Vec<u8>,
    /// Where this is recorded; `None` as long as there is nothing to record.
    file: Option<OwnedFd>,
}

impl Map {
    /// Nothing of the first `size` bytes is in the storage.
    pub fn empty(size: u64) -> Map {
        let mut block = BLOCK_MIN;
        while size.div_ceil(block) > BLOCKS_MAX {
            block *= 2;
        }
        let bytes = usize::try_from(size.div_ceil(block).div_ceil(4)).unwrap_or(usize::MAX);
        Map { block, limit: size, unsaid: false, states: vec![0; bytes], file: None }
    }

    /// As recorded in `file`, for a file whose base object has `size` bytes
    /// and whose storage file is `storage`. What has never been recorded
    /// completely (a power cut) counts as nothing.
    ///
    /// # Errors
    /// EIO: it is damaged.
    pub fn load(file: OwnedFd, size: u64, storage: &OwnedFd) -> Result<Map> {
        let mut map = Map::empty(size);
        let mut header = vec![0; HEADER];
        read_fully(&file, &mut header, 0)?;
        if header.first() != Some(&0) {
            let (block, limit) = parse_header(&header).ok_or(Errno::IO)?;
            if block != map.block || limit > size {
                return Err(Errno::IO);
            }
            map.limit = limit;
            read_fully(&file, &mut map.states, HEADER as u64)?;
            map.file = Some(file);
            // First, lest the end of the file be taken for a hole in its last block.
            let _ = map.end_at(sys::stat_fd(storage)?.stx_size);
            map.drop_holes(storage)?;
        }
        Ok(map)
    }

    /// Data of a tentative block that is not there never reached the device.
    fn drop_holes(&mut self, storage: &OwnedFd) -> Result<()> {
        for index in 0..self.states.len() {
            let Some(byte) = self.states.get(index).copied().filter(|byte| byte & 0b1010_1010 != 0)
            else {
                continue;
            };
            for pair in 0..4 {
                let block = index as u64 * 4 + pair;
                if byte >> (2 * pair) & ANY == TENTATIVE && !self.is_data(block, storage)? {
                    self.put(block, 0);
                }
            }
        }
        Ok(())
    }

    /// There is no hole in the block.
    fn is_data(&self, block: u64, storage: &OwnedFd) -> Result<bool> {
        let start = block * self.block;
        let end = (start + self.block).min(self.limit);
        match rustix::fs::seek(storage, SeekFrom::Hole(start)) {
            Ok(hole) => Ok(hole >= end),
            Err(Errno::NXIO) => Ok(start >= end),
            Err(errno) => Err(errno),
        }
    }

    /// The storage file ends at `size`: what comes there later is not the
    /// base's.
    ///
    /// # Errors
    /// As `pwrite(2)`; it holds for this map all the same.
    pub fn end_at(&mut self, size: u64) -> Result<()> {
        if size >= self.limit {
            return Ok(());
        }
        (self.limit, self.unsaid) = (size, true);
        self.record_limit()
    }

    /// As [`Map::end_at`], to be recorded later.
    pub fn end_untold(&mut self, size: u64) {
        if size < self.limit {
            (self.limit, self.unsaid) = (size, true);
        }
    }

    /// Records the limit, if it is not what the file says.
    ///
    /// # Errors
    /// As `pwrite(2)`; EBADF: there is no file to record in.
    pub fn record_limit(&mut self) -> Result<()> {
        if self.unsaid {
            let file = self.file.as_ref().ok_or(Errno::BADF)?;
            write_fully(file, &header(self.block, self.limit), 0)?;
            self.unsaid = false;
        }
        Ok(())
    }

    /// Whoever loads this would find the limit.
    pub fn limit_is_recorded(&self) -> bool {
        !self.unsaid
    }

    /// From this byte on everything is in the storage.
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// Bytes of a block.
    pub fn block(&self) -> u64 {
        self.block
    }

    /// There is a file to record in.
    pub fn is_recorded(&self) -> bool {
        self.file.is_some()
    }

    /// The file is this one from here on: the same, opened otherwise.
    pub fn reopen(&self, file: &OwnedFd) -> Result<()> {
        self.file.as_ref().map_or(Ok(()), |old| sys::replace_fd(old.as_fd(), file.as_fd()))
    }

    fn state(&self, block: u64) -> u8 {
        let byte = usize::try_from(block / 4).ok().and_then(|index| self.states.get(index));
        byte.map_or(FIRM, |byte| byte >> (2 * (block % 4)) & ANY)
    }

    fn put(&mut self, block: u64, state: u8) {
        let index = usize::try_from(block / 4).unwrap_or(usize::MAX);
        if let Some(byte) = self.states.get_mut(index) {
            let shift = 2 * (block % 4);
            *byte = *byte & !(ANY << shift) | state << shift;
        }
    }

    /// The byte `at` is in the storage.
    pub fn has(&self, at: u64) -> bool {
        at >= self.limit || self.state(at / self.block) != 0
    }

    /// Whether the byte `at` is in the storage, and the end of the stretch
    /// from there, at most to `end`, of which the same is true.
    pub fn run(&self, at: u64, end: u64) -> (bool, u64) {
        let stored = self.has(at);
        let mut to = at;
        while to < end && self.has(to) == stored {
            to = if to >= self.limit { end } else { (to / self.block + 1) * self.block };
            if !stored {
                to = to.min(self.limit);
            }
        }
        (stored, to.min(end))
    }

    /// Bytes that are not in the storage.
    pub fn missing(&self) -> u64 {
        let blocks = self.limit.div_ceil(self.block);
        let missing = (0..blocks).filter(|block| self.state(*block) == 0).count() as u64;
        (missing * self.block).min(self.limit)
    }

    /// Takes a new file to record in.
    pub fn record_in(&mut self, file: OwnedFd) -> Result<()> {
        write_fully(&file, &header(self.block, self.limit), 0)?;
        rustix::fs::ftruncate(&file, (HEADER + self.states.len()) as u64)?;
        (self.file, self.unsaid) = (Some(file), false);
        Ok(())
    }

    /// The blocks that `start..end` touches are in the storage. They are that
    /// as soon as this is recorded, also if the daemon ends.
    pub fn set(&mut self, start: u64, end: u64) -> Result<()> {
        let end = end.min(self.limit);
        if start >= end {
            return Ok(());
        }
        let (first, last) = (start / self.block, (end - 1) / self.block);
        let fresh: Vec<u64> = (first..=last).filter(|block| self.state(*block) == 0).collect();
        if fresh.is_empty() {
            return Ok(());
        }
        fresh.iter().for_each(|block| self.put(*block, TENTATIVE));
        self.record(first, last).inspect_err(|_| fresh.iter().for_each(|block| self.put(*block, 0)))
    }

    /// The states at this moment, for [`Map::make_firm`].
    pub fn states(&self) -> Vec<u8> {
        self.states.clone()
    }

    /// What was tentative in `seen` has its data on the device now. The result
    /// tells whether anything was.
    pub fn make_firm(&mut self, seen: &[u8]) -> Result<bool> {
        let (mut first, mut last) = (None, 0);
        for (index, (byte, seen)) in self.states.iter_mut().zip(seen).enumerate() {
            let tentative = *byte & *seen & 0b1010_1010;
            if tentative != 0 {
                *byte = *byte & !tentative | tentative >> 1;
                first = first.or(Some(index as u64));
                last = index as u64;
            }
        }
        let Some(first) = first else { return Ok(false) };
        self.record(first * 4, last * 4).map(|()| true)
    }

    /// Writes the states of some blocks.
    fn record(&self, first: u64, last: u64) -> Result<()> {
        let file = self.file.as_ref().ok_or(Errno::IO)?;
        let index = |block: u64| usize::try_from(block / 4).map_err(|_| Errno::FBIG);
        let bytes = self.states.get(index(first)?..=index(last)?).ok_or(Errno::IO)?;
        write_fully(file, bytes, HEADER as u64 + first / 4)
    }

    /// A descriptor of the file in which this is recorded.
    pub fn file(&self) -> Result<Option<OwnedFd>> {
        let dup = |file: &OwnedFd| rustix::io::fcntl_dupfd_cloexec(file.as_fd(), 0);
        self.file.as_ref().map(dup).transpose()
    }
}

fn header(block: u64, limit: u64) -> Vec<u8> {
    let mut header = format!("mini_fo map 1 {block} {limit}\n").into_bytes();
    header.resize(HEADER, 0);
    header
}

/// Block and limit.
fn parse_header(header: &[u8]) -> Option<(u64, u64)> {
    let line = header.split(|byte| *byte == b'\n').next()?;
    let line = std::str::from_utf8(line).ok()?.strip_prefix("mini_fo map 1 ")?;
    let (block, limit) = line.split_once(' ')?;
    Some((block.parse().ok()?, limit.parse().ok()?))
}

/// Reads at an offset; what is behind the end of the file stays zero.
fn read_fully(file: &OwnedFd, mut buf: &mut [u8], mut at: u64) -> Result<()> {
    while !buf.is_empty() {
        let got = sys::retry_interrupted(|| rustix::io::pread(file, &mut *buf, at))?;
        if got == 0 {
            return Ok(());
        }
        at += got as u64;
        buf = buf.get_mut(got..).unwrap_or_default();
    }
    Ok(())
}

fn write_fully(file: &OwnedFd, bytes: &[u8], at: u64) -> Result<()> {
    let written = sys::write_at(file, bytes, at)?;
    if written == bytes.len() { Ok(()) } else { Err(Errno::NOSPC) }
}

#[cfg(test)]
mod tests;
