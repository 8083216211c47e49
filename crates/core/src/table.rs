//! The table of known nodes, by number and by (directory, name).
#![forbid(unsafe_code)]

use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hashbrown::{DefaultHashBuilder, HashMap, HashTable};
use parking_lot::RwLock;

use crate::node::{Link, Node};
use crate::types::NodeId;

/// Marks node ids that are not the number of their object, because that one is
/// taken.
const COUNTED: u64 = 1 << 63;

/// What became of a new node.
pub(crate) enum Inserted {
    /// It is known now; or, as another thread was faster, the node that has
    /// its name already. With one reference.
    Known(Arc<Node>),
    /// Another node has its id.
    Taken(Box<Node>),
}

/// Known nodes. Its lock is a leaf: nothing else is taken and no system call
/// made under it.
pub(crate) struct Table {
    inner: RwLock<Inner>,
    next: AtomicU64,
    hasher: DefaultHashBuilder,
}

#[derive(Default)]
struct Inner {
    by_id: HashMap<u64, Arc<Node>>,
    by_name: HashTable<NameEntry>,
}

struct NameEntry {
    hash: u64,
    link: Arc<Link>,
    node: Arc<Node>,
}

impl Table {
    pub fn new(root: Arc<Node>) -> Table {
        let mut inner = Inner::default();
        inner.by_id.insert(root.id.0, root);
        Table {
            inner: RwLock::new(inner),
            next: AtomicU64::new(COUNTED),
            hasher: DefaultHashBuilder::default(),
        }
    }

    /// An id that no object has by its number, and no node had before.
    pub fn fresh_id(&self) -> NodeId {
        NodeId(self.next.fetch_add(1, Ordering::Relaxed))
    }

    pub fn get(&self, id: NodeId) -> Option<Arc<Node>> {
        self.inner.read().by_id.get(&id.0).cloned()
    }

    /// Number of known nodes, the root included.
    pub fn len(&self) -> usize {
        self.inner.read().by_id.len()
    }

    fn hash(&self, parent: NodeId, name: &[u8]) -> u64 {
        self.hasher.hash_one((parent.0, name))
    }

    /// The known node of a name, with one reference more.
    pub fn child(&self, parent: NodeId, name: &[u8]) -> Option<Arc<Node>> {
        let hash = self.hash(parent, name);
        let inner = self.inner.read();
        let node = inner.find(hash, parent, name)?;
        node.lookups.fetch_add(1, Ordering::Relaxed);
        Some(Arc::clone(node))
    }

    /// The known node of an id, with one reference more.
    pub fn referenced(&self, id: NodeId) -> Option<Arc<Node>> {
        let inner = self.inner.read();
        let node = inner.by_id.get(&id.0)?;
        node.lookups.fetch_add(1, Ordering::Relaxed);
        Some(Arc::clone(node))
    }

    /// The number that the known object of a name shows.
    pub fn number(&self, parent: NodeId, name: &[u8]) -> Option<u64> {
        let hash = self.hash(parent, name);
        self.inner.read().find(hash, parent, name).map(|node| node.ino)
    }

    /// Enters a node under its first name, with one reference.
    pub fn insert(&self, node: Node) -> Inserted {
        let link = node.place.read().names.first().cloned();
        let mut inner = self.inner.write();
        let hash = link.as_ref().map(|link| self.hash(link.parent.id, &link.name));
        if let (Some(link), Some(hash)) = (&link, hash)
            && let Some(known) = inner.find(hash, link.parent.id, &link.name)
        {
            known.lookups.fetch_add(1, Ordering::Relaxed);
            return Inserted::Known(Arc::clone(known));
        }
        if inner.by_id.contains_key(&node.id.0) {
            return Inserted::Taken(Box::new(node));
        }
        let node = Arc::new(node);
        if let (Some(link), Some(hash)) = (link, hash) {
            inner.enter(hash, link, &node);
        }
        node.lookups.fetch_add(1, Ordering::Relaxed);
        inner.by_id.insert(node.id.0, Arc::clone(&node));
        Inserted::Known(node)
    }

    /// Enters one more name. The caller changes the node's `place` with it.
    pub fn add_name(&self, node: &Arc<Node>, link: Arc<Link>) {
        let hash = self.hash(link.parent.id, &link.name);
        let mut inner = self.inner.write();
        inner.enter(hash, link, node);
    }

    /// Takes a name away. The caller changes the node's `place` with it.
    pub fn remove_name(&self, parent: NodeId, name: &[u8]) {
        let hash = self.hash(parent, name);
        let mut inner = self.inner.write();
        if let Some(link) = inner.leave(hash, parent, name) {
            link.parent.children.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Gives `count` references back. The nodes that nobody knows any more,
    /// parents included, come back, so that the caller can drop what it keeps
    /// for them.
    pub fn forget(&self, node: &Arc<Node>, count: u64) -> Vec<Arc<Node>> {
        let left = node
            .lookups
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |n| Some(n.saturating_sub(count)));
        let mut gone = Vec::new();
        if left.is_ok_and(|before| before > count) {
            return gone;
        }
        let mut candidates = vec![Arc::clone(node)];
        while let Some(node) = candidates.pop() {
            if self.drop_unused(&node, &mut candidates) {
                gone.push(node);
            }
        }
        gone
    }

    /// Takes a node out if nothing refers to it. Its parents may be next.
    fn drop_unused(&self, node: &Arc<Node>, parents: &mut Vec<Arc<Node>>) -> bool {
        // `place` is read first, as the order of locks wants it.
        let place = node.place.read();
        let mut inner = self.inner.write();
        let used =
            node.lookups.load(Ordering::Acquire) > 0 || node.children.load(Ordering::Acquire) > 0;
        if used || node.is_root() || inner.by_id.remove(&node.id.0).is_none() {
            return false;
        }
        for link in place.names.iter() {
            let hash = self.hash(link.parent.id, &link.name);
            if inner.leave(hash, link.parent.id, &link.name).is_some()
                && link.parent.children.fetch_sub(1, Ordering::AcqRel) == 1
                && link.parent.lookups.load(Ordering::Acquire) == 0
            {
                parents.push(Arc::clone(&link.parent));
            }
        }
        true
    }
}

impl Inner {
    fn find(&self, hash: u64, parent: NodeId, name: &[u8]) -> Option<&Arc<Node>> {
        let entry = self.by_name.find(hash, |e| e.hash == hash && e.link.is(parent, name))?;
        Some(&entry.node)
    }

    fn enter(&mut self, hash: u64, link: Arc<Link>, node: &Arc<Node>) {
        link.parent.children.fetch_add(1, Ordering::AcqRel);
        let entry = NameEntry { hash, link, node: Arc::clone(node) };
        self.by_name.insert_unique(hash, entry, |entry| entry.hash);
    }

    fn leave(&mut self, hash: u64, parent: NodeId, name: &[u8]) -> Option<Arc<Link>> {
        let entry =
            self.by_name.find_entry(hash, |e| e.hash == hash && e.link.is(parent, name)).ok()?;
        Some(entry.remove().0.link)
    }
}
