//! Open files: their data in whichever layer it lies.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::RwLock;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{FallocateFlags, OFlags, SeekFrom};
use rustix::io::{Errno, ReadWriteFlags};

use super::Overlay;
use crate::node::Node;
use crate::sys::{self, Result};
use crate::types::{NodeId, OpenMode};

/// An open file. Dropped when the last user closes it.
///
/// A handle that was opened on the base follows the copy-up: it reads what is
/// in the storage from then on.
pub struct OpenFile {
    node: Arc<Node>,
    mode: OpenMode,
    number: u64,
    opened: RwLock<Arc<Opened>>,
    /// The next reading moves the time of access.
    pub(super) access_due: AtomicBool,
}

/// A descriptor in one of the layers.
pub(super) struct Opened {
    fd: OwnedFd,
    in_storage: bool,
    /// See [`OpenFile::is_generated`].
    generated: bool,
}

impl Opened {
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl OpenFile {
    pub(super) fn new(
        node: Arc<Node>,
        mode: OpenMode,
        number: u64,
        fd: OwnedFd,
        in_storage: bool,
    ) -> Arc<OpenFile> {
        let opened = RwLock::new(Arc::new(Opened { fd, in_storage, generated: false }));
        Arc::new(OpenFile { node, mode, number, opened, access_due: AtomicBool::new(false) })
    }

    /// The id of its node.
    pub fn node_id(&self) -> NodeId {
        self.node.id
    }

    pub(super) fn node(&self) -> &Node {
        &self.node
    }

    /// The next reading moves the time of access: what is cached must not be
    /// read unseen.
    pub fn access_is_due(&self) -> bool {
        self.access_due.load(Ordering::Relaxed)
    }

    /// A number that no other open file of this overlay has had.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// What it reads, while that lies in the base.
    pub(super) fn in_base(&self) -> Option<Arc<Opened>> {
        let opened = Arc::clone(&self.opened.read());
        (!opened.in_storage && !self.node.in_storage()).then_some(opened)
    }

    /// It may write.
    pub fn writes(&self) -> bool {
        self.mode.write
    }

    /// The content is made up when it is read (`/proc`, `/sys`, by way of
    /// `submounts`): the size says nothing and nothing may be cached.
    pub fn is_generated(&self) -> bool {
        self.opened.read().generated
    }
}

impl Overlay {
    /// Opens a file. Opening for writing copies a base file up.
    ///
    /// # Errors
    /// EISDIR; ENXIO for what is not a regular file (the kernel opens FIFOs,
    /// sockets and devices itself); EROFS; as `open(2)`.
    pub fn open(&self, node: NodeId, mode: OpenMode) -> Result<Arc<OpenFile>> {
        let node = self.node(node)?;
        match node.kind {
            libc::S_IFREG => {}
            libc::S_IFDIR => return Err(Errno::ISDIR),
            libc::S_IFLNK => return Err(Errno::LOOP),
            _ => return Err(Errno::NXIO),
        }
        if mode.write || mode.truncate {
            self.check_writable()?;
            self.copy_up(&node, mode.truncate)?;
        }
        let opened = self.open_now(&node, mode)?;
        if mode.truncate {
            if mode.kill_suid_sgid {
                self.drop_suid_sgid(&node)?;
            }
            self.truncate_opened(&node, &opened, mode)?;
        }
        let due = !mode.no_access_time
            && !mode.write
            && sys::stat_fd(&opened.fd).is_ok_and(|stat| self.access_moves(&node, &stat));
        let (number, opened) = (self.next_handle(), RwLock::new(Arc::new(opened)));
        let access_due = AtomicBool::new(due);
        let file = OpenFile { node, mode, number, opened, access_due };
        self.note_opened(&file);
        Ok(Arc::new(file))
    }

    fn truncate_opened(&self, node: &Arc<Node>, opened: &Opened, mode: OpenMode) -> Result<()> {
        if mode.write {
            return rustix::fs::ftruncate(&opened.fd, 0);
        }
        // O_RDONLY | O_TRUNC truncates, too.
        let fd = self.at(node, |spot, _| sys::open(spot, OFlags::WRONLY | OFlags::NONBLOCK))?;
        rustix::fs::ftruncate(fd, 0)
    }

    fn open_now(&self, node: &Arc<Node>, mode: OpenMode) -> Result<Opened> {
        let mut flags = if mode.write { OFlags::RDWR } else { OFlags::RDONLY };
        flags.set(OFlags::DIRECT, mode.direct);
        flags.set(OFlags::NOATIME, mode.no_access_time);
        self.at(node, |spot, in_storage| {
            let fd = if in_storage {
                match sys::open(spot, flags) {
                    Err(Errno::PERM) if mode.no_access_time => {
                        sys::open(spot, flags.difference(OFlags::NOATIME))
                    }
                    // A file that may be written, but not read.
                    Err(Errno::ACCESS) if mode.write => {
                        sys::open(spot, flags.difference(OFlags::RDWR) | OFlags::WRONLY)
                    }
                    // A file that may only be appended to (chattr +a).
                    Err(Errno::PERM) if mode.write && mode.at_end => {
                        sys::open(spot, flags | OFlags::APPEND)
                    }
                    other => other,
                }
            } else {
                sys::open_untraced(spot, flags)
            }?;
            let generated = self.submounts && !in_storage && sys::is_generated(&fd);
            Ok(Opened { fd, in_storage, generated })
        })
    }

