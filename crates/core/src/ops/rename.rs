//! rename, in its three modes.
//!
//! The order of the steps is that of docs/FORMAT.md, section 4: after each of
//! them a crash leaves nothing lost.

use std::sync::Arc;

use rustix::fs::{AtFlags, FileType, Mode, RenameFlags, Statx};
use rustix::io::Errno;

use crate::copy_up::partial::Need;
use crate::copy_up::protected::check_unprotected;
use crate::format::name::Name;
use crate::interface::types::{Caller, NodeId, RenameMode};
use crate::ops::ends::{Edits, End, edit_both, lock_places, relink};
use crate::ops::gone::{leaving, no_identity, still_there};
use crate::ops::remove::Doomed;
use crate::reach::overlay::Overlay;
use crate::store::meta_dir::{ANY, together};
use crate::sys::{self, Result, Spot};
use crate::tree::node::{Held, Node, Place};
use crate::tree::path::path_below;

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
        let _moving = self.trail.moving();
        let (parent, dir) = self.writable_dir(parent)?;
        let (new_parent, new_dir) = self.writable_dir(new_parent)?;
        let from = End { parent, dir, name };
        let to = End { parent: new_parent, dir: new_dir, name: target_name };
        let (source, _) =
            self.find_node(&from.parent, &from.dir, from.name)?.ok_or(Errno::NOENT)?;
        let target = match self.find_node(&to.parent, &to.dir, to.name)? {
            Some((node, stat)) => {
                if let Some(stat) = stat.filter(|_| !node.in_storage()) {
                    check_unprotected(&stat)?;
                }
                Some(node)
            }
            None => None,
        };
        if [Some(&source), target.as_ref()].into_iter().flatten().any(|node| node.is_shared()) {
            self.prepare_index()?;
        }
        match (mode, &target) {
            (RenameMode::NoReplace, Some(_)) => return Err(Errno::EXIST),
            (RenameMode::Exchange, None) => return Err(Errno::NOENT),
            (_, Some(target)) if Arc::ptr_eq(target, &source) => return Ok(()),
            _ => {}
        }
        self.copy_up(&source, Need::Attributes)?;
        if let Some(target) = target.as_ref().filter(|_| mode == RenameMode::Exchange) {
            self.copy_up(target, Need::Attributes)?;
        }
        let moves_dir = source.is_dir() || target.as_ref().is_some_and(|node| node.is_dir());
        self.commit_before(moves_dir)?;
        let _topology = moves_dir.then(|| self.rename_lock.lock());
        self.check_not_below(&source, &to.parent)?;
        let mut settled = self.settle_before_move(&source)?;
        if mode == RenameMode::Exchange {
            let target = target.as_ref().ok_or(Errno::NOENT)?;
            self.check_not_below(target, &from.parent)?;
            settled |= self.settle_before_move(target)?;
            if settled {
                self.commit_before(moves_dir)?;
            }
            return self.exchange(&from, &to, &source, target);
        }
        if settled {
            self.commit_before(moves_dir)?;
        }
        if let RenameMode::Whiteout { by } = mode {
            let ends = (&from, &to);
            return self.replace_by_device(ends, &by, &source, target.as_deref());
        }
        self.replace(&from, &to, &source, target.as_deref(), RenameFlags::empty())
    }

    /// A rename that leaves a device 0:0 under the old name, which belongs to who
    /// renames. The storage's file system makes both at once.
    fn replace_by_device(
        &self,
        (from, to): (&End<'_>, &End<'_>),
        by: &Caller,
        source: &Arc<Node>,
        target: Option<&Arc<Node>>,
    ) -> Result<()> {
        match self.replace(from, to, source, target, RenameFlags::WHITEOUT) {
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
        let renamed = self.replace(from, to, source, target, RenameFlags::empty());
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

    fn replace(
        &self,
        from: &End<'_>,
        to: &End<'_>,
        source: &Arc<Node>,
        target: Option<&Arc<Node>>,
        flags: RenameFlags,
    ) -> Result<()> {
        match target {
            Some(target) if source.is_dir() && !target.is_dir() => return Err(Errno::NOTDIR),
            Some(target) if !source.is_dir() && target.is_dir() => return Err(Errno::ISDIR),
            _ => {}
        }
        let target_dir = match target.filter(|target| target.is_dir()) {
            Some(target) => Some(self.dir(target)?),
            None => None,
        };
        let edits = edit_both(&from.dir, &to.dir);
        // The target may be the directory that the source is in.
        let target_edit =
            target_dir.as_ref().filter(|dir| !Arc::ptr_eq(dir, &from.dir)).map(|dir| dir.edit());
        if let Some(dir) = &target_dir {
            self.check_empty(dir)?;
        }
        let held = match target {
            Some(target) => Some(Held::bounded(|| self.hold(target))?),
            None => None,
        };
        let base = if source.is_dir() { path_below(source, true) } else { None };
        self.materialise(edits.from(), from.name, source)?;
        let over = self.shared_target(to, target)?;
        let (mut place, mut target_place) = lock_places(source, target);
        still_there(&place, from.parent.id, from.name)?;
        let losing = match (target, &over) {
            (Some(target), Some((false, stat))) => {
                let base = Some(stat).filter(|_| !target.in_storage());
                self.losing(target, base, &to.dir, to.name)?
            }
            _ => None,
        };
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
        if let Err(errno) = self.move_entry((from, to), &edits, source, base.as_deref(), flags) {
            doomed.iter().for_each(|doomed| self.keep_number(doomed));
            return Err(errno);
        }
        if let Some(losing) = losing {
            losing.happened(edits.to());
        }
        if let (Some(target), Some(place), Some(held)) = (target, target_place.as_mut(), held) {
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

    /// The move itself.
    fn move_entry(
        &self,
        (from, to): (&End<'_>, &End<'_>),
        edits: &Edits<'_>,
        source: &Node,
        base: Option<&[u8]>,
        flags: RenameFlags,
    ) -> Result<()> {
        let (old, new) = (from.dir.writable()?, to.dir.writable()?);
        let mut left = self.nothing_below(&from.dir, from.name)?;
        if from.dir.meta().has_identity(from.name) {
            left.push(no_identity(from.name));
        }
        // Where presence tells as much as the number, it also does in a copy of
        // the storage.
        let free = sys::absent(sys::stat(Spot::at(new, to.name)))?.is_none();
        let mut arriving = self.arriving(from, (to, edits.to()), source, base)?;
        let leaves = if flags.is_empty() { ANY } else { arriving.storage_ino };
        if free {
            arriving.storage_ino = ANY;
        }
        let steps = [leaving(edits.from(), from.name, leaves, left), arriving];
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
    fn replaced(&self, target: &Arc<Node>, place: &mut Place, to: &End<'_>, held: Arc<Held>) {
        if target.is_dir() {
            self.detach_dir(target, place, held);
            return;
        }
        place.names.remove(to.parent.id, to.name);
        self.table.remove_name(to.parent.id, to.name);
        if place.names.first().is_none() {
            place.hold(held);
            self.freed.note(target.ino);
        }
    }
}
