//! What removals and renames have in common: names and objects that go.

use std::sync::Arc;

use rustix::fd::BorrowedFd;
use rustix::fs::{RenameFlags, Statx};
use rustix::io::Errno;

use crate::format::meta::Record;
use crate::format::name::is_dot;
use crate::format::print::Print;
use crate::format::time::Timestamp;
use crate::interface::types::{Attr, NodeId, SetTime};
use crate::layers::Below;
use crate::reach::overlay::Overlay;
use crate::store::meta_dir::{MetaEdit, Step, with_access};
use crate::store::shared_index::{Indexed, is_shared};
use crate::sys::magic::NFS;
use crate::sys::{self, Result, Spot, Within, each_entry};
use crate::tree::dir::{Dir, DirEdit};
use crate::tree::node::{BaseRef, Held, Names, Node, Place, PlaceMut};

impl Overlay {
    /// By what a node is reached once it has lost a name; `None`: by another name. (A
    /// client of NFS does not remove a name of what is held: it gives it one of its own,
    /// which counts and stays until nobody holds it any more.)
    pub(crate) fn hold_without(
        &self,
        node: &Arc<Node>,
        (parent, name): (NodeId, &[u8]),
    ) -> Result<Option<Arc<Held>>> {
        if !node.is_dir() && has_other(&node.place(), (parent, name)) {
            return Ok(None);
        }
        Held::bounded(|| self.hold(node)).map(Some)
    }

    /// The same, and the node's place, locked.
    pub(crate) fn lock_without<'a>(
        &self,
        node: &'a Arc<Node>,
        (parent, name): (NodeId, &[u8]),
    ) -> Result<(PlaceMut<'a>, Option<Arc<Held>>)> {
        loop {
            let held = self.hold_without(node, (parent, name))?;
            let place = node.place_mut();
            still_there(&place, parent, name)?;
            // Somebody else may have taken the other one meanwhile.
            if held.is_some() || has_other(&place, (parent, name)) {
                return Ok((place, held));
            }
        }
    }

    /// An object that is no directory has a name less.
    pub(crate) fn name_gone(
        &self,
        (parent, name): (&Node, &[u8]),
        node: &Arc<Node>,
        place: &mut PlaceMut<'_>,
        held: Option<Arc<Held>>,
    ) {
        place.names.remove(parent.id, name);
        self.table.remove_name(parent.id, name);
        if place.names.first().is_none() {
            held.into_iter().for_each(|held| place.hold(held));
            self.freed.note(node.ino());
            self.note_leaving(node);
        }
    }

    /// A removed directory keeps nothing but a descriptor for whoever is in it.
    pub(crate) fn detach_dir(&self, node: &Arc<Node>, place: &mut PlaceMut<'_>, held: Arc<Held>) {
        if let Some(link) = place.names.first() {
            self.table.remove_name(link.parent().id, link.name());
        }
        place.names = Names::None;
        place.base = BaseRef::None;
        place.hold(held);
        self.freed.note(node.ino());
        self.dirs.remove(node.id);
    }

    /// ENOTEMPTY unless the merged directory shows nothing.
    pub(crate) fn check_empty(&self, dir: &Dir) -> Result<()> {
        let mut empty = true;
        if let Some(storage) = dir.storage() {
            with_access(storage.fd(), || {
                each_entry(storage, |entry| {
                    empty = is_dot(entry.name) || self.meta.reserves(entry.name);
                    empty
                })
            })?;
        }
        // A redirect without its skeleton shows, too.
        empty = empty && dir.meta().redirects().next().is_none();
        if let Some(base) = dir.base().filter(|_| empty) {
            self.stack.list(base, &mut |entry| {
                empty = dir.hides(entry.name);
                empty
            })?;
        }
        if empty { Ok(()) } else { Err(Errno::NOTEMPTY) }
    }

    /// The records by which a name shows nothing of the base. `stored`: the storage has
    /// something there.
    pub(crate) fn nothing_below(&self, dir: &Dir, name: &[u8], stored: bool) -> Result<Hiding> {
        let Hiding { records, print } = self.whiteout(dir, name, stored)?;
        Ok(Hiding { records: shows_nothing(dir, name, records.into_iter().next()), print })
    }

    /// The record that hides a base entry; none where none shows.
    pub(crate) fn whiteout(&self, dir: &Dir, name: &[u8], stored: bool) -> Result<Hiding> {
        let below = self.below(dir, name)?;
        if below.is_none() && !self.shows_never(dir, name) {
            return Ok(Hiding::default());
        }
        let print = match &below {
            Some(below) => {
                let known = |dir: &Dir| {
                    dir.meta().print(name).is_some() || !is_newer(&below.stat, dir, name)
                };
                self.print_of_hidden(below, stored.then(|| known(dir)))?
            }
            None => None,
        };
        let print = print.map(|print| Record::Print { print, name: name.into() });
        Ok(Hiding { records: vec![hide(name)], print })
    }

    /// What is to be recorded of an entry below that is about to be hidden. `stored`: the storage
    /// has something there, and whether that may have been made from it: if not, there was
    /// nothing. `None`: it was changed before, and what that was made from is recorded, or not
    /// known any more.
    fn print_of_hidden(&self, below: &Below, stored: Option<bool>) -> Result<Option<Print>> {
        if is_shared(&below.stat) {
            let (id, _) = self.known_as(below);
            if matches!(self.shared.indexed(&below.stat, id)?, Indexed::As(_)) {
                return Ok(self.shared.print(id));
            }
        }
        Ok(match stored {
            None => Some(Print::taken(&below.stat)),
            Some(true) => None,
            Some(false) => Some(Print::NOTHING),
        })
    }

    /// Takes back what META says of the number of an entry that is gone.
    pub(crate) fn drop_identity(&self, dir: &MetaEdit<'_>, name: &[u8]) {
        if dir.meta().has_identity(name) {
            dir.append_late(vec![no_identity(name)]);
        }
    }

    /// The storage's file system, a client of NFS, does not remove what is open: it gives
    /// it a name of its own until then.
    pub fn renames_what_is_open(&self) -> bool {
        rustix::fs::fstatfs(&self.storage).is_ok_and(|stat| stat.f_type == NFS)
    }

    /// Takes a directory out of the way that shows nothing and is not empty: a client
    /// of NFS keeps files in it that were removed and that somebody has open. It gets
    /// the name of unfinished work, and goes at the next mount.
    pub(crate) fn set_aside(&self, dir: Within<'_>, name: &[u8]) -> Result<()> {
        if !self.renames_what_is_open() {
            return Err(Errno::NOTEMPTY);
        }
        sys::rename((dir, name), (dir, &self.meta.temp()), RenameFlags::empty())
    }
}

