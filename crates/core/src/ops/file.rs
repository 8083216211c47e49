//! Open files: descriptors in whichever layer the data lies.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use rustix::fd::OwnedFd;
use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::copy_up::partial::Need;
use crate::interface::types::{NodeId, OpenMode};
use crate::locks::RwLock;
use crate::reach::overlay::Overlay;
use crate::state::open_file::{Backing, OpenFile};
use crate::store::partial::Data;
use crate::sys::descriptors::Ticket;
use crate::sys::{self, Result};
use crate::tree::node::Node;

/// From this size on reading past the server is worth registering a file.
const LARGE: u64 = 128 << 10;

impl Overlay {
    /// Opens a file. Opening for writing copies a base file up.
    ///
    /// # Errors
    /// EISDIR; ENXIO for what is not a regular file (the kernel opens FIFOs,
    /// sockets and devices itself); EROFS; ETXTBSY: a program is to be emptied, and not
    /// written; ENFILE: programs have as many open as
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
    pub(crate) fn ticket(&self) -> Result<Ticket> {
        Ticket::file(1).or_else(|_| {
            self.give_back_descriptors();
            Ticket::file(1)
        })
    }

    /// Settles what was closed, and closes directories that nobody uses.
    pub(crate) fn give_back_descriptors(&self) {
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
        // O_RDONLY | O_TRUNC. Of an opening for writing the kernel asks first whether
        // somebody runs the program; of this one when it has been carried out.
        if mode.truncate && !mode.write && self.attr_of(&node)?.mode & 0o111 != 0 {
            return Err(Errno::TXTBSY);
        }
        let emptied = mode.truncate && !node.in_storage();
        if mode.write || mode.truncate {
            self.check_writable()?;
            self.written.note(node.id);
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

    fn truncate_opened(&self, node: &Arc<Node>, opened: &Backing, mode: OpenMode) -> Result<()> {
        if mode.write {
            return rustix::fs::ftruncate(&opened.fd, 0);
        }
        // O_RDONLY | O_TRUNC truncates, too.
        let flags = OFlags::WRONLY | OFlags::NONBLOCK;
        let fd = self.past_leases(|| self.change_at(node, |spot| sys::open(spot, flags)))?;
        rustix::fs::ftruncate(fd, 0)
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

    /// A descriptor of a base file for a server that lets programs and libraries be read past
    /// itself, which nobody changes while they are in use. From then on the file reads as it
    /// is now, whatever is written to the node. `None`: it is none of these, is small, or lies
    /// where it could be written.
    pub fn program(&self, file: &OpenFile) -> Option<OwnedFd> {
        let opened = file.in_base().filter(|opened| !opened.generated)?;
        if file.mode.write || file.node.is_shared() || opened.partial.is_some() {
            return None;
        }
        let is_large = sys::stat_fd(opened.fd()).is_ok_and(|stat| stat.stx_size >= LARGE);
        let mut first = [0; 8];
        if !is_large || sys::read_at(opened.fd(), &mut first, 0) != Ok(first.len()) {
            return None;
        }
        let starts = |magic: &[u8]| first.starts_with(magic);
        let is_one = starts(b"\x7fELF") || starts(b"!<arch>\n");
        if !is_one || !sys::is_on_read_only(opened.fd()) {
            return None;
        }
        rustix::io::fcntl_dupfd_cloexec(opened.fd(), 0).ok()
    }

    /// Takes its name from a node of the base, as an unlink by others: who has it open goes on
    /// with the file of the base, and who comes by the name finds another node. `false`: it
    /// lies in the storage, or has not just one name.
    pub fn leave_name(&self, id: NodeId) -> bool {
        let Ok(node) = self.node(id) else { return false };
        if node.in_storage() || node.is_shared() || node.is_dir() {
            return false;
        }
        let link = node.place().names.first().cloned();
        let Some((link, object)) = link.zip(self.hold(&node).ok()) else { return false };
        self.lose_name_of(&node, &link, Some(object))
    }

    /// What is read lies in the base.
    pub fn lies_in_base(&self, file: &OpenFile) -> bool {
        file.in_base().is_some()
    }

    /// Whether anybody, the overlay included, has the storage file of a node
    /// open or mapped for writing; `true` where that cannot be found out.
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
fn is_empty(opened: &Backing) -> bool {
    sys::stat_fd(&opened.fd).is_ok_and(|stat| stat.stx_size == 0)
}
