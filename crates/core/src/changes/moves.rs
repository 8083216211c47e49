//! What was renamed. META knows where a directory was (redirects) and which object a file
//! is (numbers); that nothing is there any more, and where a file was, deletions tell.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use hashbrown::{HashMap, HashSet};

use super::sides::{Origin, is_within};

/// A path that several maps have.
type Path = Arc<[u8]>;

/// Renamed entries: where they were, and where they are.
#[derive(Default)]
pub(super) struct Moves {
    from: HashMap<Path, Path>,
    to: HashMap<Path, Path>,
}

impl Moves {
    /// Where what is at a path of the upper view was.
    pub fn from(&self, path: &[u8]) -> Option<&Path> {
        self.from.get(path)
    }

    /// Where what was at a path of the lower view is.
    pub fn to(&self, path: &[u8]) -> Option<&Path> {
        self.to.get(path)
    }

    /// Keeps what is at these paths; the result tells whether that was all.
    pub fn keep(&mut self, paths: &HashSet<Box<[u8]>>) -> bool {
        let before = self.from.len();
        self.from.retain(|to, _| paths.contains(&**to));
        self.to.retain(|_, to| paths.contains(&**to));
        self.from.len() == before
    }

    /// What was at a path of the lower view was not renamed.
    pub fn stays(&mut self, from: &[u8]) {
        if let Some(to) = self.to.remove(from) {
            self.from.remove(&to);
        }
    }

    /// Nothing was renamed.
    pub fn is_empty(&self) -> bool {
        self.from.is_empty()
    }

    fn add(&mut self, from: Path, to: Path) {
        self.from.insert(Arc::clone(&to), Arc::clone(&from));
        self.to.insert(from, to);
    }

    fn remove(&mut self, to: &[u8]) -> Option<Path> {
        let from = self.from.remove(to)?;
        self.to.remove(&from);
        Some(from)
    }
}

/// Entries that have come from somewhere, if nothing is there any more.
#[derive(Default)]
pub(super) struct Arrived {
    by_number: HashMap<u64, Path>,
    by_path: BTreeMap<Box<[u8]>, Path>,
    /// They lie where the lower view has something else: where they are, and that path below.
    over: Vec<(Path, Box<[u8]>)>,
    /// What was found so far.
    moves: Moves,
}

impl Arrived {
    /// What is at `to` has another origin. `over`: the path of what the lower view has
    /// there.
    pub fn add(&mut self, origin: Origin, to: &[u8], over: Option<&[u8]>) {
        let to: Path = to.into();
        // An object with several names was renamed to one of them.
        let first = match origin {
            Origin::Number(number) => self.by_number.try_insert(number, Arc::clone(&to)).is_ok(),
            Origin::Path(path) if self.by_path.contains_key(&path) => false,
            Origin::Path(path) => self.by_path.insert(path, Arc::clone(&to)).is_none(),
        };
        if let Some(over) = over.filter(|_| first) {
            self.over.push((to, over.into()));
        }
    }

    /// There is nothing (more) to find.
    pub fn is_empty(&self) -> bool {
        self.by_number.is_empty() && self.by_path.is_empty()
    }

    /// Some are known by their number only.
    pub fn has_numbers(&self) -> bool {
        !self.by_number.is_empty()
    }

    /// The directory that was at `path` is somewhere else.
    pub fn has_left(&mut self, path: &[u8]) -> bool {
        if let Some(to) = self.by_path.remove(path) {
            self.moves.add(path.into(), to);
        }
        self.moves.to(path).is_some()
    }

    /// Something at `path` is gone, and all below it. `number`: of what is no directory.
    pub fn gone(&mut self, path: &[u8], number: Option<u64>) {
        if let Some(to) = number.and_then(|number| self.by_number.remove(&number)) {
            self.moves.add(path.into(), to);
        }
        let from = (Bound::Included(path), Bound::Unbounded);
        let paths = self.by_path.range::<[u8], _>(from).map(|(from, _)| from);
        let paths = paths.take_while(|from| from.starts_with(path));
        let found: Vec<Box<[u8]>> = paths.filter(|from| is_within(from, path)).cloned().collect();
        for from in found {
            if let Some(to) = self.by_path.remove(&from) {
                self.moves.add(from.into(), to);
            }
        }
    }

    /// What replaces something of the lower view that was not moved itself was not renamed:
    /// both objects, or trees, of this name are compared. The result is where it was.
    pub fn settle(&mut self) -> Vec<Path> {
        let mut gone = Vec::new();
        loop {
            let before = gone.len();
            let moves = &mut self.moves;
            self.over.retain(|(to, over)| {
                let stays = moves.to(over).is_some();
                if !stays {
                    gone.extend(moves.remove(to));
                }
                stays
            });
            if gone.len() == before {
                return gone;
            }
        }
    }

    /// What was renamed.
    pub fn into_moves(self) -> Moves {
        self.moves
    }
}
