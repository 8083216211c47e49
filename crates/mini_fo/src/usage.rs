//! What a storage holds, added up for people.
#![forbid(unsafe_code)]

use std::path::Path;

use mini_fo_core::{MetaName, OpenError, Overlay, Used, UsedFor, usage_at_rest};
use serde::{Deserialize, Serialize};

use crate::control::wire::PathBytes;

/// What is wanted of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    /// Only what is at this path of the tree, or below it; without a leading slash.
    pub within: PathBytes,
    /// How many levels below it get a line of their own.
    pub depth: usize,
    /// How many of the largest files do.
    pub largest: usize,
}

/// Bytes and what takes them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sum {
    /// Bytes that are taken.
    pub bytes: u64,
    /// Files, and whatever else is no directory.
    pub files: u64,
    /// Directories.
    pub directories: u64,
}

/// One line of the result.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// Where in the tree, without a leading slash.
    pub path: PathBytes,
    /// What is there and below it.
    #[serde(flatten)]
    pub sum: Sum,
}

/// What a storage holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Entries of the tree, each directory before what is below it.
    pub entries: Vec<Row>,
    /// The largest files, the largest first.
    pub largest: Vec<Row>,
    /// All entries of the tree that were asked for.
    pub tree: Sum,
    /// Changed base objects with several names: they lie beside the tree.
    pub hard_links: Sum,
    /// META and what else keeps the changes that are no files.
    pub records: Sum,
    /// Kept for deletions on a full storage.
    pub reserve: Sum,
    /// Left by what was interrupted; the next mount takes it away.
    pub leftovers: Sum,
    /// Deleted files that are still open; only of a mount.
    #[serde(default)]
    pub deleted: Sum,
    /// Bytes that are free for who mounts.
    pub free: u64,
}

impl Sum {
    fn add(&mut self, bytes: u64, is_dir: bool) {
        self.bytes = self.bytes.saturating_add(bytes);
        self.directories += u64::from(is_dir);
        self.files += u64::from(!is_dir);
    }
}

impl Usage {
    /// Everything together.
    pub fn bytes(&self) -> u64 {
        let beside = [self.hard_links, self.records, self.reserve, self.leftovers, self.deleted];
        let all = [self.tree].into_iter().chain(beside);
        all.fold(0, |sum, part| sum.saturating_add(part.bytes))
    }

    /// Looks through the storage of a mount.
    ///
    /// # Errors
    /// The storage cannot be read.
    pub fn of(overlay: &Overlay, wanted: &Wanted) -> rustix::io::Result<Usage> {
        let space = overlay.space()?;
        let free = space.bavail.saturating_mul(space.frsize.into());
        let mut usage = Usage { free, ..Usage::default() };
        overlay.usage(&mut usage.adder(wanted))?;
        Ok(usage)
    }

    /// The same of a storage by its path.
    ///
    /// # Errors
    /// It is none, or cannot be read.
    pub fn at_rest(path: &Path, meta: MetaName, wanted: &Wanted) -> Result<Usage, OpenError> {
        let space = rustix::fs::statvfs(path);
        let free = space.map_or(0, |space| space.f_bavail.saturating_mul(space.f_frsize));
        let mut usage = Usage { free, ..Usage::default() };
        usage_at_rest(path, meta, &mut usage.adder(wanted))?;
        Ok(usage)
    }

    fn adder<'a>(&'a mut self, wanted: &'a Wanted) -> impl FnMut(&Used<'_>) -> bool + use<'a> {
        let mut tree = Tree { usage: self, wanted, above: Vec::new() };
        move |used| {
            tree.add(used);
            true
        }
    }
}

/// What is added to while the storage is walked through.
struct Tree<'a> {
    usage: &'a mut Usage,
    wanted: &'a Wanted,
    /// The rows of the directories that the walk is in.
    above: Vec<usize>,
}

