//! unlink and rmdir.

use std::sync::Arc;

use rustix::fs::AtFlags;
use rustix::io::Errno;

use crate::copy_up::protected::check_unprotected;
use crate::format::name::{MetaName, Name};
use crate::format::numbers::storage_ino;
use crate::interface::types::NodeId;
use crate::ops::gone::{Hiding, changed_now, leaving, lock_down, still_there};
use crate::ops::link::identity_record;
use crate::reach::overlay::Overlay;
use crate::store::meta_dir::{ANY, Step, together, with_access};
use crate::sys::{self, Result, Spot, Within, each_entry};
use crate::tree::dir::{Dir, DirEdit};
use crate::tree::node::{BaseRef, Held, Node, PlaceMut};

impl Overlay {
    /// Removes a name of an object that is no directory. Nothing is copied.
    ///
    /// # Errors
    /// ENOENT; EISDIR; EROFS; as `unlink(2)`.
    pub fn unlink(&self, parent: NodeId, name: &[u8]) -> Result<()> {
        self.deleting(
            || self.unlink_once(parent, name),
            |stored| self.remove_far(parent, name, false, stored),
        )?;
        self.refill_reserve();
        Ok(())
    }

    fn unlink_once(&self, parent: NodeId, name: &[u8]) -> Result<()> {
        let (parent, dir) = self.dir_for_removal(parent, name)?;
        let (node, stat) = self.find_node(&parent, &dir, name)?.ok_or(Errno::NOENT)?;
        if node.is_dir() {
            return Err(Errno::ISDIR);
        }
        if let Some(stat) = stat.as_ref().filter(|_| !node.in_storage()) {
            check_unprotected(stat)?;
        }
        if node.is_shared() {
            self.prepare_index()?;
        }
        let edit = dir.edit();
        let storage = dir.writable()?;
        // Open files and others that hold the node reach the object by what holds it.
        let (mut place, held) = self.lock_without(&node, (parent.id, name))?;
        let stored = match node.is_shared() {
            false => node.in_storage(),
            // Else the base alone has the name, the object lies in the index.
            true => sys::absent(sys::stat(Spot::at(storage, name)))?.is_some(),
        };
        let plain = !node.is_shared() && !node.in_storage() && place.base == BaseRef::SameName;
        let seen = stat.filter(|_| plain && self.live.is_none() && !dir.hides(name));
        let whiteout = match &seen {
            // The base was seen to have it.
            Some(stat) => Hiding::of(name, stat),
            None => self.whiteout(&dir, name, stored)?,
        };
        if stored {
            // Hidden before its entry goes, it would be another object.
            let Hiding { records, print } = whiteout;
            let step = Step { print, ..leaving(&edit, name, ANY, records) };
            together(&[step], || sys::unlink(storage, name, AtFlags::empty()))?;
            self.drop_identity(&edit, name);
        } else {
            // What changes in META alone the storage does not judge.
            check_unprotected(&sys::stat_fd(storage.fd())?)?;
            let base = stat.as_ref().filter(|_| !node.in_storage());
            let losing =
                if node.is_shared() { self.losing(&node, base, &dir, name)? } else { None };
            edit.append(&whiteout.all())?;
            if let Some(losing) = losing {
                losing.happened(&edit);
            }
            changed_now(storage.fd());
        }
        edit.seen();
        self.name_gone((&parent, name), &node, &mut place, held);
        if node.is_shared() {
            self.shared_name_removed(&node, &mut place, stored);
        }
        Ok(())
    }

    /// Removes an empty directory.
    ///
    /// # Errors
    /// ENOENT; ENOTDIR; ENOTEMPTY; EROFS; as `rmdir(2)`.
    pub fn rmdir(&self, parent: NodeId, name: &[u8]) -> Result<()> {
        self.deleting(
            || self.rmdir_once(parent, name),
            |stored| self.remove_far(parent, name, true, stored),
        )
    }

