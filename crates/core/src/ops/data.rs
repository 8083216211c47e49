//! The data of open files: read, write, sync, and what else moves bytes.

use std::sync::atomic::Ordering;

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{FallocateFlags, OFlags, SeekFrom};
use rustix::io::{Errno, ReadWriteFlags};

use crate::reach::overlay::Overlay;
use crate::state::open_file::{Backing, OpenFile};
use crate::store::partial::PartialFile;
use crate::sys::{self, Result, Spot};

/// Bytes that one call copies between files that are not in one layer.
const COPY_PIECE: usize = 1 << 20;

impl Overlay {
    /// Reads at an offset; less than asked for only at the end of the file.
    ///
    /// # Errors
    /// EBADF: opened for writing only; as `pread(2)`.
    pub fn read(&self, file: &OpenFile, buf: &mut [u8], offset: u64) -> Result<usize> {
        let opened = self.current(file)?;
        self.note_reading(file);
        match opened.partial() {
            Some(partial) => partial.read(opened.fd(), buf, offset),
            None => sys::read_at(opened.fd(), buf, offset),
        }
    }

    /// Writes at an offset (at the end for an appending handle).
    ///
    /// `kill_suid_sgid`: the writer lacks `CAP_FSETID`.
    ///
    /// # Errors
    /// EBADF: opened for reading; ENOSPC, EFBIG, EIO as `pwrite(2)`.
    pub fn write(
        &self,
        file: &OpenFile,
        data: &[u8],
        offset: u64,
        kill_suid_sgid: bool,
    ) -> Result<usize> {
        if !file.writes() {
            return Err(Errno::BADF);
        }
        if kill_suid_sgid {
            self.drop_suid_sgid(file.node())?;
        }
        let opened = self.current(file)?;
        let write = || match opened.partial() {
            Some(partial) => self.write_partial(file, &opened, partial, data, offset),
            None => put(file, &opened, data, offset),
        };
        match write() {
            Err(Errno::NOSPC) if self.await_leaving() => write(),
            other => other,
        }
    }

    /// Writes to a partial file: what the touched blocks keep of the base comes
    /// to the storage first.
    fn write_partial(
        &self,
        file: &OpenFile,
        opened: &Backing,
        partial: &PartialFile,
        data: &[u8],
        offset: u64,
    ) -> Result<usize> {
        let _lock = self.lock_slow(&partial.writing);
        partial.changed.store(true, Ordering::Relaxed);
        let at_end = file.mode().append;
        let start = if at_end { sys::stat_fd(opened.fd())?.stx_size } else { offset };
        let end = start.saturating_add(data.len() as u64);
        if !partial.concerns(start, end) {
            return put(file, opened, data, offset);
        }
        self.prepare_map(partial)?;
        partial.before_write(&buffered(file, opened)?, start, end)?;
        let written = put(file, opened, data, offset)?;
        let counts = partial.written(start, start + written as u64, end)? - start;
        match usize::try_from(counts).unwrap_or(written) {
            0 if written > 0 => Err(Errno::NOSPC),
            counts => Ok(counts),
        }
    }

    /// Hands a file to the device, and what META says of its name.
    ///
    /// # Errors
    /// EIO, ENOSPC as `fsync(2)`.
    pub fn fsync(&self, file: &OpenFile, datasync: bool) -> Result<()> {
        let opened = self.current(file)?;
        if !opened.in_storage() && !file.node().is_shared() {
            return Ok(());
        }
        let _slow = self.slow_section();
        if !opened.in_storage() {
            // Nothing of it can have changed but how many names it has.
            return sys::absent(self.shared.dir())?.map_or(Ok(()), |index| index.sync_meta());
        }
        let parent = file.node().parent();
        if let Some(parent) = parent
            && let Some(dir) = sys::absent(self.dir(&parent))?
        {
            dir.sync_meta()?;
        }
        if file.node().is_indexed() {
            self.shared.dir()?.sync_meta()?;
        }
        if let Some(partial) = opened.partial() {
            partial.make_firm(opened.fd(), true)?;
        }
        let synced = match datasync {
            true => rustix::fs::fdatasync(opened.fd()),
            false => rustix::fs::fsync(opened.fd()),
        };
        sys::noted_fd("fsync", opened.fd().as_fd(), synced)
    }

