//! From the changes that go to what is made, and what is done in the base.

use hashbrown::HashMap;

use super::Make;
use super::bonds::Linked;
use super::found::{AllFound, Found};
use super::lowers::Lowers;
use super::mounts::Mounts;
use crate::changes::ChangeKind;
use crate::commit::path::in_walk;
use crate::format::commit::{Path, Seen, Slot, Step};
use crate::format::time::Timestamp;
use crate::sys::Result;

/// All that is made, and done with names.
#[derive(Default)]
pub(super) struct Work {
    pub makes: Vec<Make>,
    /// Those that take away, the deepest first.
    pub takes: Vec<Step>,
    /// All others, each directory before what is in it.
    pub steps: Vec<Step>,
    /// By its slot: when anything in a directory that goes with all of it was changed last.
    pub trees: Vec<(Slot, Timestamp)>,
    /// The mounts that have a stage, by their points, in the order in which slots count them.
    pub mounts: Vec<Path>,
    /// What would have to go from one mount to another, and cannot.
    pub across: Option<Path>,
    slots: u32,
}

impl Work {
    /// Which stage is that of the mount with this point.
    pub fn stage_of(&mut self, point: &[u8]) -> u16 {
        let known = self.mounts.iter().position(|known| **known == *point);
        let at = known.unwrap_or_else(|| {
            self.mounts.push(point.into());
            self.mounts.len() - 1
        });
        u16::try_from(at).unwrap_or(u16::MAX)
    }
}

/// What all names of an object are to be.
enum Source {
    /// What the base has at this path, which is object `ino`.
    Base(u64, Path),
    /// What is made in a slot; `None`: not yet.
    Made(Option<Slot>),
}

/// The making of it.
pub(super) struct Maker<'a> {
    all: &'a AllFound,
    lowers: &'a Lowers<'a>,
    mounts: &'a Mounts,
    work: Work,
    /// Objects with several names that go, and of which of them a change is a name.
    sources: Vec<Source>,
    of_change: HashMap<u32, usize>,
    /// Steps, with the paths by which they are put in order.
    placed: Vec<(Path, Step)>,
}

