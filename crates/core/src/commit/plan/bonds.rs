//! What goes or stays together: a graph of which change needs which.

use hashbrown::{HashMap, HashSet};

use super::CommitRefusal;
use super::found::{AllFound, Found};
use super::shown::{self, Shown};
use crate::changes::ChangeKind;
use crate::commit::path::{in_walk, on_the_way, range};
use crate::discard::Bonds;
use crate::format::commit::Path;
use crate::format::identity::BaseId;
use crate::format::name::parent;
use crate::reach::overlay::Overlay;
use crate::sys::Result;

/// A change, or what holds some of them together: an index into the graph, changes first.
pub(super) type Point = u32;

/// Names of the upper view that one object has, those that show no change among them.
pub(super) struct Linked {
    pub point: Point,
    /// The base object that it is a copy of, if the index has it.
    pub id: Option<BaseId>,
    /// Changes that are names of it.
    pub told: Vec<u32>,
    /// Names that show no change, but are in the storage.
    pub untold: Vec<Path>,
    /// Names that it has by the base alone, and that show no change.
    pub by_base: Vec<Path>,
}

/// A directory that goes or stays with all that is in it, if it is one.
pub(super) struct Unit {
    pub path: Path,
    pub point: Point,
}

/// A place in the tree at which something else hangs.
pub(super) struct Place {
    pub path: Path,
    pub point: Point,
}

/// Who needs whom.
pub(super) struct Web {
    /// Pairs: the first one needs the second.
    needs: Vec<(Point, Point)>,
    /// The same of what is discarded together, whatever is committed.
    ties: Vec<(Point, Point)>,
    points: Point,
    pub units: Vec<Unit>,
    pub places: Vec<Place>,
    pub linked: Vec<Linked>,
    /// Objects of the base that the index has: the number of each, and its names there.
    pub names: HashMap<BaseId, (u64, Vec<Path>)>,
    /// What must stay in the storage, whether it shows a change or not.
    pub stays: HashSet<Path>,
}

impl Web {
    /// `stays`: what must stay in the storage, besides changes of which that is wished.
    pub fn of(overlay: &Overlay, all: &AllFound, (bonds, stays): (Bonds, &[Path])) -> Result<Web> {
        let changes = Point::try_from(all.list.len()).unwrap_or(Point::MAX);
        let mut web = Web {
            needs: Vec::new(),
            ties: Vec::new(),
            points: changes,
            units: Vec::new(),
            places: Vec::new(),
            linked: Vec::new(),
            names: HashMap::new(),
            stays: stays.iter().cloned().collect(),
        };
        let mut ties = bonds.ties;
        ties.extend(shown::ties(all));
        web.find_linked(all, bonds.linked);
        web.find_names(overlay, all)?;
        web.find_places(&ties);
        web.find_units(all, &bonds.alone);
        web.tie_places(all, &ties);
        web.tie_linked(all);
        web.tie_units(all);
        Ok(web)
    }

    pub fn len(&self) -> usize {
        self.points as usize
    }

    /// What belongs together with anything else does not go in parts.
    pub fn check_parts(&self, all: &mut AllFound) -> std::result::Result<(), CommitRefusal> {
        for (from, _) in self.needs.iter().chain(&self.ties) {
            if let Some(found) = all.list.get_mut(*from as usize) {
                found.in_parts = false;
            }
        }
        let odd = |found: &&Found| found.part.is_some() && !found.in_parts;
        match all.list.iter().find(odd) {
            Some(found) => Err(CommitRefusal::NotInParts(found.path.clone())),
            None => Ok(()),
        }
    }

    /// The places of what must stay.
    pub fn staying(&self) -> impl Iterator<Item = Point> {
        let places = self.places.iter().filter(|place| self.stays.contains(&place.path));
        places.map(|place| place.point)
    }

    fn point(&mut self) -> Point {
        let point = self.points;
        self.points += 1;
        point
    }

    fn both(&mut self, a: Point, b: Point) {
        self.ties.extend([(a, b), (b, a)]);
    }

    /// Objects with several names, of which any shows a change.
    fn find_linked(&mut self, all: &AllFound, known: Vec<(Option<BaseId>, Vec<Path>)>) {
        let mut by_id: HashMap<BaseId, usize> = HashMap::new();
        for (id, names) in known {
            let (mut told, mut untold) = (Vec::new(), Vec::new());
            for name in names {
                match at(&all.list, &name) {
                    Some(change) => told.push(change),
                    None => untold.push(name),
                }
            }
            by_id.extend(id.map(|id| (id, self.linked.len())));
            let point = self.point();
            self.linked.push(Linked { point, id, told, untold, by_base: Vec::new() });
        }
        // Names of the base that the storage does not have.
        for (change, found) in (0..).zip(&all.list) {
            let id = found.upper.as_ref().and_then(|upper| upper.indexed);
            let group = id.and_then(|id| by_id.get(&id)).and_then(|at| self.linked.get_mut(*at));
            if let Some(group) = group {
                group.told.push(change);
            }
        }
        for group in &mut self.linked {
            group.told.sort_unstable();
            group.told.dedup();
        }
    }

