//! Bounded cache of directories in use.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hashbrown::HashMap;

use crate::interface::types::NodeId;
use crate::locks::{Rank, RwLock};
use crate::tree::dir::Dir;

/// Bytes of META records in cached directories from which on those that were
/// not used lately are given up: some four million whiteouts.
const RECORD_BYTES: usize = 256 << 20;

/// Descriptors of a directory in use, where it shows one layer below the storage. The
/// bound of the cache is in these; those of more layers count for more.
const DESCRIPTORS: usize = 3;

/// How many directories are entered between two looks at that.
const WEIGHED_EVERY: u32 = 32;

/// A directory with so many bytes of records is weighed at once.
const HEAVY: usize = 1 << 20;

/// Groups of nodes whose losses are counted together.
const GROUPS: usize = 256;

/// Cache of [`Dir`]s, bounded in number and in the descriptors that they hold, and in what
/// their META says.
///
/// What somebody uses is never dropped, so the bound may be passed while many
/// operations run at once.
pub(crate) struct DirCache {
    inner: RwLock<Inner, { Rank::Cache as u8 }>,
    limit: usize,
}

struct Inner {
    slots: HashMap<u64, Slot>,
    /// How many directories of each group have left the cache.
    left: [u64; GROUPS],
    /// Order in which slots are looked at for eviction (the clock algorithm).
    clock: VecDeque<u64>,
    /// Directories entered since the last weighing.
    unweighed: u32,
    /// Descriptors that all together hold, as they were when they were entered.
    descriptors: usize,
}

struct Slot {
    dir: Arc<Dir>,
    used: AtomicBool,
    /// Descriptors that it holds.
    descriptors: usize,
}

/// How often directories that may be a certain one had left the cache.
///
/// Whoever reads META and enters it later may have read it before another
/// thread changed it, by a [`Dir`] that has come and gone meanwhile.
#[derive(Clone, Copy)]
pub(crate) struct Since {
    /// `None`: any directory.
    node: Option<NodeId>,
    left: u64,
}

impl DirCache {
    pub fn new(limit: usize) -> DirCache {
        let (slots, clock) = (HashMap::new(), VecDeque::new());
        let inner = Inner { slots, left: [0; GROUPS], clock, unweighed: 0, descriptors: 0 };
        DirCache { inner: RwLock::new(inner), limit }
    }

    /// To be asked before anything of a directory is read that is to be entered.
    /// `None`: it is not known yet which node that will be.
    pub fn since(&self, node: Option<NodeId>) -> Since {
        Since { node, left: self.inner.read().left(node) }
    }

    pub fn get(&self, id: NodeId) -> Option<Arc<Dir>> {
        let inner = self.inner.read();
        let slot = inner.slots.get(&id.0)?;
        slot.used.store(true, Ordering::Relaxed);
        Some(Arc::clone(&slot.dir))
    }

    /// Enters a directory. If another thread was faster, that one's comes back.
    /// `None`: one has left the cache that may have been the same, so what was
    /// read may be what it said before a change.
    pub fn insert(&self, dir: Dir, since: Since) -> Option<Arc<Dir>> {
        let mut evicted = Evicted::default();
        let mut inner = self.inner.write();
        let id = dir.node.0;
        let heavy = dir.weight() >= HEAVY;
        if let Some(slot) = inner.slots.get(&id) {
            return Some(Arc::clone(&slot.dir));
        }
        if inner.left(since.node) != since.left {
            return None;
        }
        let dir = Arc::new(dir);
        let descriptors = dir.descriptors();
        let slot = Slot { dir: Arc::clone(&dir), used: AtomicBool::new(true), descriptors };
        inner.descriptors += descriptors;
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
        let _ = close(evicted);
        Some(dir)
    }

