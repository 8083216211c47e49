//! What goes or stays together.

use hashbrown::{HashMap, HashSet};
use rustix::io::Errno;

use super::plan::Plan;
use super::scan::{Origin, Scan, range_within};
use super::told::Discarded;
use crate::format::identity::BaseId;
use crate::format::path::{Path, join, split};
use crate::reach::overlay::Overlay;
use crate::store::aside::{has_fixed, is_fixed};
use crate::sys::{self, Result, Spot};

/// A path, and one that is discarded where the first one is.
pub type DiscardTie = (Box<[u8]>, Box<[u8]>);

/// What belongs together in a storage.
pub(crate) struct Bonds {
    /// As [`Overlay::discard_ties`] tells them.
    pub ties: Vec<DiscardTie>,
    /// Directories of the tree that do not merge with what is below under their name.
    pub alone: HashSet<Path>,
    /// Names of the tree that the storage has of one object with several: those of the
    /// index, each with the base object that it is a copy of, and others.
    pub linked: Vec<(Option<BaseId>, Vec<Path>)>,
}

impl Overlay {
    /// Changes may show under names that the storage has not.
    pub fn knows_hard_links(&self) -> bool {
        self.has_storage() && self.knows_shared()
    }

    /// Pairs of paths of the tree: a discard of the first one, or of a directory that it is
    /// in, comes to one of the second. These are the ends of what was moved; a place that
    /// something else has taken is only the first of its pair.
    ///
    /// # Errors
    /// The storage cannot be read.
    pub fn discard_ties(&self) -> Result<Vec<DiscardTie>> {
        if !self.has_storage() {
            return Ok(Vec::new());
        }
        self.ties_of(&Scan::of(self)?)
    }

    /// All that the storage says of what cannot be parted, for who takes changes elsewhere.
    pub(crate) fn bonds(&self) -> Result<Bonds> {
        let mut scan = Scan::with_names(self)?;
        let ties = self.ties_of(&scan)?;
        let mut names = scan.names.take().unwrap_or_default();
        let mut linked = Vec::new();
        for (ino, id) in self.indexed_numbers()? {
            linked.push((Some(id), names.remove(&ino).unwrap_or_default()));
        }
        linked.extend(names.into_values().filter(|paths| paths.len() > 1).map(|all| (None, all)));
        Ok(Bonds { ties, alone: scan.alone, linked })
    }

    fn ties_of(&self, scan: &Scan) -> Result<Vec<DiscardTie>> {
        let mut ties = Vec::new();
        let mut unknown: HashMap<u64, Vec<&Path>> = HashMap::new();
        for (at, origin) in &scan.moved {
            let (place, itself) = match (origin, scan.place_of_origin(origin)) {
                (_, Some(found)) => found,
                (Origin::Number(number), None) => {
                    unknown.entry(*number).or_default().push(at);
                    continue;
                }
                (Origin::Path(_), None) => continue,
            };
            if itself && scan.free.contains(&place) {
                ties.push((at.clone(), place.clone()));
            }
            ties.push((place, at.clone()));
        }
        for (at, origin) in &scan.renamed {
            ties.push((at.clone(), origin.at.clone()));
            ties.push((origin.at.clone(), at.clone()));
        }
        if !unknown.is_empty() {
            self.tie_hidden(scan, &unknown, &mut ties)?;
        }
        Ok(ties)
    }

    /// The same of what was moved out of directories that are hidden as a whole.
    fn tie_hidden(
        &self,
        scan: &Scan,
        unknown: &HashMap<u64, Vec<&Path>>,
        ties: &mut Vec<(Path, Path)>,
    ) -> Result<()> {
        for (below, names) in &scan.hidden {
            let Some(above) = scan.shown.get(below) else { continue };
            for name in names {
                let place = join(above, name);
                self.each_below(&join(below, name), &mut |_, found| {
                    let is_dir = sys::kind(&found.stat) == libc::S_IFDIR;
                    let moved = unknown.get(&found.number).filter(|_| !is_dir);
                    let moved = moved.into_iter().flatten();
                    ties.extend(moved.map(|at| (place.clone(), (*at).clone())));
                    Ok(())
                })?;
            }
        }
        Ok(())
    }

    /// What was moved and cannot go must not show at its old place, too: neither goes.
    pub(super) fn find_staying(&self, plan: &Plan, told: &mut Discarded) -> Result<()> {
        let places: HashSet<&[u8]> = plan.places.iter().map(|place| &**place).collect();
        let goes = |path: &[u8]| {
            let mut path = path;
            while !places.contains(path) && !path.is_empty() {
                path = split(path).0;
            }
            places.contains(path)
        };
        told.staying.clear();
        let scan = &plan.scan;
        let mut left: Vec<(Path, Errno)> = Vec::new();
        let mut known = HashSet::new();
        for at in scan.moved.keys().filter(|at| goes(at)) {
            let unit = scan.unit_of(at, &goes);
            if known.insert(unit)
                && let Some(errno) = self.why_it_stays(unit, told)?
            {
                left.push((unit.into(), errno));
            }
        }
        while let Some((path, errno)) = left.pop() {
            let unit = scan.unit_of(&path, &goes);
            if unit.len() < path.len() {
                left.push((unit.into(), errno));
            }
            for (_, origin) in range_within(&scan.moved, &path) {
                let place = scan.place_of_origin(origin).map(|(place, _)| place);
                let other =
                    place.filter(|place| !told.staying.contains_key(place) && *place != path);
                left.extend(other.map(|place| (place, errno)));
            }
            told.staying.entry(path).or_insert(errno);
        }
        Ok(())
    }

    /// What keeps something from being taken away that goes as a whole.
    fn why_it_stays(&self, path: &[u8], told: &Discarded) -> Result<Option<Errno>> {
        if told.holds(path).is_some() {
            return Ok(told.holds(path));
        }
        let (above, name) = split(path);
        let Some((_, dir)) = self.reach_stored(above)? else { return Ok(None) };
        let storage = dir.writable()?;
        let Some(stat) = sys::absent(sys::stat(Spot::at(storage, name)))? else { return Ok(None) };
        let fixed = match sys::kind(&stat) == libc::S_IFDIR {
            true => has_fixed(storage, name)?,
            false => is_fixed(&stat),
        };
        Ok(fixed.then_some(Errno::PERM))
    }
}

impl Scan {
    /// Where something was that was moved, in the tree, and whether that is the place itself;
    /// else its directory is hidden at that place, or one above it is.
    fn place_of_origin(&self, origin: &Origin) -> Option<(Path, bool)> {
        let path = match origin {
            Origin::Path(path) => &**path,
            Origin::Number(number) => return Some((self.origins.get(number)?.at.clone(), true)),
        };
        let mut below = path;
        while !below.is_empty() {
            let (dir, name) = split(below);
            if let Some(at) = self.shown.get(dir) {
                return Some((join(at, name), below.len() == path.len()));
            }
            below = dir;
        }
        None
    }

    /// What a path goes with as a whole: the uppermost directory on the way to it that goes,
    /// and was moved, or shows nothing of what is below; or itself.
    fn unit_of<'a>(&self, path: &'a [u8], goes: &dyn Fn(&[u8]) -> bool) -> &'a [u8] {
        let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(end, _)| end);
        let mut above = ends.filter_map(|end| path.get(..end));
        let whole = |dir: &&[u8]| self.moved.contains_key(*dir) || !self.bases.contains_key(*dir);
        above.find(|dir| whole(dir) && goes(dir)).unwrap_or(path)
    }
}
