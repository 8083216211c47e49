//! Partial files (docs/FORMAT.md, section 7): what marks and maps say, and the data
//! that is put together by them. Which files become partial, and what operations do
//! with them, is told in `copy_up/partial.rs`.
#![forbid(unsafe_code)]

mod copy;
mod data;
mod evidence;
mod file;
mod map;

use rustix::fd::BorrowedFd;
use rustix::fs::{OFlags, Statx};
use rustix::io::Errno;

use crate::format::mark::Mark;
use crate::sys::own::{Own, OwnAttributes};
use crate::sys::{self, Result, Spot};

pub(crate) use data::Data;
pub(crate) use evidence::{Evidence, Verdict};
pub(crate) use file::PartialFile;
pub(crate) use map::BLOCK_MIN;

/// Longest mark in bytes. ext4 has room for one block of attributes.
pub(crate) const MARK_MAX: usize = 3500;

/// The mark of a storage file. EIO: it cannot be read.
pub(crate) fn read_mark(names: OwnAttributes, spot: Spot<'_>) -> Result<Option<Mark>> {
    let mut value = [0; MARK_MAX];
    let len = match names.get(spot, Own::Partial, &mut value) {
        Err(Errno::NODATA | Errno::OPNOTSUPP) => return Ok(None),
        other => other?,
    };
    let mark = Mark::parse(value.get(..len).unwrap_or_default());
    if mark.is_none() {
        tracing::error!("a file in the storage has a damaged mark of its data");
    }
    mark.map(Some).ok_or(Errno::IO)
}

/// Name of a map in the index.
pub(crate) fn map_name(map: u64) -> Vec<u8> {
    format!("p{map:016x}").into_bytes()
}

/// Only attributes and names of the file were changed: it has no data of its own,
/// and nothing was cut off. `index`: the directory of maps, if there is one;
/// `stored`: of the storage file.
pub(crate) fn is_bare(index: Option<BorrowedFd<'_>>, mark: &Mark, stored: &Statx) -> bool {
    if mark.unfinished.is_none() && stored.stx_size != mark.size {
        return false;
    }
    let Some(index) = index else { return true };
    let name = map_name(mark.map);
    match sys::open(Spot::at(index, &name), OFlags::RDONLY | OFlags::NONBLOCK) {
        Err(errno) => errno == Errno::NOENT,
        // One that begins with NUL was never recorded.
        Ok(map) => {
            let mut first = [0];
            sys::read_at(&map, &mut first, 0).is_ok_and(|got| got == 0 || first == [0])
        }
    }
}
