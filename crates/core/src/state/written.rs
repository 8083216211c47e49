//! Files that were opened to be written while somebody watches: what is written to them by a
//! mapping need not show in any time of the file (tmpfs has none for that).

use std::sync::atomic::{AtomicBool, Ordering};

use hashbrown::HashSet;

use crate::interface::types::NodeId;
use crate::locks::{Mutex, Rank};

/// The files of one overlay.
#[derive(Default)]
pub(crate) struct Written {
    watched: AtomicBool,
    nodes: Mutex<HashSet<NodeId>, { Rank::Written as u8 }>,
}

/// Somebody watches, until it is dropped.
pub(crate) struct Watch<'a>(&'a Written);

impl Written {
    /// From now on files are noted. While nothing is served, or one that is being opened may
    /// be missed. `None`: somebody else watches.
    pub fn watch(&self) -> Option<Watch<'_>> {
        let free = !self.watched.swap(true, Ordering::AcqRel);
        free.then(|| Watch(self))
    }

    /// A file is opened to be written.
    pub fn note(&self, node: NodeId) {
        if self.watched.load(Ordering::Acquire) {
            self.nodes.lock().insert(node);
        }
    }
}

impl Watch<'_> {
    /// A file was opened to be written since.
    pub fn has(&self, node: NodeId) -> bool {
        self.0.nodes.lock().contains(&node)
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        self.0.watched.store(false, Ordering::Release);
        *self.0.nodes.lock() = HashSet::new();
    }
}
