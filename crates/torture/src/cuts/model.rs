//! What a tree has to look like: operations, and the states that they make.
//!
//! Objects can be told apart in what is observed, because every object and every
//! change of attributes gets values that were never used before: creation and
//! chmod take a mode of their own, chown an owner, setxattr a value, and data is
//! made of words that depend on the writing step and the place.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::sync::Arc;

use super::op::Op;

/// Number of an object, never given to another.
pub type Id = u32;

/// The root directory's.
pub const ROOT: Id = 0;

/// What an object is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A directory: names and the objects they stand for.
    Dir(BTreeMap<String, Id>),
    /// A regular file and its content.
    File(Arc<Vec<u8>>),
    /// A symbolic link and its target.
    Symlink(String),
}

/// An object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Type and what belongs to it.
    pub kind: Kind,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub owner: u32,
    /// Value of `user.t`.
    pub xattr: Option<u32>,
}

impl Object {
    fn new(kind: Kind, mode: u32) -> Self {
        Self { kind, mode, owner: 0, xattr: None }
    }
}

/// A whole tree at one moment.
#[derive(Clone, Debug)]
pub struct Tree {
    /// All objects that have a name.
    pub objects: BTreeMap<Id, Object>,
    next: Id,
    /// What is below: that which discards bring back.
    below: Arc<BTreeMap<Id, Object>>,
}

impl Tree {
    /// An empty root.
    pub fn new() -> Self {
        let root = Object::new(Kind::Dir(BTreeMap::new()), 0);
        Self { objects: BTreeMap::from([(ROOT, root)]), next: ROOT + 1, below: Arc::default() }
    }

    /// From now on what there is, is what is below.
    pub fn freeze(&mut self) {
        self.below = Arc::new(self.objects.clone());
    }

    /// What is below, as a tree.
    pub fn base(&self) -> Tree {
        Tree { objects: (*self.below).clone(), next: self.next, below: Arc::clone(&self.below) }
    }

    /// The object at `path`; the root for the empty path.
    pub fn find(&self, path: &str) -> Option<Id> {
        let mut parts = path.split('/').filter(|part| !part.is_empty());
        parts.try_fold(ROOT, |at, name| self.entries(at)?.get(name).copied())
    }

    /// The entries of a directory.
    pub fn entries(&self, dir: Id) -> Option<&BTreeMap<String, Id>> {
        match &self.objects.get(&dir)?.kind {
            Kind::Dir(entries) => Some(entries),
            _ => None,
        }
    }

    /// The content of a file.
    pub fn data(&self, id: Id) -> Option<&Arc<Vec<u8>>> {
        match &self.objects.get(&id)?.kind {
            Kind::File(data) => Some(data),
            _ => None,
        }
    }

    /// Every path, with its object; without the root.
    pub fn paths(&self) -> BTreeMap<String, Id> {
        let mut all = BTreeMap::new();
        let mut todo = vec![(String::new(), ROOT)];
        while let Some((path, dir)) = todo.pop() {
            for (name, &id) in self.entries(dir).into_iter().flatten() {
                let path = if path.is_empty() { name.clone() } else { format!("{path}/{name}") };
                if self.entries(id).is_some() {
                    todo.push((path.clone(), id));
                }
                all.insert(path, id);
            }
        }
        all
    }

    /// The names of an object, as (directory, name).
    pub fn names(&self, id: Id) -> Vec<(Id, String)> {
        let entries = |&dir: &Id| {
            self.entries(dir).into_iter().flatten().map(move |(name, &to)| (dir, name, to))
        };
        let all = self.objects.keys().flat_map(entries);
        all.filter(|&(.., to)| to == id).map(|(dir, name, _)| (dir, name.clone())).collect()
    }

