//! The table of known nodes, by number and by (directory, name).
//!
//! It is cut into shards: a table that grows moves all its entries at once, and
//! looks at each node for that, which must not hold up anybody for long however
//! many there are.
#![forbid(unsafe_code)]

use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use hashbrown::{DefaultHashBuilder, HashMap, HashTable};

use crate::interface::types::NodeId;
use crate::locks::{Among, Rank, RwLock, WriteGuard};
use crate::tree::node::{Link, Node};

/// Marks node ids that are not the number of their object, because that one is
/// taken.
const COUNTED: u64 = 1 << 63;

/// Whether an id is one of those, which mean nothing after they were forgotten.
pub(crate) fn is_counted(id: NodeId) -> bool {
    id.0 & COUNTED != 0
}

/// The node id of an object with this number.
pub(crate) fn node_id(number: u64) -> NodeId {
    // 0 is none and 1 the root, whatever numbers the base gives.
    if number <= NodeId::ROOT.0 { NodeId(number | 1 << 61) } else { NodeId(number) }
}

/// Shards by number, and as many by name.
const SHARDS: usize = 256;

/// What became of a new node.
pub(crate) enum Inserted {
    /// It is known now; or, as another thread was faster, the node that has
    /// its name already. With one reference.
    Known(Arc<Node>),
    /// Another node has its id.
    Taken(Box<Node>),
}

/// Known nodes.
///
/// No system call is made under its locks. Of names several shards are held together,
/// in their order, of numbers one.
pub(crate) struct Table {
    ids: Box<[RwLock<Ids, { Rank::TableIds as u8 }>]>,
    names: Box<[RwLock<Names, { Rank::TableNames as u8 }>]>,
    len: AtomicUsize,
    next: AtomicU64,
    hasher: DefaultHashBuilder,
}

struct Entry {
    link: Link,
    node: Arc<Node>,
}

type Ids = HashTable<Arc<Node>>;
type Names = HashTable<Entry>;

/// The number of the shard for a hash, of which it takes bits that the tables
/// do not use.
///
/// The last shard gets twice as much as the first: a table that has doubled is
/// half empty, and this way they double one after the other, so that what is
/// empty of all together is always the same (the average) part. To be exact it
/// were log2(1 + u); this is within a hundredth of it.
fn shard_number(hash: u64) -> usize {
    let u = hash >> 32 & 0xffff;
    let bent = u + ((u * (0x1_0000 - u)) >> 16) * 344 / 1000;
    ((bent as usize * SHARDS) >> 16).min(SHARDS - 1)
}

fn shard<T, const RANK: u8>(shards: &[RwLock<T, RANK>], hash: u64) -> &RwLock<T, RANK> {
    &shards[shard_number(hash)]
}

fn find<'a>(names: &'a Names, hash: u64, parent: NodeId, name: &[u8]) -> Option<&'a Arc<Node>> {
    names.find(hash, |entry| entry.link.is(parent, name)).map(|entry| &entry.node)
}

fn leave(names: &mut Names, hash: u64, parent: NodeId, name: &[u8]) -> Option<Link> {
    let entry = names.find_entry(hash, |entry| entry.link.is(parent, name)).ok()?;
    Some(entry.remove().0.link)
}

impl Table {
    pub fn new(root: Arc<Node>) -> Table {
        let table = Table {
            ids: (0..SHARDS).map(|_| RwLock::default()).collect(),
            names: (0..SHARDS).map(|_| RwLock::default()).collect(),
            len: AtomicUsize::new(0),
            next: AtomicU64::new(COUNTED),
            hasher: DefaultHashBuilder::default(),
        };
        table.enter_id(&mut table.ids(root.id), &root);
        table
    }

    /// An id that no object has by its number, and no node had before.
    pub fn fresh_id(&self) -> NodeId {
        NodeId(self.next.fetch_add(1, Ordering::Relaxed))
    }

    pub fn get(&self, id: NodeId) -> Option<Arc<Node>> {
        let hash = self.id_hash(id);
        let ids = shard(&self.ids, hash).read();
        ids.find(hash, |node| node.id == id).cloned()
    }

