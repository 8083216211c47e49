//! rename, in its three modes.
//!
//! The order of the steps is that of docs/FORMAT.md, section 4: after each of
//! them a crash leaves nothing lost.

use std::sync::Arc;

use rustix::fs::{AtFlags, FileType, Mode, RenameFlags, Statx};
use rustix::io::Errno;

use crate::copy_up::ahead::Ahead;
use crate::copy_up::partial::Need;
use crate::copy_up::protected::check_unprotected;
use crate::copy_up::shared::Losing;
use crate::format::name::Name;
use crate::interface::types::{Caller, NodeId, RenameMode};
use crate::ops::ends::{Edits, End, edit_both, relink};
use crate::ops::gone::{Hiding, hide, leaving, no_identity, shows_nothing, still_there};
use crate::ops::remove::Doomed;
use crate::reach::overlay::Overlay;
use crate::reach::refs::NodeRef;
use crate::store::meta_dir::{ANY, Step, together};
use crate::sys::{self, Result, Spot};
use crate::tree::dir::{Dir, DirEdit};
use crate::tree::node::{Held, Node, PlaceMut};
use crate::tree::path::path_below;

/// What moves where.
struct Move<'a> {
    from: &'a End<'a>,
    to: &'a End<'a>,
    source: &'a Arc<Node>,
    target: Option<&'a Arc<Node>>,
    /// A copy of the source that was made for this.
    ahead: Option<Ahead<'a>>,
    /// The version of the target's directory when the target was looked for.
    version: Option<u64>,
}

impl Move<'_> {
    /// Nothing had the name, and nothing has come to it.
    fn found_free(&self, edit: &DirEdit<'_>) -> bool {
        self.target.is_none() && edit.follows(self.version)
    }
}

impl Overlay {
    /// Moves an object to another name. Directories are moved as they are,
    /// whatever they show of the base.
    ///
    /// # Errors
    /// ENOENT; EEXIST (`NoReplace`); ENOTDIR, EISDIR, ENOTEMPTY; EINVAL: a
    /// directory into itself; EPERM: the target name is reserved; EROFS.
    pub fn rename(
        &self,
        parent: NodeId,
        name: &[u8],
        new_parent: NodeId,
        new_name_: &[u8],
        mode: RenameMode,
    ) -> Result<()> {
        Name::new(name)?;
        if self.meta.reserves(name) {
            return Err(Errno::NOENT);
        }
        let target_name = self.new_name(new_name_)?;
        let _steady = self.discarding.read();
        let _moving = self.trail.moving();
        let (parent, dir) = self.writable_dir(parent)?;
        let (new_parent, new_dir) = self.writable_dir(new_parent)?;
        let from = End { parent, dir, name };
        let to = End { parent: new_parent, dir: new_dir, name: target_name };
        let (source, source_stat) =
            self.find_node(&from.parent, &from.dir, from.name)?.ok_or(Errno::NOENT)?;
        // Whether something has come to the target meanwhile.
        let version = to.dir.version();
        let target = self.find_target(&to)?;
        if [Some(&source), target.as_ref()].into_iter().flatten().any(|node| node.is_shared()) {
            self.prepare_index()?;
        }
        match (mode, &target) {
            (RenameMode::NoReplace, Some(_)) => return Err(Errno::EXIST),
            (RenameMode::Exchange, None) => return Err(Errno::NOENT),
            (_, Some(target)) if Arc::ptr_eq(target, &source) => return Ok(()),
            (RenameMode::Exchange, _) => {}
            (_, Some(target)) if !source.is_dir() && target.is_dir() => return Err(Errno::ISDIR),
            _ => {}
        }
        let ahead =
            self.copy_for_move((&source, source_stat), &from.dir, target.as_deref(), mode)?;
        let moves_dir = source.is_dir() || target.as_ref().is_some_and(|node| node.is_dir());
        self.commit_before(moves_dir)?;
        let _topology = moves_dir.then(|| self.rename_lock.lock());
        self.check_not_below(&source, &to.parent)?;
        let mut settled = self.settle_before_move(&source)?;
        let (source, target) = (&*source, target.as_deref());
        let exchanged = target.filter(|_| mode == RenameMode::Exchange);
        if let Some(target) = exchanged {
            self.check_not_below(target, &from.parent)?;
            settled |= self.settle_before_move(target)?;
        }
        if settled {
            self.commit_before(moves_dir)?;
        }
        if let Some(target) = exchanged {
            return self.exchange(&from, &to, source, target);
        }
        let moving = Move { from: &from, to: &to, source, target, ahead, version };
        match mode {
            RenameMode::Whiteout { by } => self.replace_by_device(&moving, &by),
            _ => self.replace(&moving, RenameFlags::empty()),
        }
    }

