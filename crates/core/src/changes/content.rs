//! Reading and comparing the content of files.

use std::sync::Arc;

use rustix::fd::OwnedFd;
use rustix::fs::OFlags;
use rustix::io::Errno;

use super::sides::{Lower, Sides};
use crate::format::time::Timestamp;
use crate::interface::types::OpenMode;
use crate::reach::overlay::Overlay;
use crate::store::partial::Data;
use crate::sys::descriptors::Ticket;
use crate::sys::{self, Result};
use crate::tree::node::Node;

/// Bytes that are read at once from each side.
const PIECE: usize = 128 * 1024;

/// What a hole has at least, in bytes.
const BLOCK: usize = 4096;

/// The data of one file, as one of the two views shows it.
pub struct Content {
    data: Data,
    _ticket: Ticket,
}

impl Content {
    /// Its size in bytes.
    ///
    /// # Errors
    /// As `fstat(2)`.
    pub fn size(&self) -> Result<u64> {
        self.data.size()
    }

    /// Reads at an offset; less than asked for only at the end.
    ///
    /// # Errors
    /// As `pread(2)`; EIO: the base does not have the data (any more).
    pub fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<usize> {
        self.data.read_at(buf, offset)
    }

    /// The first stretch from `offset` on that may hold something else than zeros: where it
    /// begins and ends. `None`: there is none.
    ///
    /// # Errors
    /// As `lseek(2)`.
    pub fn next_data(&self, offset: u64) -> Result<Option<(u64, u64)>> {
        self.data.next_data(offset, self.size()?)
    }
}

/// Files that content consists of, and how they were at one time.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Stamp(Vec<FileStamp>);

#[derive(Debug, PartialEq, Eq)]
struct FileStamp {
    object: (u64, u64),
    size: u64,
    mtime: Timestamp,
    ctime: Timestamp,
}

impl Stamp {
    /// None of them was changed after this time (seconds), but for the first if `first` may.
    pub fn is_older(&self, than: i64, first: bool) -> bool {
        let counts = self.0.iter().skip(first.into());
        counts.map(|file| file.ctime.sec).all(|changed| changed < than)
    }
}

impl Content {
    /// What it consists of.
    ///
    /// # Errors
    /// As `fstat(2)`.
    pub(crate) fn stamp(&self) -> Result<Stamp> {
        let (mut files, mut data) = (Vec::new(), &self.data);
        loop {
            let (Data::File(file) | Data::Mixed(file, _)) = data;
            let stat = sys::stat_fd(file)?;
            files.push(FileStamp {
                object: sys::dev_ino(&stat),
                size: stat.stx_size,
                mtime: stat.stx_mtime.into(),
                ctime: stat.stx_ctime.into(),
            });
            match data {
                Data::File(_) => return Ok(Stamp(files)),
                Data::Mixed(_, partial) => data = partial.base(),
            }
        }
    }

    /// Somebody has the file of the storage open to be written, or mapped so.
    pub(crate) fn has_writers(&self) -> bool {
        let (Data::File(file) | Data::Mixed(file, _)) = &self.data;
        sys::has_writers(file)
    }

    /// The one file that has all of it.
    pub(crate) fn file(&self) -> Option<&OwnedFd> {
        self.data.file()
    }

    /// Copies all of it to an empty file, holes as holes.
    pub(crate) fn copy_to(&self, to: &OwnedFd) -> Result<()> {
        let size = self.size()?;
        match &self.data {
            Data::File(file) if rustix::fs::ioctl_ficlone(to, file).is_ok() => Ok(()),
            Data::File(file) => {
                let blocks = sys::stat_fd(file)?.stx_blocks;
                self.data.copy_whole(to, size, blocks >= size.div_ceil(512)).map(drop)
            }
            Data::Mixed(..) => self.copy_mixed(to, size),
        }
    }

    /// What is in two places: zeros of whole blocks are holes.
    fn copy_mixed(&self, to: &OwnedFd, size: u64) -> Result<()> {
        rustix::fs::ftruncate(to, size)?;
        let (mut piece, mut at) = (vec![0; PIECE], 0);
        loop {
            let got = self.read_at(&mut piece, at)?;
            if got == 0 {
                return Ok(());
            }
            for block in piece.get(..got).unwrap_or_default().chunks(BLOCK) {
                if block.iter().any(|byte| *byte != 0)
                    && sys::write_at(to, block, at)? < block.len()
                {
                    return Err(Errno::NOSPC);
                }
                at += block.len() as u64;
            }
        }
    }
}