    /// Number of known nodes, the root included.
    pub fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    /// Known nodes of one part of the table that have no known names below
    /// them, the root left out. `None`: there is no such part.
    pub fn leaves(&self, part: usize) -> Option<Vec<NodeId>> {
        let ids = self.ids.get(part)?.read();
        let leaf =
            |node: &&Arc<Node>| node.children.load(Ordering::Relaxed) == 0 && !node.is_root();
        Some(ids.iter().filter(leaf).map(|node| node.id).collect())
    }

    /// All known nodes.
    pub fn all(&self) -> Vec<Arc<Node>> {
        let mut all = Vec::with_capacity(self.len());
        self.ids.iter().for_each(|ids| all.extend(ids.read().iter().cloned()));
        all
    }

    /// Known directories of one part of the table. `None`: there is no such part.
    pub fn directories(&self, part: usize) -> Option<Vec<NodeId>> {
        let ids = self.ids.get(part)?.read();
        Some(ids.iter().filter(|node| node.is_dir()).map(|node| node.id).collect())
    }

    fn id_hash(&self, id: NodeId) -> u64 {
        self.hasher.hash_one(id.0)
    }

    fn hash(&self, parent: NodeId, name: &[u8]) -> u64 {
        self.hasher.hash_one((parent.0, name))
    }

    fn link_hash(&self, link: &Link) -> u64 {
        self.hash(link.parent().id, link.name())
    }

