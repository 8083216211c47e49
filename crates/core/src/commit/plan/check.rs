//! What keeps a commit from being done at all, found out before anything is touched.

use std::os::unix::ffi::OsStrExt;

use rustix::io::Errno;

use super::found::{AllFound, Placed};
use super::lowers::Lowers;
use super::mounts::{Mounts, inside};
use super::steps::Work;
use super::tops::Tops;
use super::{CommitRefusal, CommitWish, Fates, Make};
use crate::changes::{BaseState, ChangeKind};
use crate::commit::path::is_within;
use crate::format::commit::{Path, Step};
use crate::layers::Dialect;
use crate::reach::overlay::Overlay;

type Checked = Result<(), CommitRefusal>;

/// The base is one ordinary tree below a storage.
pub(super) fn is_plain(overlay: &Overlay) -> Checked {
    let plain =
        matches!(overlay.stack.layers(), [layer] if matches!(layer.dialect, Dialect::Plain));
    if plain && overlay.has_storage() { Ok(()) } else { Err(CommitRefusal::NotPlain) }
}

/// What cannot be read is no part of what goes. Nobody was asked about it: it is meant if
/// everything else is.
pub(super) fn all_is_read(all: &AllFound, tops: &Tops) -> Checked {
    let every = all.list.iter().all(|found| found.times_only || found.wish == CommitWish::Goes);
    match all.unread.iter().find(|(path, _)| every || tops.holds(path)) {
        Some((path, errno)) => Err(CommitRefusal::Unread(path.clone(), *errno)),
        None => Ok(()),
    }
}

/// Nothing is given up but what is in conflict.
pub(super) fn drops_conflicts_only(all: &AllFound, fates: &Fates) -> Checked {
    let others = (0..).zip(&all.list).filter(|(change, found)| {
        let conflict = matches!(found.state, BaseState::Changed(_));
        let asked = fates.goes.get(*change as usize) == Some(&true);
        fates.is_dropped(*change) && !found.times_only && !(asked && conflict)
    });
    let others: Vec<Path> = others.map(|(_, found)| found.path.clone()).collect();
    if others.is_empty() { Ok(()) } else { Err(CommitRefusal::WouldDrop(others)) }
}

/// Whether objects of the base can be changed where they are.
pub(super) struct Checks<'a> {
    mounts: &'a Mounts,
    /// The storage lies in the base.
    nested: bool,
    /// Where, if that is known: a mount may show it elsewhere.
    storage: Option<Path>,
}

impl<'a> Checks<'a> {
    pub fn of(overlay: &Overlay, mounts: &'a Mounts) -> Checks<'a> {
        // A daemon may have left all paths: it knows the full one.
        let given = overlay.shared.storage();
        let storage = given.canonicalize().unwrap_or_else(|_| given.to_path_buf());
        let nested = overlay.stack.holds_storage();
        let storage = inside(overlay, storage.as_os_str().as_bytes());
        let storage = storage.filter(|_| nested);
        Checks { mounts, nested, storage }
    }

    /// An object at a path of the base, with all in it if that moves.
    fn is_free(&self, path: &[u8], placed: Placed, moves: bool) -> Checked {
        let elsewhere = |point: &[u8]| Err(CommitRefusal::Elsewhere(point.into()));
        let point = self.mounts.of_path(path);
        if self.mounts.device(&point).is_ok_and(|device| device != placed.device) {
            return elsewhere(path);
        }
        let covering = self.mounts.covering(path).filter(|_| !self.mounts.are_part);
        if let Some(point) = covering.or(self.mounts.below(path).filter(|_| moves)) {
            return elsewhere(point);
        }
        let holds = self.storage.as_ref().map_or(self.nested, |storage| is_within(storage, path));
        if moves && holds {
            return Err(CommitRefusal::HoldsStorage(path.into()));
        }
        if placed.fixed { Err(CommitRefusal::Fixed(path.into())) } else { Ok(()) }
    }

    /// A directory of the base in which something is done.
    pub fn directory(&self, path: &[u8], placed: Placed) -> Checked {
        self.is_free(path, placed, false)
    }

    /// What is taken away, replaced or changed itself.
    pub fn changes(&self, all: &AllFound, fates: &Fates) -> Checked {
        for (_, found) in (0..).zip(&all.list).filter(|(change, _)| fates.goes(*change)) {
            let lower = found.lower.as_ref().filter(|_| !found.times_only);
            if let (Some(lower), Some(below)) = (lower, found.below()) {
                let stays = found.is_dir()
                    && matches!(found.kind, ChangeKind::Attributes | ChangeKind::Modified);
                self.is_free(below, lower.place, !stays)?;
            }
            for (path, placed) in found.lost.iter().flat_map(|lost| &lost.odd) {
                self.is_free(path, *placed, true)?;
            }
        }
        Ok(())
    }

    /// What gets another name, and what becomes another object though it shows no change.
    pub fn links(&self, work: &Work, lowers: &Lowers<'_>) -> Checked {
        let linked = work.makes.iter().filter_map(|make| match make {
            Make::LinkBase { at, .. } => Some(at.clone()),
            _ => None,
        });
        let swapped = work.steps.iter().filter_map(|step| match step {
            Step::Swap { at, .. } => lowers.below(at),
            _ => None,
        });
        for path in linked.chain(swapped) {
            let failed = |errno| CommitRefusal::Base(path.clone(), errno);
            let stat = lowers.stat(&path).map_err(failed)?;
            let stat = stat.ok_or_else(|| failed(Errno::NOENT))?;
            self.is_free(&path, Placed::of(&stat), true)?;
        }
        Ok(())
    }
}