    /// Does `op` as step number `step`.
    ///
    /// # Errors
    /// The operation makes no sense here; the tree is then as it was.
    pub fn apply(&mut self, op: &Op, step: usize) -> io::Result<()> {
        // The root is no object of a step, but for these.
        if !matches!(op, Op::Fsync(_) | Op::Discard(..)) && op.paths().contains(&"") {
            return Err(nonsense(op));
        }
        match op {
            Op::Create(path, mode) => {
                self.insert(path, Object::new(Kind::File(Arc::default()), *mode))
            }
            Op::Mkdir(path, mode) => {
                self.insert(path, Object::new(Kind::Dir(BTreeMap::new()), *mode))
            }
            Op::Symlink(path, to) => {
                self.insert(path, Object::new(Kind::Symlink(to.clone()), 0o777))
            }
            Op::Write(path, at, len) => self.write(path, *at as usize, *len, step),
            Op::Append(path, len) => {
                let size = self.at(path).and_then(|id| self.data(id)).map(|data| data.len());
                self.write(path, size.ok_or_else(|| nonsense(op))?, *len, step)
            }
            Op::Truncate(path, size) => {
                self.change_data(path, |data| data.resize(*size as usize, 0))
            }
            Op::Unlink(path) => self.remove(path, false),
            Op::Rmdir(path) => self.remove(path, true),
            Op::Rename(from, to) => self.rename(from, to),
            Op::Exchange(one, other) => {
                let first = self.at(one).ok_or_else(|| nonsense(op))?;
                let second = self.at(other).ok_or_else(|| nonsense(op))?;
                self.set_entry(one, Some(second))?;
                self.set_entry(other, Some(first))
            }
            Op::Link(from, to) => {
                let id = self.at(from).filter(|_| self.at(to).is_none());
                self.set_entry(to, Some(id.ok_or_else(|| nonsense(op))?))
            }
            Op::Chmod(path, mode) => self.object(path).map(|object| object.mode = *mode),
            Op::Chown(path, owner) => self.object(path).map(|object| object.owner = *owner),
            Op::SetXattr(path, value) => {
                self.object(path).map(|object| object.xattr = Some(*value))
            }
            Op::Fsync(path) => self.object(path).map(drop),
            Op::Discard(_, places) => {
                places.iter().for_each(|place| self.discard(place));
                Ok(())
            }
            Op::Sync | Op::Commit | Op::Writeback(_) | Op::Pause(_) => Ok(()),
        }
    }

    fn at(&self, path: &str) -> Option<Id> {
        self.find(path)
    }

    fn object(&mut self, path: &str) -> io::Result<&mut Object> {
        let id = self.find(path).ok_or_else(|| nonsense(path))?;
        self.objects.get_mut(&id).ok_or_else(|| nonsense(path))
    }

    fn insert(&mut self, path: &str, object: Object) -> io::Result<()> {
        if self.find(path).is_some() {
            return Err(nonsense(path));
        }
        let id = self.next;
        self.set_entry(path, Some(id))?;
        self.next += 1;
        self.objects.insert(id, object);
        Ok(())
    }

    /// Lets a name stand for another object, or for none.
    fn set_entry(&mut self, path: &str, id: Option<Id>) -> io::Result<()> {
        let (dir, name) = path.rsplit_once('/').unwrap_or(("", path));
        match &mut self.object(dir)?.kind {
            Kind::Dir(entries) => match id {
                Some(id) => drop(entries.insert(name.to_owned(), id)),
                None => drop(entries.remove(name)),
            },
            _ => return Err(nonsense(path)),
        }
        Ok(())
    }

    fn remove(&mut self, path: &str, dir: bool) -> io::Result<()> {
        let id = self.find(path).ok_or_else(|| nonsense(path))?;
        let fits = match self.entries(id) {
            Some(entries) => dir && entries.is_empty(),
            None => !dir,
        };
        if !fits {
            return Err(nonsense(path));
        }
        self.set_entry(path, None)?;
        self.drop_nameless(id);
        Ok(())
    }

