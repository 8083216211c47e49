//! Which changes go, and which stay: a rename is one change, whichever end is meant, and an
//! object with several names is one object.

use std::collections::{BTreeSet, HashMap};

use super::keep::Keep;

/// A change, as far as it matters here.
#[derive(Clone, Debug, Default)]
pub struct Entry {
    /// In the tree.
    pub path: Vec<u8>,
    /// Where it was, if it was renamed.
    pub from: Option<Vec<u8>>,
    /// The number of an object that may have several names.
    pub object: Option<u64>,
}

/// What is to be done.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Choice {
    /// Paths that are discarded, with all that is below them.
    pub paths: Vec<Vec<u8>>,
    /// Entries that go, by their number in the list.
    pub goes: Vec<usize>,
    /// So many were asked for and stay.
    pub kept: u64,
}

/// Another path is this one, or lies below it.
pub fn is_within(path: &[u8], top: &[u8]) -> bool {
    top.is_empty()
        || path.strip_prefix(top).is_some_and(|rest| matches!(rest.first(), None | Some(b'/')))
}

fn is_at(entry: &Entry, top: &[u8]) -> bool {
    is_within(&entry.path, top) || entry.from.as_ref().is_some_and(|from| is_within(from, top))
}

/// Entries, and what hangs together.
struct Chooser<'a> {
    entries: &'a [Entry],
    /// Entries that go together: ends of a rename, names of one object.
    together: Vec<Vec<&'a [u8]>>,
    /// Entries that stay.
    kept: Vec<bool>,
}

/// Finds out what a discard of some paths (the empty one: everything) comes to.
pub fn choose(entries: &[Entry], tops: &[Vec<u8>], keep: &Keep) -> Choice {
    let chooser = Chooser::new(entries, keep);
    let (mut paths, mut areas) = (Vec::new(), BTreeSet::new());
    for top in tops {
        let all = chooser.all_of(top);
        if !chooser.holds_kept(&all) {
            paths.push(top.clone());
            areas.extend(all);
            continue;
        }
        chooser.one_by_one(top, &mut paths, &mut areas);
    }
    let gone = |entry: &Entry| areas.iter().any(|area| is_at(entry, area));
    let goes: Vec<usize> =
        entries.iter().enumerate().filter(|(_, entry)| gone(entry)).map(|(at, _)| at).collect();
    let asked = |entry: &&Entry| tops.iter().any(|top| is_at(entry, top));
    let kept = entries.iter().filter(asked).filter(|entry| !gone(entry)).count() as u64;
    Choice { paths, goes, kept }
}

