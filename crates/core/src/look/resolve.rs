//! What base, storage and META make of a name.

use std::sync::Arc;

use rustix::fs::Statx;

use crate::format::identity::{BaseId, Realm};
use crate::format::numbers::storage_ino;
use crate::interface::types::NodeId;
use crate::layers::{Below, InStack};
use crate::reach::overlay::Overlay;
use crate::store::shared_index::{Indexed, is_shared};
use crate::sys::{self, Result, Spot};
use crate::tree::dir::Dir;
use crate::tree::node::BaseRef;

/// What a name stands for, before a node is made of it.
pub(crate) struct Resolved {
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

impl Resolved {
    /// An object of the layers below with one name.
    fn in_base(below: Below) -> Resolved {
        let Below { stat, number: ino, place: below, .. } = below;
        let base = BaseRef::SameName;
        Resolved { stat, ino, in_storage: false, below, base, shared: None, device: None }
    }

    /// An object of the storage that shows nothing of what is below.
    pub(crate) fn in_storage(stat: Statx, ino: u64) -> Resolved {
        let (below, base) = (InStack::default(), BaseRef::None);
        Resolved { stat, ino, in_storage: true, below, base, shared: None, device: None }
    }

    pub(crate) fn kind(&self) -> u32 {
        self.device.unwrap_or_else(|| sys::kind(&self.stat))
    }
}

impl Resolved {
    /// A node id of the object's own where another one has its number.
    pub fn second_id(&self) -> NodeId {
        let own = BaseId { realm: Realm(self.in_storage.into()), ino: self.stat.stx_ino };
        NodeId(self.shared.unwrap_or(own).second_id())
    }
}

impl Overlay {
    /// What base, storage and META make of a name.
    pub(crate) fn resolve(&self, dir: &Dir, name: &[u8]) -> Result<Option<Resolved>> {
        if self.meta.reserves(name) {
            return Ok(None);
        }
        if let Some(storage) = dir.storage()
            && let Some(stat) = sys::absent(sys::stat(Spot::at(storage, name)))?
        {
            return self.resolve_stored(dir, name, stat).map(Some);
        }
        if let Some(path) = dir.meta().redirect(name).map(|path| Arc::new(Box::<[u8]>::from(path)))
        {
            // A crash came before the skeleton.
            if let Some(below) = self.look_path(&path)? {
                return Ok(Some(Resolved {
                    base: BaseRef::Path(path),
                    ..Resolved::in_base(below)
                }));
            }
        }
        let Some(below) = self.below(dir, name)? else {
            return Ok(None);
        };
        if !is_shared(&below.stat) {
            return Ok(Some(Resolved::in_base(below)));
        }
        let (id, ino) = self.known_as(&below);
        let shared = Some(id);
        Ok(Some(match self.indexed(&below.stat, id)? {
            Indexed::As(stat) => {
                let device = self.shared.index_device(id);
                let base = BaseRef::SameName;
                Resolved { base, shared, device, ..Resolved::in_storage(*stat, ino) }
            }
            Indexed::No => Resolved { shared, ino, ..Resolved::in_base(below) },
            Indexed::Another => Resolved { ino, ..Resolved::in_base(below) },
        }))
    }

    fn indexed(&self, below: &Statx, id: BaseId) -> Result<Indexed> {
        let indexed = self.shared.indexed(below, id)?;
        if matches!(indexed, Indexed::Another) && !self.options.after_commit {
            self.shared.warn_of_another(id);
        }
        Ok(indexed)
    }

    /// What the index calls an object below the storage that has several names, and
    /// the number that it shows.
    pub(crate) fn known_as(&self, below: &Below) -> (BaseId, u64) {
        self.shared.known_as(&self.stack.realms, &below.stat, (below.id, below.number))
    }

    /// What the layers below the storage show at the path of a redirect.
    pub(crate) fn look_path(&self, path: &[u8]) -> Result<Option<Below>> {
        let found = self.stack.look_path(0, path)?;
        Ok(found.filter(|below| sys::kind(&below.stat) == libc::S_IFDIR))
    }

    fn resolve_stored(&self, dir: &Dir, name: &[u8], stat: Statx) -> Result<Resolved> {
        let is_dir = sys::kind(&stat) == libc::S_IFDIR;
        let (identity, redirect, device) = {
            let meta = dir.meta();
            (
                meta.identity(name, stat.stx_ino),
                meta.redirect(name)
                    .filter(|_| is_dir)
                    .map(|path| Arc::new(Box::<[u8]>::from(path))),
                meta.kept(name).and_then(|kept| kept.device).map(|(kind, _)| kind),
            )
        };
        let mut found = Resolved { device, ..Resolved::in_storage(stat, storage_ino(&stat)) };
        if let Some(path) = redirect {
            match self.look_path(&path)? {
                Some(below) => {
                    found.ino = below.number;
                    found.base = BaseRef::Path(path);
                }
                // What was committed is where it was moved to.
                None if self.options.after_commit => {}
                None => tracing::warn!("a redirect leads to a base directory that is gone"),
            }
        } else if (identity.is_none() || is_dir)
            && let Some(below) = self.below(dir, name)?
        {
            if is_shared(&below.stat) {
                // Without the index (2005) it is a file apart.
                let (id, number) = self.known_as(&below);
                if matches!(self.indexed(&below.stat, id)?,
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

    /// What the layers below the storage show under a name, unless that is hidden.
    pub(crate) fn below(&self, dir: &Dir, name: &[u8]) -> Result<Option<Below>> {
        let Some(base) = dir.base().filter(|_| !dir.hides(name)) else { return Ok(None) };
        let fixed = self.live.is_none() && !self.submounts;
        if fixed && self.lacks.knows(dir.node, name) {
            return Ok(None);
        }
        let below = self.stack.look(base, name)?;
        if below.is_none() && fixed {
            self.lacks.note(dir.node, name);
        }
        Ok(below)
    }

    /// A name shows something of the layers below the storage, unless hidden; also what
    /// is never shown, which a whiteout hides as well.
    pub(crate) fn shows_below(&self, dir: &Dir, name: &[u8]) -> Result<bool> {
        Ok(self.below(dir, name)?.is_some() || self.shows_never(dir, name))
    }

    /// There is something below that is never shown, and no whiteout.
    pub(crate) fn shows_never(&self, dir: &Dir, name: &[u8]) -> bool {
        let base = dir.base().filter(|_| !dir.hides(name));
        base.is_some_and(|base| self.stack.hides_at(base, name))
    }
}
