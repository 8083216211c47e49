//! Which trees may be seen after a power cut.
//!
//! A workload makes the states 0 to n, one after each step. When the power goes,
//! the steps up to *ended* had returned and those up to *begun* had begun. A
//! step that was told to be durable makes a promise:
//!
//! - `fsync` of an object: its attributes, its names, and its data (a file) or
//!   its entries (a directory), as they were then or as a later step made them;
//! - `sync`: everything.
//!
//! **Metadata** are names, entries, types, modes, owners, extended attributes,
//! targets of symbolic links and numbers of links. What is seen must be exactly
//! those of one state *j* of the workload, `promised <= j <= begun`, where
//! *promised* is the last step that changed what was promised. This is what a
//! journal keeps on ext4 and xfs: no later change without the earlier ones. So a
//! rename is seen whole, what was deleted stays deleted, and a directory made
//! anew has nothing of the old one.
//!
//! **Data** is not ordered before an fsync. For a file seen in state *j*, let
//! *from* be the latest of: its creation, its last fsync that had returned (or
//! sync), and the last step up to *j* that made it shorter. Then
//!
//! - its size is one that it had in a state `from..=j`, or lies between two
//!   successive ones of these on a boundary of 512 bytes (half of an append);
//! - each byte is what it was at that place in a state `from..=begun`, or zero
//!   where the file was once shorter since its promise (what was appended and
//!   never synced).
//!
//! A discard is one step: what it comes to has happened as a whole, or not at all, once the
//! next mount has finished what was begun. What comes back has the data that is below.
//!
//! What the base had counts as synced: a change without fsync never shows zeros,
//! or a size of 0, in its place.
//!
//! **btrfs** keeps no order between an fsynced object and earlier changes of
//! others: an fsync writes a log of that object alone. There ([`Order::Loose`])
//! each object is looked at by itself: its attributes, each by itself, and the
//! set of its names are those of a state since its own promise; each entry of a
//! directory is that of a state since the promise of the directory; data as above
//! with all states up to *begun* in place of *j*. A name that never stood for an object
//! never does; a rename is still seen whole, since the set of names of an object
//! must be one that it had. Where something else took a name by a rename since the
//! promise, the name may be missing: once a directory was fsynced, the log that
//! the next fsync of anything writes has the end of the old entry, and not always
//! the beginning of the new one (Linux 6.18 does so on a plain directory). And
//! where an object was moved, and only the directory of its new name was fsynced,
//! the old name may be left beside the new one; and a hard link that was removed
//! may be there after an fsync of the file under another name (both seen on a plain
//! directory, too).

mod loose;
#[cfg(test)]
mod tests;
mod volatile;

use std::collections::BTreeMap;
use std::sync::Arc;

use super::model::{History, Id, Kind, Object, Tree};
use super::observe::{Seen, SeenKind};
use super::op::Op;

/// What everything at a cut is measured by.
pub struct Judge<'a> {
    history: &'a History,
    ended: usize,
    begun: usize,
}

/// How far a file system keeps the order of changes of different objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// One journal: all of it.
    Strict,
    /// Only for each object.
    Loose,
}

/// What is seen, by path.
pub type View = BTreeMap<String, Seen>;

impl<'a> Judge<'a> {
    /// For a cut when the steps up to `ended` had returned, those up to `begun`
    /// begun.
    pub fn new(history: &'a History, ended: usize, begun: usize) -> Self {
        Self { history, ended, begun }
    }

    /// What is wrong; nothing if the tree may be seen.
    pub fn complaints(&self, order: Order, view: &View) -> Vec<String> {
        match order {
            Order::Strict => self.strict(view),
            Order::Loose => self.loose(view),
        }
    }

    fn states(&self, from: usize, to: usize) -> impl Iterator<Item = &'a Tree> + use<'a> {
        let states: &'a [Tree] = &self.history.states;
        states.iter().take(to + 1).skip(from)
    }

    /// The last step up to `ended` that promised something about object `id`.
    fn promised(&self, id: Id) -> usize {
        let promises = |step: usize| match self.history.ops.get(step - 1) {
            Some(Op::Fsync(path)) => {
                self.history.states.get(step).and_then(|tree| tree.find(path)) == Some(id)
            }
            Some(Op::Sync) => true,
            _ => false,
        };
        (1..=self.ended).rev().find(|&step| promises(step)).unwrap_or(0)
    }

    /// The earliest state that keeps every promise.
    fn floor(&self) -> usize {
        let mut floor = 0;
        for (step, op) in (1..=self.ended).zip(&self.history.ops) {
            match op {
                Op::Sync => floor = step,
                Op::Fsync(path) => {
                    let id = self.history.states.get(step).and_then(|tree| tree.find(path));
                    floor = floor.max(id.map_or(0, |id| self.last_change(id, step)));
                }
                _ => (),
            }
        }
        floor
    }

    /// The last step up to `step` that changed object `id` or its names.
    fn last_change(&self, id: Id, step: usize) -> usize {
        let of = |step: usize| {
            let tree = self.history.states.get(step);
            tree.map(|tree| (tree.objects.get(&id), tree.names(id)))
        };
        (1..=step).rev().find(|&step| of(step) != of(step - 1)).unwrap_or(0)
    }

    fn strict(&self, view: &View) -> Vec<String> {
        let floor = self.floor();
        let mut best: Option<(usize, Vec<String>)> = None;
        for state in (floor..=self.begun).rev() {
            let wrong = self.against(state, view);
            if wrong.is_empty() {
                return wrong;
            }
            if best.as_ref().is_none_or(|(_, least)| wrong.len() < least.len()) {
                best = Some((state, wrong));
            }
        }
        let (state, mut wrong) = best.unwrap_or_default();
        wrong.insert(0, format!("no state of {floor}..={}; nearest is {state}", self.begun));
        wrong
    }

