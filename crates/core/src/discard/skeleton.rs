//! Directories of the storage that have nothing to say any more.

use std::sync::Arc;

use rustix::fd::AsFd;
use rustix::fs::{AtFlags, Statx};
use rustix::io::Errno;

use super::told::Discarded;
use crate::format::acl;
use crate::format::meta::Record;
use crate::format::name::is_dot;
use crate::layers::Object;
use crate::ops::gone::{leaving, lock_down, still_there};
use crate::ops::remove::remove_reserved;
use crate::reach::overlay::Overlay;
use crate::state::root_owner::RootOwner;
use crate::store::meta_dir::{ANY, MetaEdit, together, with_access};
use crate::sys::own::is_reserved_xattr;
use crate::sys::{self, Result, Spot, Within, each_entry};
use crate::tree::dir::Dir;
use crate::tree::node::Node;

/// Names and values, in order.
type Xattrs = Vec<(Vec<u8>, Vec<u8>)>;

/// The record that lets a name stand for what is below.
pub(super) fn restored(edit: &MetaEdit<'_>, name: &[u8]) -> Vec<Record> {
    let said = edit.meta().speaks_of(name);
    said.then(|| Record::Restored { name: name.into() }).into_iter().collect()
}

impl Overlay {
    /// Takes the storage's part of a directory away, in which nothing is left: the
    /// directory below shows as it is. The node stays.
    ///
    /// # Errors
    /// ENOTEMPTY: there is something again.
    pub(super) fn drop_skeleton(
        &self,
        parent: &Arc<Node>,
        name: &[u8],
        node: &Arc<Node>,
        told: &mut Discarded,
    ) -> Result<()> {
        let (dir, own) = (self.dir(parent)?, self.dir(node)?);
        let Some(inner) = own.storage() else { return Ok(()) };
        let below = match dir.base() {
            // On a live base it is looked for anew each time.
            Some(base) if self.live.is_none() => self.stack.look(base, name)?,
            _ => None,
        };
        let edits = lock_down(&[&*dir, &*own]);
        let [edit, own_edit] = &edits[..] else { return Err(Errno::IO) };
        if !self.has_nothing(&own)? {
            return Err(Errno::NOTEMPTY);
        }
        let mut place = node.place_mut();
        still_there(&place, parent.id, name)?;
        let change = |storage: Within<'_>| {
            with_access(inner.fd(), || remove_reserved(self.meta, inner))?;
            let step = leaving(edit, name, ANY, restored(edit, name));
            together(&[step], || match sys::unlink(storage, name, AtFlags::REMOVEDIR) {
                Err(Errno::NOTEMPTY | Errno::EXIST) => self.set_aside(storage, name),
                other => other,
            })
        };
        edit.unseen(change, |()| Vec::new())?;
        own_edit.forget_below();
        place.set_restored(below.map(|below| below.place).unwrap_or_default());
        // The name is the same, but what was learnt of the directory is not.
        place.base = crate::tree::node::BaseRef::SameName;
        self.dirs.remove(node.id);
        told.nodes.push(node.id);
        Ok(())
    }

    /// The storage has nothing in a directory, and says nothing of what is below.
    fn has_nothing(&self, own: &Dir) -> Result<bool> {
        let Some(storage) = own.storage() else { return Ok(true) };
        let said = {
            let meta = own.meta();
            meta.live() > usize::from(meta.ctime_record(b".").is_some())
        };
        if said {
            // Times and numbers of what has gone say nothing.
            let meta = own.meta();
            if meta.hidden().next().is_some() || meta.redirects().next().is_some() {
                return Ok(false);
            }
        }
        let mut empty = true;
        with_access(storage.fd(), || {
            each_entry(storage, |entry| {
                empty = is_dot(entry.name) || self.meta.reserves(entry.name);
                empty
            })
        })?;
        Ok(empty)
    }

    /// Takes directories away, from this one upwards, that the storage has without need.
    pub(super) fn prune(&self, node: &Arc<Node>, told: &mut Discarded) -> Result<()> {
        let mut node = Arc::clone(node);
        while !node.is_root() && self.is_merged(&node) {
            let Some(link) = node.place().names.first().cloned() else { return Ok(()) };
            let dir = self.dir(link.parent())?;
            if !self.is_needless(&dir, link.name(), &node)? {
                return Ok(());
            }
            match self.drop_skeleton(link.parent(), link.name(), &node, told) {
                Err(Errno::NOTEMPTY | Errno::NOENT | Errno::NOSPC) => return Ok(()),
                // It has nothing to say, and stays where it cannot go.
                Err(errno) if Discarded::stays(errno) => return Ok(()),
                other => other?,
            }
            node = Arc::clone(link.parent());
        }
        if node.is_root() { self.prune_root(told) } else { Ok(()) }
    }

    /// The root has the times that it has below if nothing else has changed.
    fn prune_root(&self, told: &mut Discarded) -> Result<()> {
        let owner = {
            let owner = self.root_owner.lock();
            (owner.mode, owner.uid, owner.gid)
        };
        let mut mine = self.xattrs(Object::stored(Spot::Fd(self.storage.as_fd())))?;
        let mut theirs = self.xattrs(self.stack.root_object()?)?;
        // The access list is the storage's own.
        mine.retain(|(name, _)| name != acl::ACCESS);
        theirs.retain(|(name, _)| name != acl::ACCESS);
        let far = !self.root_dir.meta().far().is_empty();
        let other = far || owner != self.stack.root_owner()? || mine != theirs;
        if other || !self.has_nothing(&self.root_dir)? {
            return Ok(());
        }
        self.restore_root(told)
    }

    /// A directory shows nothing that the one below does not show, but for the times of what
    /// happened in it.
    fn is_needless(&self, dir: &Dir, name: &[u8], node: &Arc<Node>) -> Result<bool> {
        let own = self.dir(node)?;
        if !self.has_nothing(&own)? || dir.meta().kept(name).is_some() {
            return Ok(false);
        }
        let (Some(storage), Some(base)) = (own.storage(), dir.base()) else { return Ok(false) };
        let Some(below) = self.stack.look(base, name)? else { return Ok(false) };
        let stat = sys::stat_fd(storage.fd())?;
        let same = |a: &Statx, b: &Statx| {
            (a.stx_mode, a.stx_uid, a.stx_gid) == (b.stx_mode, b.stx_uid, b.stx_gid)
        };
        if !same(&stat, &below.stat) {
            return Ok(false);
        }
        let mine = self.xattrs(Object::stored(Spot::Fd(storage.fd())))?;
        let theirs =
            self.stack.at(base, below.place, name, |object: Object<'_>| self.xattrs(object))?;
        Ok(mine == theirs)
    }

    fn xattrs(&self, object: Object<'_>) -> Result<Xattrs> {
        let names = object.list_xattrs(&self.stack)?;
        let mut found = Vec::new();
        for name in names.split(|byte| *byte == 0) {
            if name.is_empty() || is_reserved_xattr(name) {
                continue;
            }
            let mut value = vec![0; object.get_xattr(&self.stack, name, &mut [])?];
            if !value.is_empty() {
                let len = object.get_xattr(&self.stack, name, &mut value)?;
                value.truncate(len);
            }
            found.push((name.to_vec(), value));
        }
        found.sort();
        Ok(found)
    }

    /// The root itself shows what is below, but for what lies in it.
    pub(super) fn restore_root(&self, told: &mut Discarded) -> Result<()> {
        let root = Spot::Fd(self.storage.as_fd());
        let theirs = self.xattrs(self.stack.root_object()?)?;
        for (name, _) in self.xattrs(Object::stored(root))? {
            if name != acl::ACCESS && !theirs.iter().any(|(known, _)| *known == name) {
                sys::remove_xattr(root, &name)?;
            }
        }
        self.root_dir.edit().append(&[Record::Restored { name: Box::from(&b"."[..]) }])?;
        *self.root_owner.lock() = RootOwner::of(&self.root_dir, &self.stack)?;
        self.adopt_root(&self.stack.root_stat()?)?;
        told.nodes.push(self.root.id);
        Ok(())
    }
}
