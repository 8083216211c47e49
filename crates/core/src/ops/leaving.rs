//! Files that were removed and not yet let go.
//!
//! An object that loses its last name is held until the kernel has forgotten it, for
//! somebody may have it open. That takes a moment after the call has returned, in which
//! its space is not free yet. On a storage with room nobody minds; on a full one
//! whoever has just removed a file waits for it before he goes on.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::interface::types::NodeId;
use crate::reach::overlay::Overlay;
use crate::tree::node::Node;

/// Whoever has a file open keeps it. That is waited for only as long as a close that
/// has happened may take to be told.
const PATIENCE: Duration = Duration::from_millis(200);

/// What nobody has open is let go for certain, but a slow machine takes its time for
/// what is large. (Nobody keeps it but with `O_PATH`.)
const LONG: Duration = Duration::from_secs(3);

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(1);

/// With so many bytes free nobody waits.
const ROOM: u64 = 64 << 20;

/// More are not noted: then space comes free all the time.
const MOST: usize = 256;

impl Overlay {
    /// A file in the storage has lost its last name.
    pub(crate) fn note_leaving(&self, node: &Node) {
        if node.kind() != libc::S_IFREG || !node.in_storage() {
            return;
        }
        let mut nodes = self.leaving.nodes.lock();
        // Where nobody lets go (a storage that is not mounted) and where many are removed, a
        // look at all of them for each removal would cost more than the removal.
        while nodes.len() >= MOST
            && nodes.front().is_some_and(|(id, since)| !self.is_on_its_way(*id, *since))
        {
            nodes.pop_front();
        }
        if nodes.len() < MOST {
            nodes.push_back((node.id, Instant::now()));
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
        nodes.retain(|(id, since)| self.is_on_its_way(*id, *since));
        self.leaving.any.store(!nodes.is_empty(), Ordering::Relaxed);
        !nodes.is_empty()
    }

    fn is_on_its_way(&self, node: NodeId, since: Instant) -> bool {
        let patience = if self.is_open(node) { PATIENCE } else { LONG };
        since.elapsed() < patience
    }

    /// Whether open files, or operations just now, hold a node besides the table.
    fn is_open(&self, node: NodeId) -> bool {
        // Of the others one is ours.
        self.table.get(node).is_some_and(|node| Arc::strong_count(&node) > 2)
    }

    /// Waits a moment for what was removed to be gone, where space is scarce. `false`:
    /// there was nothing to wait for.
    pub(crate) fn await_leaving(&self) -> bool {
        if !self.leaving.any.load(Ordering::Relaxed) || !self.is_scarce() || !self.is_leaving() {
            return false;
        }
        let _slow = self.slow_section();
        // Others may remove more all the time: who waits does so once.
        let begun = Instant::now();
        while begun.elapsed() < LONG && self.is_leaving() {
            std::thread::sleep(PAUSE);
        }
        true
    }

    fn is_scarce(&self) -> bool {
        let vfs = rustix::fs::fstatvfs(&self.storage);
        vfs.is_ok_and(|vfs| vfs.f_bavail.saturating_mul(vfs.f_frsize) < ROOM)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interface::options::OpenOptions;
    use crate::interface::types::OpenMode;

    #[test]
    fn what_nobody_has_open_is_waited_for_longer() {
        let dir = tempfile::TempDir::new().unwrap();
        let (base, storage) = (dir.path().join("base"), dir.path().join("storage"));
        for dir in [&base, &storage] {
            std::fs::create_dir(dir).unwrap();
        }
        for name in ["closed", "open"] {
            std::fs::write(base.join(name), name).unwrap();
        }
        let options = OpenOptions { base, storage, ..OpenOptions::default() };
        let overlay = Overlay::assemble(&options).unwrap();
        let remove = |name: &str, keep: bool| {
            let node = overlay.lookup(NodeId::ROOT, name.as_bytes()).unwrap().unwrap().node;
            let mode = OpenMode { write: true, ..OpenMode::default() };
            let file = overlay.open(node, mode).unwrap();
            let file = keep.then_some(file);
            overlay.unlink(NodeId::ROOT, name.as_bytes()).unwrap();
            (node, file)
        };
        let (closed, _) = remove("closed", false);
        std::thread::sleep(PATIENCE * 2);
        assert!(overlay.is_leaving());
        overlay.forget(closed, 1);
        overlay.let_go(closed);
        assert!(!overlay.is_leaving());
        let (open, file) = remove("open", true);
        assert!(overlay.is_leaving());
        std::thread::sleep(PATIENCE * 2);
        assert!(!overlay.is_leaving());
        drop(file);
        overlay.forget(open, 1);
    }
}