    /// Gives up all that nobody uses at the moment.
    pub fn empty(&self) {
        loop {
            let mut evicted = Evicted::default();
            let mut inner = self.inner.write();
            inner.slots.values().for_each(|slot| slot.used.store(false, Ordering::Relaxed));
            inner.evict(0, &mut evicted);
            drop(inner);
            if !close(evicted) {
                break;
            }
        }
    }

    /// Forgets all, for what they are is found out anew. Nobody uses any of them, and nothing
    /// of them waits to be written.
    pub fn forget(&self) {
        let mut inner = self.inner.write();
        let ids: Vec<u64> = inner.slots.keys().copied().collect();
        let gone: Vec<Slot> = ids.into_iter().filter_map(|id| inner.take(id)).collect();
        drop(inner);
        drop(gone);
    }

    /// What is being read now is not entered: it may be from before a change that
    /// concerns all directories. Those that are in it stay.
    pub fn outdate(&self) {
        self.inner.write().left.iter_mut().for_each(|left| *left += 1);
    }

    /// All that are in it.
    pub fn all(&self) -> Vec<Arc<Dir>> {
        self.inner.read().slots.values().map(|slot| Arc::clone(&slot.dir)).collect()
    }

    pub fn remove(&self, id: NodeId) {
        let gone = self.inner.write().take(id.0);
        drop(gone);
    }

    /// As [`DirCache::remove`], unless `known`: the object may have got a node
    /// with the same id again, whose operations use what is cached.
    pub fn remove_unless(&self, id: NodeId, known: impl FnOnce() -> bool) {
        if let Some(dir) = self.get(id) {
            dir.write_waiting();
        }
        let mut inner = self.inner.write();
        let gone = if known() { None } else { inner.take(id.0) };
        drop(inner);
        drop(gone);
    }
}

/// What is to be done with directories once the lock is free.
#[derive(Default)]
struct Evicted {
    gone: Vec<Slot>,
    /// Something waits in them to be written, so they go next time: as soon as one is out of
    /// the cache another thread may read its META.
    wait: Vec<Arc<Dir>>,
}

/// Closing descriptors is a system call: not for under the lock. The result tells whether
/// some can go now that could not before.
fn close(Evicted { gone, wait }: Evicted) -> bool {
    wait.iter().for_each(|dir| dir.write_waiting());
    for slot in gone {
        // Nobody else will.
        if let Err(errno) = slot.dir.write_back() {
            tracing::warn!("META of a directory is not written back: {errno}");
        }
    }
    !wait.is_empty()
}

impl Inner {
    /// How many directories have left that may be this one.
    fn left(&self, node: Option<NodeId>) -> u64 {
        let own = node.and_then(|id| self.left.get(id.0 as usize % GROUPS));
        own.copied().unwrap_or_else(|| self.left.iter().sum())
    }

    fn take(&mut self, id: u64) -> Option<Slot> {
        let slot = self.slots.remove(&id)?;
        self.descriptors = self.descriptors.saturating_sub(slot.descriptors);
        if let Some(left) = self.left.get_mut(id as usize % GROUPS) {
            *left += 1;
        }
        Some(slot)
    }

    /// Gives up heavy directories that were not used since the last time this
    /// was necessary, until the others weigh no more than allowed.
    fn lighten(&mut self, allowed: usize, evicted: &mut Evicted) {
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
            } else if slot.dir.waits() {
                evicted.wait.push(Arc::clone(&slot.dir));
                self.clock.push_back(id);
            } else if let Some(slot) = self.take(id) {
                total = total.saturating_sub(weight);
                evicted.gone.push(slot);
            }
        }
    }

    fn evict(&mut self, limit: usize, evicted: &mut Evicted) {
        let mut looks = 2 * self.clock.len();
        while (self.slots.len() > limit || self.descriptors > DESCRIPTORS * limit) && looks > 0 {
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
            } else if slot.dir.waits() {
                evicted.wait.push(Arc::clone(&slot.dir));
                self.clock.push_back(id);
            } else if let Some(slot) = self.take(id) {
                evicted.gone.push(slot);
            }
        }
    }
}
