//! The two ends of a rename.

use std::sync::Arc;

use rustix::fs::Statx;

use crate::format::meta::Record;
use crate::format::numbers::storage_ino;
use crate::ops::gone::{has_other, no_identity};
use crate::ops::link::identity_record;
use crate::reach::overlay::Overlay;
use crate::store::meta_dir::Step;
use crate::sys::{self, Result, Spot};
use crate::tree::dir::{Dir, DirEdit};
use crate::tree::node::{BaseRef, Held, Link, Node, PlaceMut};

/// One end of a rename: a name in a directory, and what is there.
pub(crate) struct End<'a> {
    pub parent: Arc<Node>,
    pub dir: Arc<Dir>,
    pub name: &'a [u8],
}

impl End<'_> {
    /// Attributes of what the storage has there.
    pub fn stat(&self) -> Result<Statx> {
        sys::stat(Spot::at(self.dir.writable()?, self.name))
    }
}

impl Overlay {
    /// A directory has moved: on btrfs that must be on the device before META tells
    /// it as a fact. A sync of META, which the next change in that directory asks for,
    /// could bring the redirect there and not the name that it is of. Where it fails
    /// the move stands.
    pub(crate) fn commit_moved(&self, is_dir: bool) {
        if !is_dir || !self.durability.syncs_before_changes() {
            return;
        }
        let _slow = self.slow_section();
        let committed = self.storage_opened().and_then(|fd| self.durability.sync_all(fd));
        if let Err(errno) = committed {
            tracing::warn!("a directory moved, and may be back after a power cut: {errno}");
        }
    }

    /// What META has to say of the name `to` once the object at `from`, with these
    /// attributes, has come to it; `stored`: the storage has something there that goes.
    /// `base`: the base directory that it shows.
    pub(crate) fn arriving<'a>(
        &self,
        from: &End<'_>,
        (to, edit, stored): (&'a End<'_>, &'a DirEdit<'a>, bool),
        (node, stat): (&Node, &Statx),
        base: Option<&[u8]>,
    ) -> Result<Step<'a>> {
        let mut records = Overlay::kept_moved((&from.dir, from.name), (&to.dir, to.name));
        let (redirected, has_identity) = {
            let meta = to.dir.meta();
            (meta.redirect(to.name).is_some(), meta.has_identity(to.name))
        };
        match base {
            Some(path) => {
                records.push(Record::Redirect { path: path.into(), name: to.name.into() });
            }
            None if redirected => records.push(Record::Unredirect { name: to.name.into() }),
            None => {}
        }
        if base.is_none() && node.ino() != storage_ino(stat) {
            records.push(identity_record(node, stat.stx_ino, to.name));
        } else if has_identity {
            records.push(no_identity(to.name));
        }
        let whiteout = self.whiteout(&to.dir, to.name, stored)?;
        records.extend(whiteout.records);
        if to.dir.is_far_hidden(to.name) {
            records.push(Record::Hide { name: to.name.into() });
        }
        let (name, storage_ino, print) = (to.name, stat.stx_ino, whiteout.print);
        Ok(Step { dir: edit, name, storage_ino, arrives: true, records, print })
    }

    /// The places of what moves and of what loses its name to it, and what the latter is
    /// reached by then (see [`lock_without`](Overlay::lock_without)).
    pub(crate) fn lock_both<'a>(
        &self,
        source: &'a Arc<Node>,
        target: Option<&'a Arc<Node>>,
        to: &End<'_>,
    ) -> Result<(PlaceMut<'a>, Option<PlaceMut<'a>>, Option<Arc<Held>>)> {
        let name = (to.parent.id, to.name);
        loop {
            let held = match target {
                Some(target) => self.hold_without(target, name)?,
                None => None,
            };
            let (place, target_place) = lock_places(source, target);
            let is_named = |place: &PlaceMut<'_>| has_other(place, name);
            if held.is_some() || target_place.as_ref().is_none_or(is_named) {
                return Ok((place, target_place, held));
            }
        }
    }
}

/// Gives a node its new name and what it shows of the base there.
pub(crate) fn relink(
    place: &mut PlaceMut<'_>,
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

/// The entries of both ends are being changed, which may be in one directory.
pub(crate) struct Edits<'a> {
    first: DirEdit<'a>,
    second: Option<DirEdit<'a>>,
    swapped: bool,
}

impl<'a> Edits<'a> {
    /// Of the old name.
    pub fn from(&self) -> &DirEdit<'a> {
        self.second.as_ref().filter(|_| self.swapped).unwrap_or(&self.first)
    }

    /// Of the new one.
    pub fn to(&self) -> &DirEdit<'a> {
        self.second.as_ref().filter(|_| !self.swapped).unwrap_or(&self.first)
    }

    /// The changes are to be seen.
    pub fn seen(&self) {
        self.from().seen();
        if self.second.is_some() {
            self.to().seen();
        }
    }
}

/// Locks the entries of one or two directories, by number.
pub(crate) fn edit_both<'a>(from: &'a Arc<Dir>, to: &'a Arc<Dir>) -> Edits<'a> {
    if Arc::ptr_eq(from, to) {
        return Edits { first: from.edit(), second: None, swapped: false };
    }
    let swapped = to.node < from.node;
    let (first, second) = if swapped { (to, from) } else { (from, to) };
    Edits { first: first.edit(), second: Some(second.edit()), swapped }
}

pub(crate) fn lock_places<'a>(
    source: &'a Arc<Node>,
    target: Option<&'a Arc<Node>>,
) -> (PlaceMut<'a>, Option<PlaceMut<'a>>) {
    match target {
        None => (source.place_mut(), None),
        Some(target) if source.id < target.id => {
            let place = source.place_mut();
            (place, Some(target.place_mut()))
        }
        Some(target) => {
            let place = target.place_mut();
            (source.place_mut(), Some(place))
        }
    }
}
