//! Bounded cache of directories in use.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hashbrown::HashMap;
use parking_lot::RwLock;

use super::Dir;
use crate::types::NodeId;

/// Bytes of META records in cached directories from which on those that were
/// not used lately are given up: some four million whiteouts.
const RECORD_BYTES: usize = 256 << 20;

/// How many directories are entered between two looks at that.
const WEIGHED_EVERY: u32 = 32;

/// A directory with so many bytes of records is weighed at once.
const HEAVY: usize = 1 << 20;

/// Cache of [`Dir`]s, bounded in number, as each holds up to three descriptors,
/// and in what their META says.
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
    /// Directories entered since the last weighing.
    unweighed: u32,
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
        let heavy = dir.weight() >= HEAVY;
        if let Some(slot) = inner.slots.get(&id) {
            return Arc::clone(&slot.dir);
        }
        let dir = Arc::new(dir);
        let slot = Slot { dir: Arc::clone(&dir), used: AtomicBool::new(true) };
        inner.slots.insert(id, slot);
        inner.clock.push_back(id);
        if inner.clock.len() > 4 * self.limit {
            // Removed directories leave their turns behind.
            inner.clock = inner.slots.keys().copied().collect();
        }
        inner.evict(self.limit, &mut evicted);
        inner.unweighed += 1;
        if heavy || inner.unweighed >= WEIGHED_EVERY {
            inner.unweighed = 0;
            inner.lighten(RECORD_BYTES, &mut evicted);
        }
        drop(inner);
        close(evicted);
        dir
    }

    /// Gives up all that nobody uses at the moment.
    pub fn empty(&self) {
        let mut evicted = Vec::new();
        let mut inner = self.inner.write();
        inner.slots.values().for_each(|slot| slot.used.store(false, Ordering::Relaxed));
        inner.evict(0, &mut evicted);
        drop(inner);
        close(evicted);
    }

    /// All that are in it.
    pub fn all(&self) -> Vec<Arc<Dir>> {
        self.inner.read().slots.values().map(|slot| Arc::clone(&slot.dir)).collect()
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

/// Closing descriptors is a system call: not for under the lock.
fn close(evicted: Vec<Slot>) {
    for slot in evicted {
        // Nobody else will.
        if let Err(errno) = slot.dir.write_back() {
            tracing::warn!("META of a directory is not written back: {errno}");
        }
    }
}

impl Inner {
    /// Gives up heavy directories that were not used since the last time this
    /// was necessary, until the others weigh no more than allowed.
    fn lighten(&mut self, allowed: usize, evicted: &mut Vec<Slot>) {
        let mut total: usize = self.slots.values().map(|slot| slot.dir.weight()).sum();
        if total <= allowed {
            return;
        }
        for _ in 0..self.clock.len() {
            let Some(id) = self.clock.pop_front() else { return };
            let Some(slot) = self.slots.get(&id) else { continue };
            let weight = slot.dir.weight();
            let busy = Arc::strong_count(&slot.dir) > 1 || slot.dir.owes();
            let used = slot.used.swap(false, Ordering::Relaxed);
            if total <= allowed || used || busy || weight < allowed / 1024 {
                self.clock.push_back(id);
            } else if let Some(slot) = self.slots.remove(&id) {
                total = total.saturating_sub(weight);
                evicted.push(slot);
            }
        }
    }

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
            let busy = Arc::strong_count(&slot.dir) > 1 || slot.dir.owes();
            if slot.used.swap(false, Ordering::Relaxed) || busy {
                self.clock.push_back(id);
            } else if let Some(slot) = self.slots.remove(&id) {
                evicted.push(slot);
            }
        }
    }
}
