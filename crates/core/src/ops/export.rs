//! Objects by node id alone: what is behind a file handle
//! (`open_by_handle_at(2)`, an NFS client) whose node was forgotten.
//!
//! A node id is the number of the object, so it can be found again: by the
//! name it had when it was forgotten, else by looking through the tree.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::io::Errno;

use crate::format::name::is_dot;
use crate::interface::types::{Entry, NodeId};
use crate::locks::{Rank, is_held};
use crate::ops::listing::ListFor;
use crate::reach::overlay::Overlay;
use crate::reach::refs::NodeRef;
use crate::state::trail::REMEMBERED;
use crate::state::trail::census::Count;
use crate::sys::Result;
use crate::tree::node::Node;
use crate::tree::table::{is_counted, node_id};

/// Requests that wait for a walk through the tree: far fewer than can be served at
/// once, so that bad handles do not take the threads of all others.
const WAITING: usize = 16;

/// So many more entries are looked at and remembered once the one was found: who has
/// one handle has others, and each walk begins at the root.
const MORE: usize = REMEMBERED / 2;

/// Levels of directories above an object that are tried by remembered names.
const LEVELS: usize = 4096;

/// One of those that wait for a walk.
struct Waiting<'a>(&'a AtomicUsize);

impl Waiting<'_> {
    /// ESTALE: there are too many.
    fn new(count: &AtomicUsize) -> Result<Waiting<'_>> {
        let waiting = Waiting(count);
        if count.fetch_add(1, Ordering::Relaxed) >= WAITING {
            return Err(Errno::STALE);
        }
        Ok(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
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
        // Counted ids are given for one mount, and not again.
        if is_counted(id) || self.trail.census.lacks(id) {
            return Ok(None);
        }
        self.trail.used.store(true, Ordering::SeqCst);
        if let Some(node) = self.follow_trail(id)? {
            return Ok(Some(node));
        }
        let _waiting = Waiting::new(&self.trail.waiting)?;
        let _slow = self.slow_section();
        let _walking = self.trail.walking.lock();
        // The walk that was waited for may have come by it.
        if let Some(node) = self.table.referenced(id) {
            return Ok(Some(self.reference(node)));
        }
        match self.follow_trail(id)? {
            None if !self.trail.census.lacks(id) => self.walk(id),
            found => Ok(found),
        }
    }

    /// Through the whole tree.
    fn walk(&self, id: NodeId) -> Result<Option<NodeRef<'_>>> {
        debug_assert!(is_held(Rank::Walking, None));
        let mut count = self.trail.census.begin();
        let mut found = self.search(id, false, &mut count)?;
        // What lies on another file system than its directory is listed with a
        // number that is not its own.
        if found.is_none() && self.stack.realms.are_several() {
            found = self.search(id, true, &mut count)?;
        }
        // Elsewhere others make objects.
        if found.is_none() && self.live.is_none() {
            self.trail.census.complete(count, id);
        }
        Ok(found)
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
        let _edit = dir.edit();
        Ok(self.find(parent, &dir, name)?.map(|(node, _)| node))
    }

    /// Through the whole tree, by the numbers in its listings; `look`: by those
    /// that a look at each entry gives.
    fn search(&self, id: NodeId, look: bool, count: &mut Count) -> Result<Option<NodeRef<'_>>> {
        let left = vec![(Arc::new(self.reference_root()), Box::default())];
        let mut walk = Walk { id, look, count, left, found: None, since: 0 };
        while let Some((above, name)) = walk.left.pop() {
            if walk.found.is_some() && walk.since > MORE {
                break;
            }
            let visited = self.visit(&mut walk, above, &name);
            if walk.found.is_none() {
                visited?;
            }
        }
        Ok(walk.found)
    }

    /// One directory of a walk; without a name it is the first.
    fn visit<'a>(
        &'a self,
        walk: &mut Walk<'a, '_>,
        above: Arc<NodeRef<'a>>,
        name: &[u8],
    ) -> Result<()> {
        let dir = match name.is_empty() {
            true => above,
            false => match self.child(&above, name)? {
                Some(dir) => Arc::new(dir),
                None => return Ok(()),
            },
        };
        if !dir.is_dir() {
            return Ok(());
        }
        let wanted = walk.found.is_none();
        let (mut named, mut unlisted) = (None, Vec::new());
        let open = self.open_dir(dir.id)?;
        self.read_dir(&open, 0, ListFor::Entries, &mut |entry| {
            if is_dot(entry.name) {
                return true;
            }
            let number = node_id(entry.ino);
            self.trail.note(number, dir.id, entry.name);
            self.trail.census.add(walk.count, number);
            walk.since += usize::from(!wanted);
            if wanted && number == walk.id {
                named = Some(Box::<[u8]>::from(entry.name));
            }
            if matches!(entry.kind, 0 | libc::S_IFDIR) {
                walk.left.push((Arc::clone(&dir), entry.name.into()));
            }
            if walk.look && wanted {
                unlisted.push(Box::<[u8]>::from(entry.name));
            }
            true
        })?;
        for name in unlisted.into_iter().chain(named) {
            let Some(node) = self.child(&dir, &name)? else { continue };
            self.trail.census.add(walk.count, node.id);
            if node.id == walk.id {
                walk.found = Some(node);
                break;
            }
        }
        Ok(())
    }
}

/// A walk through the tree.
struct Walk<'a, 'c> {
    id: NodeId,
    look: bool,
    count: &'c mut Count,
    /// Directories that are still to be visited: where, and their names.
    left: Vec<(Arc<NodeRef<'a>>, Box<[u8]>)>,
    found: Option<NodeRef<'a>>,
    /// Entries that were seen after it.
    since: usize,
}