    /// How the view differs from state `state`.
    pub fn against(&self, state: usize, view: &View) -> Vec<String> {
        let mut wrong = Vec::new();
        let Some(tree) = self.history.states.get(state) else { return vec!["no state".into()] };
        let paths = tree.paths();
        for (path, &id) in &paths {
            let (Some(object), Some(seen)) = (tree.objects.get(&id), view.get(path)) else {
                wrong.push(format!("/{path} is not there"));
                continue;
            };
            wrong.extend(attributes(object, seen).map(|what| format!("/{path}: {what}")));
            if let SeenKind::File(data) = &seen.kind
                && matches!(object.kind, Kind::File(_))
            {
                let bad = self.data(id, self.data_from(id, state), state, data);
                wrong.extend(bad.map(|what| format!("/{path}: {what}")));
            }
        }
        let more = view.keys().filter(|path| !paths.contains_key(*path));
        wrong.extend(more.map(|path| format!("/{path} is there")));
        wrong.extend(links(&paths, view));
        wrong
    }

    /// From which state on the data of file `id`, seen in state `state`, may be.
    fn data_from(&self, id: Id, state: usize) -> usize {
        let size = |step: usize| {
            let tree = self.history.states.get(step)?;
            tree.data(id).map(|data| data.len())
        };
        let shorter = |step: usize| size(step) < size(step - 1);
        // What is below is as it ever was.
        let data = |step: usize| self.history.states.get(step).and_then(|tree| tree.data(id));
        let discards = |step: usize| {
            matches!(self.history.ops.get(step - 1), Some(Op::Discard(..)))
                && data(step) != data(step - 1)
        };
        let cut = (1..=state).rev().find(|&step| shorter(step) || discards(step)).unwrap_or(0);
        self.promised(id).max(cut).min(state)
    }

    /// What is wrong with the data of file `id`: `from` the first state whose
    /// data may be seen, `state` the last one whose size may.
    fn data(&self, id: Id, from: usize, state: usize, seen: &[u8]) -> Option<String> {
        let mut versions: Vec<&Arc<Vec<u8>>> = Vec::new();
        let mut sizes: Vec<usize> = Vec::new();
        for (step, tree) in (from..).zip(self.states(from, self.begun)) {
            let Some(data) = tree.data(id) else { continue };
            if versions.last().is_none_or(|last| !Arc::ptr_eq(last, data)) {
                versions.push(data);
            }
            if step <= state {
                sizes.push(data.len());
            }
        }
        let between = |pair: &[usize]| match pair {
            [one, other] => {
                *one < seen.len() && seen.len() < *other && seen.len().is_multiple_of(512)
            }
            _ => false,
        };
        if !sizes.contains(&seen.len()) && !sizes.windows(2).any(between) {
            sizes.dedup();
            return Some(format!("size {}, which may be {sizes:?}", seen.len()));
        }
        let least = self.states(self.promised(id), self.begun).filter_map(|tree| tree.data(id));
        let least = least.map(|data| data.len()).min().unwrap_or(0);
        let fits = |place: usize, byte: u8| {
            byte == 0 && place >= least
                || versions.iter().any(|data| data.get(place) == Some(&byte))
        };
        let at = seen.iter().enumerate().position(|(place, &byte)| !fits(place, byte))?;
        let what = match seen.iter().skip(at).take(64).all(|&byte| byte == 0) {
            true => "zeros",
            false => "bytes that were never there or were replaced before a promise",
        };
        Some(format!("{what} from byte {at} of {}", seen.len()))
    }
}

/// Type and attributes.
fn attributes(object: &Object, seen: &Seen) -> Option<String> {
    let same = match (&object.kind, &seen.kind) {
        (Kind::Dir(_), SeenKind::Dir) | (Kind::File(_), SeenKind::File(_)) => true,
        (Kind::Symlink(one), SeenKind::Symlink(other)) => one == other,
        _ => false,
    };
    if !same {
        return Some("is another object".into());
    }
    if object.mode != seen.mode {
        return Some(format!("mode {:03o} and not {:03o}", seen.mode, object.mode));
    }
    if object.owner != seen.owner {
        return Some(format!("owner {} and not {}", seen.owner, object.owner));
    }
    let differs = object.xattr != seen.xattr;
    differs.then(|| format!("user.t {:?} and not {:?}", seen.xattr, object.xattr))
}

/// Hard links: the names of a file are those of one object, and their number is
/// shown.
fn links(paths: &BTreeMap<String, Id>, view: &View) -> Vec<String> {
    let mut groups: BTreeMap<Id, Vec<(&String, &Seen)>> = BTreeMap::new();
    for (path, &id) in paths {
        if let Some(seen) = view.get(path).filter(|seen| seen.kind != SeenKind::Dir) {
            groups.entry(id).or_default().push((path, seen));
        }
    }
    let mut wrong = Vec::new();
    for group in groups.values() {
        let first = group.first().map(|(_, seen)| seen.number);
        for (path, seen) in group {
            if seen.links != group.len() as u64 {
                wrong.push(format!("/{path}: {} links and not {}", seen.links, group.len()));
            }
            if Some(seen.number) != first {
                wrong.push(format!("/{path}: another object than its other name"));
            }
        }
    }
    wrong
}
