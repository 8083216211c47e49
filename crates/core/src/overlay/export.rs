//! Objects by node id alone: what is behind a file handle
//! (`open_by_handle_at(2)`, an NFS client) whose node was forgotten.
//!
//! A node id is the number of the object, so it can be found again: by the
//! name it had when it was forgotten, else by looking through the tree.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hashbrown::HashMap;
use parking_lot::Mutex;
use rustix::io::Errno;

use super::Overlay;
use super::listing::{ListFor, is_dot};
use super::numbers::node_id;
use super::refs::NodeRef;
use crate::node::Node;
use crate::sys::Result;
use crate::types::{Entry, NodeId};

/// Forgotten nodes whose last name is kept; about 100 bytes each and the name.
const REMEMBERED: usize = 64 * 1024;

/// Levels of directories above an object that are tried by remembered names.
const LEVELS: usize = 4096;

/// Where forgotten nodes were. Empty until somebody asks for the first one,
/// since most mounts are never asked.
pub(super) struct Trail {
    used: AtomicBool,
    inner: Mutex<Remembered>,
}

#[derive(Default)]
struct Remembered {
    places: HashMap<u64, (NodeId, Box<[u8]>)>,
    order: VecDeque<u64>,
}

impl Trail {
    pub fn new() -> Trail {
        Trail { used: AtomicBool::new(false), inner: Mutex::default() }
    }

    /// Remembers where a node was that goes out of the table.
    pub fn remember(&self, node: &Node) {
        if self.used.load(Ordering::Relaxed)
            && let Some(link) = node.place.read().names.first()
        {
            self.note(node.id, link.parent().id, link.name());
        }
    }

    fn note(&self, id: NodeId, parent: NodeId, name: &[u8]) {
        let mut inner = self.inner.lock();
        if inner.places.insert(id.0, (parent, name.into())).is_none() {
            inner.order.push_back(id.0);
        }
        while inner.order.len() > REMEMBERED {
            if let Some(oldest) = inner.order.pop_front() {
                inner.places.remove(&oldest);
            }
        }
    }

    fn place(&self, id: NodeId) -> Option<(NodeId, Box<[u8]>)> {
        self.inner.lock().places.get(&id.0).cloned()
    }
}

impl Overlay {
    /// The object of a node id, known or forgotten; the entry holds one
    /// reference more on its node.
    ///
    /// # Errors
    /// ESTALE: there is no such object (any more).
    pub fn lookup_node(&self, id: NodeId) -> Result<Entry> {
        if id == NodeId::ROOT {
            return Ok(Entry { node: id, attr: self.attr_of(&self.root)? });
        }
        let known = self.table.referenced(id).map(|node| self.reference(node));
        let node = match known {
            Some(node) => node,
            None => self.find_forgotten(id)?.ok_or(Errno::STALE)?,
        };
        let attr = self.attr_of(&node)?;
        Ok(Entry { node: node.into_kernel(), attr })
    }

    /// The directory that holds a directory.
    ///
    /// # Errors
    /// ESTALE: the node is not known; ENOENT: it was removed.
    pub fn lookup_parent(&self, id: NodeId) -> Result<Entry> {
        let node = self.dir_node(id)?;
        if node.is_root() {
            return self.lookup_node(id);
        }
        self.lookup_node(node.parent().ok_or(Errno::NOENT)?.id)
    }

    fn find_forgotten(&self, id: NodeId) -> Result<Option<NodeRef<'_>>> {
        let _slow = self.slow_section();
        self.trail.used.store(true, Ordering::Relaxed);
        if let Some(node) = self.follow_trail(id)? {
            return Ok(Some(node));
        }
        match self.search(id, false)? {
            // What lies on another file system than its directory is listed
            // with a number that is not its own.
            None if self.realms.are_several() => self.search(id, true),
            found => Ok(found),
        }
    }

    /// By the names that it and the directories above it had.
    fn follow_trail(&self, id: NodeId) -> Result<Option<NodeRef<'_>>> {
        let mut names = Vec::new();
        let mut at = id;
        let mut node = loop {
            if at == NodeId::ROOT {
                break self.reference_root();
            }
            if let Some(node) = self.table.referenced(at) {
                break self.reference(node);
            }
            match self.trail.place(at) {
                Some((parent, name)) if names.len() < LEVELS => {
                    names.push(name);
                    at = parent;
                }
                _ => return Ok(None),
            }
        };
        while let Some(name) = names.pop() {
            match self.child(&node, &name)? {
                Some(child) => node = child,
                None => return Ok(None),
            }
        }
        Ok((node.id == id).then_some(node))
    }

    fn child(&self, parent: &Arc<Node>, name: &[u8]) -> Result<Option<NodeRef<'_>>> {
        if !parent.is_dir() {
            return Ok(None);
        }
        let dir = match self.dir(parent) {
            Err(Errno::NOENT) => return Ok(None),
            other => other?,
        };
        // The kernel keeps lookups apart from changes of the directory; whoever
        // comes by a handle does not pass there.
        let _lock = dir.mutate.lock();
        Ok(self.find(parent, &dir, name)?.map(|(node, _)| node))
    }

    /// Through the whole tree, by the numbers in its listings; `look`: by those
    /// that a look at each entry gives.
    fn search(&self, id: NodeId, look: bool) -> Result<Option<NodeRef<'_>>> {
        let mut left = vec![(Arc::new(self.reference_root()), Box::<[u8]>::default())];
        while let Some((above, name)) = left.pop() {
            let dir = match name.is_empty() {
                true => above,
                false => match self.child(&above, &name)? {
                    Some(dir) => Arc::new(dir),
                    None => continue,
                },
            };
            if !dir.is_dir() {
                continue;
            }
            let mut named = None;
            let mut unlisted = Vec::new();
            let open = self.open_dir(dir.id)?;
            self.read_dir(&open, 0, ListFor::Entries, &mut |entry| {
                if is_dot(entry.name) {
                    return true;
                }
                self.trail.note(node_id(entry.ino), dir.id, entry.name);
                if node_id(entry.ino) == id {
                    named = Some(Box::<[u8]>::from(entry.name));
                    return false;
                }
                if matches!(entry.kind, 0 | libc::S_IFDIR) {
                    left.push((Arc::clone(&dir), entry.name.into()));
                }
                if look {
                    unlisted.push(Box::<[u8]>::from(entry.name));
                }
                true
            })?;
            for name in unlisted {
                if let Some(node) = self.child(&dir, &name)?.filter(|node| node.id == id) {
                    return Ok(Some(node));
                }
            }
            if let Some(name) = named
                && let Some(node) = self.child(&dir, &name)?.filter(|node| node.id == id)
            {
                return Ok(Some(node));
            }
        }
        Ok(None)
    }
}
