//! rename, in its three modes.
//!
//! The order of the steps is that of docs/FORMAT.md, section 4: after each of
//! them a crash leaves nothing lost.

use std::sync::Arc;

use parking_lot::{MutexGuard, RwLockWriteGuard};
use rustix::fs::{AtFlags, FileType, Mode, Statx};
use rustix::io::Errno;

use super::Overlay;
use super::create::new_name;
use super::flags::check_unprotected;
use super::link::identity;
use super::numbers::storage_ino;
use super::partial::Need;
use super::remove::{remove_reserved, still_there};
use crate::dirs::{Dir, Mark, with_access};
use crate::meta::Record;
use crate::name::{Name, temp_name};
use crate::node::{BaseRef, Held, Link, Node, Place};
use crate::sys::{self, Result, Spot};
use crate::types::{Caller, NodeId, RenameMode};

/// One end of a rename: a name in a directory, and what is there.
pub(super) struct End<'a> {
    pub parent: Arc<Node>,
    pub dir: Arc<Dir>,
    pub name: &'a [u8],
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
        if Name::new(name)?.is_reserved() {
            return Err(Errno::NOENT);
        }
        let target_name = new_name(new_name_)?;
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
        if [Some(&source), target.as_ref()].into_iter().flatten().any(|node| node.shared) {
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
        let _topology = moves_dir.then(|| self.rename_lock.lock());
        self.check_not_below(&source, &to.parent)?;
        if mode == RenameMode::Exchange {
            let target = target.as_ref().ok_or(Errno::NOENT)?;
            self.check_not_below(target, &from.parent)?;
            return self.exchange(&from, &to, &source, target);
        }
        if let RenameMode::Whiteout { by } = mode {
            let rename = || self.replace(&from, &to, &source, target.as_deref());
            return self.replace_by_device(&from, &by, rename);
        }
        self.replace(&from, &to, &source, target.as_deref())
    }

    /// Runs a rename that leaves a device 0:0 under the old name, which belongs
    /// to who renames. It is made first: what may fail must not come after the
    /// rename.
    fn replace_by_device(
        &self,
        from: &End<'_>,
        by: &Caller,
        rename: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        let (storage, temp) = (from.dir.writable()?, temp_name());
        let (kind, mode) = (FileType::CharacterDevice, Mode::empty());
        rustix::fs::mknodat(storage, &*temp, kind, mode, 0)?;
        let made = self.own(by, &from.parent, Spot::At(storage, &temp), libc::S_IFCHR, storage);
        let renamed = made.and_then(|made| rename().map(|()| made));
        let _lock = from.dir.mutate.lock();
        let made = renamed.inspect_err(|_| {
            // A leftover has a reserved name, and goes at the next mount.
            let _ = rustix::fs::unlinkat(storage, &*temp, AtFlags::empty());
        })?;
        self.drop_kept(&from.dir, from.name)?;
        made.keep(&from.dir, from.name)?;
        rustix::fs::renameat(storage, &*temp, storage, from.name)
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
        let _locks = lock_both(&from.dir, &to.dir);
        // The target may be the directory that the source is in.
        let _target_lock = target_dir
            .as_ref()
            .filter(|dir| !Arc::ptr_eq(dir, &from.dir))
            .map(|dir| dir.mutate.lock());
        if let Some(dir) = &target_dir {
            self.check_empty(dir)?;
        }
        let held = match target {
            Some(target) => Some(Held::new(self.at(target, |spot, _| sys::hold(spot))?)),
            None => None,
        };
        let base = if source.is_dir() { self.base_path(source) } else { None };
        self.materialise(&from.dir, from.name, source)?;
        let over = self.shared_target(to, target)?;
        let (mut place, mut target_place) = lock_places(source, target);
        still_there(&place, from.parent.id, from.name)?;
        if let (Some(target), Some((false, stat))) = (target, &over) {
            // First, because it may find no room: a count too low is repaired
            // by nobody's loss.
            self.lose_base_name(target, Some(stat).filter(|_| !target.in_storage()))?;
        }
        if let (Some(dir), Some(place)) = (&target_dir, &target_place) {
            self.clear_target(to, dir, place)?;
        }
        if source.is_dir() {
            self.move_dir(from, to, base.as_deref(), target.is_some())?;
        } else {
            self.move_file(from, to, source)?;
        }
        if let (Some(target), Some(place), Some(held)) = (target, target_place.as_mut(), held) {
            self.replaced(target, place, to, held);
            if let Some((stored, _)) = over {
                self.shared_name_removed(target, place, stored);
            }
        }
        self.ends_changed(from, to);
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
        let Some(target) = target.filter(|target| target.shared) else {
            return Ok(None);
        };
        let stored = sys::absent(sys::stat(Spot::At(to.dir.writable()?, to.name)))?.is_some();
        Ok(Some((stored, self.at(target, |spot, _| sys::stat(spot))?)))
    }

    /// An empty directory is about to be replaced: nothing of it may show
    /// through what comes in its place.
    fn clear_target(&self, to: &End<'_>, dir: &Dir, place: &Place) -> Result<()> {
        still_there(place, to.parent.id, to.name)?;
        self.hide(&to.dir, to.name)?;
        to.dir.remove_redirect(to.name)?;
        match dir.storage() {
            Some(storage) => with_access(storage, || remove_reserved(storage)),
            None => Ok(()),
        }
    }

    /// `R` target, storage rename, `D` source. `replaces`: an empty directory
    /// has been cleared for it, which cannot come back.
    fn move_dir(
        &self,
        from: &End<'_>,
        to: &End<'_>,
        base: Option<&[u8]>,
        replaces: bool,
    ) -> Result<()> {
        let marks = Marks::set(from, to)?;
        let (old, new) = (from.dir.writable()?, to.dir.writable()?);
        let kept = Overlay::kept_moved((&from.dir, from.name), (&to.dir, to.name));
        let redirected = to.dir.append(&kept).and_then(|()| {
            let Some(path) = base else { return Ok(()) };
            to.dir.set_redirect(path, to.name)?;
            // After a power cut the directory must not have moved without it.
            self.ordering.write_out(|| to.dir.journal_file())
        });
        let moved = redirected.and_then(|()| rustix::fs::renameat(old, from.name, new, to.name));
        if let Err(errno) = moved {
            marks.roll_back(from, to);
            return Err(errno);
        }
        let hidden = self
            .whiteout(&from.dir, from.name)
            .and_then(|record| from.dir.change(record.into_iter().collect(), Some(from.name)));
        let Err(errno) = hidden else { return Ok(()) };
        if !replaces && rustix::fs::renameat(new, to.name, old, from.name).is_ok() {
            marks.roll_back(from, to);
            return Err(errno);
        }
        // The move stands; what the base has under the old name shows again
        // after a remount.
        tracing::error!("a moved directory may leave its base part behind: {errno}");
        let mut meta = from.dir.meta.write();
        meta.apply(&Record::Hide { name: from.name.into() });
        meta.remove_redirect(from.name);
        Ok(())
    }

    /// `D` source and `i` target, storage rename, `D` target.
    fn move_file(&self, from: &End<'_>, to: &End<'_>, source: &Node) -> Result<()> {
        let storage = from.dir.writable()?;
        let stat = sys::stat(Spot::At(storage, from.name))?;
        let whiteout = self.whiteout(&from.dir, from.name)?;
        let number =
            (source.ino != storage_ino(&stat)).then(|| identity(source, stat.stx_ino, to.name));
        let stale = number.is_none() && to.dir.meta.read().has_identity(to.name);
        let mut arriving = Overlay::kept_moved((&from.dir, from.name), (&to.dir, to.name));
        arriving.extend(number);
        // Where META has nothing to say there will be nothing to take back.
        let says = whiteout.is_some() || !arriving.is_empty();
        let marks = if says { Some(Marks::set(from, to)?) } else { None };
        let recorded = if Arc::ptr_eq(&from.dir, &to.dir) {
            let records: Vec<Record> = whiteout.into_iter().chain(arriving).collect();
            from.dir.append(&records)
        } else {
            from.dir.append(whiteout.as_slice()).and_then(|()| to.dir.append(&arriving))
        };
        let moved = recorded
            .and_then(|()| rustix::fs::renameat(storage, from.name, to.dir.writable()?, to.name));
        if let Err(errno) = moved {
            if let Some(marks) = marks {
                marks.roll_back(from, to);
            }
            return Err(errno);
        }
        if let Err(errno) = self.hide(&to.dir, to.name) {
            // The storage entry shows in any case.
            tracing::warn!("a base entry under a moved file is not hidden: {errno}");
        }
        self.drop_identity(&from.dir, from.name);
        if stale {
            self.drop_identity(&to.dir, to.name);
        }
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

/// What META said of both ends of a rename.
pub(super) struct Marks(Mark, Option<Mark>);

impl Marks {
    /// `mutate` of both directories is held, and stays so.
    pub fn set(from: &End<'_>, to: &End<'_>) -> Result<Marks> {
        // The two may be one directory: one mark speaks of both names.
        let same = Arc::ptr_eq(&from.dir, &to.dir);
        let (both, first) = ([from.name, to.name], [from.name]);
        let from_names: &[&[u8]] = if same { &both } else { &first };
        let second = if same { None } else { Some(to.dir.mark(&[to.name])?) };
        Ok(Marks(from.dir.mark(from_names)?, second))
    }

    pub fn roll_back(self, from: &End<'_>, to: &End<'_>) {
        from.dir.roll_back(self.0);
        if let Some(second) = self.1 {
            to.dir.roll_back(second);
        }
    }
}

/// Gives a node its new name and what it shows of the base there.
pub(super) fn relink(
    place: &mut Place,
    from: &End<'_>,
    to: &End<'_>,
    base: Option<Vec<u8>>,
) -> Link {
    let link = Link::new(&to.parent, to.name);
    place.names.remove(from.parent.id, from.name);
    place.names.add(link.clone());
    place.base = base.map_or(BaseRef::None, |path| BaseRef::Path(Arc::new(path.into())));
    link
}

/// Locks the entries of one or two directories, by number.
pub(super) fn lock_both<'a>(
    a: &'a Arc<Dir>,
    b: &'a Arc<Dir>,
) -> (MutexGuard<'a, ()>, Option<MutexGuard<'a, ()>>) {
    if Arc::ptr_eq(a, b) {
        return (a.mutate.lock(), None);
    }
    let (first, second) = if a.node < b.node { (a, b) } else { (b, a) };
    (first.mutate.lock(), Some(second.mutate.lock()))
}

type Writing<'a> = RwLockWriteGuard<'a, Place>;

pub(super) fn lock_places<'a>(
    source: &'a Arc<Node>,
    target: Option<&'a Arc<Node>>,
) -> (Writing<'a>, Option<Writing<'a>>) {
    match target {
        None => (source.place.write(), None),
        Some(target) if source.id < target.id => {
            let place = source.place.write();
            (place, Some(target.place.write()))
        }
        Some(target) => {
            let place = target.place.write();
            (source.place.write(), Some(place))
        }
    }
}