    /// What has the new name, and may lose it.
    fn find_target(&self, to: &End<'_>) -> Result<Option<NodeRef<'_>>> {
        let Some((node, stat)) = self.find_node(&to.parent, &to.dir, to.name)? else {
            return Ok(None);
        };
        if let Some(stat) = stat.filter(|_| !node.in_storage()) {
            check_unprotected(&stat)?;
        }
        Ok(Some(node))
    }

    /// Copies up what is about to move. The result is a copy that waits for its name.
    fn copy_for_move<'a>(
        &self,
        (source, stat): (&'a Arc<Node>, Option<Statx>),
        dir: &Dir,
        target: Option<&Arc<Node>>,
        mode: RenameMode,
    ) -> Result<Option<Ahead<'a>>> {
        // What leaves something under the old name is no simple move.
        let simple = matches!(mode, RenameMode::Replace | RenameMode::NoReplace);
        if let Some(stat) = stat.filter(|_| simple)
            && let Some(copy) = self.copy_ahead(source, dir, &stat)?
        {
            return Ok(Some(copy));
        }
        self.copy_up(source, Need::Attributes)?;
        if let Some(target) = target.filter(|_| mode == RenameMode::Exchange) {
            self.copy_up(target, Need::Attributes)?;
        }
        Ok(None)
    }

    /// A rename that leaves a device 0:0 under the old name, which belongs to who
    /// renames. The storage's file system makes both at once.
    fn replace_by_device(&self, moving: &Move<'_>, by: &Caller) -> Result<()> {
        let from = moving.from;
        match self.replace(moving, RenameFlags::WHITEOUT) {
            Err(Errno::INVAL | Errno::PERM | Errno::OPNOTSUPP) => {}
            other => {
                other?;
                self.give_device(from, by);
                return Ok(());
            }
        }
        // In two steps. The device is made first, for that may find no room.
        let (storage, temp) = (from.dir.writable()?, self.meta.temp());
        let (kind, mode) = (FileType::CharacterDevice, Mode::empty());
        sys::mknod(storage, &temp, kind, mode, 0)?;
        let renamed = self.replace(moving, RenameFlags::empty());
        let edit = from.dir.edit();
        let named = renamed
            .and_then(|()| {
                sys::rename((storage, &temp), (storage, from.name), RenameFlags::empty())
            })
            .inspect_err(|_| {
                // A leftover has a reserved name, and goes at the next mount.
                let _ = sys::unlink(storage, &temp, AtFlags::empty());
            });
        drop(edit);
        named.map(|()| self.give_device(from, by))
    }

    /// The device belongs to who renamed. It stands, whatever comes of that.
    fn give_device(&self, from: &End<'_>, by: &Caller) {
        let edit = from.dir.edit();
        let given = from.dir.writable().and_then(|storage| {
            self.drop_kept(&edit, from.name)?;
            let device = Spot::at(storage, from.name);
            self.own(by, &from.parent, device, libc::S_IFCHR, storage.fd())?.keep(&edit, from.name)
        });
        if let Err(errno) = given {
            tracing::warn!("a whiteout keeps the owner that it was made with: {errno}");
        }
    }

