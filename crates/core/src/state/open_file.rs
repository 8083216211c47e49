//! Open files: descriptors in whichever layer the data lies.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fd::OwnedFd;

use crate::interface::types::{NodeId, OpenMode};
use crate::locks::{Rank, RwLock};
use crate::store::partial::PartialFile;
use crate::sys::descriptors::Ticket;
use crate::tree::node::Node;

/// An open file. Dropped when the last user closes it.
///
/// A handle that was opened on the base follows the copy-up: it reads what is
/// in the storage from then on.
pub struct OpenFile {
    pub(crate) node: Arc<Node>,
    pub(crate) mode: OpenMode,
    pub(crate) number: u64,
    pub(crate) opened: RwLock<Arc<Backing>, { Rank::OpenFile as u8 }>,
    /// The next reading moves the time of access.
    pub(crate) access_due: AtomicBool,
    pub(crate) _ticket: Ticket,
}

/// A descriptor in one of the layers.
pub(crate) struct Backing {
    pub fd: OwnedFd,
    pub in_storage: bool,
    /// The base has what the storage file lacks.
    pub partial: Option<Arc<PartialFile>>,
    /// See [`OpenFile::is_generated`].
    pub generated: bool,
}

impl Backing {
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
    pub(crate) fn new(
        node: Arc<Node>,
        mode: OpenMode,
        number: u64,
        (fd, _ticket): (OwnedFd, Ticket),
    ) -> Arc<OpenFile> {
        let opened = Backing { fd, in_storage: true, partial: None, generated: false };
        let opened = RwLock::new(Arc::new(opened));
        let access_due = AtomicBool::new(false);
        Arc::new(OpenFile { node, mode, number, opened, access_due, _ticket })
    }

    /// The id of its node.
    pub fn node_id(&self) -> NodeId {
        self.node.id
    }

    pub(crate) fn node(&self) -> &Arc<Node> {
        &self.node
    }

    pub(crate) fn mode(&self) -> OpenMode {
        self.mode
    }

    /// The base has data that the storage file lacks, at last sight.
    pub(crate) fn partial(&self) -> Option<Arc<PartialFile>> {
        self.opened.read().partial().cloned()
    }

    /// It was opened on the base, and the next reading moves the time of
    /// access: what is cached must not be read unseen.
    pub(crate) fn access_is_due(&self) -> bool {
        self.access_due.load(Ordering::Relaxed)
    }

    /// A number that no other open file of this overlay has had.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// What it reads, while that lies in the base.
    pub(crate) fn in_base(&self) -> Option<Arc<Backing>> {
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