    /// Allocates or frees space of a file. `mode`: `FALLOC_FL_*`.
    /// `kill_suid_sgid`: the caller lacks `CAP_FSETID`.
    ///
    /// # Errors
    /// As `fallocate(2)`.
    pub fn fallocate(
        &self,
        file: &OpenFile,
        mode: u32,
        offset: u64,
        len: u64,
        kill_suid_sgid: bool,
    ) -> Result<()> {
        if !file.writes() {
            return Err(Errno::BADF);
        }
        if kill_suid_sgid {
            self.drop_suid_sgid(file.node())?;
        }
        let mode = FallocateFlags::from_bits_retain(mode);
        let opened = self.current(file)?;
        if let Some(partial) = opened.partial()
            && !partial.may_grow()
        {
            let _lock = self.lock_slow(&partial.writing);
            self.prepare_map(partial)?;
        }
        if let Some(partial) = opened.partial()
            && !FallocateFlags::KEEP_SIZE.contains(mode)
        {
            // It changes what the file holds, not only the space it has. Where
            // the file system cannot do it, nothing may have changed.
            rustix::fs::fallocate(sys::create_private_unnamed(self.anywhere())?, mode, 0, 1)?;
            self.make_whole(file.node(), partial, &buffered(file, &opened)?)?;
        }
        let _slow = self.slow_if(len);
        sys::taking_space(|| rustix::fs::fallocate(opened.fd(), mode, offset, len))
    }

    /// Finds the next data or hole. `whence`: `SEEK_DATA` or `SEEK_HOLE`.
    ///
    /// # Errors
    /// ENXIO: none from there on; EINVAL: another `whence`.
    pub fn seek(&self, file: &OpenFile, offset: u64, whence: i32) -> Result<u64> {
        let to = match whence {
            libc::SEEK_DATA => SeekFrom::Data(offset),
            libc::SEEK_HOLE => SeekFrom::Hole(offset),
            _ => return Err(Errno::INVAL),
        };
        let opened = self.current(file)?;
        let Some(partial) = opened.partial() else {
            return rustix::fs::seek(opened.fd(), to);
        };
        let size = partial.size(opened.fd())?;
        match (to, partial.is_untouched()) {
            _ if offset >= size => Err(Errno::NXIO),
            (_, true) if size == partial.mark.size => partial.base().seek(to),
            // A mixture counts as data from beginning to end.
            (SeekFrom::Hole(_), _) => Ok(size),
            _ => Ok(offset),
        }
    }

    /// Copies between two open files, each from a position on, inside the
    /// kernel. `kill_suid_sgid`: the caller lacks `CAP_FSETID`.
    ///
    /// # Errors
    /// As `copy_file_range(2)`.
    pub fn copy_range(
        &self,
        (from, from_offset): (&OpenFile, u64),
        (to, to_offset): (&OpenFile, u64),
        len: usize,
        kill_suid_sgid: bool,
    ) -> Result<usize> {
        if !to.writes() {
            return Err(Errno::BADF);
        }
        if kill_suid_sgid {
            self.drop_suid_sgid(to.node())?;
        }
        let (source, target) = (self.current(from)?, self.current(to)?);
        let _slow = self.slow_if(len as u64);
        if source.partial().is_some() || target.partial().is_some() {
            let mut piece = vec![0; len.min(COPY_PIECE)];
            let got = self.read(from, &mut piece, from_offset)?;
            return self.write(to, piece.get(..got).unwrap_or_default(), to_offset, false);
        }
        let (mut source_at, mut target_at) = (from_offset, to_offset);
        sys::taking_space(|| {
            rustix::fs::copy_file_range(
                source.fd(),
                Some(&mut source_at),
                target.fd(),
                Some(&mut target_at),
                len,
            )
        })
    }
}

/// Writes by the descriptor of a handle.
fn put(file: &OpenFile, opened: &Backing, data: &[u8], offset: u64) -> Result<usize> {
    let written = sys::taking_space(|| {
        sys::write_with(data, |rest, done| {
            if file.mode().append {
                let rest = [std::io::IoSlice::new(rest)];
                rustix::io::pwritev2(opened.fd(), &rest, 0, ReadWriteFlags::APPEND)
            } else {
                rustix::io::pwrite(opened.fd(), rest, offset + done)
            }
        })
    });
    sys::noted_fd("write", opened.fd().as_fd(), written)
}

/// A descriptor of the same storage file that takes any bytes anywhere.
fn buffered(file: &OpenFile, opened: &Backing) -> Result<OwnedFd> {
    let fd = opened.fd().as_fd();
    if file.mode().direct || file.mode().at_end {
        return sys::open(Spot::Fd(fd), OFlags::RDWR);
    }
    rustix::io::fcntl_dupfd_cloexec(fd, 0)
}
