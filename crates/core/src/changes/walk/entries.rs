//! What one entry means, once it is known what each tree has.

use std::sync::Arc;

use rustix::io::Errno;

use super::super::change::{Change, ChangeKind};
use super::super::deleted::{self, Goes};
use super::super::sides::{Lower, Origin};
use super::super::teller::{Spot, change};
use super::{Level, Pass, Step, Upper, Walk};
use crate::tree::dir::Dir;

impl<'a> Walk<'a, '_> {
    /// There is something of the same type in both trees.
    pub(super) fn both(
        &mut self,
        level: &Level<'a>,
        upper: Upper<'a>,
        lower: &Lower,
        spot: &Spot<'_>,
    ) -> Step<Option<Level<'a>>> {
        let is_dir = upper.node.is_dir();
        let merges = upper.merged == spot.below;
        // A base object that the storage does not have is what it is compared with.
        let same = !self.sides.overlay.bare
            && !upper.node.in_storage()
            && if is_dir { merges } else { level.merged == level.below };
        if !same || level.renamed {
            self.differing(&upper, lower, spot, level.renamed)?;
        }
        if !is_dir {
            return Ok(None);
        }
        let below = spot.below.clone();
        let opened = match &level.opened {
            Some(dir) => self.sides.open_below(dir, spot.name)?,
            None => None,
        };
        self.level(upper, spot.path.clone(), (below, opened), level.renamed).map(Some)
    }

    /// Notes where something is from that does not show what is below under its name.
    /// `over`: something is there.
    pub(super) fn note_arrival(
        &mut self,
        (level, dir): (&Level<'a>, &Dir),
        upper: &Upper<'a>,
        spot: &Spot<'_>,
        over: bool,
    ) -> Step {
        let Pass::Arrivals(arrived) = &mut self.pass else { return Ok(()) };
        let origin = match &upper.merged {
            Some(merged) if Some(merged) != spot.below.as_ref() => {
                Some(Origin::Path(merged.as_slice().into()))
            }
            None if !upper.node.is_dir() => {
                let parent = level.merged.as_deref();
                self.sides.origin((dir, parent), &upper.node, spot.name)?
            }
            _ => None,
        };
        if let Some(origin) = origin {
            arrived.add(origin, &spot.path, spot.below.as_deref().filter(|_| over));
        }
        Ok(())
    }

    /// There is nothing like it in the lower view.
    pub(super) fn arrived(&mut self, upper: Upper<'a>, spot: &Spot<'_>) -> Step<Option<Level<'a>>> {
        let mut renamed = false;
        let from: Option<Arc<[u8]>> = match &mut self.pass {
            // Whether it was renamed is not known yet.
            Pass::Arrivals(_) | Pass::Losses(..) => upper.merged.as_deref().map(Into::into),
            Pass::Reach(moves, reached, _) => {
                let from = moves.from(&spot.path).cloned();
                reached.extend(from.is_some().then(|| spot.path.as_slice().into()));
                from
            }
            Pass::Tell(teller) => {
                renamed = teller.options.renamed_below;
                teller.moves.from(&spot.path).cloned()
            }
        };
        let lower = match &from {
            Some(from) => self.sides.look_path(from)?,
            None => None,
        };
        let lower = lower.filter(|lower| lower.kind() == upper.node.kind());
        let below = from.filter(|_| lower.is_some()).map(|from| from.to_vec());
        if let Some(below) = &below {
            self.print = self.print_from(below)?;
        }
        match &lower {
            Some(lower) => {
                let spot = Spot { path: spot.path.clone(), below: below.clone(), ..*spot };
                self.differing(&upper, lower, &spot, true)?;
            }
            None => self.tell(ChangeKind::Added, Some(&upper), None, spot)?,
        }
        if !upper.node.is_dir() {
            return Ok(None);
        }
        let opened = match &below {
            Some(below) => self.sides.open_path(below)?,
            None => None,
        };
        let renamed = renamed && below.is_some();
        self.level(upper, spot.path.clone(), (below, opened), renamed).map(Some)
    }

    /// There is something of another type in the lower view.
    pub(super) fn other_type(
        &mut self,
        upper: Upper<'a>,
        lower: &Lower,
        spot: &Spot<'_>,
    ) -> Step<Option<Level<'a>>> {
        self.tell(ChangeKind::TypeChanged, Some(&upper), Some(lower), spot)?;
        if lower.is_dir()
            && let Some(below) = &spot.below
        {
            match &mut self.pass {
                Pass::Losses(arrived, gone) => {
                    arrived.gone(below, None);
                    gone.push(below.clone());
                }
                _ => self.lost_below(below, &spot.path)?,
            }
        }
        match upper.node.is_dir() {
            true => self.level(upper, spot.path.clone(), (None, None), false).map(Some),
            false => Ok(None),
        }
    }

    /// What the lower view has does not show any more.
    pub(super) fn lost(&mut self, lower: &Lower, below: &[u8], spot: &Spot<'_>) -> Step {
        match &mut self.pass {
            Pass::Arrivals(_) | Pass::Reach(..) => {}
            Pass::Losses(arrived, gone) => {
                if !lower.is_dir() {
                    arrived.gone(below, Some(lower.attr.ino));
                } else if !arrived.has_left(below) {
                    arrived.gone(below, None);
                    gone.push(below.to_vec());
                }
            }
            Pass::Tell(teller) => {
                if teller.shows_as_moved(below, &spot.path) {
                    return Ok(());
                }
                self.tell(ChangeKind::Deleted, None, Some(lower), spot)?;
                if lower.is_dir() {
                    self.lost_below(below, &spot.path)?;
                }
            }
        }
        Ok(())
    }

    /// Tells of all that was in a directory, if that is wanted.
    fn lost_below(&mut self, below: &[u8], path: &[u8]) -> Step {
        let sides = self.sides;
        let Pass::Tell(teller) = &mut self.pass else { return Ok(()) };
        if !teller.options.deleted_below {
            return Ok(());
        }
        deleted::walk(&sides, below, &mut |at, found| {
            let rest = at.get(below.len()..).unwrap_or_default();
            let path = [path, rest].concat();
            let lower = match found {
                Ok(_) if teller.shows_as_moved(at, &path) => return Ok(false),
                Ok(lower) => lower,
                Err(errno) => return teller.unread(&path, errno).map(|()| false),
            };
            let spot = Spot { name: b"", path, below: Some(at.to_vec()) };
            teller.tell(change(sides, ChangeKind::Deleted, None, Some(lower), &spot))?;
            Ok(true)
        })?;
        Ok(())
    }

    /// Tells what differs between two objects of one type, if anything does.
    pub(super) fn differing(
        &mut self,
        upper: &Upper<'a>,
        lower: &Lower,
        spot: &Spot<'_>,
        renamed: bool,
    ) -> Step {
        let Pass::Tell(teller) = &mut self.pass else { return Ok(()) };
        if !teller.concerns(&spot.path) {
            return Ok(());
        }
        let is_dir = upper.node.is_dir();
        let (content, differs) = self.sides.compare(&upper.node, &upper.attr, lower)?;
        let times = is_dir && differs.are_times_only() && !teller.options.directory_times;
        let kind = match (renamed, content) {
            (true, _) => ChangeKind::Renamed,
            (false, true) => ChangeKind::Modified,
            (false, false) if differs.is_empty() || times => return Ok(()),
            (false, false) => ChangeKind::Attributes,
        };
        let node = Some((&*upper.node, upper.attr));
        let mut change = change(self.sides, kind, node, Some(lower), spot);
        (change.content, change.differs, change.print) = (content, differs, self.print);
        change.more_names = self.sides.untold_names(&upper.node, self.extras);
        Ok(teller.tell(change)?)
    }

    fn tell(
        &mut self,
        kind: ChangeKind,
        upper: Option<&Upper<'a>>,
        lower: Option<&Lower>,
        spot: &Spot<'_>,
    ) -> Step {
        let Pass::Tell(teller) = &mut self.pass else { return Ok(()) };
        let upper = upper.map(|upper| (&*upper.node, upper.attr));
        let change = change(self.sides, kind, upper, lower, spot);
        Ok(teller.tell(Change { print: self.print, ..change })?)
    }

    pub(super) fn unread(&mut self, path: &[u8], errno: Errno) -> Goes<()> {
        match &mut self.pass {
            Pass::Tell(teller) => teller.unread(path, errno),
            // The last pass will tell.
            _ => Ok(()),
        }
    }
}
