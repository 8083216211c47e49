//! From names to nodes: lookup, forget and the numbers objects show.

use std::sync::Arc;

use rustix::fd::AsFd;
use rustix::fs::Statx;
use rustix::io::Errno;

use super::refs::NodeRef;
use super::{Overlay, kept};
use crate::dirs::Dir;
use crate::identity::BaseId;
use crate::layers::{Below, InStack};
use crate::name::Name;
use crate::node::{BaseRef, Node};
use crate::numbers::storage_ino;
use crate::shared_index::{Indexed, is_shared};
use crate::sys::{self, Result, Spot};
use crate::types::{Attr, Entry, NodeId};

/// What a name stands for, before a node is made of it.
pub(super) struct Found {
    /// Attributes of the object that counts.
    pub stat: Statx,
    /// The number it shows.
    pub ino: u64,
    pub in_storage: bool,
    /// Where it lies in the layers below the storage, unless that has it.
    pub below: InStack,
    pub base: BaseRef,
    /// A base object with several names: which.
    pub shared: Option<BaseId>,
    /// The type of device that it is, by what META keeps of it.
    pub device: Option<u32>,
}

impl Found {
    /// An object of the layers below with one name.
    fn in_base(below: Below) -> Found {
        let Below { stat, number: ino, place: below, .. } = below;
        let base = BaseRef::SameName;
        Found { stat, ino, in_storage: false, below, base, shared: None, device: None }
    }

    /// An object of the storage that shows nothing of what is below.
    pub(super) fn in_storage(stat: Statx, ino: u64) -> Found {
        let (below, base) = (InStack::default(), BaseRef::None);
        Found { stat, ino, in_storage: true, below, base, shared: None, device: None }
    }

