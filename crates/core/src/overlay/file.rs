//! Open files: descriptors in whichever layer the data lies.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::RwLock;
use rustix::fd::OwnedFd;
use rustix::fs::OFlags;
use rustix::io::Errno;

use super::Overlay;
use super::partial::Need;
use crate::descriptors::Ticket;
use crate::layers::Object;
use crate::node::Node;
use crate::partial::{Data, PartialFile};
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
    _ticket: Ticket,
}

/// A descriptor in one of the layers.
pub(super) struct Opened {
    fd: OwnedFd,
    in_storage: bool,
    /// The base has what the storage file lacks.
    partial: Option<Arc<PartialFile>>,
    /// See [`OpenFile::is_generated`].
    generated: bool,
}

impl Opened {
    pub fn fd(&self) -> &OwnedFd {
        &self.fd
    }

    pub fn in_storage(&self) -> bool {
        self.in_storage
    }

    /// Where the data is that is missing; `None`: all is there.
    pub fn partial(&self) -> Option<&Arc<PartialFile>> {
        self.partial.as_ref().filter(|partial| !partial.is_whole())
    }
}

impl OpenFile {
    /// One of a new file in the storage.
    pub(super) fn new(
        node: Arc<Node>,
        mode: OpenMode,
        number: u64,
        (fd, _ticket): (OwnedFd, Ticket),
    ) -> Arc<OpenFile> {
        let opened = Opened { fd, in_storage: true, partial: None, generated: false };
        let opened = RwLock::new(Arc::new(opened));
        let access_due = AtomicBool::new(false);
        Arc::new(OpenFile { node, mode, number, opened, access_due, _ticket })
    }

    /// The id of its node.
    pub fn node_id(&self) -> NodeId {
        self.node.id
    }

    pub(super) fn node(&self) -> &Arc<Node> {
        &self.node
    }

    pub(super) fn mode(&self) -> OpenMode {
        self.mode
    }

    /// The base has data that the storage file lacks, at last sight.
    pub(super) fn partial(&self) -> Option<Arc<PartialFile>> {
        self.opened.read().partial().cloned()
    }

