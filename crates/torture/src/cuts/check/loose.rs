//! Each object by itself, as btrfs keeps them.

use std::collections::{BTreeMap, BTreeSet};

use super::{Judge, View};
use crate::cuts::model::{Id, Kind, Object, ROOT, Tree};
use crate::cuts::observe::{Seen, SeenKind};
use crate::cuts::op::Op;

impl<'a> Judge<'a> {
    /// What is wrong; nothing if the tree may be seen.
    pub(super) fn loose(&self, view: &View) -> Vec<String> {
        let mut wrong = Vec::new();
        let known = self.identities();
        let mut names: BTreeMap<Id, BTreeSet<(Id, String)>> = BTreeMap::new();
        let mut found: BTreeMap<&str, Id> = BTreeMap::from([("", ROOT)]);
        // A directory sorts before what it holds.
        for (path, seen) in view {
            let Some(&id) = identity(seen).and_then(|key| known.get(&key)) else {
                wrong.push(format!("/{path} is an object that never was"));
                continue;
            };
            let (dir, name) = path.rsplit_once('/').unwrap_or(("", path));
            found.insert(path, id);
            if let Some(&dir) = found.get(dir) {
                names.entry(id).or_default().insert((dir, name.to_owned()));
            }
            wrong.extend(self.loose_object(id, seen).map(|what| format!("/{path}: {what}")));
        }
        for &id in known.values().collect::<BTreeSet<_>>() {
            let seen = names.remove(&id).unwrap_or_default();
            if !self.had_names(id, &seen) {
                let paths = found.iter().filter(|&(_, &other)| other == id).map(|(path, _)| path);
                let paths: Vec<_> = paths.collect();
                let was = self.states(0, self.begun).find_map(|tree| path_of(tree, id));
                let was = was.unwrap_or_default();
                wrong.push(format!("object {id}, once /{was}, has the names {paths:?}"));
            }
        }
        for (path, &dir) in &found {
            wrong.extend(self.loose_entries(dir, path, &found));
        }
        wrong
    }

    /// Whether an object may have exactly these names.
    fn had_names(&self, id: Id, seen: &BTreeSet<(Id, String)>) -> bool {
        let states = || self.states(self.promised(id), self.begun);
        let mut sets = states().map(|tree| tree.names(id).into_iter().collect::<BTreeSet<_>>());
        if sets.any(|names| names == *seen) {
            return true;
        }
        self.moved_halfway(id, seen) || self.kept_a_removed_name(id, seen)
    }

    /// Moved, and only the new directory synced: the old name may be left.
    fn moved_halfway(&self, id: Id, seen: &BTreeSet<(Id, String)>) -> bool {
        let states = || self.states(self.promised(id), self.begun);
        let synced = |(dir, name): &&(Id, String)| {
            let promised = self.history.states.get(self.promised(*dir));
            let entries = promised.and_then(|tree| tree.entries(*dir));
            entries.and_then(|entries| entries.get(name)) == Some(&id)
        };
        let older = |name: &(Id, String)| states().any(|tree| tree.names(id).contains(name));
        seen.iter().all(older) && seen.iter().filter(synced).any(|(dir, _)| self.promised(*dir) > 0)
    }

    /// An fsync of the object promises the names that it has, but not the end of
    /// others that were removed or taken by something else (not by its own rename).
    fn kept_a_removed_name(&self, id: Id, seen: &BTreeSet<(Id, String)>) -> bool {
        let promised = self.promised(id);
        let names = |tree: &Tree| tree.names(id).into_iter().collect::<BTreeSet<_>>();
        let sets: Vec<_> = self.states(self.synced(), promised).map(names).collect();
        let fewer = sets.windows(2).filter_map(|pair| match pair {
            [one, other] if other.len() < one.len() => Some(one - other),
            _ => None,
        });
        let removed: BTreeSet<_> = fewer.flatten().collect();
        let mut later = self.states(promised, self.begun).map(names);
        later.any(|now| now.is_subset(seen) && (seen - &now).is_subset(&removed))
    }

    /// The last step of those that had returned that promised everything.
    fn synced(&self) -> usize {
        let mut ops = self.history.ops.iter().take(self.ended);
        ops.rposition(|op| *op == Op::Sync).map_or(0, |place| place + 1)
    }

    /// The entries of a directory against its promise.
    fn loose_entries(&self, dir: Id, path: &str, found: &BTreeMap<&str, Id>) -> Vec<String> {
        let from = self.promised(dir);
        let entries = |tree: &'a Tree| tree.entries(dir).into_iter().flatten();
        let all: BTreeSet<&String> = self
            .states(0, self.begun)
            .flat_map(|tree| entries(tree).map(|(name, _)| name))
            .collect();
        let mut wrong = Vec::new();
        for name in all {
            let path = if path.is_empty() { name.clone() } else { format!("{path}/{name}") };
            let seen = found.get(path.as_str());
            let value = |tree: &'a Tree| tree.entries(dir).and_then(|entries| entries.get(name));
            let values: Vec<_> = self.states(from, self.begun).map(value).collect();
            let replaced = values.windows(2).any(|pair| match pair {
                [Some(one), Some(other)] => one != other,
                _ => false,
            });
            let may_be = values.contains(&seen) || replaced && seen.is_none();
            if !may_be {
                let is = if seen.is_some() { "is there" } else { "is not there" };
                wrong.push(format!("/{path} {is}, against the fsync of its directory"));
            }
        }
        wrong
    }

    /// Each attribute by itself, and the data.
    fn loose_object(&self, id: Id, seen: &Seen) -> Option<String> {
        let from = self.promised(id);
        let objects: Vec<&Object> =
            self.states(from, self.begun).filter_map(|tree| tree.objects.get(&id)).collect();
        if objects.is_empty() {
            return Some("was deleted before a promise".into());
        }
        if !objects.iter().any(|object| object.mode == seen.mode) {
            return Some(format!("mode {:03o}, replaced before a promise", seen.mode));
        }
        if !objects.iter().any(|object| object.owner == seen.owner) {
            return Some(format!("owner {}", seen.owner));
        }
        if !objects.iter().any(|object| object.xattr == seen.xattr) {
            return Some(format!("user.t {:?}", seen.xattr));
        }
        match &seen.kind {
            SeenKind::File(data) => self.data(id, from, self.begun, data),
            _ => None,
        }
    }

    /// By what each object of the history is known.
    fn identities(&self) -> BTreeMap<Key, Id> {
        let objects = self.states(0, self.begun).flat_map(|tree| &tree.objects);
        let keys = objects.filter(|&(&id, _)| id != ROOT).map(|(&id, object)| {
            let key = match &object.kind {
                Kind::Symlink(target) => Key::Target(target.clone()),
                _ => Key::Mode(object.mode),
            };
            (key, id)
        });
        keys.collect()
    }
}

/// By what an object is recognised.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Mode(u32),
    Target(String),
}

fn identity(seen: &Seen) -> Option<Key> {
    match &seen.kind {
        SeenKind::Symlink(target) => Some(Key::Target(target.clone())),
        SeenKind::Dir | SeenKind::File(_) => Some(Key::Mode(seen.mode)),
        SeenKind::Other => None,
    }
}

fn path_of(tree: &Tree, id: Id) -> Option<String> {
    tree.paths().into_iter().find(|&(_, other)| other == id).map(|(path, _)| path)
}
