//! What a program tells of what is in the stage.

use hashbrown::{HashMap, HashSet};
use rustix::fd::AsFd;

use super::path::is_within;
use super::stage::Stage;
use crate::format::commit::{CommitProgram, Path, Seen, Slot, Step};
use crate::format::name::{is_dot, parent};
use crate::format::time::Timestamp;
use crate::store::dirs::open_below;
use crate::sys::{self, Result, Spot, each_entry};

/// The same, to be looked up.
#[derive(Default)]
pub(super) struct Known<'a> {
    made: HashMap<Slot, &'a Seen>,
    taken: HashMap<Slot, &'a Seen>,
    trees: HashMap<Slot, Timestamp>,
    /// Directories that something is taken out of: that moves their times.
    emptied: HashSet<&'a [u8]>,
    /// Where directories come to, the deepest first, and where they were.
    moved: Vec<(&'a [u8], &'a [u8])>,
}

impl<'a> Known<'a> {
    pub fn of(program: &'a CommitProgram) -> Known<'a> {
        let mut known = Known {
            made: program.made.iter().map(|(slot, made)| (*slot, made)).collect(),
            trees: program.trees.iter().copied().collect(),
            ..Known::default()
        };
        let mut from: HashMap<Slot, &'a [u8]> = HashMap::new();
        for step in &program.steps {
            if let Step::Take { slot, at, was } = step {
                known.taken.insert(*slot, was);
                known.emptied.insert(parent(at));
                from.insert(*slot, &**at);
            }
        }
        for step in &program.steps {
            if let Step::Put { slot, at } = step
                && let Some(from) = from.get(slot)
            {
                known.moved.push((&**at, *from));
            }
        }
        known.moved.sort_by_key(|(to, _)| std::cmp::Reverse(to.len()));
        known
    }

    /// Where what is at a path was before all steps.
    pub fn origin(&self, at: &[u8]) -> Vec<u8> {
        let moved = self.moved.iter().find(|(to, _)| is_within(at, to));
        match moved {
            Some((to, from)) => [*from, at.get(to.len()..).unwrap_or_default()].concat(),
            None => at.to_vec(),
        }
    }

    /// What was made in a slot.
    pub fn made(&self, slot: Slot) -> Option<&'a Seen> {
        self.made.get(&slot).copied()
    }

    /// What was taken into a slot.
    pub fn taken(&self, slot: Slot) -> Option<&'a Seen> {
        self.taken.get(&slot).copied()
    }

    /// Nobody has changed anything in what has come to a slot since the plan saw it. `at`:
    /// where it was. In the stage nobody reaches it by a path any more.
    pub fn is_tree_untouched(&self, stage: &Stage, slot: Slot, at: &Path) -> Result<bool> {
        let Some(newest) = self.trees.get(&slot) else { return Ok(true) };
        // What was taken is where it was; what is swapped may have come along.
        let at = if self.taken.contains_key(&slot) { at.to_vec() } else { self.origin(at) };
        let mut left = vec![at.clone()];
        while let Some(path) = left.pop() {
            let rest = path.get(at.len()..).unwrap_or_default();
            let inner = [&*slot.name(), rest].concat();
            let dir = match open_below(stage.dir(), &inner) {
                // What is no directory was looked at as a whole.
                Err(rustix::io::Errno::NOTDIR) if path.len() == at.len() => return Ok(true),
                other => other?,
            };
            let stat = sys::stat_fd(&dir)?;
            // What was moved here keeps its time of modification; the uppermost was by us.
            let is_top = path.len() == at.len();
            let own = if is_top { stat.stx_mtime } else { stat.stx_ctime };
            let time = Timestamp::from(own).max(stat.stx_mtime.into());
            if time > *newest && !self.emptied.contains(&*path) {
                return Ok(false);
            }
            let mut names = Vec::new();
            each_entry(dir.as_fd(), |entry| {
                if !is_dot(entry.name) {
                    names.push(entry.name.to_vec());
                }
                true
            })?;
            for name in names {
                let stat = sys::stat(Spot::at(dir.as_fd(), &name))?;
                if sys::kind(&stat) == libc::S_IFDIR {
                    left.push([&*path, b"/", &name].concat());
                    continue;
                }
                // A commit gives objects with several names more of them, or less.
                let time = if stat.stx_nlink == 1 { stat.stx_ctime } else { stat.stx_mtime };
                if Timestamp::from(time) > *newest {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }
}
