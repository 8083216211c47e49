//! unlink and rmdir.

use std::sync::Arc;

use parking_lot::MutexGuard;
use rustix::fd::{AsFd, BorrowedFd};
use rustix::fs::AtFlags;
use rustix::io::Errno;

use super::Overlay;
use super::flags::check_unprotected;
use super::listing::is_dot;
use crate::dirs::{Dir, with_access};
use crate::meta::Record;
use crate::name::{Name, is_reserved};
use crate::node::{BaseRef, Held, Names, Node, Place};
use crate::sys::{self, Result, Spot, each_entry};
use crate::types::{NodeId, SetTime};

impl Overlay {
    /// Removes a name of an object that is no directory. Nothing is copied.
    ///
    /// # Errors
    /// ENOENT; EISDIR; EROFS; as `unlink(2)`.
    pub fn unlink(&self, parent: NodeId, name: &[u8]) -> Result<()> {
        let (parent, dir) = self.dir_for_removal(parent, name)?;
        let (node, stat) = self.find_node(&parent, &dir, name)?.ok_or(Errno::NOENT)?;
        if node.is_dir() {
            return Err(Errno::ISDIR);
        }
        if let Some(stat) = stat.as_ref().filter(|_| !node.in_storage()) {
            check_unprotected(stat)?;
        }
        if node.shared {
            self.prepare_index()?;
        }
        let _lock = dir.mutate.lock();
        let storage = dir.writable()?;
        // Open files and others that hold the node reach the object by this.
        let held = Held::new(self.at(&node, |spot, _| sys::hold(spot))?);
        let mut place = node.place.write();
        still_there(&place, parent.id, name)?;
        let stored = match node.shared {
            false => node.in_storage(),
            // Else the base alone has the name, the object lies in the index.
            true => sys::absent(sys::stat(Spot::At(storage, name)))?.is_some(),
        };
        let mark = if stored || !node.shared { None } else { Some(dir.mark(&[name])?) };
        let plain = !node.shared && !node.in_storage() && place.base == BaseRef::SameName;
        if plain && self.live.is_none() && stat.is_some() && !dir.hides(name) {
            // The base was seen to have it.
            dir.append(&[Record::Hide { name: name.into() }])?;
        } else {
            self.hide(&dir, name)?;
        }
        if let Some(mark) = mark {
            let base = stat.as_ref().filter(|_| !node.in_storage());
            self.lose_base_name(&node, base).inspect_err(|_| dir.roll_back(mark))?;
        }
        if stored {
            rustix::fs::unlinkat(storage, name, AtFlags::empty())?;
            self.drop_identity(&dir, name);
        } else {
            sys::set_times(Spot::Fd(storage), None, Some(SetTime::Now))?;
        }
        dir.seen();
        place.names.remove(parent.id, name);
        self.table.remove_name(parent.id, name);
        if place.names.first().is_none() {
            place.hold(held);
            self.freed.note(node.ino);
        }
        if node.shared {
            self.shared_name_removed(&node, &mut place, stored);
        }
        Ok(())
    }

    /// Removes an empty directory.
    ///
    /// # Errors
    /// ENOENT; ENOTDIR; ENOTEMPTY; EROFS; as `rmdir(2)`.
    pub fn rmdir(&self, parent: NodeId, name: &[u8]) -> Result<()> {
        let (parent, dir) = self.dir_for_removal(parent, name)?;
        let (node, stat) = self.find_node(&parent, &dir, name)?.ok_or(Errno::NOENT)?;
        if !node.is_dir() {
            return Err(Errno::NOTDIR);
        }
        if let Some(stat) = stat.as_ref().filter(|_| !node.in_storage()) {
            check_unprotected(stat)?;
        }
        let own = self.dir(&node)?;
        let (_lock, _own_lock) = lock_down(&dir, &own);
        // Of a directory that only the storage has, the storage tells.
        let simple = node.in_storage() && own.shows_storage_only();
        let simple = simple && self.base_stat(&dir, name)?.is_none();
        if !simple {
            self.check_empty(&own)?;
        }
        let held = Held::new(self.at(&node, |spot, _| sys::hold(spot))?);
        let mut place = node.place.write();
        still_there(&place, parent.id, name)?;
        self.hide(&dir, name)?;
        dir.remove_redirect(name)?;
        let storage = dir.writable()?;
        if let Some(inner) = own.storage().filter(|_| node.in_storage()) {
            let remove = || rustix::fs::unlinkat(storage, name, AtFlags::REMOVEDIR);
            match if simple { remove() } else { Err(Errno::NOTEMPTY) } {
                Err(Errno::NOTEMPTY | Errno::EXIST) => {
                    if simple {
                        self.check_empty(&own)?;
                    }
                    with_access(inner, || remove_reserved(inner))?;
                    remove()?;
                }
                other => other?,
            }
            self.drop_identity(&dir, name);
        } else {
            sys::set_times(Spot::Fd(storage), None, Some(SetTime::Now))?;
        }
        dir.seen();
        self.detach_dir(&node, &mut place, held);
        Ok(())
    }