impl<'a> Chooser<'a> {
    fn new(entries: &'a [Entry], keep: &Keep) -> Chooser<'a> {
        let mut objects: HashMap<u64, Vec<&[u8]>> = HashMap::new();
        let mut together = Vec::new();
        for entry in entries {
            if let Some(from) = &entry.from {
                together.push(vec![&*entry.path, &**from]);
            }
            if let Some(object) = entry.object {
                objects.entry(object).or_default().push(&entry.path);
            }
        }
        together.extend(objects.into_values().filter(|names| names.len() > 1));
        let stays = |entry: &Entry| {
            keep.has(&entry.path) || entry.from.as_ref().is_some_and(|from| keep.has(from))
        };
        Chooser { entries, together, kept: entries.iter().map(stays).collect() }
    }

    /// All places that go with one.
    fn all_of(&self, top: &[u8]) -> BTreeSet<Vec<u8>> {
        let mut areas = BTreeSet::from([top.to_vec()]);
        let mut left: Vec<&Vec<&[u8]>> = self.together.iter().collect();
        loop {
            let before = left.len();
            left.retain(|places| {
                let inside =
                    places.iter().any(|place| areas.iter().any(|area| is_within(place, area)));
                if inside {
                    areas.extend(places.iter().map(|place| place.to_vec()));
                }
                !inside
            });
            if left.len() == before {
                return areas;
            }
        }
    }

    fn holds_kept(&self, areas: &BTreeSet<Vec<u8>>) -> bool {
        let mut kept = self.entries.iter().zip(&self.kept).filter(|(_, kept)| **kept);
        kept.any(|(entry, _)| areas.iter().any(|area| is_at(entry, area)))
    }

    /// What is at a path and below it, without what stays: a directory goes as a whole if
    /// nothing in it stays, else what is in it goes.
    fn one_by_one(&self, top: &[u8], paths: &mut Vec<Vec<u8>>, areas: &mut BTreeSet<Vec<u8>>) {
        let mut inside: Vec<usize> = (0..self.entries.len())
            .filter(|at| self.entries.get(*at).is_some_and(|entry| is_at(entry, top)))
            .collect();
        inside.sort_by_key(|at| self.entries.get(*at).map(|entry| &entry.path));
        let mut last: Option<&[u8]> = None;
        for at in inside {
            let (Some(entry), Some(false)) = (self.entries.get(at), self.kept.get(at)) else {
                continue;
            };
            // What is the root's own stays with what is in it.
            if entry.path.is_empty() || last.is_some_and(|last| is_within(&entry.path, last)) {
                continue;
            }
            let all = self.all_of(&entry.path);
            if !self.holds_kept(&all) {
                last = Some(&entry.path);
                paths.push(entry.path.clone());
                areas.extend(all);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(path: &str) -> Entry {
        Entry { path: path.into(), ..Entry::default() }
    }

    fn renamed(from: &str, path: &str) -> Entry {
        Entry { from: Some(from.into()), ..entry(path) }
    }

    fn name_of(object: u64, path: &str) -> Entry {
        Entry { object: Some(object), ..entry(path) }
    }

    fn chosen(entries: &[Entry], tops: &[&str], keep: &[&str]) -> (Vec<String>, Vec<String>, u64) {
        let keep = Keep::of(&keep.iter().map(|glob| (*glob).to_owned()).collect::<Vec<_>>());
        let tops: Vec<Vec<u8>> = tops.iter().map(|top| top.as_bytes().to_vec()).collect();
        let Choice { paths, goes, kept } = choose(entries, &tops, &keep.unwrap());
        let text = |path: &[u8]| String::from_utf8_lossy(path).into_owned();
        let goes = goes.iter().map(|at| text(&entries[*at].path)).collect();
        (paths.iter().map(|path| text(path)).collect(), goes, kept)
    }

    fn texts(of: &[&str]) -> Vec<String> {
        of.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn all_of_it_goes_where_nothing_stays() {
        let all = [entry("a"), entry("d"), entry("d/x"), entry("e")];
        assert_eq!(chosen(&all, &[""], &[]), (texts(&[""]), texts(&["a", "d", "d/x", "e"]), 0));
        assert_eq!(chosen(&all, &["d"], &["e"]), (texts(&["d"]), texts(&["d", "d/x"]), 0));
        assert_eq!(chosen(&all, &["d/none"], &[]), (texts(&["d/none"]), vec![], 0));
    }

    #[test]
    fn what_stays_keeps_the_directories_that_it_is_in() {
        let all = ["d", "d/sub", "d/sub/keep", "d/sub/other", "d/x", "f"].map(entry);
        let (paths, goes, kept) = chosen(&all, &[""], &["keep"]);
        assert_eq!((paths, kept), (texts(&["d/sub/other", "d/x", "f"]), 3));
        assert_eq!(goes, texts(&["d/sub/other", "d/x", "f"]));
        // All that is below what stays does, too.
        assert_eq!(chosen(&all, &["d"], &["/d/sub"]), (texts(&["d/x"]), texts(&["d/x"]), 4));
    }

    #[test]
    fn a_rename_goes_or_stays_at_both_ends() {
        let all = [renamed("a", "b"), entry("c"), renamed("d/x", "e/y"), entry("d/z")];
        assert_eq!(chosen(&all, &["a"], &[]), (texts(&["a"]), texts(&["b"]), 0));
        assert_eq!(chosen(&all, &["d"], &[]), (texts(&["d"]), texts(&["e/y", "d/z"]), 0));
        assert_eq!(chosen(&all, &["d"], &["e/*"]), (texts(&["d/z"]), texts(&["d/z"]), 1));
        assert_eq!(chosen(&all, &["", "a"], &["a"]).0, texts(&["c", "d/z", "e/y"]));
    }

    #[test]
    fn names_of_one_object_go_or_stay_together() {
        let all = [name_of(7, "a"), name_of(7, "b"), name_of(8, "c")];
        assert_eq!(chosen(&all, &["a"], &[]), (texts(&["a"]), texts(&["a", "b"]), 0));
        assert_eq!(chosen(&all, &[""], &["b"]), (texts(&["c"]), texts(&["c"]), 2));
    }
}