    /// The names that objects of the index have in the base. A storage that has none of
    /// these costs no walk.
    fn find_names(&mut self, overlay: &Overlay, all: &AllFound) -> Result<()> {
        let ids: HashMap<BaseId, usize> =
            self.linked.iter().zip(0..).filter_map(|(group, at)| Some((group.id?, at))).collect();
        if ids.is_empty() {
            return Ok(());
        }
        let (shown, names) = (Shown::of(all), &mut self.names);
        let linked = &mut self.linked;
        overlay.each_below(b"", &mut |path, below| {
            let id = overlay.known_as(below).0;
            let Some(group) = ids.get(&id).and_then(|at| linked.get_mut(*at)) else {
                return Ok(());
            };
            let known = names.entry(id).or_insert((below.stat.stx_ino, Vec::new()));
            known.1.push(path.into());
            let (place, itself) = shown.place(path);
            if itself && at(&all.list, &place).is_none() && !group.untold.contains(&place) {
                group.by_base.push(place);
            }
            Ok(())
        })
    }

    fn find_places(&mut self, ties: &[(Path, Path)]) {
        let mut paths: Vec<Path> = ties.iter().flat_map(|(from, to)| [from, to]).cloned().collect();
        paths.extend(self.linked.iter().flat_map(|group| &group.untold).cloned());
        paths.extend(self.stays.iter().cloned());
        paths.sort_by(|a, b| in_walk(a, b));
        paths.dedup();
        for path in paths {
            let point = self.point();
            self.places.push(Place { path, point });
        }
    }

    /// Directories that are not what is below under their name: the uppermost ones.
    fn find_units(&mut self, all: &AllFound, alone: &hashbrown::HashSet<Path>) {
        let mut paths: Vec<Path> = alone.iter().cloned().collect();
        let whole = |found: &&Found| {
            let kind = matches!(found.kind, ChangeKind::Renamed | ChangeKind::TypeChanged);
            kind && found.is_dir()
        };
        paths.extend(all.list.iter().filter(whole).map(|found| found.path.clone()));
        paths.sort_by(|a, b| in_walk(a, b));
        for path in paths {
            if self.units.last().is_none_or(|last| !super::is_within(&path, &last.path)) {
                let point = self.point();
                self.units.push(Unit { path, point });
            }
        }
    }

    /// The unit that a path is, or lies in.
    pub fn unit_of(&self, path: &[u8]) -> Option<&Unit> {
        on_the_way(path).find_map(|path| {
            let found = self.units.binary_search_by(|unit| in_walk(&unit.path, path));
            found.ok().and_then(|at| self.units.get(at))
        })
    }

    fn place(&self, path: &[u8]) -> Option<Point> {
        let found = self.places.binary_search_by(|place| in_walk(&place.path, path));
        found.ok().and_then(|at| self.places.get(at)).map(|place| place.point)
    }

    fn tie_places(&mut self, all: &AllFound, ties: &[(Path, Path)]) {
        for (from, to) in ties {
            if let (Some(from), Some(to)) = (self.place(from), self.place(to)) {
                self.ties.push((from, to));
            }
        }
        let places = std::mem::take(&mut self.places);
        for Place { path, point } in &places {
            if let Some(change) = at(&all.list, path) {
                self.both(*point, change);
            }
        }
        self.places = places;
    }

    /// Names of one object, above or below.
    fn tie_linked(&mut self, all: &AllFound) {
        let linked = std::mem::take(&mut self.linked);
        let mut by_id: HashMap<BaseId, Point> = HashMap::new();
        for group in &linked {
            by_id.extend(group.id.map(|id| (id, group.point)));
            group.told.iter().for_each(|change| self.both(group.point, *change));
            for name in &group.untold {
                let place = self.place(name).unwrap_or(group.point);
                self.both(group.point, place);
            }
            // Those by the base alone go nowhere, unless somebody has the object open.
            for name in &group.by_base {
                if self.stays.contains(name) {
                    let place = self.place(name).unwrap_or(group.point);
                    self.both(group.point, place);
                }
            }
        }
        self.linked = linked;
        for (change, found) in (0..).zip(&all.list) {
            let mut ids: Vec<BaseId> = Vec::new();
            ids.extend(found.lower.as_ref().and_then(|lower| lower.shared));
            ids.extend(found.lost.iter().flat_map(|lost| &lost.shared));
            ids.sort_unstable();
            ids.dedup();
            for id in ids {
                let point = match by_id.get(&id) {
                    Some(point) => *point,
                    None => {
                        let point = self.point();
                        by_id.insert(id, point);
                        point
                    }
                };
                self.both(change, point);
            }
        }
    }

