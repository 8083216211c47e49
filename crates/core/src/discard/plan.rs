//! What a discard comes to: a rename is one change, whichever end is meant.

use std::collections::BTreeMap;

use hashbrown::{HashMap, HashSet};
use rustix::io::Errno;

use super::scan::{Origin, Scan, range_within};
use crate::format::path::{Path, is_within, join, split};
use crate::layers::Below;
use crate::reach::overlay::Overlay;
use crate::sys::{self, Result};

/// What is to be done.
#[derive(Default)]
pub(super) struct Plan {
    /// Paths of the tree that are to show what is below, in this order.
    pub places: Vec<Path>,
    /// Entries that are further names of an object whose own name goes back: they stay,
    /// as objects of their own.
    pub parted: Vec<Path>,
    /// What is below at these places.
    pub bases: Vec<Path>,
    /// Directories below that were moved, and will show nowhere: something else has their
    /// place.
    pub lost: Vec<Path>,
    /// What the storage told.
    pub scan: Scan,
}

/// The work on a plan.
struct Planner<'a> {
    overlay: &'a Overlay,
    scan: &'a Scan,
    /// What was moved, by where it was.
    by_path: BTreeMap<&'a [u8], &'a [u8]>,
    by_number: HashMap<u64, Vec<&'a [u8]>>,
    /// The numbers of hidden objects that were moved, by where they were below.
    origins: BTreeMap<&'a [u8], u64>,
    /// Numbers of objects of which nobody knows where they were.
    unknown: HashSet<u64>,
    known: HashSet<Path>,
    /// What was moved, to be taken away first; and all else.
    moved: Vec<Path>,
    others: Vec<Path>,
    parted: Vec<Path>,
    bases: Vec<Path>,
    lost: Vec<Path>,
    left: Vec<Path>,
}

impl Overlay {
    /// What a discard of some paths comes to; each with what its directory shows below, if it
    /// shows anything.
    pub(super) fn plan_discard(&self, tops: &[(Path, Option<Path>)]) -> Result<Plan> {
        let scan = Scan::of(self)?;
        let (places, parted, bases, lost) = {
            let mut planner = Planner::new(self, &scan);
            tops.iter().for_each(|(path, _)| planner.add(path.clone(), false));
            let bases: HashMap<&[u8], Option<&[u8]>> =
                tops.iter().map(|(path, base)| (&**path, base.as_deref())).collect();
            while let Some(place) = planner.left.pop() {
                planner.follow(&place, bases.get(&*place).copied().flatten())?;
            }
            let Planner { moved, others, parted, bases, lost, .. } = planner;
            (moved.into_iter().chain(others).collect(), parted, bases, lost)
        };
        Ok(Plan { places, parted, bases, lost, scan })
    }
}

