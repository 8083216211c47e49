//! What has changed, as it was read at one time: what the page speaks of, by numbers, so that
//! names may hold any bytes.

use std::collections::{BTreeSet, HashMap};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::text;

/// With more paths than these, directories go as a whole where everything in them does.
const MANY: usize = 500;

/// The changes.
#[derive(Default)]
pub struct List {
    /// Which reading it was.
    pub turn: u64,
    entries: Vec<Entry>,
    /// Numbers by path, and whether it is a deletion.
    known: HashMap<(Box<[u8]>, bool), usize>,
}

struct Entry {
    path: Box<[u8]>,
    line: Box<str>,
}

/// A change as it was told.
#[derive(Debug, Default, Deserialize)]
pub struct Told {
    #[serde(default)]
    pub path: String,
    pub path_hex: Option<String>,
    pub kind: String,
    pub from: Option<String>,
    pub from_hex: Option<String>,
    #[serde(default)]
    pub content: bool,
    #[serde(default)]
    pub attributes: Vec<String>,
    #[serde(default)]
    pub xattrs: Vec<String>,
    pub before: Option<Facts>,
    pub after: Option<Facts>,
    #[serde(default)]
    pub more_names: u64,
    pub error: Option<String>,
}

/// What one side is.
#[derive(Debug, Deserialize, Serialize)]
pub struct Facts {
    #[serde(rename = "type")]
    pub kind: String,
    pub mode: String,
    pub uid: u32,
    pub gid: u32,
    pub size: u64,
    pub mtime: String,
    pub nlink: u64,
    pub device: Option<String>,
}

impl Told {
    /// A line as it was told.
    pub fn of(line: &str) -> Option<Told> {
        serde_json::from_str(line).ok()
    }

    /// Its bytes.
    pub fn path(&self) -> Vec<u8> {
        bytes(&self.path, self.path_hex.as_deref())
    }

    pub fn is_deleted(&self) -> bool {
        self.kind == "deleted"
    }

    /// As the page shows it, and where it was.
    pub fn names(&self) -> (String, Option<String>) {
        let from = self.from.as_ref();
        let from = from.map(|from| text::name(&bytes(from, self.from_hex.as_deref())));
        (text::name(&self.path()), from)
    }

    /// There is something that nothing else has, and a discard would lose it.
    pub fn loses_content(&self) -> bool {
        match &*self.kind {
            "added" | "modified" | "type" => true,
            "renamed" => self.content,
            _ => false,
        }
    }

    /// For the page: names, kind, and types and sizes of both sides.
    fn row(&self) -> Value {
        let (path, from) = self.names();
        let kind = |facts: &Option<Facts>| facts.as_ref().map(|facts| facts.kind.clone());
        let size = |facts: &Option<Facts>| {
            facts.as_ref().filter(|facts| facts.kind == "file").map(|facts| facts.size)
        };
        let (before, after) = (&self.before, &self.after);
        json!([path, self.kind, kind(before), kind(after), size(before), size(after), from])
    }
}

/// The line is no change, but what all come to.
pub fn is_totals(line: &str) -> bool {
    line.starts_with("{\"kind\":\"totals\"")
}

fn bytes(text: &str, hex: Option<&str>) -> Vec<u8> {
    let Some(hex) = hex else { return text.as_bytes().to_vec() };
    let digit = |c: u8| char::from(c).to_digit(16).unwrap_or(0) as u8;
    let pairs = hex.as_bytes().chunks(2);
    pairs.map(|pair| pair.iter().fold(0, |byte, c| byte << 4 | digit(*c))).collect()
}

impl List {
    /// An empty one, of this reading.
    pub fn new(turn: u64) -> List {
        List { turn, ..List::default() }
    }

