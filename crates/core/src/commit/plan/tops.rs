//! Which paths the storage forgets afterwards, and which it must keep.

use hashbrown::HashSet;

use super::Fates;
use super::bonds::{Linked, Web};
use super::found::{AllFound, Found};
use crate::changes::ChangeKind;
use crate::commit::path::{in_walk, is_within, range};
use crate::format::commit::Path;

/// What becomes of the storage.
pub(super) struct Tops {
    pub tops: Vec<Path>,
    pub kept: Vec<Path>,
}

impl Tops {
    pub fn of(all: &AllFound, web: &Web, fates: &Fates) -> Tops {
        let mut kept = kept(all, web, fates);
        kept.sort_by(|a, b| in_walk(a, b));
        kept.dedup();
        if kept.is_empty() {
            return Tops { tops: vec![Path::default()], kept };
        }
        let keeps = |path: &[u8]| !range(&kept, path, |kept| kept).is_empty();
        let mut tops: Vec<Path> = Vec::new();
        for (change, found) in (0..).zip(&all.list) {
            let merges = found.is_dir()
                && matches!(
                    found.kind,
                    ChangeKind::Added | ChangeKind::Attributes | ChangeKind::Modified
                );
            if fates.leaves(change) && !found.times_only && !(merges && keeps(&found.path)) {
                tops.push(found.path.clone());
            }
        }
        let places = web.places.iter().filter(|place| fates.leaves(place.point));
        tops.extend(places.map(|place| place.path.clone()));
        let units = web.units.iter().filter(|unit| fates.leaves(unit.point));
        tops.extend(units.map(|unit| unit.path.clone()));
        // The base has another object now that is to count.
        let groups = web.linked.iter().filter(|group| fates.leaves(group.point));
        tops.extend(groups.flat_map(|group| &group.by_base).cloned());
        tops.sort_by(|a, b| in_walk(a, b));
        let mut least: Vec<Path> = Vec::new();
        for top in tops.into_iter().filter(|top| !top.is_empty()) {
            if least.last().is_none_or(|last| !is_within(&top, last)) {
                least.push(top);
            }
        }
        Tops { tops: least, kept }
    }

    /// All of the storage goes.
    pub fn is_all(&self) -> bool {
        self.tops.first().is_some_and(|top| top.is_empty())
    }

    /// A path goes.
    pub fn holds(&self, path: &[u8]) -> bool {
        let before =
            self.tops.partition_point(|top| in_walk(top, path) != std::cmp::Ordering::Greater);
        let last = before.checked_sub(1).and_then(|at| self.tops.get(at));
        last.is_some_and(|top| is_within(path, top))
    }
}

/// All that must stay in the storage.
fn kept(all: &AllFound, web: &Web, fates: &Fates) -> Vec<Path> {
    let stays = |(change, found): &(u32, &Found)| !found.times_only && !fates.leaves(*change);
    let mut kept: Vec<Path> = Vec::new();
    kept.extend((0..).zip(&all.list).filter(stays).map(|(_, found)| found.path.clone()));
    if kept.is_empty() && all.unread.is_empty() && web.stays.is_empty() {
        return kept;
    }
    kept.extend(all.unread.iter().map(|(path, _)| path.clone()));
    let places = web.places.iter().filter(|place| !fates.leaves(place.point));
    // Names of what shows no change go back as one object in any case.
    let loose = |group: &&Linked| group.told.is_empty() && group.id.is_some();
    let loose = web.linked.iter().filter(loose).flat_map(|group| &group.untold);
    let loose: HashSet<&[u8]> = loose.map(|path| &**path).collect();
    let loose = |path: &Path| loose.contains(&**path) && !web.stays.contains(path);
    kept.extend(places.map(|place| place.path.clone()).filter(|path| !loose(path)));
    let groups = web.linked.iter().filter(|group| !group.told.is_empty());
    let groups = groups.filter(|group| !fates.leaves(group.point));
    kept.extend(groups.flat_map(|group| &group.by_base).cloned());
    kept
}
