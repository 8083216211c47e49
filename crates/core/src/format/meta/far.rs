//! What the storage's root says is hidden in directories that the storage does not have.

use std::collections::BTreeMap;
use std::ops::Bound;

use hashbrown::HashSet;

use super::Record;
use crate::format::time::Timestamp;

/// Names by the directory that has them: its path in the base, without a leading slash.
#[derive(Clone, Debug, Default)]
pub struct Far {
    dirs: BTreeMap<Box<[u8]>, Hidden>,
    names: usize,
}

#[derive(Clone, Debug, Default)]
struct Hidden {
    names: HashSet<Box<[u8]>>,
    /// When the last one was.
    at: Timestamp,
}

impl Far {
    pub(super) fn hide(&mut self, at: Timestamp, path: Box<[u8]>, name: Box<[u8]>) {
        let hidden = self.dirs.entry(path).or_default();
        hidden.at = hidden.at.max(at);
        self.names += usize::from(hidden.names.insert(name));
    }

    /// When something was hidden last in a directory.
    #[must_use]
    pub fn changed(&self, path: &[u8]) -> Option<Timestamp> {
        self.dirs.get(path).map(|hidden| hidden.at)
    }

    /// How many names.
    #[must_use]
    pub fn len(&self) -> usize {
        self.names
    }

    /// Nothing is hidden so.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.names == 0
    }

    /// What is hidden in a directory.
    pub fn in_dir(&self, path: &[u8]) -> impl ExactSizeIterator<Item = &[u8]> {
        let names = self.dirs.get(path).map(|hidden| &hidden.names);
        names.map(HashSet::iter).unwrap_or_default().map(|name| &**name)
    }

    /// The directories.
    pub fn dirs(&self) -> impl Iterator<Item = &[u8]> {
        self.dirs.keys().map(|path| &**path)
    }

    /// Forgets what is hidden in a directory.
    pub fn forget(&mut self, path: &[u8]) {
        let gone = self.dirs.remove(path).map_or(0, |hidden| hidden.names.len());
        self.names = self.names.saturating_sub(gone);
    }

    /// Forgets some names of a directory.
    pub fn forget_names(&mut self, path: &[u8], names: &[Box<[u8]>]) {
        let Some(hidden) = self.dirs.get_mut(path) else { return };
        let gone = names.iter().filter(|name| hidden.names.remove(*name)).count();
        self.names = self.names.saturating_sub(gone);
        if hidden.names.is_empty() {
            self.dirs.remove(path);
        }
    }

    /// Forgets a directory that shows no more, and of all below it.
    pub fn forget_tree(&mut self, path: &[u8]) {
        let tree: Vec<Box<[u8]>> = self.tree(path).map(Into::into).collect();
        tree.iter().for_each(|dir| self.forget(dir));
    }

    /// This directory and those below it.
    pub fn tree<'a>(&'a self, path: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        let from = (Bound::Included(path), Bound::Unbounded);
        let dirs = self.dirs.range::<[u8], _>(from).map(|(dir, _)| &**dir);
        let dirs = dirs.take_while(move |dir| dir.starts_with(path));
        dirs.filter(move |dir| matches!(dir.get(path.len()), None | Some(b'/')))
    }

    pub(super) fn each_record(&self, each: &mut impl FnMut(&Record)) {
        for (path, hidden) in &self.dirs {
            for name in &hidden.names {
                let (path, name) = (path.clone(), name.clone());
                each(&Record::HideFar { at: hidden.at, path, name });
            }
        }
    }
}