    /// What is in a unit, and directories that were added, which whatever is in them needs.
    fn tie_units(&mut self, all: &AllFound) {
        let mut needs = Vec::new();
        for (change, found) in (0..).zip(&all.list) {
            self.tie_up((change, &found.path), all, &mut needs);
        }
        for Place { path, point } in &self.places {
            self.tie_up((*point, path), all, &mut needs);
        }
        // What goes back with a directory does under all of its names.
        for group in &self.linked {
            let units = group.by_base.iter().filter_map(|name| self.unit_of(name));
            needs.extend(units.map(|unit| (unit.point, group.point)));
        }
        for Unit { path, point } in &self.units {
            needs.extend(added_above(path, all).map(|above| (*point, above)));
        }
        self.needs = needs;
    }

    fn tie_up(
        &self,
        (point, path): (Point, &[u8]),
        all: &AllFound,
        needs: &mut Vec<(Point, Point)>,
    ) {
        match self.unit_of(path) {
            Some(unit) => needs.extend([(point, unit.point), (unit.point, point)]),
            None => needs.extend(added_above(path, all).map(|above| (point, above))),
        }
    }

    /// Everything that needs any of these, or that these need.
    pub fn reach(&self, from: &[bool], backward: bool) -> Vec<bool> {
        let turn = |(a, b): &(Point, Point)| if backward { (*b, *a) } else { (*a, *b) };
        let pairs: Vec<(Point, Point)> = self.needs.iter().chain(&self.ties).map(turn).collect();
        let next = Next::of(self.len(), pairs);
        let mut reached = from.to_vec();
        reached.resize(self.len(), false);
        let mut left: Vec<Point> =
            (0..).zip(&reached).filter(|(_, is)| **is).map(|(at, _)| at).collect();
        while let Some(point) = left.pop() {
            for next in next.after(point) {
                if let Some(known) = reached.get_mut(*next as usize).filter(|known| !**known) {
                    *known = true;
                    left.push(*next);
                }
            }
        }
        reached
    }

    /// All changes that a discard of these comes to, which takes what is in a directory,
    /// too.
    pub fn discarded_with(&self, all: &AllFound, from: &[u32]) -> Vec<bool> {
        let both = self.ties.iter().flat_map(|(a, b)| [(*a, *b), (*b, *a)]).collect();
        let next = Next::of(self.len(), both);
        let mut reached = vec![false; self.len()];
        let mut left: Vec<Point> = from.to_vec();
        while let Some(point) = left.pop() {
            match reached.get_mut(point as usize) {
                Some(known) if !*known => *known = true,
                _ => continue,
            }
            left.extend(next.after(point));
            let place = || self.places.binary_search_by_key(&point, |place| place.point).ok();
            let path = match all.list.get(point as usize) {
                Some(found) => Some(&found.path),
                None => place().and_then(|at| self.places.get(at)).map(|place| &place.path),
            };
            if let Some(path) = path {
                let below = range(&all.list, path, |found| &found.path);
                left.extend(below.map(|at| Point::try_from(at).unwrap_or(Point::MAX)));
            }
        }
        reached.truncate(all.list.len());
        reached
    }
}

/// Which points follow on each.
struct Next {
    starts: Vec<usize>,
    next: Vec<Point>,
}

impl Next {
    fn of(points: usize, mut pairs: Vec<(Point, Point)>) -> Next {
        pairs.sort_unstable();
        pairs.dedup();
        let mut starts = Vec::with_capacity(points + 1);
        for point in 0..=points {
            starts.push(pairs.partition_point(|(from, _)| (*from as usize) < point));
        }
        Next { starts, next: pairs.into_iter().map(|(_, to)| to).collect() }
    }

    fn after(&self, point: Point) -> &[Point] {
        let ends = (self.starts.get(point as usize), self.starts.get(point as usize + 1));
        let (Some(from), Some(to)) = ends else { return &[] };
        self.next.get(*from..*to).unwrap_or_default()
    }
}

/// The change at a path.
pub(super) fn at(list: &[Found], path: &[u8]) -> Option<u32> {
    let found = list.binary_search_by(|found| in_walk(&found.path, path)).ok();
    found.and_then(|at| u32::try_from(at).ok())
}

/// The nearest directory above a path that was added.
fn added_above(path: &[u8], all: &AllFound) -> Option<Point> {
    let mut above = path;
    while !above.is_empty() {
        above = parent(above);
        let change = at(&all.list, above)?;
        let kind = all.list.get(change as usize).map(|found| found.kind);
        if kind == Some(ChangeKind::Added) {
            return Some(change);
        }
    }
    None
}
