//! What keeps a commit from being done at all, found out before anything is touched.

use super::found::{AllFound, Placed};
use super::{CommitRefusal, CommitWish, Fates};
use crate::changes::BaseState;
use crate::commit::path::is_within;
use crate::format::commit::Path;
use crate::layers::Dialect;
use crate::reach::overlay::Overlay;
use crate::sys;

/// The base is one ordinary tree below a storage.
pub(super) fn is_plain(overlay: &Overlay) -> Result<(), CommitRefusal> {
    let plain =
        matches!(overlay.stack.layers(), [layer] if matches!(layer.dialect, Dialect::Plain));
    if plain && overlay.has_storage() { Ok(()) } else { Err(CommitRefusal::NotPlain) }
}

/// What cannot be read is not a part of what goes, and was not asked for either: nothing is
/// known of it, so it was if everything else is.
pub(super) fn all_is_read(all: &AllFound, fates: &Fates) -> Result<(), CommitRefusal> {
    let every = all.list.iter().all(|found| found.times_only || found.wish == CommitWish::Goes);
    let inside = |path: &[u8]| {
        let mut goes = (0..).zip(&all.list).filter(|(change, _)| fates.leaves(*change));
        goes.any(|(_, found)| !found.path.is_empty() && is_within(path, &found.path))
    };
    match all.unread.iter().find(|(path, _)| every || inside(path)) {
        Some((path, errno)) => Err(CommitRefusal::Unread(path.clone(), *errno)),
        None => Ok(()),
    }
}

/// Nothing is given up but what is in conflict.
pub(super) fn drops_conflicts_only(all: &AllFound, fates: &Fates) -> Result<(), CommitRefusal> {
    let others = (0..).zip(&all.list).filter(|(change, found)| {
        fates.is_dropped(*change)
            && !found.times_only
            && !(fates.goes.get(*change as usize) == Some(&true)
                && matches!(found.state, BaseState::Changed(_)))
    });
    let others: Vec<Path> = others.map(|(_, found)| found.path.clone()).collect();
    if others.is_empty() { Ok(()) } else { Err(CommitRefusal::WouldDrop(others)) }
}

/// Whether objects of the base can be changed where they are.
pub(super) struct Checks {
    device: u64,
}

impl Checks {
    pub fn of(overlay: &Overlay) -> Result<Checks, CommitRefusal> {
        let root = overlay.stack.root_stat();
        let root = root.map_err(|errno| CommitRefusal::Base(Path::default(), errno))?;
        Ok(Checks { device: sys::device(&root) })
    }

    /// An object at a path of the base.
    pub fn is_free(&self, path: &[u8], placed: Placed) -> Result<(), CommitRefusal> {
        match placed {
            Placed { fixed: true, .. } => Err(CommitRefusal::Fixed(path.into())),
            Placed { device, .. } if device != self.device => {
                Err(CommitRefusal::Elsewhere(path.into()))
            }
            Placed { .. } => Ok(()),
        }
    }

    /// Those that are taken away, replaced or changed themselves.
    pub fn changes(&self, all: &AllFound, fates: &Fates) -> Result<(), CommitRefusal> {
        for (_, found) in (0..).zip(&all.list).filter(|(change, _)| fates.goes(*change)) {
            let lower = found.lower.as_ref().filter(|_| !found.times_only);
            if let (Some(lower), Some(below)) = (lower, found.below()) {
                self.is_free(below, lower.place)?;
            }
            for (path, placed) in found.lost.iter().flat_map(|lost| &lost.odd) {
                self.is_free(path, *placed)?;
            }
        }
        Ok(())
    }
}
