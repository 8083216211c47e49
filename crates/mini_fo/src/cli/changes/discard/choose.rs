//! Which changes go, and which stay: a rename is one change, whichever end is meant, and an
//! object with several names is one object.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use crate::cli::changes::globs::Globs;

/// A change, as far as it matters here.
#[derive(Clone, Debug, Default)]
pub struct Entry {
    /// In the tree.
    pub path: Vec<u8>,
    /// Where it was, if it was renamed.
    pub from: Option<Vec<u8>>,
    /// The number of an object that the base has under several names, of which this is one.
    pub object: Option<u64>,
}

/// Where the first path, or a directory that it is in, is discarded, the second one is, too.
pub type Tie = (Vec<u8>, Vec<u8>);

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

/// A path is one of these, or lies below one.
pub fn is_in<'a>(path: &[u8], has: impl Fn(&[u8]) -> bool + 'a) -> bool {
    let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
    let mut above = [0].into_iter().chain(ends).chain([path.len()]).map(|end| path.get(..end));
    above.any(|path| path.is_some_and(&has))
}

/// What of a map is at a path or below it.
fn below<'m, T>(map: &'m BTreeMap<&[u8], T>, top: &[u8]) -> impl Iterator<Item = &'m T> {
    let (from, to) = ([top, b"/"].concat(), [top, b"0"].concat());
    let all = top.is_empty();
    let itself = map.get(top).filter(|_| !all);
    let from = if all { Bound::Unbounded } else { Bound::Included(&*from) };
    let to = if all { Bound::Unbounded } else { Bound::Excluded(&*to) };
    itself.into_iter().chain(map.range::<[u8], _>((from, to)).map(|(_, value)| value))
}

/// Entries, and what hangs together.
struct Chooser<'a> {
    entries: &'a [Entry],
    by_path: BTreeMap<&'a [u8], Vec<usize>>,
    ties: BTreeMap<&'a [u8], Vec<&'a [u8]>>,
    /// Entries that stay.
    kept: BTreeMap<&'a [u8], ()>,
}

/// Finds out what a discard of some paths (the empty one: everything) comes to.
pub fn choose(entries: &[Entry], tops: &[Vec<u8>], ties: &[Tie], keep: &Globs) -> Choice {
    let chooser = Chooser::new(entries, ties, keep);
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
    let gone = |entry: &Entry| is_in(&entry.path, |path| areas.contains(path));
    let goes: Vec<usize> =
        entries.iter().enumerate().filter(|(_, entry)| gone(entry)).map(|(at, _)| at).collect();
    let tops: BTreeSet<&[u8]> = tops.iter().map(|top| &**top).collect();
    let asked = |path: &[u8]| is_in(path, |path| tops.contains(path));
    let asked =
        |entry: &&Entry| asked(&entry.path) || entry.from.as_ref().is_some_and(|from| asked(from));
    let kept = entries.iter().filter(asked).filter(|entry| !gone(entry)).count() as u64;
    Choice { paths, goes, kept }
}

/// All places that go with these.
pub fn reach(tops: &[Vec<u8>], ties: &[Tie]) -> Vec<Vec<u8>> {
    let chooser = Chooser::new(&[], ties, &Globs::default());
    let all = tops.iter().flat_map(|top| chooser.all_of(top));
    all.collect::<BTreeSet<_>>().into_iter().collect()
}

