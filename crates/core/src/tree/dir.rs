//! A directory in use: what lies in the storage, and what shows of the layers below.

use std::ops::Deref;
use std::sync::Arc;

use crate::interface::types::NodeId;
use crate::layers::LowerDir;
use crate::store::durability::Durability;
use crate::store::meta_dir::{MetaDir, MetaEdit};
use crate::sys::{Result, StoredDir};
use crate::tree::listed::LastListing;

/// A directory as its layers hold it. There is at most one per node at any
/// time, so that its locks and its index are the only ones.
pub(crate) struct Dir {
    /// What it shows of the layers below, if anything.
    base: Option<Arc<LowerDir>>,
    /// What was listed last, if anybody still reads it.
    pub listed: LastListing,
    own: MetaDir,
}

/// What the storage has of it.
impl Deref for Dir {
    type Target = MetaDir;

    fn deref(&self) -> &MetaDir {
        &self.own
    }
}

impl Dir {
    /// Waits until nobody else changes anything.
    pub fn edit(&self) -> DirEdit<'_> {
        DirEdit { dir: self, own: self.own.edit() }
    }

    /// As [`MetaDir::edit_beside`].
    pub fn edit_beside(&self) -> DirEdit<'_> {
        DirEdit { dir: self, own: self.own.edit_beside() }
    }

    /// The same; `None`: somebody else does.
    pub fn try_edit(&self) -> Option<DirEdit<'_>> {
        self.own.try_edit().map(|own| DirEdit { dir: self, own })
    }

    /// Opens META, if the storage has the directory. `far`: what META of the storage's
    /// root says is hidden in it.
    pub fn new(
        node: NodeId,
        base: Option<Arc<LowerDir>>,
        storage: Option<StoredDir>,
        far: Vec<Box<[u8]>>,
        durability: &Arc<Durability>,
    ) -> Result<Dir> {
        let own = MetaDir::new(node, storage, durability)?;
        // Nobody else knows it yet, so nobody is waited for.
        if let Some(edit) = own.try_edit().filter(|_| !far.is_empty()) {
            far.iter().for_each(|name| edit.hide_far(name));
        }
        Ok(Dir { base, listed: LastListing::default(), own })
    }

    /// A storage directory that was made a moment ago, below no base. It has
    /// no META yet.
    pub fn made(node: NodeId, storage: StoredDir, durability: &Arc<Durability>) -> Dir {
        let own = MetaDir::made(node, storage, durability);
        Dir { base: None, listed: LastListing::default(), own }
    }

    /// Nothing of the base shows in it, nor at a redirect.
    pub fn shows_storage_only(&self) -> bool {
        self.base().is_none() && self.meta().redirects().next().is_none()
    }

    /// What it shows of the layers below, if anything.
    pub fn base(&self) -> Option<&Arc<LowerDir>> {
        self.base.as_ref().filter(|base| !base.is_absent())
    }

    /// The same, also where that is not there at present.
    pub fn any_base(&self) -> Option<&Arc<LowerDir>> {
        self.base.as_ref()
    }

    /// Bytes of memory that its records take, about. 0 while they change: it is
    /// in use then.
    pub fn weight(&self) -> usize {
        let below = self.base.as_ref().map_or(0, |base| base.weight());
        self.own.weight().map_or(0, |own| own + below)
    }

    /// Descriptors that it holds, about.
    pub fn descriptors(&self) -> usize {
        2 + self.base.as_ref().map_or(0, |base| base.descriptors())
    }
}

/// The right to change entries of a directory, and what META says of it: whoever has it
/// is the only one.
pub(crate) struct DirEdit<'a> {
    dir: &'a Dir,
    own: MetaEdit<'a>,
}

impl<'a> Deref for DirEdit<'a> {
    type Target = MetaEdit<'a>;

    fn deref(&self) -> &MetaEdit<'a> {
        &self.own
    }
}

impl<'a> DirEdit<'a> {
    /// The directory.
    pub fn dir(&self) -> &'a Dir {
        self.dir
    }

    /// It shows nothing of the base from now on: the META of its parent says
    /// so, and its own has nothing to say any more.
    pub fn stand_alone(&self) {
        if let Some(base) = &self.dir.base {
            base.leave();
        }
        self.own.forget_below();
    }
}

/// A directory of the storage that has a META.
pub(crate) enum AnyDir {
    /// One of the tree.
    Shown(Arc<Dir>),
    /// The index.
    Index(Arc<MetaDir>),
}

impl Deref for AnyDir {
    type Target = MetaDir;

    fn deref(&self) -> &MetaDir {
        match self {
            AnyDir::Shown(dir) => dir,
            AnyDir::Index(dir) => dir,
        }
    }
}
