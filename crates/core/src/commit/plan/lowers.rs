//! Where what the tree shows lies in the base, and where what lies there comes to.

use std::cell::RefCell;
use std::sync::Arc;

use hashbrown::{HashMap, HashSet};
use rustix::fs::Statx;

use super::Make;
use super::bonds::{Linked, Web, at};
use super::found::{AllFound, Found};
use crate::changes::ChangeKind;
use crate::commit::path::on_the_way;
use crate::format::commit::Path;
use crate::format::identity::BaseId;
use crate::format::path::split;
use crate::format::time::Timestamp;
use crate::layers::LowerDir;
use crate::reach::overlay::Overlay;
use crate::store::shared_index::is_shared;
use crate::sys::Result;

/// Paths of the base before and after, and what is there before.
pub(super) struct Lowers<'a> {
    overlay: &'a Overlay,
    all: &'a AllFound,
    /// What is taken away, and where it comes to.
    taken: HashMap<&'a [u8], Option<&'a [u8]>>,
    web: &'a Web,
    /// The directory of the base that was asked for last.
    near: RefCell<Option<(Path, Option<Arc<LowerDir>>)>>,
}

impl<'a> Lowers<'a> {
    /// `goes`: which changes do.
    pub fn new(
        overlay: &'a Overlay,
        all: &'a AllFound,
        web: &'a Web,
        goes: &dyn Fn(u32) -> bool,
    ) -> Lowers<'a> {
        let mut taken = HashMap::new();
        let going = (0..).zip(&all.list).filter(|(change, _)| goes(*change));
        for (below, found) in going.filter_map(|(_, found)| Some((found.below()?, found))) {
            match found.kind {
                ChangeKind::Renamed => drop(taken.insert(below, Some(&*found.path))),
                ChangeKind::Deleted | ChangeKind::TypeChanged => drop(taken.insert(below, None)),
                _ => {}
            }
        }
        Lowers { overlay, all, taken, web, near: RefCell::default() }
    }

    /// What a path of the tree is compared with in the base. `None`: nothing.
    pub fn below(&self, path: &[u8]) -> Option<Path> {
        for above in on_the_way(path).rev() {
            let told = at(&self.all.list, above).and_then(|at| self.all.list.get(at as usize));
            let rest = path.get(above.len()..).unwrap_or_default();
            match told.map(|found| (found.kind, found)) {
                Some((ChangeKind::Renamed, Found { from: Some(from), .. })) => {
                    return Some([from, rest].concat().into());
                }
                Some((ChangeKind::Added, _)) => return None,
                Some((ChangeKind::TypeChanged, _)) if !rest.is_empty() => return None,
                _ => {}
            }
        }
        Some(path.into())
    }

    /// Where something at a path of the base comes to. `None`: nowhere.
    pub fn moved(&self, below: &[u8]) -> Option<Path> {
        for above in on_the_way(below).rev() {
            let rest = below.get(above.len()..).unwrap_or_default();
            match self.taken.get(above) {
                Some(Some(to)) => return Some([*to, rest].concat().into()),
                Some(None) => return None,
                None => {}
            }
        }
        Some(below.into())
    }

    /// What the base has at a path.
    pub fn stat(&self, below: &[u8]) -> Result<Option<Statx>> {
        if below.is_empty() {
            return self.overlay.stack.root_stat().map(Some);
        }
        let (above, name) = split(below);
        let Some(dir) = self.dir(above)? else { return Ok(None) };
        Ok(self.overlay.stack.look(&dir, name)?.map(|found| found.stat))
    }

    fn dir(&self, path: &[u8]) -> Result<Option<Arc<LowerDir>>> {
        if let Some((known, dir)) = &*self.near.borrow()
            && **known == *path
        {
            return Ok(dir.clone());
        }
        let dir = self.overlay.stack.open_path(0, path)?;
        *self.near.borrow_mut() = Some((path.into(), dir.clone()));
        Ok(dir)
    }

    /// The time of a directory that the storage has no copy of, and from which something was
    /// deleted all the same.
    pub fn far_time(&self, path: &[u8]) -> Option<Timestamp> {
        self.overlay.root_dir.meta().far().changed(path)
    }

    /// What the base has where a path of the tree is compared with it, and where that is.
    pub fn look(&self, path: &[u8]) -> Result<Option<(Path, Statx)>> {
        let Some(below) = self.below(path) else { return Ok(None) };
        Ok(self.stat(&below)?.map(|stat| (below, stat)))
    }

    /// A name in the base of an object that the index has, if that is as the base has it.
    /// `told`: one of its names.
    pub fn unchanged_name(
        &self,
        group: &Linked,
        told: Option<&Found>,
    ) -> Result<Option<(u64, Path)>> {
        let (Some(id), Some(told)) = (group.id, told) else { return Ok(None) };
        let Some((ino, names)) = self.web.names.get(&id) else { return Ok(None) };
        let Some(below) = names.first() else { return Ok(None) };
        let same = self.overlay.is_unchanged(&told.path, below)?;
        Ok(same.then(|| (*ino, below.clone())))
    }

    /// Directories of the base that have further names of objects which lose a name, or get
    /// one: so the time of change of those moves.
    pub fn homes(&self, makes: &[Make], goes: &dyn Fn(u32) -> bool) -> Result<Vec<Path>> {
        let mut shared: HashSet<BaseId> = HashSet::new();
        let going = (0..).zip(&self.all.list).filter(|(change, _)| goes(*change));
        for (_, found) in going {
            shared.extend(found.lower.as_ref().and_then(|lower| lower.shared));
            shared.extend(found.lost.iter().flat_map(|lost| &lost.shared));
        }
        let mut homes: Vec<Path> = Vec::new();
        for make in makes {
            if let Make::LinkBase { at, .. } = make {
                homes.push(Lowers::parent(at));
                shared.extend(self.overlay.stack.look_path(0, at)?.map(|found| found.id));
            }
        }
        if shared.is_empty() {
            return Ok(homes);
        }
        self.overlay.each_below(b"", &mut |path, below| {
            if is_shared(&below.stat) && shared.contains(&self.overlay.known_as(below).0) {
                homes.push(Lowers::parent(path));
            }
            Ok(())
        })?;
        homes.sort_unstable();
        homes.dedup();
        Ok(homes)
    }

    /// The directory that a path is in.
    pub fn parent(path: &[u8]) -> Path {
        crate::format::name::parent(path).into()
    }
}
