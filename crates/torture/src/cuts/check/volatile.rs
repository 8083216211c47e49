//! What a mount with `-o volatile` may leave: docs/FORMAT.md, section 8, gives up
//! the order of changes, but not what the base has.
//!
//! - What was never changed is there as it was.
//! - Whatever else is there is at a path that it had at some time.
//! - A file of the base that is larger than what is copied at once has at each
//!   place what was there at some time: zeros only where it once ended before. It
//!   is no shorter than it ever was.
//!
//! btrfs may bring such a file back empty: what an fsync of something else logs of it
//! is its name and its attributes, and not its size.
//!
//! Smaller files of the base that were changed are copies, which may be empty or
//! hold zeros; so may what was made anew.

use super::{Judge, Order, View};
use crate::cuts::model::{Id, Tree};
use crate::cuts::observe::{Seen, SeenKind};

/// Files of the base up to this size are copied at any change.
const COPIED_AT_ONCE: usize = 64 << 10;

impl Judge<'_> {
    /// What is wrong; nothing if the tree may be seen.
    pub fn volatile(&self, order: Order, view: &View) -> Vec<String> {
        let mut wrong = Vec::new();
        for (path, seen) in view {
            let owners: Vec<Id> = self.states(0, self.begun).filter_map(|t| t.find(path)).collect();
            if owners.is_empty() {
                wrong.push(format!("/{path} never was"));
                continue;
            }
            let found = owners.iter().map(|&id| self.object_after_all(order, id, seen));
            // Whichever object it is.
            let least = found.min_by_key(Option::is_some).flatten();
            wrong.extend(least.map(|what| format!("/{path}: {what}")));
        }
        let first = self.states(0, 0).next();
        for (path, id) in first.map(Tree::paths).unwrap_or_default() {
            let same = |tree: &Tree| {
                tree.find(&path) == Some(id) && tree.objects.get(&id) == object(first, id)
            };
            if self.states(0, self.begun).all(same) && !view.contains_key(&path) {
                wrong.push(format!("/{path}, which nobody has changed, is not there"));
            }
        }
        wrong
    }

    /// What is wrong with the data of something that is object `id`.
    fn object_after_all(&self, order: Order, id: Id, seen: &Seen) -> Option<String> {
        let SeenKind::File(seen) = &seen.kind else { return None };
        let states = || self.states(0, self.begun);
        let base = states().next().and_then(|tree| tree.data(id));
        let first = states().next();
        let unchanged = states().all(|tree| {
            tree.objects.get(&id) == object(first, id)
                && first.map(|first| first.names(id)) == Some(tree.names(id))
        });
        let base = base.filter(|data| unchanged || data.len() > COPIED_AT_ONCE)?;
        if unchanged {
            return (**base != *seen).then(|| "is not what the base has".to_owned());
        }
        if order == Order::Loose && seen.is_empty() {
            return None;
        }
        let versions: Vec<_> = states().filter_map(|tree| tree.data(id)).collect();
        let least = versions.iter().map(|data| data.len()).min().unwrap_or(0);
        if seen.len() < least {
            return Some(format!("{} bytes, and it never had less than {least}", seen.len()));
        }
        let fits = |place: usize, byte: u8| {
            byte == 0 && place >= least
                || versions.iter().any(|data| data.get(place) == Some(&byte))
        };
        let at = seen.iter().enumerate().position(|(place, &byte)| !fits(place, byte))?;
        let zeros = seen.iter().skip(at).take(64).all(|&byte| byte == 0);
        let what = if zeros { "zeros" } else { "bytes that were never there" };
        Some(format!("{what} from byte {at} of {}", seen.len()))
    }
}

fn object(tree: Option<&Tree>, id: Id) -> Option<&crate::cuts::model::Object> {
    tree.and_then(|tree| tree.objects.get(&id))
}