    fn ids(&self, id: NodeId) -> WriteGuard<'_, Ids> {
        shard(&self.ids, self.id_hash(id)).write()
    }

    /// The known node of a name, with one reference more.
    pub fn child(&self, parent: NodeId, name: &[u8]) -> Option<Arc<Node>> {
        let hash = self.hash(parent, name);
        let names = shard(&self.names, hash).read();
        let node = find(&names, hash, parent, name)?;
        node.lookups.fetch_add(1, Ordering::Relaxed);
        Some(Arc::clone(node))
    }

    /// The known node of an id, with one reference more.
    pub fn referenced(&self, id: NodeId) -> Option<Arc<Node>> {
        let hash = self.id_hash(id);
        let ids = shard(&self.ids, hash).read();
        let node = ids.find(hash, |node| node.id == id)?;
        node.lookups.fetch_add(1, Ordering::Relaxed);
        Some(Arc::clone(node))
    }

    /// The known names in a directory and in those below it, what lies deeper first.
    pub fn below(&self, top: NodeId) -> Vec<(Link, Arc<Node>)> {
        let mut inside: HashMap<NodeId, Vec<NodeId>> = HashMap::new();
        self.each_name(|link, node| {
            if node.is_dir() {
                inside.entry(link.parent().id).or_default().push(node.id);
            }
        });
        let mut depths: HashMap<NodeId, usize> = HashMap::new();
        depths.insert(top, 0);
        let mut left = vec![(top, 0)];
        while let Some((id, depth)) = left.pop() {
            for below in inside.remove(&id).unwrap_or_default() {
                depths.insert(below, depth + 1);
                left.push((below, depth + 1));
            }
        }
        let mut found = Vec::new();
        self.each_name(|link, node| {
            if let Some(depth) = depths.get(&link.parent().id) {
                found.push((*depth, link.clone(), Arc::clone(node)));
            }
        });
        found.sort_by_key(|(depth, ..)| std::cmp::Reverse(*depth));
        found.into_iter().map(|(_, link, node)| (link, node)).collect()
    }

    fn each_name(&self, mut each: impl FnMut(&Link, &Arc<Node>)) {
        for names in &self.names {
            names.read().iter().for_each(|entry| each(&entry.link, &entry.node));
        }
    }

    /// The number that the known object of a name shows.
    pub fn number(&self, parent: NodeId, name: &[u8]) -> Option<u64> {
        let hash = self.hash(parent, name);
        let names = shard(&self.names, hash).read();
        find(&names, hash, parent, name).map(|node| node.ino())
    }

    /// Enters a node under its first name, with one reference.
    pub fn insert(&self, node: Node) -> Inserted {
        let link = node.place().names.first().cloned();
        let Some(link) = link else {
            return self.insert_id(node, |_| {});
        };
        let hash = self.link_hash(&link);
        let mut names = shard(&self.names, hash).write();
        if let Some(known) = find(&names, hash, link.parent().id, link.name()) {
            known.lookups.fetch_add(1, Ordering::Relaxed);
            return Inserted::Known(Arc::clone(known));
        }
        self.insert_id(node, |node| self.enter(&mut names, hash, link, node))
    }

    /// Enters a node under its id, if that is free, and its name by `enter`.
    fn insert_id(&self, node: Node, enter: impl FnOnce(&Arc<Node>)) -> Inserted {
        let hash = self.id_hash(node.id);
        let mut ids = shard(&self.ids, hash).write();
        if ids.find(hash, |known| known.id == node.id).is_some() {
            return Inserted::Taken(Box::new(node));
        }
        let node = Arc::new(node);
        node.lookups.fetch_add(1, Ordering::Relaxed);
        enter(&node);
        self.enter_id(&mut ids, &node);
        Inserted::Known(node)
    }

    fn enter_id(&self, ids: &mut Ids, node: &Arc<Node>) {
        let hash = self.id_hash(node.id);
        ids.insert_unique(hash, Arc::clone(node), |node| self.id_hash(node.id));
        self.len.fetch_add(1, Ordering::Relaxed);
    }

    fn enter(&self, names: &mut Names, hash: u64, link: Link, node: &Arc<Node>) {
        link.parent().children.fetch_add(1, Ordering::SeqCst);
        let entry = Entry { link, node: Arc::clone(node) };
        names.insert_unique(hash, entry, |entry| self.link_hash(&entry.link));
    }

    /// Enters one more name. The caller changes the node's `place` with it.
    pub fn add_name(&self, node: &Arc<Node>, link: Link) {
        let hash = self.link_hash(&link);
        let mut names = shard(&self.names, hash).write();
        self.enter(&mut names, hash, link, node);
    }

    /// Takes a name away. The caller changes the node's `place` with it.
    pub fn remove_name(&self, parent: NodeId, name: &[u8]) {
        let hash = self.hash(parent, name);
        let gone = leave(&mut shard(&self.names, hash).write(), hash, parent, name);
        if let Some(link) = gone {
            link.parent().children.fetch_sub(1, Ordering::SeqCst);
        }
    }

    /// Gives `count` references back. The nodes that nobody knows any more,
    /// parents included, come back, so that the caller can drop what it keeps
    /// for them.
    pub fn forget(&self, node: &Arc<Node>, count: u64) -> Vec<Arc<Node>> {
        let left = node
            .lookups
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| Some(n.saturating_sub(count)));
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
        if is_used(node) {
            return false;
        }
        // `place` is read first, as the order of locks wants it.
        let place = node.place();
        // Whoever finds the node by name or number refers to it under one of
        // these locks, so with all of them held its use is settled.
        let mut links: Vec<(u64, &Link)> =
            place.names.iter().map(|link| (self.link_hash(link), link)).collect();
        links.sort_unstable_by_key(|(hash, _)| shard_number(*hash));
        let mut locked: Vec<(usize, WriteGuard<'_, Names>)> = Vec::with_capacity(links.len());
        for (hash, _) in &links {
            if locked.last().is_none_or(|(last, _)| *last != shard_number(*hash)) {
                let (at, shard) = (shard_number(*hash), shard(&self.names, *hash));
                locked.push((at, shard.write_among(Among::Numbered(at as u64))));
            }
        }
        let mut ids = self.ids(node.id);
        if is_used(node) || node.is_root() {
            return false;
        }
        let Ok(entry) = ids.find_entry(self.id_hash(node.id), |known| Arc::ptr_eq(known, node))
        else {
            return false;
        };
        entry.remove();
        node.set_forgotten();
        self.len.fetch_sub(1, Ordering::Relaxed);
        for (hash, link) in links {
            let Some((_, names)) = locked.iter_mut().find(|(at, _)| *at == shard_number(hash))
            else {
                continue;
            };
            let parent = link.parent();
            if leave(names, hash, parent.id, link.name()).is_some()
                && parent.children.fetch_sub(1, Ordering::SeqCst) == 1
                && parent.lookups.load(Ordering::SeqCst) == 0
            {
                parents.push(Arc::clone(parent));
            }
        }
        true
    }
}

/// The kernel, an operation or a name below refers to it.
///
/// Two threads may take the last two of these away, each under another lock: as
/// all of it is `SeqCst`, at least one of them sees that nothing is left.
fn is_used(node: &Node) -> bool {
    node.lookups.load(Ordering::SeqCst) > 0 || node.children.load(Ordering::SeqCst) > 0
}
