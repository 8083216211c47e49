//! Bounded cache of directories in use.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hashbrown::HashMap;
use parking_lot::RwLock;

use super::Dir;
use crate::types::NodeId;

/// Cache of [`Dir`]s, bounded in number: each holds up to three descriptors.
///
/// What somebody uses is never dropped, so the bound may be passed while many
/// operations run at once.
pub(crate) struct DirCache {
    inner: RwLock<Inner>,
    limit: usize,
}

#[derive(Default)]
struct Inner {
    slots: HashMap<u64, Slot>,
    /// Order in which slots are looked at for eviction (the clock algorithm).
    clock: VecDeque<u64>,
}

struct Slot {
    dir: Arc<Dir>,
    used: AtomicBool,
}

impl DirCache {
    pub fn new(limit: usize) -> DirCache {
        DirCache { inner: RwLock::default(), limit }
    }

    pub fn get(&self, id: NodeId) -> Option<Arc<Dir>> {
        let inner = self.inner.read();
        let slot = inner.slots.get(&id.0)?;
        slot.used.store(true, Ordering::Relaxed);
        Some(Arc::clone(&slot.dir))
    }

    /// Enters a directory. If another thread was faster, that one's comes back.
    pub fn insert(&self, dir: Dir) -> Arc<Dir> {
        let mut evicted = Vec::new();
        let mut inner = self.inner.write();
        let id = dir.node.0;
        if let Some(slot) = inner.slots.get(&id) {
            return Arc::clone(&slot.dir);
        }
        let dir = Arc::new(dir);
        let slot = Slot { dir: Arc::clone(&dir), used: AtomicBool::new(true) };
        inner.slots.insert(id, slot);
        inner.clock.push_back(id);
        inner.evict(self.limit, &mut evicted);
        drop(inner);
        // Closing descriptors is a system call: not under the lock.
        drop(evicted);
        dir
    }

    pub fn remove(&self, id: NodeId) {
        let gone = self.inner.write().slots.remove(&id.0);
        drop(gone);
    }

    /// As [`DirCache::remove`], unless `known`: the object may have got a node
    /// with the same id again, whose operations use what is cached.
    pub fn remove_unless(&self, id: NodeId, known: impl FnOnce() -> bool) {
        let mut inner = self.inner.write();
        let gone = if known() { None } else { inner.slots.remove(&id.0) };
        drop(inner);
        drop(gone);
    }
}

impl Inner {
    fn evict(&mut self, limit: usize, evicted: &mut Vec<Slot>) {
        let mut looks = 2 * self.clock.len();
        while self.slots.len() > limit && looks > 0 {
            looks -= 1;
            let Some(id) = self.clock.pop_front() else {
                return;
            };
            let Some(slot) = self.slots.get(&id) else {
                continue;
            };
            let busy = Arc::strong_count(&slot.dir) > 1;
            if slot.used.swap(false, Ordering::Relaxed) || busy {
                self.clock.push_back(id);
            } else if let Some(slot) = self.slots.remove(&id) {
                evicted.push(slot);
            }
        }
    }
}
