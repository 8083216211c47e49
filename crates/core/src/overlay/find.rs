//! From names to nodes: lookup, forget and the numbers objects show.

use std::sync::Arc;

use rustix::fd::AsFd;
use rustix::fs::Statx;
use rustix::io::Errno;

use super::numbers::{device, storage_ino};
use super::refs::NodeRef;
use super::shared::{Indexed, is_shared};
use super::{Overlay, kept};
use crate::dirs::Dir;
use crate::identity::BaseId;
use crate::name::{Name, is_reserved};
use crate::node::{BaseRef, Node};
use crate::sys::{self, Result, Spot};
use crate::types::{Attr, Entry, NodeId};

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
    /// A base object with several names: which.
    pub shared: Option<BaseId>,
    /// The type of device that it is, by what META keeps of it.
    pub device: Option<u32>,
}

impl Found {
    /// An object of the base with one name.
    fn in_base(stat: Statx, ino: u64, base: BaseRef) -> Found {
        Found { stat, ino, in_storage: false, base, shared: None, device: None }
    }

    pub(super) fn kind(&self) -> u32 {
        self.device.unwrap_or_else(|| kind(&self.stat))
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

    /// Whether the kernel, or an operation, still refers to a node.
    pub fn knows(&self, node: NodeId) -> bool {
        self.table.get(node).is_some()
    }

    pub(super) fn release(&self, node: &Arc<Node>, count: u64) {
        for gone in self.table.forget(node, count) {
            self.trail.remember(&gone);
            self.linked.forget(&gone);
            if let Some(held) = gone.place.read().held() {
                self.forget_partial(&gone, &held.fd);
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
                let stat = self.at(&node, |spot, _| sys::stat(spot))?;
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
        if is_reserved(name) {
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
            if let Some(fd) = self.open_base_path(&path)? {
                let (stat, base) = (sys::stat_fd(&fd)?, BaseRef::Path(path));
                let ino = self.realms.number(&stat, Spot::Fd(fd.as_fd()))?;
                return Ok(Some(Found::in_base(stat, ino, base)));
            }
        }
        let Some((stat, id)) = self.base_entry(dir, name)? else {
            return Ok(None);
        };
        let base = BaseRef::SameName;
        if !is_shared(&stat) {
            return Ok(Some(Found::in_base(stat, id.number(), base)));
        }
        let (id, ino) = self.known_as(&stat, id);
        let shared = Some(id);
        Ok(Some(match self.indexed(&stat, id)? {
            Indexed::As(stat) => {
                let (stat, device) = (*stat, self.index_device(id));
                Found { stat, ino, in_storage: true, base, shared, device }
            }
            Indexed::No => Found { shared, ..Found::in_base(stat, ino, base) },
            Indexed::Another => Found::in_base(stat, ino, base),
        }))
    }

    fn resolve_stored(&self, dir: &Dir, name: &[u8], stat: Statx) -> Result<Found> {
        let is_dir = kind(&stat) == libc::S_IFDIR;
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
        let (ino, base) = (storage_ino(&stat), BaseRef::None);
        let mut found = Found { ino, stat, in_storage: true, base, shared: None, device };
        if let Some(path) = redirect {
            match self.open_base_path(&path)? {
                Some(fd) => {
                    let stat = sys::stat_fd(&fd)?;
                    found.ino = self.realms.number(&stat, Spot::Fd(fd.as_fd()))?;
                    found.base = BaseRef::Path(path);
                }
                None => tracing::warn!("a redirect leads to a base directory that is gone"),
            }
        } else if (identity.is_none() || is_dir)
            && let Some((base, id)) = self.base_entry(dir, name)?
        {
            if is_shared(&base) {
                // Without the index (2005) it is a file apart.
                let (id, number) = self.known_as(&base, id);
                if matches!(self.indexed(&base, id)?,
                    Indexed::As(index) if index.stx_ino == stat.stx_ino)
                {
                    found.shared = Some(id);
                    found.ino = number;
                }
            } else if kind(&base) == found.kind() {
                found.ino = id.number();
                found.base = BaseRef::SameName;
            } else {
                tracing::warn!("base and storage hold objects of different types");
            }
        }
        if let Some(number) = identity {
            found.ino = number;
            found.shared = match !is_dir && stat.stx_nlink > 1 {
                true => self.indexed_by_number(number, &stat)?,
                false => None,
            };
        }
        if !is_dir
            && found.stat.stx_nlink > 1
            && found.shared.is_none()
            && let Some((id, number)) = self.indexed_object(&found.stat)?
        {
            (found.shared, found.ino, found.base) = (Some(id), number, BaseRef::None);
        }
        Ok(found)
    }

    /// Attributes of a base entry that is not hidden, and what it is.
    fn base_entry(&self, dir: &Dir, name: &[u8]) -> Result<Option<(Statx, BaseId)>> {
        match self.base_stat(dir, name)? {
            Some((stat, spot)) if !self.is_storage_itself(&stat) => {
                Ok(Some((stat, self.realms.id(&stat, spot)?)))
            }
            _ => Ok(None),
        }
    }

    /// A storage inside the base is not shown in the merged tree.
    pub(super) fn is_storage_itself(&self, stat: &Statx) -> bool {
        self.hidden == Some((device(stat), stat.stx_ino))
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
            Some(self.at(node, |spot, _| sys::stat(spot))?)
        } else {
            None
        };
        let stat = new.as_ref().unwrap_or(stat);
        let mut attr = Attr::from(stat);
        attr.ino = node.ino;
        if node.shared {
            attr.nlink = self.shared_nlink(node, stat);
        }
        if !node.in_storage() {
            attr.atime = self.accesses.shown(node.ino, attr.atime);
            if node.shared {
                attr.ctime = self.shared_ctime(node, attr.ctime);
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