    fn rmdir_once(&self, parent: NodeId, name: &[u8]) -> Result<()> {
        let (parent, dir) = self.dir_for_removal(parent, name)?;
        let (node, stat) = self.find_node(&parent, &dir, name)?.ok_or(Errno::NOENT)?;
        if !node.is_dir() {
            return Err(Errno::NOTDIR);
        }
        if let Some(stat) = stat.as_ref().filter(|_| !node.in_storage()) {
            check_unprotected(stat)?;
        }
        let own = self.dir(&node)?;
        let hidden_below = self.far_path(&node);
        let edits = lock_down(&[&dir, &own]);
        let [edit, own_edit] = &edits[..] else { return Err(Errno::IO) };
        // Of a directory that only the storage has, the storage tells.
        let simple = node.in_storage() && own.shows_storage_only();
        let simple = simple && self.below(&dir, name)?.is_none();
        if !simple {
            self.check_empty(&own)?;
        }
        let held = Held::bounded(|| self.hold(&node))?;
        let mut place = node.place_mut();
        still_there(&place, parent.id, name)?;
        if node.in_storage() && own.storage().is_some() {
            let end = Doomed { dir: edit, name, node: &node, own: own_edit };
            self.remove_stored_dir(&end, &mut place, simple)?;
            self.drop_identity(edit, name);
        } else {
            check_unprotected(&sys::stat_fd(dir.writable()?.fd())?)?;
            edit.append(&self.nothing_below(&dir, name, false)?.all())?;
            changed_now(dir.writable()?.fd());
        }
        edit.tidy();
        edit.seen();
        self.detach_dir(&node, &mut place, held);
        drop((place, edits));
        self.forget_far_below(hidden_below);
        Ok(())
    }

    fn dir_for_removal(&self, parent: NodeId, name: &[u8]) -> Result<(Arc<Node>, Arc<Dir>)> {
        self.check_writable()?;
        Name::new(name)?;
        let node = self.dir_node(parent)?;
        if self.meta.reserves(name) {
            return Err(Errno::NOENT);
        }
        let dir = self.dir(&node)?;
        if dir.storage().is_some() {
            return Ok((node, dir));
        }
        // Only what exists is worth a skeleton.
        self.find(&node, &dir, name)?.ok_or(Errno::NOENT)?;
        self.writable_dir(parent)
    }

    /// Removes the storage directory of an empty one. `simple`: only the
    /// storage has it, and nobody has looked whether it is empty.
    fn remove_stored_dir(
        &self,
        end: &Doomed<'_>,
        place: &mut PlaceMut<'_>,
        simple: bool,
    ) -> Result<()> {
        let storage = end.dir.writable()?;
        let remove = || sys::unlink(storage, end.name, AtFlags::REMOVEDIR);
        if simple && end.dir.meta().redirect(end.name).is_none() {
            match remove() {
                Err(Errno::NOTEMPTY | Errno::EXIST) => self.check_empty(end.own.dir())?,
                other => return other,
            }
        }
        let remove = || match remove() {
            Err(Errno::NOTEMPTY | Errno::EXIST) => self.set_aside(storage, end.name),
            other => other,
        };
        self.let_stand_alone(end, place)
            .and_then(|()| remove())
            .inspect_err(|_| self.keep_number(end))
    }

    /// Takes the base and META from an empty directory: it shows the same
    /// afterwards, which is nothing, whether it goes then or not.
    pub(crate) fn let_stand_alone(&self, end: &Doomed<'_>, place: &mut PlaceMut<'_>) -> Result<()> {
        end.dir.append(&self.nothing_below(end.dir.dir(), end.name, true)?.all())?;
        let secured = end.dir.secure();
        place.base = BaseRef::None;
        end.own.stand_alone();
        secured?;
        match end.own.storage() {
            Some(inner) => with_access(inner.fd(), || remove_reserved(self.meta, inner)),
            None => Ok(()),
        }
    }

    /// A directory that lost its base and stays shows the number that it has
    /// shown.
    pub(crate) fn keep_number(&self, end: &Doomed<'_>) {
        let stat = end.dir.writable().and_then(|dir| sys::stat(Spot::at(dir, end.name)));
        if let Ok(stat) = stat
            && end.node.ino() != storage_ino(&stat)
        {
            end.dir.append_late(vec![identity_record(end.node, stat.stx_ino, end.name)]);
        }
    }
}

/// An empty directory that is about to go: where it is, and itself.
pub(crate) struct Doomed<'a> {
    pub dir: &'a DirEdit<'a>,
    pub name: &'a [u8],
    pub node: &'a Node,
    pub own: &'a DirEdit<'a>,
}

/// Removes META and unfinished work of a storage directory that is to go.
pub(crate) fn remove_reserved(meta: MetaName, dir: Within<'_>) -> Result<()> {
    let mut names = Vec::new();
    each_entry(dir, |entry| {
        if meta.reserves(entry.name) {
            names.push(entry.name.to_vec());
        }
        true
    })?;
    for name in names {
        match sys::unlink(dir, &name, AtFlags::empty()) {
            Err(Errno::ISDIR) => match sys::unlink(dir, &name, AtFlags::REMOVEDIR) {
                // One that was set aside, and still holds something.
                Err(Errno::NOTEMPTY | Errno::EXIST) => {}
                other => other?,
            },
            other => other?,
        }
    }
    Ok(())
}