impl Overlay {
    /// The data of a file as the tree shows it.
    pub(crate) fn shown_content(&self, node: &Arc<Node>) -> Result<Content> {
        Sides::of(self).open_upper(node)
    }
}

impl Sides<'_> {
    /// The data of a file of the upper view.
    pub fn open_upper(&self, node: &Arc<Node>) -> Result<Content> {
        let mode = OpenMode { no_access_time: true, ..OpenMode::default() };
        let _ticket = self.overlay.ticket()?;
        let opened = self.overlay.past_leases(|| self.overlay.open_now(node, mode))?;
        let data = match opened.partial.filter(|partial| !partial.is_whole()) {
            Some(partial) => Data::Mixed(opened.fd, partial),
            None => Data::File(opened.fd),
        };
        Ok(Content { data, _ticket })
    }

    /// The same of the lower one.
    pub fn open_lower(&self, lower: &Lower) -> Result<Content> {
        let _ticket = self.overlay.ticket()?;
        let stack = &self.overlay.stack;
        let open = || self.at(lower, |object| object.open_data(stack, OFlags::NOATIME));
        let data = match self.overlay.past_leases(open) {
            // Somebody else's file, which is read by the rights of others.
            Err(Errno::PERM) => self
                .overlay
                .past_leases(|| self.at(lower, |object| object.open_data(stack, OFlags::empty()))),
            other => other,
        }?;
        Ok(Content { data, _ticket })
    }

    /// Two files of this size hold the same. Of what the upper one has not in the storage
    /// nothing is read, nor are holes of both.
    pub fn is_same_content(&self, node: &Arc<Node>, lower: &Lower, size: u64) -> Result<bool> {
        let upper = self.open_upper(node)?;
        let lower = match self.open_lower(lower) {
            // What may not be read, and was copied all the same: there is nothing in it.
            Err(Errno::ACCESS) if size == 0 => return Ok(true),
            lower => lower?,
        };
        // A file of the storage is none of the base.
        let other = !self.overlay.bare && node.in_storage() && upper.data.file().is_some();
        if !other && upper.data.is_same(&lower.data) {
            return Ok(true);
        }
        let piece = usize::try_from(size).unwrap_or(PIECE).min(PIECE);
        let mut buffers = (vec![0; piece], vec![0; piece]);
        if other && size <= PIECE as u64 {
            return is_same_stretch((&upper, &lower), (0, size), &mut buffers);
        }
        let mut at = 0;
        while let Some((start, end)) = to_compare(&upper.data, &lower.data, at, size)? {
            if !is_same_stretch((&upper, &lower), (start, end), &mut buffers)? {
                return Ok(false);
            }
            at = end;
        }
        Ok(true)
    }
}

/// The first stretch from `at` on in which two files may differ.
fn to_compare(upper: &Data, lower: &Data, at: u64, size: u64) -> Result<Option<(u64, u64)>> {
    if let Data::Mixed(_, partial) = upper
        && partial.base().is_same(lower)
    {
        let mut at = at;
        while at < size {
            let (stored, to) = partial.run(at, size);
            if stored {
                return Ok(Some((at, to)));
            }
            at = to;
        }
        return Ok(None);
    }
    Ok(match (upper.next_data(at, size)?, lower.next_data(at, size)?) {
        (None, None) => None,
        (Some(one), None) | (None, Some(one)) => Some(one),
        (Some((a, a_end)), Some((b, b_end))) => {
            let start = a.min(b);
            // Up to where one of them begins or ends.
            let ends = [a, b, a_end, b_end].into_iter().filter(|end| *end > start);
            Some((start, ends.min().unwrap_or(size)))
        }
    })
}

fn is_same_stretch(
    (upper, lower): (&Content, &Content),
    (mut at, end): (u64, u64),
    (own, others): &mut (Vec<u8>, Vec<u8>),
) -> Result<bool> {
    while at < end {
        let len = usize::try_from(end - at).unwrap_or(PIECE).min(own.len());
        let own = own.get_mut(..len).unwrap_or_default();
        let others = others.get_mut(..len).unwrap_or_default();
        let got = upper.read_at(own, at)?;
        if lower.read_at(others, at)? != got || own.get(..got) != others.get(..got) {
            return Ok(false);
        }
        if got == 0 {
            // Both have become shorter.
            break;
        }
        at += got as u64;
    }
    Ok(true)
}