    /// What moves must be on the device before, on btrfs: a directory as it is, for a
    /// sync of another file could bring the loss of its old name there alone; anything
    /// else if it was copied up just now, for a name that a power cut takes back looks
    /// like one that was moved away, and then the base's is hidden.
    fn commit_before(&self, moves_dir: bool) -> Result<()> {
        if !self.durability.syncs_before_changes() {
            return Ok(());
        }
        let _slow = self.slow_section();
        let storage = self.storage_opened()?;
        if moves_dir {
            return self.durability.sync_all(storage);
        }
        self.durability.settle_copies(storage).map(drop)
    }

    /// EINVAL if `node` is `dir` or lies above it.
    fn check_not_below(&self, node: &Arc<Node>, dir: &Arc<Node>) -> Result<()> {
        let mut at = Some(Arc::clone(dir));
        while let Some(above) = at.filter(|_| node.is_dir()) {
            if Arc::ptr_eq(&above, node) {
                return Err(Errno::INVAL);
            }
            at = above.parent();
        }
        Ok(())
    }

    fn replace(&self, moving: &Move<'_>, flags: RenameFlags) -> Result<()> {
        let Move { from, to, source, target, .. } = *moving;
        if source.is_dir() && target.is_some_and(|target| !target.is_dir()) {
            return Err(Errno::NOTDIR);
        }
        let target_dir = match target.filter(|target| target.is_dir()) {
            Some(target) => Some(self.dir(target)?),
            None => None,
        };
        let edits = edit_both(&from.dir, &to.dir);
        // The target may be the directory that the source is in.
        let target_edit = target_dir
            .as_ref()
            .filter(|dir| !Arc::ptr_eq(dir, &from.dir))
            .map(|dir| dir.edit_beside());
        if let Some(dir) = &target_dir {
            self.check_empty(dir)?;
        }
        let base = if source.is_dir() { path_below(source, true) } else { None };
        self.materialise(edits.from(), from.name, source)?;
        let over = self.shared_target(to, target)?;
        let (mut place, mut target_place, held) = self.lock_both(source, target, to)?;
        still_there(&place, from.parent.id, from.name)?;
        let losing = self.losing_to(to, target, &over)?;
        let doomed = match (target, &target_dir) {
            (Some(node), Some(own)) if own.storage().is_some() => {
                let own = target_edit.as_ref().unwrap_or(edits.from());
                Some(Doomed { dir: edits.to(), name: to.name, node, own })
            }
            _ => None,
        };
        if let (Some(doomed), Some(place)) = (&doomed, &mut target_place) {
            still_there(place, to.parent.id, to.name)?;
            self.let_stand_alone(doomed, place).inspect_err(|_| self.keep_number(doomed))?;
        }
        let moved = self.move_entry(moving, &edits, &mut place, (base.as_deref(), flags));
        if let Err(errno) = moved {
            doomed.iter().for_each(|doomed| self.keep_number(doomed));
            return Err(errno);
        }
        if let Some(losing) = losing {
            losing.happened(edits.to());
        }
        if let (Some(target), Some(place)) = (target, target_place.as_mut()) {
            self.replaced(target, place, to, held);
            if let Some((stored, _)) = over {
                self.shared_name_removed(target, place, stored);
            }
        }
        edits.seen();
        let link = relink(&mut place, from, to, base);
        self.table.remove_name(from.parent.id, from.name);
        self.table.add_name(source, link);
        Ok(())
    }

    /// Whether a shared object that will lose its name to another one has a
    /// storage entry there, and its attributes.
    fn shared_target(
        &self,
        to: &End<'_>,
        target: Option<&Arc<Node>>,
    ) -> Result<Option<(bool, Statx)>> {
        let Some(target) = target.filter(|target| target.is_shared()) else {
            return Ok(None);
        };
        let stored = sys::absent(sys::stat(Spot::at(to.dir.writable()?, to.name)))?.is_some();
        Ok(Some((stored, self.stat(target)?)))
    }

