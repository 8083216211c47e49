//! From names to nodes: lookup, forget and the numbers objects show.

use std::ops::Deref;
use std::sync::Arc;

use rustix::fd::AsFd;
use rustix::fs::Statx;
use rustix::io::Errno;

use super::Overlay;
use crate::dirs::Dir;
use crate::name::{Name, is_reserved};
use crate::node::{BaseRef, Link, Names, Node, Place};
use crate::sys::{self, Result, Spot};
use crate::types::{Attr, Entry, NodeId};

/// Marks the numbers of objects that exist in the storage only.
const STORAGE_BIT: u64 = 1 << 62;

/// The number shown for a base object.
pub(super) fn base_ino(ino: u64) -> u64 {
    if ino < STORAGE_BIT { ino } else { (ino ^ (ino >> 62)) & (STORAGE_BIT - 1) }
}

/// The number shown for an object that only the storage has.
pub(super) fn storage_ino(ino: u64) -> u64 {
    ino | STORAGE_BIT
}

/// Type bits of a `st_mode`.
pub(super) fn kind(stat: &Statx) -> u32 {
    u32::from(stat.stx_mode) & libc::S_IFMT
}

/// What a name stands for, before a node is made of it.
pub(super) struct Found {
    /// Attributes of the object that counts.
    pub stat: Statx,
    /// The number it shows.
    pub ino: u64,
    pub in_storage: bool,
    pub base: BaseRef,
}

/// A reference on a node, given back when dropped.
pub(super) struct NodeRef<'a> {
    overlay: &'a Overlay,
    node: Option<Arc<Node>>,
    root: &'a Arc<Node>,
}

impl NodeRef<'_> {
    /// Hands the reference to the kernel, which will forget it.
    pub fn into_kernel(mut self) -> NodeId {
        self.node.take().map_or(NodeId::ROOT, |node| node.id)
    }
}

impl Deref for NodeRef<'_> {
    type Target = Arc<Node>;

    fn deref(&self) -> &Arc<Node> {
        self.node.as_ref().unwrap_or(self.root)
    }
}

impl Drop for NodeRef<'_> {
    fn drop(&mut self) {
        if let Some(node) = self.node.take() {
            self.overlay.release(&node, 1);
        }
    }
}

impl Overlay {
    /// Finds a name; the entry holds one reference more on its node.
    /// `None`: there is no such name.
    ///
    /// # Errors
    /// ENOTDIR, ENAMETOOLONG, and what reading the layers gives.
    pub fn lookup(&self, parent: NodeId, name: &[u8]) -> Result<Option<Entry>> {
        let parent = self.dir_node(parent)?;
        let name = Name::new(name)?;
        if name.is_reserved() {
            return Ok(None);
        }
        let dir = match self.dir(&parent) {
            Err(Errno::NOENT) => return Ok(None),
            other => other?,
        };
        let Some((node, stat)) = self.find(&parent, &dir, name.as_bytes())? else {
            return Ok(None);
        };
        let attr = self.show(&node, &stat, &dir, name.as_bytes())?;
        Ok(Some(Entry { node: node.into_kernel(), attr }))
    }

    /// Gives `count` references of the kernel on a node back.
    pub fn forget(&self, node: NodeId, count: u64) {
        if let Some(node) = self.table.get(node) {
            self.release(&node, count);
        }
    }

    fn release(&self, node: &Arc<Node>, count: u64) {
        for gone in self.table.forget(node, count) {
            self.dirs.remove(gone);
        }
    }