    /// One more line.
    pub fn add(&mut self, line: &str) {
        // What is no change are the totals.
        let Some(told) = Told::of(line).filter(|_| !is_totals(line)) else { return };
        let path: Box<[u8]> = told.path().into();
        self.known.insert((path.clone(), told.is_deleted()), self.entries.len());
        self.entries.push(Entry { path, line: line.into() });
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// So many rows for the page, from one on.
    pub fn rows(&self, from: usize, count: usize) -> Vec<Value> {
        let entries = self.entries.iter().skip(from).take(count);
        entries.map(|entry| Told::of(&entry.line).map_or(Value::Null, |told| told.row())).collect()
    }

    /// A change by its number.
    pub fn told(&self, id: usize) -> Option<Told> {
        Told::of(&self.entries.get(id)?.line)
    }

    /// The number of a change that was told again: `Err` if it is not what it was.
    pub fn same(&self, line: &str, told: &Told) -> Result<usize, ()> {
        let id = self.known.get(&(told.path().into(), told.is_deleted())).ok_or(())?;
        let entry = self.entries.get(*id).ok_or(())?;
        if &*entry.line == line { Ok(*id) } else { Err(()) }
    }

    /// The paths of changes, without those that lie below others of them. Of many, whole
    /// directories in which `may` allows that. `None`: there is no such change.
    pub fn paths(&self, ids: &[usize], may: impl Fn(&[u8]) -> bool) -> Option<Vec<Vec<u8>>> {
        let mut chosen = BTreeSet::new();
        for id in ids {
            chosen.insert(&*self.entries.get(*id)?.path);
        }
        if chosen.len() <= MANY {
            return Some(uppermost(&chosen));
        }
        let mut counts: HashMap<&[u8], (usize, usize)> = HashMap::new();
        for entry in &self.entries {
            let goes = usize::from(chosen.contains(&*entry.path));
            for top in tops(&entry.path) {
                let (all, going) = counts.entry(top).or_default();
                (*all, *going) = (*all + 1, *going + goes);
            }
        }
        let whole =
            |top: &&[u8]| may(top) && counts.get(top).is_some_and(|(all, going)| all == going);
        let covered: BTreeSet<&[u8]> =
            chosen.iter().map(|path| tops(path).find(whole).unwrap_or(path)).collect();
        Some(uppermost(&covered))
    }
}

/// The root, and each directory on the way to a path, and that itself.
fn tops(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
    [0].into_iter().chain(ends).chain([path.len()]).filter_map(move |end| path.get(..end))
}

fn uppermost(paths: &BTreeSet<&[u8]>) -> Vec<Vec<u8>> {
    let above = |path: &&&[u8]| {
        let above = tops(path).filter(|top| top.len() < path.len());
        !above.into_iter().any(|top| paths.contains(top))
    };
    paths.iter().filter(above).map(|path| path.to_vec()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(paths: &[String]) -> List {
        let mut list = List::new(1);
        for path in paths {
            list.add(&format!("{{\"path\":\"{path}\",\"kind\":\"added\",\"content\":true}}"));
        }
        list
    }

    fn texts(paths: Option<Vec<Vec<u8>>>) -> Vec<String> {
        let paths = paths.unwrap().into_iter();
        paths.map(|path| String::from_utf8(path).unwrap()).collect()
    }

    #[test]
    fn few_paths_go_by_themselves() {
        let list = list(&["a", "d", "d/x", "d/y", "dd"].map(str::to_owned));
        assert_eq!(texts(list.paths(&[1, 2, 3, 4], |_| true)), ["d", "dd"]);
        assert_eq!(texts(list.paths(&[2], |_| true)), ["d/x"]);
        assert_eq!(list.paths(&[5], |_| true), None);
    }

    #[test]
    fn many_go_by_directories_of_which_nothing_stays() {
        let of = |dir: &str| (0..300).map(|at| format!("{dir}/{at:03}")).collect::<Vec<_>>();
        let list = list(&[of("a/b"), of("c"), vec!["d".to_owned()]].concat());
        let all: Vec<usize> = (0..601).collect();
        assert_eq!(texts(list.paths(&all, |_| true)), [""]);
        assert_eq!(texts(list.paths(&all, |top| !top.is_empty())), ["a", "c", "d"]);
        let some = texts(list.paths(&all[1..600], |_| true));
        assert_eq!((some.len(), &*some[0], &*some[299]), (300, "a/b/001", "c"));
    }

    #[test]
    fn what_is_not_as_it_was_is_known() {
        let list = list(&["a".to_owned()]);
        let same = |line: &str| list.same(line, &Told::of(line).unwrap());
        assert_eq!(same("{\"path\":\"a\",\"kind\":\"added\",\"content\":true}"), Ok(0));
        assert_eq!(same("{\"path\":\"a\",\"kind\":\"added\",\"content\":false}"), Err(()));
        assert_eq!(same("{\"path\":\"b\",\"kind\":\"added\",\"content\":true}"), Err(()));
        let odd =
            Told::of("{\"path\":\"\u{fffd}\",\"path_hex\":\"ff\",\"kind\":\"type\"}").unwrap();
        assert_eq!((odd.path(), &*odd.names().0), (b"\xff".to_vec(), "\\xff"));
    }
}