    pub(super) fn kind(&self) -> u32 {
        self.device.unwrap_or_else(|| sys::kind(&self.stat))
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
        if self.meta.reserves(name.as_bytes()) {
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

    /// Whether the kernel, or an operation, still refers to a node.
    pub fn knows(&self, node: NodeId) -> bool {
        self.table.get(node).is_some()
    }

    pub(super) fn release(&self, node: &Arc<Node>, count: u64) {
        for gone in self.table.forget(node, count) {
            self.trail.remember(&gone);
            self.linked.forget(&gone);
            if let Some(held) = gone.place.read().held() {
                self.forget_partial(&gone, &held.object.fd);
            }
            self.dirs.remove_unless(gone.id, || self.table.get(gone.id).is_some());
        }
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
            if self.live.is_none() {
                let stat = self.stat(&node)?;
                return Ok(Some((node, stat)));
            }
            if let Some(found) = self.find_again(parent, dir, name, node)? {
                return Ok(Some(found));
            }
        }
        let Some(found) = self.resolve(dir, name)? else {
            return Ok(None);
        };
        let stat = found.stat;
        Ok(Some((self.adopt(parent, name, found), stat)))
    }

    /// As [`Overlay::find`], without attributes of what lies in the storage
    /// and is known.
    pub(super) fn find_node(
        &self,
        parent: &Arc<Node>,
        dir: &Dir,
        name: &[u8],
    ) -> Result<Option<(NodeRef<'_>, Option<Statx>)>> {
        if self.live.is_none()
            && let Some(node) = self.table.child(parent.id, name)
        {
            let node = self.reference(node);
            if node.in_storage() {
                return Ok(Some((node, None)));
            }
        }
        Ok(self.find(parent, dir, name)?.map(|(node, stat)| (node, Some(stat))))
    }

    /// What base, storage and META make of a name.
    pub(super) fn resolve(&self, dir: &Dir, name: &[u8]) -> Result<Option<Found>> {
        if self.meta.reserves(name) {
            return Ok(None);
        }
        if let Some(storage) = dir.storage()
            && let Some(stat) = sys::absent(sys::stat(Spot::at(storage, name)))?
        {
            return self.resolve_stored(dir, name, stat).map(Some);
        }
        if let Some(path) =
            dir.meta.read().redirect(name).map(|path| Arc::new(Box::<[u8]>::from(path)))
        {
            // A crash came before the skeleton.
            if let Some(below) = self.look_path(&path)? {
                return Ok(Some(Found { base: BaseRef::Path(path), ..Found::in_base(below) }));
            }
        }
        let Some(below) = self.below(dir, name)? else {
            return Ok(None);
        };
        if !is_shared(&below.stat) {
            return Ok(Some(Found::in_base(below)));
        }
        let (id, ino) = self.known_as(&below);
        let shared = Some(id);
        Ok(Some(match self.shared.indexed(&below.stat, id)? {
            Indexed::As(stat) => {
                let device = self.shared.index_device(id);
                let base = BaseRef::SameName;
                Found { base, shared, device, ..Found::in_storage(*stat, ino) }
            }
            Indexed::No => Found { shared, ino, ..Found::in_base(below) },
            Indexed::Another => Found { ino, ..Found::in_base(below) },
        }))
    }

    /// What the index calls an object below the storage that has several names, and
    /// the number that it shows.
    pub(super) fn known_as(&self, below: &Below) -> (BaseId, u64) {
        self.shared.known_as(&self.stack.realms, &below.stat, (below.id, below.number))
    }

    /// What the layers below the storage show at the path of a redirect.
    pub(super) fn look_path(&self, path: &[u8]) -> Result<Option<Below>> {
        let found = self.stack.look_path(0, path)?;
        Ok(found.filter(|below| sys::kind(&below.stat) == libc::S_IFDIR))
    }

    fn resolve_stored(&self, dir: &Dir, name: &[u8], stat: Statx) -> Result<Found> {
        let is_dir = sys::kind(&stat) == libc::S_IFDIR;
        let (identity, redirect, device) = {
            let meta = dir.meta.read();
            (
                meta.identity(name, stat.stx_ino),
                meta.redirect(name)
                    .filter(|_| is_dir)
                    .map(|path| Arc::new(Box::<[u8]>::from(path))),
                meta.kept(name).and_then(|kept| kept.device).map(|(kind, _)| kind),
            )
        };
        let mut found = Found { device, ..Found::in_storage(stat, storage_ino(&stat)) };
        if let Some(path) = redirect {
            match self.look_path(&path)? {
                Some(below) => {
                    found.ino = below.number;
                    found.base = BaseRef::Path(path);
                }
                None => tracing::warn!("a redirect leads to a base directory that is gone"),
            }
        } else if (identity.is_none() || is_dir)
            && let Some(below) = self.below(dir, name)?
        {
            if is_shared(&below.stat) {
                // Without the index (2005) it is a file apart.
                let (id, number) = self.known_as(&below);
                if matches!(self.shared.indexed(&below.stat, id)?,
                    Indexed::As(index) if index.stx_ino == stat.stx_ino)
                {
                    found.shared = Some(id);
                    found.ino = number;
                }
            } else if sys::kind(&below.stat) == found.kind() {
                found.ino = below.number;
                found.base = BaseRef::SameName;
            } else {
                tracing::warn!("base and storage hold objects of different types");
            }
        }
        if let Some(number) = identity {
            found.ino = number;
            found.shared = match !is_dir && stat.stx_nlink > 1 {
                true => self.shared.indexed_by_number(number, &stat)?,
                false => None,
            };
        }
        if !is_dir
            && found.stat.stx_nlink > 1
            && found.shared.is_none()
            && let Some((id, number)) = self.shared.indexed_object(&found.stat)?
        {
            let number = identity.unwrap_or(number);
            (found.shared, found.ino, found.base) = (Some(id), number, BaseRef::None);
        }
        Ok(found)
    }

    /// The attributes that programs see. `dir` and `name`: where the node was
    /// reached.
    pub(super) fn show(
        &self,
        node: &Arc<Node>,
        stat: &Statx,
        dir: &Dir,
        name: &[u8],
    ) -> Result<Attr> {
        // A new base file may show in it from now on.
        let new = if node.in_storage() && self.is_first_look(node) {
            Some(self.stat(node)?)
        } else {
            None
        };
        let stat = new.as_ref().unwrap_or(stat);
        let mut attr = Attr::from(stat);
        attr.ino = node.ino;
        if node.is_shared() {
            attr.nlink = self.shared_nlink(node, stat);
        }
        if !node.in_storage() {
            attr.atime = self.accesses.shown(node.ino, attr.atime);
            if node.is_shared() {
                attr.ctime = self.shared_ctime(node, attr.ctime);
            }
            if let Some(at) = self.far_changed(node) {
                (attr.mtime, attr.ctime, attr.nlink) = (at, at, 1);
            }
            return Ok(attr);
        }
        if node.is_indexed() {
            let (index, name) = (self.shared.dir()?, self.shared.base_id(node).index_name());
            attr.ctime = index.shown_ctime(name.as_bytes(), attr.ctime);
            self.show_partial(node, &mut attr);
            if let Some(kept) = index.meta.read().kept(name.as_bytes()) {
                kept::show(&mut attr, kept);
            }
            return Ok(attr);
        }
        if let Some(kept) = dir.meta.read().kept(name) {
            kept::show(&mut attr, kept);
        }
        self.show_partial(node, &mut attr);
        if !node.is_dir() {
            attr.ctime = dir.shown_ctime(name, attr.ctime);
            return Ok(attr);
        }
        if node.place.read().base != BaseRef::None {
            // Entries of two layers: 1 says that nothing is to be concluded.
            attr.nlink = 1;
        }
        // Copy-ups inside do not move the time that shows.
        if let Some(own) = sys::absent(self.dir(node))? {
            attr.ctime = own.shown_ctime(b".", attr.ctime);
        }
        Ok(attr)
    }

    /// Descriptor of the merged tree's storage root, for the few calls that
    /// need any place in the storage.
    pub(super) fn anywhere(&self) -> rustix::fd::BorrowedFd<'_> {
        self.storage.as_fd()
    }
}
