//! The walk through both trees at once.

mod entries;
mod prints;

use std::sync::Arc;
use std::vec::IntoIter;

use hashbrown::HashSet;
use rustix::io::Errno;

use super::deleted::{KEPT_OPEN, Stopped, reopen};
use super::links::Extras;
use super::moves::{Arrived, Moves};
use super::sides::{Hint, Lower, Names, Sides, in_order, join};
use super::teller::{Spot, Teller};
use crate::format::print::Print;
use crate::interface::types::{Attr, NodeId};
use crate::layers::LowerDir;
use crate::reach::refs::NodeRef;
use crate::sys::Result;
use crate::tree::dir::Dir;

/// What both trees are walked through for.
pub(super) enum Pass<'p> {
    /// Entries that have come from somewhere else.
    Arrivals(&'p mut Arrived),
    /// What is not in its place any more, and the directories that are gone.
    Losses(&'p mut Arrived, &'p mut Vec<Vec<u8>>),
    /// Which of what was renamed will be told so, and what was not, for something is compared with
    /// it in its place.
    Reach(&'p Moves, &'p mut HashSet<Box<[u8]>>, &'p mut Vec<Box<[u8]>>),
    /// What differs.
    Tell(Teller<'p>),
}

/// Why an entry is done with.
enum End {
    Stopped,
    Failed(Errno),
}

impl From<Errno> for End {
    fn from(errno: Errno) -> End {
        End::Failed(errno)
    }
}

impl From<Stopped> for End {
    fn from(_: Stopped) -> End {
        End::Stopped
    }
}

type Step<T = ()> = std::result::Result<T, End>;

/// A directory that is being walked through.
struct Level<'a> {
    node: NodeRef<'a>,
    path: Vec<u8>,
    /// What it shows of the lower view.
    merged: Option<Vec<u8>>,
    /// What it is compared with.
    below: Option<Vec<u8>>,
    opened: Option<Arc<LowerDir>>,
    /// All below it is told as renamed.
    renamed: bool,
    names: IntoIter<(Box<[u8]>, Hint)>,
}

/// An entry of the upper view.
struct Upper<'a> {
    node: NodeRef<'a>,
    attr: Attr,
    /// Of a directory, what it shows of the lower view.
    merged: Option<Vec<u8>>,
}

pub(super) struct Walk<'a, 'p> {
    sides: Sides<'a>,
    extras: &'p Extras,
    pass: Pass<'p>,
    levels: Vec<Level<'a>>,
    /// What the change of the entry at hand was made from.
    print: Option<Print>,
}

impl<'a, 'p> Walk<'a, 'p> {
    pub fn new(sides: Sides<'a>, extras: &'p Extras, pass: Pass<'p>) -> Walk<'a, 'p> {
        Walk { sides, extras, pass, levels: Vec::new(), print: None }
    }

    /// Walks through everything that may differ, or until nobody wants to know more.
    ///
    /// # Errors
    /// The root cannot be read.
    pub fn run(mut self) -> Result<()> {
        match self.root() {
            Err(End::Failed(errno)) => return Err(errno),
            Err(End::Stopped) => return Ok(()),
            Ok(root) => self.levels.push(root),
        }
        while let Some(mut level) = self.levels.pop() {
            let Some((name, hint)) = level.names.next() else { continue };
            let below = level.below.as_ref().map(|below| join(below, &name));
            let spot = Spot { path: join(&level.path, &name), below, name: &name };
            let done = self.entry(&mut level, &spot, hint);
            self.levels.push(level);
            let stopped = match done {
                Ok(child) => {
                    self.levels.extend(child);
                    false
                }
                Err(End::Stopped) => true,
                // It went away meanwhile.
                Err(End::Failed(Errno::NOENT)) => false,
                Err(End::Failed(errno)) => self.unread(&spot.path, errno).is_err(),
            };
            if stopped {
                break;
            }
            let far = self.levels.len().checked_sub(KEPT_OPEN);
            if let Some(far) = far.and_then(|at| self.levels.get_mut(at)) {
                far.opened = None;
            }
        }
        Ok(())
    }

