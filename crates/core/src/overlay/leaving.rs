//! Files that were removed and not yet let go.
//!
//! An object that loses its last name is held until the kernel has forgotten it, for
//! somebody may have it open. That takes a moment after the call has returned, in which
//! its space is not free yet. On a storage with room nobody minds; on a full one
//! whoever has just removed a file waits for it before he goes on.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::Overlay;
use crate::node::Node;
use crate::types::NodeId;

/// Whoever has a file open keeps it: that is not waited for.
const PATIENCE: Duration = Duration::from_millis(200);

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(1);

/// With so many bytes free nobody waits.
const ROOM: u64 = 64 << 20;

/// Removed files of the last moment.
#[derive(Default)]
pub(super) struct Leaving {
    any: AtomicBool,
    nodes: Mutex<Vec<(NodeId, Instant)>>,
}

/// More are not noted: then space comes free all the time.
const MOST: usize = 256;

impl Overlay {
    /// A file in the storage has lost its last name.
    pub(super) fn note_leaving(&self, node: &Node) {
        if node.kind() != libc::S_IFREG || !node.in_storage() {
            return;
        }
        let mut nodes = self.leaving.nodes.lock();
        if nodes.len() >= MOST {
            nodes.retain(|(_, since)| since.elapsed() < PATIENCE);
        }
        if nodes.len() < MOST {
            nodes.push((node.id, Instant::now()));
            self.leaving.any.store(true, Ordering::Relaxed);
        }
    }

    /// The kernel has given back lookups of a node, and a server what it had open of
    /// its own: if those were the last, nothing holds the object any more.
    pub fn let_go(&self, node: NodeId) {
        if self.leaving.any.load(Ordering::Relaxed) && !self.knows(node) {
            self.leaving.nodes.lock().retain(|(leaving, _)| *leaving != node);
        }
    }

    /// Some are on their way.
    fn is_leaving(&self) -> bool {
        let mut nodes = self.leaving.nodes.lock();
        nodes.retain(|(_, since)| since.elapsed() < PATIENCE);
        self.leaving.any.store(!nodes.is_empty(), Ordering::Relaxed);
        !nodes.is_empty()
    }

    /// Waits a moment for what was removed to be gone, where space is scarce.
    pub(super) fn await_leaving(&self) {
        if !self.leaving.any.load(Ordering::Relaxed) || !self.is_scarce() || !self.is_leaving() {
            return;
        }
        let _slow = self.slow_section();
        // Others may remove more all the time: who waits does so once.
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE && self.is_leaving() {
            std::thread::sleep(PAUSE);
        }
    }

    fn is_scarce(&self) -> bool {
        let vfs = rustix::fs::fstatvfs(&self.storage);
        vfs.is_ok_and(|vfs| vfs.f_bavail.saturating_mul(vfs.f_frsize) < ROOM)
    }
}
