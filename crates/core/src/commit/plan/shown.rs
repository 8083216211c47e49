//! Where what lies in the base shows in the tree, and what hangs at these places.

use hashbrown::HashMap;

use super::bonds::at;
use super::found::AllFound;
use crate::changes::ChangeKind;
use crate::commit::path::on_the_way;
use crate::format::commit::Path;
use crate::format::name::parent;

/// What was renamed, and its old place: the storage may know of another name of it only. And
/// files of which the base has data under another name: who takes that away takes these
/// along, also in a copy of a storage, which does not know where they were.
pub(super) fn ties(all: &AllFound) -> Vec<(Path, Path)> {
    let shown = Shown::of(all);
    let mut ties = Vec::new();
    for found in all.list.iter().filter(|found| found.kind == ChangeKind::Renamed) {
        let Some(below) = found.below() else { continue };
        let (place, itself) = shown.place(below);
        if itself && at(&all.list, &place).is_none() {
            ties.push((found.path.clone(), place.clone()));
        }
        ties.push((place, found.path.clone()));
    }
    for found in &all.list {
        let data_at = found.upper.as_ref().and_then(|upper| upper.data_at.as_deref());
        if let Some(data_at) = data_at.filter(|at| Some(*at) != found.below()) {
            ties.push((shown.place(data_at).0, found.path.clone()));
        }
    }
    ties
}

/// Where directories of the base show in the tree.
pub(super) struct Shown<'a> {
    renamed: HashMap<&'a [u8], &'a [u8]>,
    lost: HashMap<&'a [u8], &'a [u8]>,
}

impl<'a> Shown<'a> {
    pub fn of(all: &'a AllFound) -> Shown<'a> {
        let mut shown = Shown { renamed: HashMap::new(), lost: HashMap::new() };
        for found in &all.list {
            let Some(below) = found.below() else { continue };
            if found.kind == ChangeKind::Renamed && found.is_dir() {
                shown.renamed.insert(below, &found.path);
            } else if found.loses_tree() {
                shown.lost.insert(below, &found.path);
            }
        }
        shown
    }

    /// The place in the tree of an entry of the base, whatever is there; and whether it is
    /// that, or only of a directory above it that does not show any more.
    pub fn place(&self, below: &[u8]) -> (Path, bool) {
        for above in on_the_way(parent(below)).rev() {
            let rest = below.get(above.len()..).unwrap_or_default();
            if let Some(path) = self.renamed.get(above) {
                return ([*path, rest].concat().into(), true);
            }
            if let Some(path) = self.lost.get(above) {
                return ((*path).into(), false);
            }
        }
        (below.into(), true)
    }
}