    fn root(&mut self) -> Step<Level<'a>> {
        let node = self.sides.overlay.reference_root();
        let attr = self.sides.overlay.getattr(NodeId::ROOT)?;
        let (merged, path) = (Some(Vec::new()), Vec::new());
        let (lower, opened) = self.sides.lower_root()?.unzip();
        let below = lower.is_some().then(Vec::new);
        let upper = Upper { node, attr, merged };
        self.print = self.sides.overlay.root_dir.meta().print(b".");
        if let Some(lower) = &lower {
            self.differing(&upper, lower, &Spot { name: b"", path, below: below.clone() }, false)?;
        }
        self.level(upper, Vec::new(), (below, opened), false)
    }

    /// One name of a directory. The result is to be walked through next.
    fn entry(
        &mut self,
        level: &mut Level<'a>,
        spot: &Spot<'_>,
        hint: Hint,
    ) -> Step<Option<Level<'a>>> {
        let overlay = self.sides.overlay;
        let dir = overlay.dir(&level.node)?;
        if !self.concerns((level, &dir), spot, hint) {
            return Ok(None);
        }
        self.print = self.print_in((level, &dir), spot);
        let lower = match &level.below {
            Some(below) => match reopen(&self.sides, &mut level.opened, below)? {
                Some(opened) => self.sides.look(&opened, spot.name)?,
                None => None,
            },
            None => None,
        };
        let Some((node, stat)) = overlay.find(&level.node, &dir, spot.name)? else {
            if let (Some(lower), Some(below)) = (lower, &spot.below) {
                self.lost(&lower, below, spot)?;
            }
            return Ok(None);
        };
        let attr = overlay.show(&node, &stat, &dir, spot.name)?;
        let parent = level.merged.as_deref();
        let merged = match node.is_dir() {
            true => self.sides.merged((&dir, parent), &node, spot.name)?,
            false => None,
        };
        let upper = Upper { node, attr, merged };
        match lower {
            Some(lower) if !self.is_elsewhere(&upper, &lower, spot) => {
                self.print = self.print_of(&upper.node, &lower).or(self.print);
                if let (Pass::Reach(moves, _, in_place), Some(below)) =
                    (&mut self.pass, &spot.below)
                {
                    in_place.extend(moves.to(below).is_some().then(|| below.as_slice().into()));
                }
                let same = lower.kind() == upper.node.kind();
                // A file in the place of another is compared with it, wherever it is from.
                if !same || upper.node.is_dir() {
                    self.note_arrival((level, &dir), &upper, spot, true)?;
                }
                match same {
                    true => self.both(level, upper, &lower, spot),
                    false => self.other_type(upper, &lower, spot),
                }
            }
            lower => {
                // What is recorded is told where that is now.
                self.print = self.print.filter(|_| lower.is_none());
                self.note_arrival((level, &dir), &upper, spot, false)?;
                self.arrived(upper, spot)
            }
        }
    }

    /// A name may have to do with what is wanted.
    fn concerns(&self, (level, dir): (&Level<'a>, &Dir), spot: &Spot<'_>, hint: Hint) -> bool {
        match &self.pass {
            Pass::Arrivals(_) | Pass::Reach(..) => {
                hint != Hint::Other || self.sides.may_have_moved(dir, spot.name)
            }
            // What is in the place of something else either hides that or is compared
            // with another directory than it merges with.
            Pass::Losses(..) => {
                let replaced = level.merged != level.below || dir.hides(spot.name);
                hint != Hint::Other || level.below.is_some() && replaced
            }
            Pass::Tell(teller) => teller.is_near(&spot.path),
        }
    }

    /// What was below under the name of an entry was moved away, and this is another one.
    fn is_elsewhere(&mut self, upper: &Upper<'_>, lower: &Lower, spot: &Spot<'_>) -> bool {
        let Some(below) = &spot.below else { return false };
        let other = lower.kind() != upper.node.kind()
            || upper.node.is_dir() && upper.merged.as_ref() != Some(below);
        other
            && match &mut self.pass {
                Pass::Arrivals(_) => false,
                Pass::Losses(arrived, _) => {
                    if !lower.is_dir() {
                        arrived.gone(below, Some(lower.attr.ino));
                    }
                    arrived.has_left(below)
                }
                Pass::Reach(moves, ..) => moves.to(below).is_some(),
                Pass::Tell(teller) => teller.moves.to(below).is_some(),
            }
    }

    /// A directory that is to be walked through: all of it, unless it shows just what it
    /// is compared with.
    fn level(
        &mut self,
        upper: Upper<'a>,
        path: Vec<u8>,
        (below, opened): (Option<Vec<u8>>, Option<Arc<LowerDir>>),
        renamed: bool,
    ) -> Step<Level<'a>> {
        let Upper { node, merged, .. } = upper;
        let dir = self.sides.overlay.dir(&node)?;
        let mut names = Names::new();
        match &below {
            Some(below) if merged.as_ref() == Some(below) && !renamed => {
                self.sides.changed_names(&dir, &mut names)?;
                self.extras.each_in(below, |name| names.push((name.into(), Hint::Unknown)));
            }
            _ => {
                self.sides.all_names(&dir, &mut names)?;
                if let Some(opened) = &opened {
                    self.sides.lower_names(opened, &mut names)?;
                }
            }
        }
        let names = in_order(names).into_iter();
        Ok(Level { node, path, merged, below, opened, renamed, names })
    }
}