    /// The descriptor that holds the data now.
    pub(super) fn current(&self, file: &OpenFile) -> Result<Arc<Opened>> {
        let opened = Arc::clone(&file.opened.read());
        if opened.in_storage || !file.node.in_storage() {
            return Ok(opened);
        }
        let fresh = Arc::new(self.open_now(&file.node, file.mode)?);
        *file.opened.write() = Arc::clone(&fresh);
        Ok(fresh)
    }

    /// The data of a file will not move any more: it lies in the storage, or in
    /// the base of a tree that nobody can change.
    pub fn is_settled(&self, file: &OpenFile) -> bool {
        let fixed = self.read_only && self.live.is_none() && !file.is_generated();
        file.node.in_storage() || fixed
    }

    /// A descriptor of the file that holds the data, opened for reading, for a
    /// server that hands I/O past itself. `None`: the data may move.
    pub fn backing(&self, file: &OpenFile) -> Option<OwnedFd> {
        if !self.is_settled(file) {
            return None;
        }
        self.at(&file.node, |spot, _| sys::open_untraced(spot, OFlags::RDONLY | OFlags::NONBLOCK))
            .ok()
    }

    /// Whether anybody, the overlay included, has the storage file of a node
    /// open or mapped for writing; `true` where that cannot be found out.
    ///
    /// The process must ignore SIGIO.
    pub fn has_writers(&self, node: NodeId) -> bool {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK;
        let opened = self.node(node).and_then(|node| {
            self.at(&node, |spot, in_storage| {
                if in_storage { sys::open_untraced(spot, flags).map(Some) } else { Ok(None) }
            })
        });
        opened.map_or(true, |fd| fd.is_some_and(sys::has_writers))
    }

    /// Reads at an offset; less than asked for only at the end of the file.
    ///
    /// # Errors
    /// EBADF: opened for writing only; as `pread(2)`.
    pub fn read(&self, file: &OpenFile, buf: &mut [u8], offset: u64) -> Result<usize> {
        let opened = self.current(file)?;
        self.note_reading(file);
        let mut done = 0;
        while let Some(rest) = buf.get_mut(done..).filter(|rest| !rest.is_empty()) {
            match rustix::io::pread(&opened.fd, rest, offset + done as u64) {
                Ok(0) => break,
                Ok(got) => done += got,
                Err(Errno::INTR) => {}
                Err(errno) if done == 0 => return Err(errno),
                Err(_) => break,
            }
        }
        Ok(done)
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
        if !file.mode.write {
            return Err(Errno::BADF);
        }
        if kill_suid_sgid {
            self.drop_suid_sgid(&file.node)?;
        }
        let opened = self.current(file)?;
        let mut done = 0;
        while let Some(rest) = data.get(done..).filter(|rest| !rest.is_empty()) {
            let put = if file.mode.append {
                let rest = [std::io::IoSlice::new(rest)];
                rustix::io::pwritev2(&opened.fd, &rest, 0, ReadWriteFlags::APPEND)
            } else {
                rustix::io::pwrite(&opened.fd, rest, offset + done as u64)
            };
            match put {
                Ok(0) => break,
                Ok(put) => done += put,
                Err(Errno::INTR) => {}
                Err(errno) if done == 0 => return Err(errno),
                Err(_) => break,
            }
        }
        Ok(done)
    }

    /// Hands a file to the device, and what META says of its name.
    ///
    /// # Errors
    /// EIO, ENOSPC as `fsync(2)`.
    pub fn fsync(&self, file: &OpenFile, datasync: bool) -> Result<()> {
        let opened = self.current(file)?;
        if !opened.in_storage {
            return Ok(());
        }
        let _slow = self.slow_section();
        let parent = file.node.parent();
        if let Some(parent) = parent
            && let Some(dir) = sys::absent(self.dir(&parent))?
        {
            dir.sync_meta()?;
        }
        if file.node.is_indexed() {
            self.shared.dir()?.sync_meta()?;
        }
        if datasync { rustix::fs::fdatasync(&opened.fd) } else { rustix::fs::fsync(&opened.fd) }
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
        if !file.mode.write {
            return Err(Errno::BADF);
        }
        if kill_suid_sgid {
            self.drop_suid_sgid(&file.node)?;
        }
        let opened = self.current(file)?;
        let _slow = self.slow_if(len);
        rustix::fs::fallocate(&opened.fd, FallocateFlags::from_bits_retain(mode), offset, len)
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
        rustix::fs::seek(&self.current(file)?.fd, to)
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
        if !to.mode.write {
            return Err(Errno::BADF);
        }
        if kill_suid_sgid {
            self.drop_suid_sgid(&to.node)?;
        }
        let (source, target) = (self.current(from)?, self.current(to)?);
        let _slow = self.slow_if(len as u64);
        let (mut source_at, mut target_at) = (from_offset, to_offset);
        rustix::fs::copy_file_range(
            &source.fd,
            Some(&mut source_at),
            &target.fd,
            Some(&mut target_at),
            len,
        )
    }
}