    /// The name of the base that a shared target will lose.
    fn losing_to(
        &self,
        to: &End<'_>,
        target: Option<&Arc<Node>>,
        over: &Option<(bool, Statx)>,
    ) -> Result<Option<Losing>> {
        let (Some(target), Some((false, stat))) = (target, over) else { return Ok(None) };
        let base = Some(stat).filter(|_| !target.in_storage());
        self.losing(target, base, &to.dir, to.name)
    }

    /// The move itself, after a copy that was made for it has the old name.
    fn move_entry(
        &self,
        moving: &Move<'_>,
        edits: &Edits<'_>,
        place: &mut PlaceMut<'_>,
        how: (Option<&[u8]>, RenameFlags),
    ) -> Result<()> {
        let Some(copy) = &moving.ahead else {
            return self.move_stored(moving, edits, &moving.from.stat()?, how);
        };
        let old = (edits.from(), moving.from.name);
        let before = self.name_ahead(copy, old, place)?;
        self.move_stored(moving, edits, &copy.stat, how)
            .inspect_err(|_| self.stays(copy, before, old))
    }

    /// `stat`: of what moves. `base`: the base directory that it shows.
    fn move_stored(
        &self,
        moving: &Move<'_>,
        edits: &Edits<'_>,
        stat: &Statx,
        (base, flags): (Option<&[u8]>, RenameFlags),
    ) -> Result<()> {
        let Move { from, to, source, .. } = *moving;
        let (old, new) = (from.dir.writable()?, to.dir.writable()?);
        let Hiding { records: mut left, print } = match &moving.ahead {
            // The base was seen to have it.
            Some(copy) => Hiding {
                records: shows_nothing(&from.dir, from.name, Some(hide(from.name))),
                print: Some(copy.print(from.name)),
            },
            None => self.nothing_below(&from.dir, from.name, true)?,
        };
        if from.dir.meta().has_identity(from.name) {
            left.push(no_identity(from.name));
        }
        // Where presence tells as much as the number, it also does in a copy of
        // the storage.
        let free = moving.found_free(edits.to())
            || sys::absent(sys::stat(Spot::at(new, to.name)))?.is_none();
        let mut arriving = self.arriving(from, (to, edits.to(), !free), (source, stat), base)?;
        let leaves = if flags.is_empty() { ANY } else { arriving.storage_ino };
        if free {
            arriving.storage_ino = ANY;
        }
        let left = leaving(edits.from(), from.name, leaves, left);
        let steps = [Step { print, ..left }, arriving];
        self.durability.name_moved();
        together(&steps, || {
            match sys::rename((old, from.name), (new, to.name), flags) {
                Err(Errno::NOTEMPTY | Errno::EXIST) if source.is_dir() => {
                    // What is there was seen to show nothing.
                    self.set_aside(new, to.name)?;
                    sys::rename((old, from.name), (new, to.name), flags)?;
                }
                other => other?,
            }
            self.durability.name_moved();
            self.commit_moved(source.is_dir());
            Ok(())
        })?;
        edits.from().tidy();
        edits.to().tidy();
        Ok(())
    }

    /// The node that had the target name lives on without it.
    fn replaced(
        &self,
        target: &Arc<Node>,
        place: &mut PlaceMut<'_>,
        to: &End<'_>,
        held: Option<Arc<Held>>,
    ) {
        let held = match held {
            Some(held) if target.is_dir() => return self.detach_dir(target, place, held),
            other => other,
        };
        place.names.remove(to.parent.id, to.name);
        self.table.remove_name(to.parent.id, to.name);
        if place.names.first().is_none() {
            held.into_iter().for_each(|held| place.hold(held));
            self.freed.note(target.ino());
        }
    }
}