impl<'a> Maker<'a> {
    pub fn new(all: &'a AllFound, lowers: &'a Lowers<'a>, mounts: &'a Mounts) -> Maker<'a> {
        Maker {
            all,
            lowers,
            mounts,
            work: Work::default(),
            sources: Vec::new(),
            of_change: HashMap::new(),
            placed: Vec::new(),
        }
    }

    /// Takes in the names of an object: all of them go. The result: those that show no
    /// change, and become names of another object all the same.
    pub fn link(&mut self, group: &Linked) -> Result<()> {
        let list = &self.all.list;
        let mut untold = Vec::new();
        for name in &group.untold {
            untold.extend(self.lowers.look(name)?.map(|(path, stat)| (name, path, stat)));
        }
        let told = || group.told.iter().filter_map(|change| list.get(*change as usize));
        let renamed = told().filter(|one| one.kind == ChangeKind::Renamed && one.same);
        let mut known: Vec<(u64, Path)> =
            untold.iter().map(|(_, path, stat)| (stat.stx_ino, path.clone())).collect();
        known.extend(renamed.filter_map(|one| Some((ino(one)?, one.below()?.into()))));
        let own = |(ino, _): &(u64, Path)| group.id.is_some_and(|id| id.ino == *ino);
        let best = known.iter().position(own).unwrap_or(0);
        let source = match known.into_iter().nth(best) {
            Some((ino, path)) => Some((ino, path)),
            None => self.lowers.unchanged_name(group, told().next())?,
        };
        let at = self.sources.len();
        let ino = source.as_ref().map(|(ino, _)| *ino);
        self.sources.push(source.map_or(Source::Made(None), |(ino, at)| Source::Base(ino, at)));
        self.of_change.extend(group.told.iter().map(|change| (*change, at)));
        for (name, _, stat) in untold.iter().filter(|(_, _, stat)| Some(stat.stx_ino) != ino) {
            let slot = self.of_source(at, name);
            self.swap(slot, name, Seen::of(stat));
        }
        Ok(())
    }

    /// Takes in a change that goes.
    pub fn change(&mut self, change: u32) {
        let Some(found) = self.all.list.get(change as usize) else { return };
        let was = found.lower.as_ref().map(|lower| lower.seen);
        match (found.kind, was, found.below()) {
            (ChangeKind::Deleted, Some(was), Some(below)) => {
                let slot = self.take(below, was);
                self.lose(slot, found);
            }
            (ChangeKind::Renamed, Some(was), Some(below)) => {
                let taken = self.take(below, was);
                let crosses = self.mounts.of_path(below) != self.mounts.of_path(&found.path);
                if crosses && found.is_dir() {
                    self.work.across.get_or_insert_with(|| found.path.clone());
                }
                let stays = !crosses && self.stays(change, found, was);
                let slot = if stays { taken } else { self.made(change, found) };
                self.put(slot, &found.path);
                self.dress(found);
            }
            (ChangeKind::Added, ..) => {
                let slot = self.made(change, found);
                self.put(slot, &found.path);
            }
            (ChangeKind::Attributes | ChangeKind::Modified, Some(_), _) if found.is_dir() => {
                self.dress(found);
            }
            (_, Some(was), _) => {
                let slot = self.made(change, found);
                self.swap(slot, &found.path, was);
                self.lose(slot, found);
            }
            (_, None, _) => {}
        }
    }

    /// Takes in a part of a change.
    pub fn part(&mut self, found: &Found) {
        let (Some(part), Some(lower)) = (&found.part, &found.lower) else { return };
        let (slot, was) = (self.slot(&found.path), lower.seen);
        self.work.makes.push(Make::Part { slot, part: Box::new(part.clone()) });
        self.swap(slot, &found.path, was);
    }

    /// All in order.
    pub fn finish(self) -> Work {
        let Maker { mut work, mut placed, .. } = self;
        let at = |step: &Step| match step {
            Step::Take { at, .. } => at.clone(),
            _ => Path::default(),
        };
        work.takes.sort_by_cached_key(|step| std::cmp::Reverse(Walked(at(step))));
        placed.sort_by(|a, b| a.1.rank().cmp(&b.1.rank()).then_with(|| in_walk(&a.0, &b.0)));
        work.steps = placed.into_iter().map(|(_, step)| step).collect();
        work
    }

    /// The object itself moves.
    fn stays(&self, change: u32, found: &Found, was: Seen) -> bool {
        if found.is_dir() {
            return true;
        }
        match self.of_change.get(&change).and_then(|at| self.sources.get(*at)) {
            Some(Source::Base(ino, _)) => found.same && *ino == was.ino,
            Some(Source::Made(_)) => false,
            None => found.same,
        }
    }

    /// One in the stage of the mount that a path lies on.
    fn slot(&mut self, path: &[u8]) -> Slot {
        self.work.slots += 1;
        let stage = self.work.stage_of(&self.mounts.of_path(path));
        Slot { stage, number: self.work.slots - 1 }
    }

    /// Makes in a slot, for a path, another name of what the base has at another one.
    fn link_base(&mut self, (slot, path): (Slot, &[u8]), at: &Path) -> Make {
        if self.mounts.of_path(path) != self.mounts.of_path(at) {
            self.work.across.get_or_insert_with(|| path.into());
        }
        Make::LinkBase { slot, at: at.clone() }
    }

    fn made(&mut self, change: u32, found: &Found) -> Slot {
        if let Some(at) = self.of_change.get(&change) {
            return self.of_source(*at, &found.path);
        }
        let slot = self.slot(&found.path);
        let in_base = found.upper.as_ref().and_then(|upper| upper.in_base.clone());
        let make = match in_base {
            Some(at) => self.link_base((slot, &found.path), &at),
            None => Make::Object { slot, path: found.path.clone() },
        };
        self.work.makes.push(make);
        slot
    }

    /// One more name of an object with several, of which `path` is one above.
    fn of_source(&mut self, at: usize, path: &[u8]) -> Slot {
        let slot = self.slot(path);
        let make = match self.sources.get_mut(at) {
            Some(Source::Base(_, at)) => {
                let at = at.clone();
                self.link_base((slot, path), &at)
            }
            Some(Source::Made(Some(of))) => {
                if of.stage != slot.stage {
                    self.work.across.get_or_insert_with(|| path.into());
                }
                Make::Link { slot, of: *of }
            }
            Some(Source::Made(first)) => {
                *first = Some(slot);
                Make::Object { slot, path: path.into() }
            }
            None => Make::Object { slot, path: path.into() },
        };
        self.work.makes.push(make);
        slot
    }

    fn take(&mut self, at: &[u8], was: Seen) -> Slot {
        let slot = self.slot(at);
        self.work.takes.push(Step::Take { slot, at: at.into(), was });
        slot
    }

    /// What comes to a slot goes with all that is in it.
    fn lose(&mut self, slot: Slot, found: &Found) {
        let latest = found.lost.as_ref().and_then(|lost| lost.latest);
        self.work.trees.extend(latest.map(|latest| (slot, latest)));
    }

    fn put(&mut self, slot: Slot, at: &[u8]) {
        self.placed.push((at.into(), Step::Put { slot, at: at.into() }));
    }

    fn swap(&mut self, slot: Slot, at: &[u8], was: Seen) {
        self.placed.push((at.into(), Step::Swap { slot, at: at.into(), was }));
    }

    fn dress(&mut self, found: &Found) {
        if let Some(dress) = &found.dress {
            let (before, after) = (**dress).clone();
            let at = found.path.clone();
            self.placed.push((at.clone(), Step::Dress { at, before, after }));
        }
    }
}

/// A path, in the order of a walk.
#[derive(PartialEq, Eq)]
pub(super) struct Walked(pub Path);

impl Ord for Walked {
    fn cmp(&self, other: &Walked) -> std::cmp::Ordering {
        in_walk(&self.0, &other.0)
    }
}

impl PartialOrd for Walked {
    fn partial_cmp(&self, other: &Walked) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

fn ino(found: &Found) -> Option<u64> {
    found.lower.as_ref().map(|lower| lower.seen.ino)
}