    /// A removed directory keeps nothing but a descriptor for whoever is in it.
    pub(super) fn detach_dir(&self, node: &Arc<Node>, place: &mut Place, held: Arc<Held>) {
        if let Some(link) = place.names.first() {
            self.table.remove_name(link.parent().id, link.name());
        }
        place.names = Names::None;
        place.base = BaseRef::None;
        place.hold(held);
        self.freed.note(node.ino);
        self.dirs.remove(node.id);
    }

    fn dir_for_removal(&self, parent: NodeId, name: &[u8]) -> Result<(Arc<Node>, Arc<Dir>)> {
        self.check_writable()?;
        let checked = Name::new(name)?;
        let node = self.dir_node(parent)?;
        if checked.is_reserved() {
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

    /// Hides the base entry of a name, if the base has one that shows.
    pub(super) fn hide(&self, dir: &Dir, name: &[u8]) -> Result<()> {
        if let Some(record) = self.whiteout(dir, name)? {
            dir.append(&[record])?;
        }
        Ok(())
    }

    /// The record that hides a base entry; `None` where none shows.
    pub(super) fn whiteout(&self, dir: &Dir, name: &[u8]) -> Result<Option<Record>> {
        let shows = self.base_stat(dir, name)?.is_some();
        Ok(shows.then(|| Record::Hide { name: name.into() }))
    }

    /// Takes back what META says of the number of an entry that is gone. A
    /// failure only leaves a record that names a storage number nobody has.
    pub(super) fn drop_identity(&self, dir: &Dir, name: &[u8]) {
        if dir.meta.read().has_identity(name) {
            let gone = Record::Identity { ino: 0, storage_ino: 0, name: name.into() };
            if let Err(errno) = dir.append(&[gone]) {
                tracing::warn!("cannot drop an identity record: {errno}");
            }
        }
    }

    /// ENOTEMPTY unless the merged directory shows nothing.
    pub(super) fn check_empty(&self, dir: &Dir) -> Result<()> {
        let mut empty = true;
        if let Some(storage) = dir.storage() {
            with_access(storage, || {
                each_entry(storage, |entry| {
                    empty = is_dot(entry.name) || is_reserved(entry.name);
                    empty
                })
            })?;
        }
        // A redirect without its skeleton shows, too.
        empty = empty && dir.meta.read().redirects().next().is_none();
        if let Some(base) = dir.base().filter(|_| empty) {
            each_entry(base.as_fd(), |entry| {
                empty = is_dot(entry.name) || is_reserved(entry.name) || dir.hides(entry.name);
                empty
            })?;
        }
        if empty { Ok(()) } else { Err(Errno::NOTEMPTY) }
    }
}

/// Removes META and unfinished work of a storage directory that is to go.
pub(super) fn remove_reserved(dir: BorrowedFd<'_>) -> Result<()> {
    let mut names = Vec::new();
    each_entry(dir, |entry| {
        if is_reserved(entry.name) {
            names.push(entry.name.to_vec());
        }
        true
    })?;
    for name in names {
        match rustix::fs::unlinkat(dir, &*name, AtFlags::empty()) {
            Err(Errno::ISDIR) => rustix::fs::unlinkat(dir, &*name, AtFlags::REMOVEDIR)?,
            other => other?,
        }
    }
    Ok(())
}

/// Locks a directory and one below it. A rename between the two may lock them
/// in the other order, so the second one is only tried.
fn lock_down<'a>(dir: &'a Dir, below: &'a Dir) -> (MutexGuard<'a, ()>, MutexGuard<'a, ()>) {
    loop {
        let guard = dir.mutate.lock();
        if let Some(inner) = below.mutate.try_lock() {
            return (guard, inner);
        }
        drop(guard);
        // Wait for whoever has it, then take both in order.
        drop(below.mutate.lock());
    }
}

/// ENOENT if another thread took the name away since it was found.
pub(super) fn still_there(place: &Place, parent: NodeId, name: &[u8]) -> Result<()> {
    let there = place.names.iter().any(|link| link.is(parent, name));
    if there { Ok(()) } else { Err(Errno::NOENT) }
}