    /// It was opened on the base, and the next reading moves the time of
    /// access: what is cached must not be read unseen.
    pub(super) fn access_is_due(&self) -> bool {
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
    /// sockets and devices itself); EROFS; ENFILE: programs have as many open as
    /// the process can hold without stopping others; as `open(2)`.
    pub fn open(&self, node: NodeId, mode: OpenMode) -> Result<Arc<OpenFile>> {
        match self.open_with(node, mode, self.ticket()?) {
            Err(Errno::MFILE) => {
                self.give_back_descriptors();
                self.open_with(node, mode, self.ticket()?)
            }
            other => other,
        }
    }

    /// The descriptor of an open file may be had.
    pub(super) fn ticket(&self) -> Result<Ticket> {
        Ticket::file(1).or_else(|_| {
            self.give_back_descriptors();
            Ticket::file(1)
        })
    }

    /// Settles what was closed, and closes directories that nobody uses.
    pub(super) fn give_back_descriptors(&self) {
        self.settle_some();
        self.dirs.empty();
    }

    fn open_with(&self, node: NodeId, mode: OpenMode, _ticket: Ticket) -> Result<Arc<OpenFile>> {
        let node = self.node(node)?;
        match node.kind() {
            libc::S_IFREG => {}
            libc::S_IFDIR => return Err(Errno::ISDIR),
            libc::S_IFLNK => return Err(Errno::LOOP),
            _ => return Err(Errno::NXIO),
        }
        let emptied = mode.truncate && !node.in_storage();
        if mode.write || mode.truncate {
            self.check_writable()?;
            self.await_leaving();
            let need = match mode {
                _ if mode.truncate => Need::NoData,
                _ if mode.append || mode.at_end => Need::Appending,
                _ => Need::Writing { little: mode.idle },
            };
            self.copy_up(&node, need)?;
        }
        if mode.truncate && self.is_partial(&node)? {
            // First, for nobody asks whether the base still has the data.
            self.resize_partial(&node, 0)?;
        }
        let opened = self.past_leases(|| self.open_now(&node, mode))?;
        if mode.truncate {
            if mode.kill_suid_sgid {
                self.drop_suid_sgid(&node)?;
            }
            match self.truncate_opened(&node, &opened, mode) {
                // The copy was made empty: it has happened.
                Err(errno) if emptied && is_empty(&opened) => {
                    tracing::warn!("a file that was emptied: {errno}")
                }
                other => other?,
            }
        }
        // Of storage files it is found out when somebody asks.
        let due = !mode.no_access_time
            && !mode.write
            && !opened.in_storage
            && self.reading_moves(&node, &opened.fd);
        let (number, opened) = (self.next_handle(), RwLock::new(Arc::new(opened)));
        let access_due = AtomicBool::new(due);
        let file = OpenFile { node, mode, number, opened, access_due, _ticket };
        self.note_opened(&file);
        Ok(Arc::new(file))
    }

    fn truncate_opened(&self, node: &Arc<Node>, opened: &Opened, mode: OpenMode) -> Result<()> {
        if mode.write {
            return rustix::fs::ftruncate(&opened.fd, 0);
        }
        // O_RDONLY | O_TRUNC truncates, too.
        let flags = OFlags::WRONLY | OFlags::NONBLOCK;
        let fd = self.past_leases(|| self.change_at(node, |spot| sys::open(spot, flags)))?;
        rustix::fs::ftruncate(fd, 0)
    }

    /// EAGAIN: somebody has a lease on the file.
    fn open_now(&self, node: &Arc<Node>, mode: OpenMode) -> Result<Opened> {
        let mut flags = if mode.write { OFlags::RDWR } else { OFlags::RDONLY };
        // Not to wait here, with `place` held, for somebody's lease.
        flags |= OFlags::NONBLOCK;
        flags.set(OFlags::DIRECT, mode.direct);
        flags.set(OFlags::NOATIME, mode.no_access_time);
        let mut opened = self.at(node, |object| {
            if !object.is_stored() {
                return self.open_below(object, flags);
            }
            let spot = object.stored_at()?;
            let fd = match sys::open(spot, flags) {
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
            }?;
            Ok(Opened { fd, in_storage: true, partial: None, generated: false })
        })?;
        if opened.in_storage {
            opened.partial = self.partial_file(node, &opened.fd)?;
        }
        Ok(opened)
    }

    /// A file of the layers below the storage.
    fn open_below(&self, object: Object<'_>, flags: OFlags) -> Result<Opened> {
        match object.open_data(&self.stack, flags)? {
            Data::Mixed(fd, partial) => {
                Ok(Opened { fd, in_storage: false, partial: Some(partial), generated: false })
            }
            Data::File(fd) => {
                let generated = self.submounts && sys::is_generated(&fd);
                if generated {
                    // Of what is made up when it is read, some waits for there to be any.
                    rustix::fs::fcntl_setfl(&fd, flags.difference(OFlags::NONBLOCK))?;
                }
                Ok(Opened { fd, in_storage: false, partial: None, generated })
            }
        }
    }

    /// The descriptor that holds the data now.
    pub(super) fn current(&self, file: &OpenFile) -> Result<Arc<Opened>> {
        let opened = Arc::clone(&file.opened.read());
        if opened.in_storage || !file.node.in_storage() {
            return Ok(opened);
        }
        let fresh = Arc::new(self.past_leases(|| self.open_now(&file.node, file.mode))?);
        *file.opened.write() = Arc::clone(&fresh);
        Ok(fresh)
    }

    /// The data of a file will not move any more: all of it lies in the storage,
    /// or in the base of a tree that
    /// nobody will ever change.
    pub fn is_settled(&self, file: &OpenFile) -> bool {
        let fixed = self.stays_read_only() && self.live.is_none() && !file.is_generated();
        if file.node.in_storage() || fixed {
            return self.current(file).is_ok_and(|opened| opened.partial().is_none());
        }
        false
    }

    /// A descriptor of the file that holds the data, opened for reading, for a
    /// server that hands I/O past itself. `None`: the data may move.
    pub fn backing(&self, file: &OpenFile) -> Option<OwnedFd> {
        if !self.is_settled(file) {
            return None;
        }
        let opened = self.at(&file.node, |object| object.open_data(&self.stack, OFlags::empty()));
        match opened {
            Ok(Data::File(fd)) => Some(fd),
            _ => None,
        }
    }

    /// Whether anybody, the overlay included, has the storage file of a node
    /// open or mapped for writing; `true` where that cannot be found out.
    ///
    /// The process must ignore SIGIO.
    pub fn has_writers(&self, node: NodeId) -> bool {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK;
        let opened = self.node(node).and_then(|node| {
            self.at(&node, |object| match object.stored_at() {
                Ok(spot) => sys::open_untraced(spot, flags).map(Some),
                Err(_) => Ok(None),
            })
        });
        opened.map_or(true, |fd| fd.is_some_and(sys::has_writers))
    }
}

/// Somebody else may have copied it up with its data.
fn is_empty(opened: &Opened) -> bool {
    sys::stat_fd(&opened.fd).is_ok_and(|stat| stat.stx_size == 0)
}