    pub(super) fn reference(&self, node: Arc<Node>) -> NodeRef<'_> {
        NodeRef { overlay: self, node: Some(node), root: &self.root }
    }

    /// The node of a name, made if need be, and the attributes of its object
    /// as the layer has them.
    pub(super) fn find(
        &self,
        parent: &Arc<Node>,
        dir: &Dir,
        name: &[u8],
    ) -> Result<Option<(NodeRef<'_>, Statx)>> {
        if let Some(node) = self.table.child(parent.id, name) {
            let node = self.reference(node);
            let stat = self.at(&node, |spot, _| sys::stat(spot))?;
            return Ok(Some((node, stat)));
        }
        let Some(found) = self.resolve(dir, name)? else {
            return Ok(None);
        };
        let stat = found.stat;
        Ok(Some((self.adopt(parent, name, found), stat)))
    }

    /// Makes a node of what was found, or takes the one that another name or
    /// another thread has made.
    pub(super) fn adopt(&self, parent: &Arc<Node>, name: &[u8], found: Found) -> NodeRef<'_> {
        let kind = kind(&found.stat);
        let linked = found.in_storage && kind != libc::S_IFDIR && found.stat.stx_nlink > 1;
        let link = Link::new(parent, name);
        if linked && let Some(node) = self.table.linked(found.stat.stx_ino) {
            let mut place = node.place.write();
            if !place.names.iter().any(|known| known.is(parent.id, name)) {
                self.table.add_name(&node, Arc::clone(&link));
                place.names.add(link);
                place.held = None;
            }
            drop(place);
            return self.reference(node);
        }
        let place = Place { names: Names::One(link), base: found.base, held: None };
        let id = self.table.fresh_id();
        let node = self.table.insert(Node::new(id, found.ino, kind, found.in_storage, place));
        if linked {
            self.table.note_links(found.stat.stx_ino, &node);
        }
        self.reference(node)
    }

    /// What base, storage and META make of a name.
    pub(super) fn resolve(&self, dir: &Dir, name: &[u8]) -> Result<Option<Found>> {
        if is_reserved(name) {
            return Ok(None);
        }
        if let Some(storage) = dir.storage()
            && let Some(stat) = sys::absent(sys::stat(Spot::At(storage, name)))?
        {
            return self.resolve_stored(dir, name, stat).map(Some);
        }
        if let Some(path) = dir.meta.read().redirect(name).map(Arc::<[u8]>::from) {
            // A crash came before the skeleton.
            if let Some(fd) = self.open_base_path(&path)? {
                let stat = sys::stat_fd(&fd)?;
                let (ino, base) = (base_ino(stat.stx_ino), BaseRef::Path(path));
                return Ok(Some(Found { stat, ino, in_storage: false, base }));
            }
        }
        let Some(stat) = self.base_stat(dir, name)? else {
            return Ok(None);
        };
        let ino = base_ino(stat.stx_ino);
        Ok(Some(Found { stat, ino, in_storage: false, base: BaseRef::SameName }))
    }

    fn resolve_stored(&self, dir: &Dir, name: &[u8], stat: Statx) -> Result<Found> {
        let is_dir = kind(&stat) == libc::S_IFDIR;
        let (identity, redirect) = {
            let meta = dir.meta.read();
            (
                meta.identity(name, stat.stx_ino),
                meta.redirect(name).filter(|_| is_dir).map(Arc::<[u8]>::from),
            )
        };
        let mut found =
            Found { ino: storage_ino(stat.stx_ino), stat, in_storage: true, base: BaseRef::None };
        if let Some(path) = redirect {
            match self.open_base_path(&path)? {
                Some(fd) => {
                    found.ino = base_ino(sys::stat_fd(&fd)?.stx_ino);
                    found.base = BaseRef::Path(path);
                }
                None => tracing::warn!("a redirect leads to a base directory that is gone"),
            }
        } else if (identity.is_none() || is_dir)
            && let Some(base) = self.base_stat(dir, name)?
        {
            if kind(&base) == kind(&stat) {
                found.ino = base_ino(base.stx_ino);
                found.base = BaseRef::SameName;
            } else {
                tracing::warn!("base and storage hold objects of different types");
            }
        }
        found.ino = identity.unwrap_or(found.ino);
        Ok(found)
    }

    /// Attributes of a base entry that is not hidden.
    pub(super) fn base_stat(&self, dir: &Dir, name: &[u8]) -> Result<Option<Statx>> {
        let Some(spot) = dir.base_spot(name) else {
            return Ok(None);
        };
        let stat = sys::absent(sys::stat(spot))?;
        Ok(stat.filter(|stat| !self.is_storage_itself(stat)))
    }

    /// A storage inside the base is not shown in the merged tree.
    pub(super) fn is_storage_itself(&self, stat: &Statx) -> bool {
        let device = rustix::fs::makedev(stat.stx_dev_major, stat.stx_dev_minor);
        self.hidden == Some((device, stat.stx_ino))
    }

    /// The attributes that programs see. `dir` and `name`: where the node was
    /// reached.
    pub(super) fn show(&self, node: &Node, stat: &Statx, dir: &Dir, name: &[u8]) -> Result<Attr> {
        let mut attr = Attr::from(stat);
        attr.ino = node.ino;
        if !node.in_storage() {
            return Ok(attr);
        }
        if !node.is_dir() {
            attr.ctime = dir.shown_ctime(name, attr.ctime);
            return Ok(attr);
        }
        if node.place.read().base != BaseRef::None {
            // Entries of two layers: 1 says that nothing is to be concluded.
            attr.nlink = 1;
        }
        Ok(attr)
    }

    /// Descriptor of the merged tree's storage root, for the few calls that
    /// need any place in the storage.
    pub(super) fn anywhere(&self) -> rustix::fd::BorrowedFd<'_> {
        self.storage.as_fd()
    }
}