impl<'a> Planner<'a> {
    fn new(overlay: &'a Overlay, scan: &'a Scan) -> Planner<'a> {
        let mut by_path = BTreeMap::new();
        let mut by_number: HashMap<u64, Vec<&[u8]>> = HashMap::new();
        for (at, origin) in &scan.moved {
            match origin {
                Origin::Path(path) => {
                    by_path.insert(&**path, &**at);
                }
                Origin::Number(number) => by_number.entry(*number).or_default().push(at),
            }
        }
        let origins = by_number
            .keys()
            .filter_map(|number| scan.origins.get(number).map(|origin| (&*origin.base, *number)));
        let unknown = by_number.keys().filter(|number| !scan.origins.contains_key(*number));
        Planner {
            origins: origins.collect(),
            unknown: unknown.copied().collect(),
            overlay,
            scan,
            by_path,
            by_number,
            known: HashSet::new(),
            moved: Vec::new(),
            others: Vec::new(),
            parted: Vec::new(),
            bases: Vec::new(),
            lost: Vec::new(),
            left: Vec::new(),
        }
    }

    fn add(&mut self, place: Path, was_moved: bool) {
        let mut above: &[u8] = &place;
        loop {
            // What lies in a tree that goes back goes with it.
            if self.known.contains(above) {
                return;
            }
            if above.is_empty() {
                break;
            }
            above = split(above).0;
        }
        self.known.insert(place.clone());
        self.left.push(place.clone());
        if was_moved { self.moved.push(place) } else { self.others.push(place) }
    }

    /// Both ends of whatever was moved out of a place or into it.
    fn follow(&mut self, place: &Path, base: Option<&[u8]>) -> Result<()> {
        let scan = self.scan;
        for (_, origin) in range_within(&scan.moved, place) {
            self.came_from(origin);
        }
        for (_, origin) in range_within(&scan.renamed, place) {
            self.add(origin.at.clone(), false);
        }
        let Some(base) = self.base_of(place, base) else { return Ok(()) };
        self.bases.push(base.clone());
        let gone: Vec<Path> =
            range_within(&self.by_path, &base).map(|(_, at)| (*at).into()).collect();
        gone.into_iter().for_each(|at| self.add(at, true));
        for (_, at) in range_within(&scan.renamed_from, &base) {
            self.add(at.clone(), true);
        }
        if !self.by_number.is_empty() {
            self.follow_numbers(place, &base)?;
        }
        Ok(())
    }

    fn came_from(&mut self, origin: &Origin) {
        let scan = self.scan;
        let place: Option<Path> = match origin {
            Origin::Path(path) => {
                let (dir, name) = split(path);
                scan.shown.get(dir).map(|shown| join(shown, name))
            }
            Origin::Number(number) => scan.origins.get(number).map(|place| place.at.clone()),
        };
        // What was put there meanwhile stays.
        match (place.filter(|place| scan.free.contains(place)), origin) {
            (Some(place), _) => self.add(place, false),
            (None, Origin::Path(path)) => self.lost.push(path.clone()),
            (None, Origin::Number(_)) => {}
        }
    }

    /// What is at a place below.
    fn base_of(&self, place: &[u8], base: Option<&[u8]>) -> Option<Path> {
        if place.is_empty() {
            return Some(Path::default());
        }
        let (dir, name) = split(place);
        let above = base.or_else(|| self.scan.bases.get(dir).map(|base| &**base))?;
        Some(join(above, name))
    }

    /// Objects that are known by their number alone: what was moved out of a place, and
    /// further names of what is there.
    fn follow_numbers(&mut self, place: &[u8], base: &[u8]) -> Result<()> {
        let scan = self.scan;
        let gone: Vec<u64> = range_within(&self.origins, base).map(|(_, number)| *number).collect();
        for number in gone {
            for at in self.by_number.get(&number).cloned().unwrap_or_default() {
                self.add(at.into(), true);
            }
        }
        if self.unknown.is_empty() {
            return Ok(());
        }
        let unknown = &self.unknown;
        let mut found = Vec::new();
        self.overlay.each_below(base, &mut |path, below| {
            if sys::kind(&below.stat) != libc::S_IFDIR && unknown.contains(&below.number) {
                found.push((path.to_vec(), below.number));
            }
            Ok(())
        })?;
        // Whatever is there now is no directory with anything of it.
        let replaced = scan.free.contains(place) || scan.hides(base);
        for (path, number) in found {
            let gone = replaced || scan.hides(&path);
            for at in self.by_number.get(&number).cloned().unwrap_or_default() {
                match gone {
                    true => self.add(at.into(), true),
                    false if !is_within(at, place) => self.parted.push(at.into()),
                    false => {}
                }
            }
        }
        Ok(())
    }
}

impl Overlay {
    /// Calls `each` for what the layers below the storage have at a path, and for all
    /// below that that can show: not for what is in directories that are closed to this user,
    /// nor on a file system that is made up (`/proc` in a run of the whole system).
    pub(crate) fn each_below(
        &self,
        path: &[u8],
        each: &mut dyn FnMut(&[u8], &Below) -> Result<()>,
    ) -> Result<()> {
        self.walk_below(path, each, true)
    }

    /// The same for all of it. EACCES: a directory is closed to this user.
    pub(crate) fn all_below(
        &self,
        path: &[u8],
        each: &mut dyn FnMut(&[u8], &Below) -> Result<()>,
    ) -> Result<()> {
        self.walk_below(path, each, false)
    }

    fn walk_below(
        &self,
        path: &[u8],
        each: &mut dyn FnMut(&[u8], &Below) -> Result<()>,
        shown_only: bool,
    ) -> Result<()> {
        let mut left: Vec<Path> = Vec::new();
        if path.is_empty() {
            left.push(Path::default());
        } else if let Some(below) = self.stack.look_path(0, path)? {
            each(path, &below)?;
            if sys::kind(&below.stat) == libc::S_IFDIR {
                left.push(path.into());
            }
        }
        while let Some(path) = left.pop() {
            let entries = match self.entries_below(&path, shown_only) {
                Err(Errno::ACCESS) if shown_only => continue,
                entries => entries?,
            };
            for (name, below) in entries {
                let path = join(&path, &name);
                each(&path, &below)?;
                if sys::kind(&below.stat) == libc::S_IFDIR {
                    left.push(path);
                }
            }
        }
        Ok(())
    }

    /// What the layers below the storage have in a directory.
    fn entries_below(&self, path: &[u8], shown_only: bool) -> Result<Vec<(Path, Below)>> {
        let Some(dir) = sys::absent(self.stack.open_path(0, path))?.flatten() else {
            return Ok(Vec::new());
        };
        if shown_only && self.submounts && dir.is_made_up() {
            return Ok(Vec::new());
        }
        let mut names: Vec<Path> = Vec::new();
        self.stack.list(&dir, &mut |entry| {
            names.push(entry.name.into());
            true
        })?;
        let mut entries = Vec::with_capacity(names.len());
        for name in names.into_iter().filter(|name| !self.meta.reserves(name)) {
            entries.extend(self.stack.look(&dir, &name)?.map(|below| (name, below)));
        }
        Ok(entries)
    }
}