    fn drop_nameless(&mut self, id: Id) {
        if self.names(id).is_empty() {
            self.objects.remove(&id);
        }
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        let id = self.find(from).ok_or_else(|| nonsense(from))?;
        let old = self.find(to);
        if old == Some(id) || to.starts_with(&format!("{from}/")) {
            return Err(nonsense(to));
        }
        if let Some(old) = old {
            match (self.entries(id), self.entries(old)) {
                (None, None) => (),
                (Some(_), Some(entries)) if entries.is_empty() => (),
                _ => return Err(nonsense(to)),
            }
        }
        self.set_entry(to, Some(id))?;
        self.set_entry(from, None)?;
        if let Some(old) = old {
            self.drop_nameless(old);
        }
        Ok(())
    }

    /// A place shows what is below, and so does all below it. The directory that it is in is
    /// the one that is there below.
    fn discard(&mut self, place: &str) {
        let base = self.base();
        if place.is_empty() {
            *self = base;
            return;
        }
        let back = base.find(place);
        if self.set_entry(place, back).is_err() {
            return;
        }
        let mut left: Vec<Id> = back.into_iter().collect();
        while let Some(id) = left.pop() {
            self.objects.extend(base.objects.get(&id).map(|object| (id, object.clone())));
            left.extend(base.entries(id).into_iter().flat_map(BTreeMap::values));
        }
        // What has no name left is gone with all that is below it.
        let named: BTreeSet<Id> = self.paths().into_values().chain([ROOT]).collect();
        self.objects.retain(|id, _| named.contains(id));
    }

    fn write(&mut self, path: &str, at: usize, len: usize, step: usize) -> io::Result<()> {
        self.change_data(path, |data| {
            let end = at + len;
            if data.len() < end {
                data.resize(end, 0);
            }
            if let Some(range) = data.get_mut(at..end) {
                fill(range, at, step);
            }
        })
    }

    fn change_data(&mut self, path: &str, change: impl FnOnce(&mut Vec<u8>)) -> io::Result<()> {
        match &mut self.object(path)?.kind {
            Kind::File(data) => {
                let mut new = data.to_vec();
                change(&mut new);
                *data = Arc::new(new);
                Ok(())
            }
            _ => Err(nonsense(path)),
        }
    }
}

fn nonsense(what: impl fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, format!("makes no sense: {what}"))
}

/// Fills a range that begins at byte `at` of a file with what step `step` writes
/// there: no byte is zero, and no two steps write the same.
pub fn fill(range: &mut [u8], at: usize, step: usize) {
    for (byte, place) in range.iter_mut().zip(at..) {
        let mut word = ((step as u64) << 40) ^ (place as u64 / 8);
        word = (word ^ (word >> 31)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        word = (word ^ (word >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        *byte = (word >> (8 * (place % 8))) as u8 | 1;
    }
}

/// A workload's states: [`Self::states`]`[0]` is the tree before the first step,
/// `[k]` after step `k`.
pub struct History {
    /// What was done; step `k` is `ops[k - 1]`.
    pub ops: Vec<Op>,
    /// The trees.
    pub states: Vec<Tree>,
}

impl History {
    /// Begins with `tree`.
    pub fn new(tree: Tree) -> Self {
        Self { ops: Vec::new(), states: vec![tree] }
    }

    /// The number of the next step.
    pub fn next(&self) -> usize {
        self.states.len()
    }

    /// The latest tree.
    pub fn last(&self) -> &Tree {
        // There is always the first.
        &self.states[self.states.len() - 1]
    }

    /// Adds a step; one that makes no sense is an error and changes nothing.
    ///
    /// # Errors
    /// As [`Tree::apply`].
    pub fn push(&mut self, op: Op) -> io::Result<()> {
        let mut tree = self.last().clone();
        tree.apply(&op, self.next())?;
        self.states.push(tree);
        self.ops.push(op);
        Ok(())
    }
}
