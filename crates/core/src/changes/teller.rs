//! What the walk finds, on the way to who wants to know.

use std::cell::OnceCell;
use std::sync::Arc;

use rustix::io::Errno;

use super::change::{
    Change, ChangeKind, ChangeTotals, ChangesOptions, Differences, FoundChange, UnreadChange,
};
use super::deleted::{Goes, Stopped};
use super::moves::Moves;
use super::sides::{Lower, Sides, is_within};
use crate::interface::types::Attr;
use crate::tree::node::Node;

/// Where an entry is, or is compared with.
pub(super) struct Spot<'s> {
    pub name: &'s [u8],
    pub path: Vec<u8>,
    pub below: Option<Vec<u8>>,
}

/// Who wants to know.
pub(super) struct Teller<'p> {
    pub options: &'p ChangesOptions,
    pub moves: &'p Moves,
    pub totals: &'p mut ChangeTotals,
    pub each: &'p mut dyn FnMut(FoundChange<'_>) -> bool,
}

impl Teller<'_> {
    /// A path is one of those that are asked for, or below one.
    pub fn concerns(&self, path: &[u8]) -> bool {
        let within = &self.options.within;
        within.is_empty() || within.iter().any(|other| is_within(path, other))
    }

    /// A path is one of those, or there may be some below it.
    pub fn is_near(&self, path: &[u8]) -> bool {
        let within = &self.options.within;
        self.concerns(path) || within.iter().any(|other| is_within(other, path))
    }

    /// What was at a path of the lower view is told where it is now.
    pub fn shows_as_moved(&self, below: &[u8], path: &[u8]) -> bool {
        let to = self.moves.to(below);
        to.is_some_and(|to| self.concerns(to) || !self.concerns(path))
    }

    pub fn tell(&mut self, change: Change<'_>) -> Goes<()> {
        if !self.concerns(change.path) {
            return Ok(());
        }
        self.totals.add(&change);
        if (self.each)(FoundChange::Change(&change)) { Ok(()) } else { Err(Stopped) }
    }

    pub fn unread(&mut self, path: &[u8], errno: Errno) -> Goes<()> {
        if !self.concerns(path) {
            return Ok(());
        }
        self.totals.unread += 1;
        let unread = UnreadChange { path, errno };
        if (self.each)(FoundChange::Unread(unread)) { Ok(()) } else { Err(Stopped) }
    }
}

/// A change whose attributes were not compared.
pub(super) fn change<'c>(
    sides: Sides<'c>,
    kind: ChangeKind,
    upper: Option<(&'c Arc<Node>, Attr)>,
    lower: Option<&'c Lower>,
    spot: &'c Spot<'_>,
) -> Change<'c> {
    let (upper, after) = upper.unzip();
    let from = spot.below.as_deref().filter(|from| lower.is_some() && *from != &*spot.path);
    let content = matches!(kind, ChangeKind::Added | ChangeKind::Deleted | ChangeKind::TypeChanged);
    Change {
        path: &spot.path,
        kind,
        from,
        content,
        differs: Differences::default(),
        before: lower.map(|lower| lower.attr),
        after,
        more_names: 0,
        print: None,
        state: OnceCell::new(),
        sides,
        upper,
        lower,
    }
}