/// What is below came when the storage had its own under that name.
fn is_newer(below: &Statx, dir: &Dir, name: &[u8]) -> bool {
    let Some(storage) = dir.storage() else { return false };
    let stored = sys::stat(Spot::at(storage, name)).ok();
    let made = stored.and_then(|stored| Attr::from(&stored).btime);
    made.is_some_and(|made| Timestamp::from(below.stx_ctime) > made)
}

/// What hides a base entry, if one shows.
#[derive(Default)]
pub(crate) struct Hiding {
    /// All about its name.
    pub records: Vec<Record>,
    /// What it was, unless the name was changed before.
    pub print: Option<Record>,
}

impl Hiding {
    /// Of an entry that was not changed before, with these attributes.
    pub fn of(name: &[u8], stat: &Statx) -> Hiding {
        let print = Record::Print { print: Print::taken(stat), name: name.into() };
        Hiding { records: vec![hide(name)], print: Some(print) }
    }

    /// All records, for what META alone tells.
    pub fn all(self) -> Vec<Record> {
        self.records.into_iter().chain(self.print).collect()
    }
}

/// The record that hides a base entry.
pub(crate) fn hide(name: &[u8]) -> Record {
    Record::Hide { name: name.into() }
}

/// As [`Overlay::nothing_below`], where it is known whether a base entry shows: `whiteout` hides it.
pub(crate) fn shows_nothing(dir: &Dir, name: &[u8], whiteout: Option<Record>) -> Vec<Record> {
    let redirected = dir.meta().redirect(name).is_some();
    let unredirect = redirected.then(|| Record::Unredirect { name: name.into() });
    whiteout.into_iter().chain(unredirect).collect()
}

/// The record that takes an identity back.
pub(crate) fn no_identity(name: &[u8]) -> Record {
    Record::Identity { ino: 0, storage_ino: 0, name: name.into() }
}

/// What holds once the storage object `ino` has left a name.
pub(crate) fn leaving<'a>(
    dir: &'a MetaEdit<'a>,
    name: &'a [u8],
    ino: u64,
    records: Vec<Record>,
) -> Step<'a> {
    Step { dir, name, storage_ino: ino, arrives: false, records, print: None }
}

/// A storage directory shows that a base entry in it was hidden. The deletion
/// stands, whether its times can be set or not.
pub(crate) fn changed_now(storage: BorrowedFd<'_>) {
    if let Err(errno) = sys::set_times(Spot::Fd(storage), None, Some(SetTime::Now)) {
        tracing::warn!("a deletion does not show in the times of its directory: {errno}");
    }
}

/// Locks directories, each below the one before it. A rename may lock two of them in
/// the other order, so all but the first are only tried.
pub(crate) fn lock_down<'a>(dirs: &[&'a Dir]) -> Vec<DirEdit<'a>> {
    loop {
        let mut held = Vec::with_capacity(dirs.len());
        let mut busy = None;
        for dir in dirs {
            let edit = if held.is_empty() { Some(dir.edit()) } else { dir.try_edit() };
            match edit {
                Some(edit) => held.push(edit),
                None => {
                    busy = Some(*dir);
                    break;
                }
            }
        }
        let Some(busy) = busy else { return held };
        drop(held);
        // Wait for whoever has it, then take all in order.
        drop(busy.edit());
    }
}

/// Whether there is a name besides this.
pub(crate) fn has_other(place: &Place, (parent, name): (NodeId, &[u8])) -> bool {
    place.names.iter().any(|link| !link.is(parent, name))
}

/// ENOENT if another thread took the name away since it was found.
pub(crate) fn still_there(place: &Place, parent: NodeId, name: &[u8]) -> Result<()> {
    let there = place.names.iter().any(|link| link.is(parent, name));
    if there { Ok(()) } else { Err(Errno::NOENT) }
}