impl Tree<'_> {
    fn add(&mut self, used: &Used<'_>) {
        let usage = &mut *self.usage;
        let part = match used.purpose {
            UsedFor::Entry => return self.entry(used),
            UsedFor::HardLinks => &mut usage.hard_links,
            UsedFor::Records => &mut usage.records,
            UsedFor::Reserve => &mut usage.reserve,
            UsedFor::Leftover => &mut usage.leftovers,
            UsedFor::Deleted => &mut usage.deleted,
        };
        part.add(used.bytes, used.is_dir);
    }

    fn entry(&mut self, used: &Used<'_>) {
        let Some(below) = below(used.path, &self.wanted.within.0) else { return };
        let deep = match below {
            b"" => 0,
            below => 1 + below.iter().filter(|byte| **byte == b'/').count(),
        };
        self.usage.tree.add(used.bytes, used.is_dir);
        let rows = &mut self.usage.entries;
        let is_in = |row: Option<&Row>| row.is_some_and(|row| is_below(used.path, &row.path.0));
        while self.above.last().is_some_and(|at| !is_in(rows.get(*at))) {
            self.above.pop();
        }
        if (1..=self.wanted.depth).contains(&deep) {
            self.above.push(rows.len());
            rows.push(Row::of(used));
        }
        for at in &self.above {
            if let Some(row) = rows.get_mut(*at) {
                row.sum.add(used.bytes, used.is_dir);
            }
        }
        if !used.is_dir {
            self.is_large(used);
        }
    }

    fn is_large(&mut self, used: &Used<'_>) {
        let (largest, most) = (&mut self.usage.largest, self.wanted.largest);
        let at = largest.partition_point(|row| row.sum.bytes >= used.bytes);
        if at < most {
            let mut row = Row::of(used);
            row.sum.add(used.bytes, false);
            largest.insert(at, row);
            largest.truncate(most);
        }
    }
}

impl Row {
    fn of(used: &Used<'_>) -> Row {
        Row { path: PathBytes(used.path.to_vec()), sum: Sum::default() }
    }
}

fn is_below(path: &[u8], above: &[u8]) -> bool {
    below(path, above).is_some()
}

/// What is left of a path below another one. `None`: it is not there.
fn below<'a>(path: &'a [u8], above: &[u8]) -> Option<&'a [u8]> {
    if above.is_empty() {
        return Some(path);
    }
    match path.strip_prefix(above)? {
        b"" => Some(b""),
        rest => rest.strip_prefix(b"/"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used(path: &str, bytes: u64) -> Used<'_> {
        let is_dir = bytes == 0;
        Used { purpose: UsedFor::Entry, path: path.as_bytes(), bytes, size: bytes, is_dir }
    }

    fn collect(wanted: &Wanted, all: &[Used<'_>]) -> (Vec<(String, u64, u64)>, Usage) {
        let mut usage = Usage::default();
        let mut tree = Tree { usage: &mut usage, wanted, above: Vec::new() };
        all.iter().for_each(|one| tree.add(one));
        let text = |row: &Row| String::from_utf8(row.path.0.clone()).unwrap();
        let rows = usage.entries.iter().chain(&usage.largest);
        (rows.map(|row| (text(row), row.sum.bytes, row.sum.files)).collect(), usage)
    }

    #[test]
    fn everything_counts_for_the_directories_above_it() {
        let all = [
            used("", 0),
            used("a", 0),
            used("a/b", 0),
            used("a/b/c", 5),
            used("a/d", 7),
            used("ab", 1),
        ];
        let row = |path: &str, bytes, files| (path.to_owned(), bytes, files);
        let wanted = Wanted { depth: 1, largest: 1, ..Wanted::default() };
        let (rows, usage) = collect(&wanted, &all);
        assert_eq!(rows, [row("a", 12, 2), row("ab", 1, 1), row("a/d", 7, 1)]);
        assert_eq!(usage.tree, Sum { bytes: 13, files: 3, directories: 3 });
        let wanted = Wanted { depth: 2, ..Wanted::default() };
        let (rows, _) = collect(&wanted, &all);
        let inner = [row("a", 12, 2), row("a/b", 5, 1), row("a/d", 7, 1), row("ab", 1, 1)];
        assert_eq!(rows, inner);
        let wanted = Wanted { within: PathBytes(b"a".to_vec()), depth: 1, largest: 0 };
        let (rows, usage) = collect(&wanted, &all);
        assert_eq!(rows, [row("a/b", 5, 1), row("a/d", 7, 1)]);
        assert_eq!(usage.tree, Sum { bytes: 12, files: 2, directories: 2 });
    }
}
