//! The data of a file of the layers below the storage: one file, or what a frozen
//! storage and the layers below it have of it together.

use std::sync::Arc;

use rustix::fd::OwnedFd;
use rustix::fs::SeekFrom;
use rustix::io::Errno;

use super::PartialFile;
use super::copy::{copy_buffered, copy_by, copy_dense, copy_extents, copy_hashed, next_data};
use crate::format::print::Hash;
use crate::sys::{self, Result};

/// Where the data of a file is.
pub(crate) enum Data {
    /// In this file, opened for reading.
    File(OwnedFd),
    /// In the file of a frozen storage as far as it has it, else below.
    Mixed(OwnedFd, Arc<PartialFile>),
}

impl Data {
    /// The file, if all of the data is in it.
    pub fn file(&self) -> Option<&OwnedFd> {
        match self {
            Data::File(file) => Some(file),
            Data::Mixed(..) => None,
        }
    }

    /// Both are the same file. `false`: that is not known.
    pub fn is_same(&self, other: &Data) -> bool {
        let (Data::File(own) | Data::Mixed(own, _), Data::File(others) | Data::Mixed(others, _)) =
            (self, other);
        let one = |fd| sys::stat_fd(fd).map(|stat| sys::dev_ino(&stat));
        self.file().is_some() == other.file().is_some()
            && one(own).is_ok_and(|own| one(others) == Ok(own))
    }

    /// Its size in bytes.
    pub fn size(&self) -> Result<u64> {
        match self {
            Data::File(file) => sys::stat_fd(file).map(|stat| stat.stx_size),
            Data::Mixed(stored, partial) => partial.size(stored),
        }
    }

    /// Reads at an offset; less than asked for only at the end.
    pub fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<usize> {
        match self {
            Data::File(file) => sys::read_at(file, buf, offset),
            Data::Mixed(stored, partial) => partial.read(stored, buf, offset),
        }
    }

    /// As lseek(2) with `SEEK_DATA` or `SEEK_HOLE`; a mixture counts as data from
    /// beginning to end.
    pub fn seek(&self, to: SeekFrom) -> Result<u64> {
        let Data::Mixed(..) = self else {
            return self.file().map_or(Err(Errno::INVAL), |file| rustix::fs::seek(file, to));
        };
        let size = self.size()?;
        match to {
            SeekFrom::Data(at) | SeekFrom::Hole(at) if at >= size => Err(Errno::NXIO),
            SeekFrom::Data(at) => Ok(at),
            _ => Ok(size),
        }
    }

    /// The first stretch of data in `at..end`, as [`next_data`] tells it.
    pub fn next_data(&self, at: u64, end: u64) -> Result<Option<(u64, u64)>> {
        match self {
            Data::File(file) => next_data(file, at, end),
            Data::Mixed(..) => Ok((at < end).then_some((at, end))),
        }
    }

    /// Copies all to an empty file of which it is to become the content; `dense`: it has
    /// no holes. The result is the hash of the content, where that was read.
    pub fn copy_whole(&self, to: &OwnedFd, size: u64, dense: bool) -> Result<Option<Hash>> {
        match self {
            Data::File(file) if dense => copy_dense(file, to, size),
            Data::File(file) => {
                rustix::fs::ftruncate(to, size)?;
                copy_extents(file, to, 0, size).map(|()| None)
            }
            Data::Mixed(..) => {
                rustix::fs::ftruncate(to, size)?;
                let (hash, end) = copy_hashed(|buf, at| self.read_at(buf, at), to, 0, size)?;
                Ok((end == size).then_some(hash))
            }
        }
    }

    /// Copies what is data of `start..end` and leaves holes as they are.
    pub fn copy_extents(&self, to: &OwnedFd, start: u64, end: u64) -> Result<()> {
        match self {
            Data::File(file) => copy_extents(file, to, start, end),
            Data::Mixed(..) => self.copy_buffered(to, start, end),
        }
    }

    /// Copies all from `at` to `end`, or to the end of the data.
    pub fn copy_buffered(&self, to: &OwnedFd, at: u64, end: u64) -> Result<()> {
        match self {
            Data::File(file) => copy_buffered(file, to, at, end),
            Data::Mixed(..) => copy_by(|buf, at| self.read_at(buf, at), to, (at, end), |_| {}),
        }
    }
}