impl<'a> Chooser<'a> {
    fn new(entries: &'a [Entry], told: &'a [Tie], keep: &Globs) -> Chooser<'a> {
        let mut objects: BTreeMap<u64, Vec<&[u8]>> = BTreeMap::new();
        let mut by_path: BTreeMap<&[u8], Vec<usize>> = BTreeMap::new();
        for (at, entry) in entries.iter().enumerate() {
            by_path.entry(&entry.path).or_default().push(at);
            if let Some(object) = entry.object {
                objects.entry(object).or_default().push(&entry.path);
            }
        }
        let mut ties: BTreeMap<&[u8], Vec<&[u8]>> = BTreeMap::new();
        for (from, to) in told {
            ties.entry(from).or_default().push(to);
        }
        for names in objects.into_values() {
            // Each leads to the next one, and the last one to the first.
            let next = names.iter().cycle().skip(1);
            for (name, next) in names.iter().zip(next).filter(|(name, next)| name != next) {
                ties.entry(name).or_default().push(next);
            }
        }
        let stays = |entry: &&Entry| {
            keep.has(&entry.path) || entry.from.as_ref().is_some_and(|from| keep.has(from))
        };
        let kept = entries.iter().filter(stays).map(|entry| (&*entry.path, ())).collect();
        Chooser { entries, by_path, ties, kept }
    }

    /// All places that go with one.
    fn all_of(&self, top: &[u8]) -> BTreeSet<Vec<u8>> {
        let mut areas = BTreeSet::from([top.to_vec()]);
        let mut left = vec![top.to_vec()];
        while let Some(area) = left.pop() {
            for place in below(&self.ties, &area).flatten() {
                if !is_in(place, |path| areas.contains(path)) {
                    areas.insert(place.to_vec());
                    left.push(place.to_vec());
                }
            }
        }
        areas
    }

    fn holds_kept(&self, areas: &BTreeSet<Vec<u8>>) -> bool {
        !self.kept.is_empty() && areas.iter().any(|area| below(&self.kept, area).next().is_some())
    }

    /// What is at a path and below it, without what stays: a directory goes as a whole if
    /// nothing in it stays, else what is in it goes.
    fn one_by_one(&self, top: &[u8], paths: &mut Vec<Vec<u8>>, areas: &mut BTreeSet<Vec<u8>>) {
        let mut last: Option<&[u8]> = None;
        for entry in below(&self.by_path, top).flatten().filter_map(|at| self.entries.get(*at)) {
            // What is the root's own stays with what is in it.
            let stays = entry.path.is_empty() || self.kept.contains_key(&*entry.path);
            if stays || last.is_some_and(|last| is_within(&entry.path, last)) {
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
        let keep = Globs::of(&keep.iter().map(|glob| (*glob).to_owned()).collect::<Vec<_>>());
        let tops: Vec<Vec<u8>> = tops.iter().map(|top| top.as_bytes().to_vec()).collect();
        let ends = |entry: &Entry| entry.from.clone().map(|from| (from, entry.path.clone()));
        let ties: Vec<Tie> = entries.iter().filter_map(ends).collect();
        let back = ties.iter().map(|(from, to)| (to.clone(), from.clone()));
        let ties: Vec<Tie> = back.chain(ties.iter().cloned()).collect();
        let Choice { paths, goes, kept } = choose(entries, &tops, &ties, &keep.unwrap());
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

    /// What was moved over something else is no rename, as changes are told: what was there
    /// is modified, and goes or stays with what is gone elsewhere all the same.
    #[test]
    fn what_took_a_place_goes_or_stays_with_where_it_was() {
        let all = ["d/one", "d/one.more", "f"].map(entry);
        let tie = |from: &str, to: &str| (from.as_bytes().to_vec(), to.as_bytes().to_vec());
        let ties = [tie("f", "d/one"), tie("d/one", "f")];
        let none = Globs::of(&[]).unwrap();
        assert_eq!(choose(&all, &[b"f".to_vec()], &ties, &none).goes, [0, 2]);
        let keep = Globs::of(&["d/one".to_owned()]).unwrap();
        let stays = Choice { kept: 1, ..Choice::default() };
        assert_eq!(choose(&all, &[b"f".to_vec()], &ties, &keep), stays);
        // Something else has the old place.
        let ties = [tie("f", "d/one")];
        assert_eq!(choose(&all, &[b"d/one".to_vec()], &ties, &none).goes, [0]);
    }

    #[test]
    fn many_scattered_changes_are_chosen_at_once() {
        let all: Vec<Entry> = (0..100_000)
            .map(|n| Entry {
                object: (n % 50 < 2).then_some(n / 50),
                ..renamed(&format!("from/{n}"), &format!("d{}/{n}", n % 300))
            })
            .collect();
        let tops: Vec<String> =
            (0..2000).map(|n| format!("d{}/{}", n * 50 % 300, n * 50)).collect();
        let tops: Vec<&str> = tops.iter().map(|top| &**top).collect();
        let begun = std::time::Instant::now();
        let (paths, goes, _) = chosen(&all, &tops, &["nothing", "d7/7"]);
        assert_eq!((paths.len(), goes.len()), (2000, 4000));
        // Each with each takes a minute.
        assert!(begun.elapsed().as_secs() < 10, "{:?}", begun.elapsed());
    }
}
