//! Discards of random paths, compared with what was seen before and with what is below:
//! what goes back is told by numbers alone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mini_fo_core::{ListFor, NodeId, OpenMode, Overlay, Timestamp};

use super::driver::{Driver, count_mounts_from, same};
use super::ops::Op;
use super::tree::Dice;

type Path = Vec<u8>;

/// All that shows of an entry but its number.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Shown {
    mode: u32,
    owner: (u32, u32),
    content: Vec<u8>,
    rdev: u64,
    mtime: Timestamp,
    xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Entry {
    shown: Shown,
    ctime: Timestamp,
    ino: u64,
    nlink: u32,
}

impl Entry {
    fn is_dir(&self) -> bool {
        self.shown.mode & libc::S_IFMT == libc::S_IFDIR
    }
}

/// A tree by path; the root's is empty.
type View = BTreeMap<Path, Entry>;

fn join(dir: &[u8], name: &[u8]) -> Path {
    if dir.is_empty() { name.to_vec() } else { [dir, b"/", name].concat() }
}

fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (b"", path),
    }
}

fn is_within(path: &[u8], top: &[u8]) -> bool {
    top.is_empty() || path == top || path.starts_with(&[top, b"/"].concat())
}

fn view(overlay: &Overlay) -> View {
    let mut found = View::new();
    look(overlay, NodeId::ROOT, b"", &mut found);
    found
}

fn look(overlay: &Overlay, node: NodeId, path: &[u8], found: &mut View) {
    let attr = overlay.getattr(node).unwrap();
    let content = match attr.mode & libc::S_IFMT {
        libc::S_IFREG => {
            let file = overlay.open(node, OpenMode::default()).unwrap();
            let mut content = vec![0; attr.size as usize + 10];
            let mut got = 0;
            loop {
                let more = overlay.read(&file, &mut content[got..], got as u64).unwrap();
                got += more;
                if more == 0 {
                    break;
                }
            }
            content.truncate(got);
            content
        }
        libc::S_IFLNK => overlay.readlink(node).unwrap(),
        _ => Vec::new(),
    };
    let mut list = vec![0; 4096];
    let len = overlay.listxattr(node, &|| true, &mut list).unwrap();
    let mut xattrs = BTreeMap::new();
    for name in list[..len].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let mut value = vec![0; 200];
        let len = overlay.getxattr(node, name, &mut value).unwrap();
        xattrs.insert(name.to_vec(), value[..len].to_vec());
    }
    let (owner, mtime) = ((attr.uid, attr.gid), attr.mtime);
    let shown = Shown { mode: attr.mode, owner, content, rdev: attr.rdev, mtime, xattrs };
    let entry = Entry { shown, ctime: attr.ctime, ino: attr.ino, nlink: attr.nlink };
    let is_dir = entry.is_dir();
    found.insert(path.to_vec(), entry);
    if !is_dir {
        return;
    }
    for (name, ino) in names(overlay, node) {
        let entry = overlay.lookup(node, &name).unwrap().expect("listed, but not found");
        assert_eq!(entry.attr.ino, ino, "d_ino of {:?}", String::from_utf8_lossy(&name));
        look(overlay, entry.node, &join(path, &name), found);
        overlay.forget(entry.node, 1);
    }
}

fn names(overlay: &Overlay, node: NodeId) -> BTreeMap<Path, u64> {
    let dir = overlay.open_dir(node).unwrap();
    let mut names = BTreeMap::new();
    overlay
        .read_dir(&dir, 0, ListFor::Entries, &mut |entry| {
            names.insert(entry.name.to_vec(), entry.ino);
            true
        })
        .unwrap();
    names.retain(|name, _| name != b"." && name != b"..");
    names
}

/// By this a walk has its order.
fn in_walk(path: &[u8]) -> Vec<Path> {
    path.split(|byte| *byte == b'/').map(<[u8]>::to_vec).collect()
}

/// What a discard must come to.
struct Expected {
    /// Directories in which something goes: their times may be those from below again, if
    /// nothing else has changed in them.
    times: BTreeMap<Path, Timestamp>,
    /// Paths that are there, and what they show; the number where it is known.
    view: BTreeMap<Path, (Shown, Option<Timestamp>, Option<u64>)>,
}

struct Rules<'a> {
    before: &'a View,
    below: &'a View,
    /// Where directories are below that show in the tree, by where that is.
    dirs: BTreeMap<Path, Path>,
    /// Names of objects below, by number.
    names: BTreeMap<u64, Vec<Path>>,
}

impl<'a> Rules<'a> {
    fn new(before: &'a View, below: &'a View) -> Rules<'a> {
        let mut names: BTreeMap<u64, Vec<Path>> = BTreeMap::new();
        for (path, entry) in below {
            names.entry(entry.ino).or_default().push(path.clone());
        }
        let dirs = before.iter().filter(|(_, entry)| entry.is_dir()).filter_map(|(at, entry)| {
            let path = names.get(&entry.ino)?.first()?;
            below[path].is_dir().then(|| (at.clone(), path.clone()))
        });
        let dirs = dirs.collect();
        Rules { before, below, dirs, names }
    }

    /// The path below of a place in the tree.
    fn lower(&self, at: &[u8]) -> Option<Path> {
        if at.is_empty() {
            return Some(Path::new());
        }
        let (dir, name) = split(at);
        self.dirs.get(dir).map(|dir| join(dir, name))
    }

    /// The place in the tree of a path below.
    fn upper(&self, path: &[u8]) -> Option<Path> {
        if path.is_empty() {
            return Some(Path::new());
        }
        let (dir, name) = split(path);
        let (at, _) = self.dirs.iter().find(|(_, below)| **below == *dir)?;
        Some(join(at, name))
    }

    /// Where an entry of the tree was, if it was moved.
    fn origin(&self, at: &[u8]) -> Option<Path> {
        let number = self.before[at].ino;
        let [path] = &self.names.get(&number)?[..] else { return None };
        if self.before[at].is_dir() != self.below[path].is_dir() {
            return None;
        }
        if self.lower(at).as_ref() == Some(path) {
            return None;
        }
        // A further name of what is still there is no move.
        let there = self.upper(path).and_then(|at| self.before.get(&at));
        there.is_none_or(|entry| entry.ino != number).then(|| path.clone())
    }

    /// Of an object with several names below, the first new name has come from the first one
    /// that is gone.
    fn renamed_links(&self) -> Vec<(Path, Path)> {
        let several = self.names.iter().filter(|(_, names)| names.len() > 1);
        let renamed = several.filter_map(|(number, names)| {
            let is_name = |at: &&Path| {
                let entry = &self.before[*at];
                let lower = self.lower(at).and_then(|path| self.below.get(&path));
                entry.ino == *number
                    && !entry.is_dir()
                    && lower.is_none_or(|lower| lower.ino != *number)
            };
            let is_gone =
                |path: &&Path| self.upper(path).is_some_and(|at| !self.before.contains_key(&at));
            let new = self.before.keys().filter(is_name).min_by_key(|at| in_walk(at))?;
            let gone = names.iter().filter(is_gone).min_by_key(|path| in_walk(path))?;
            Some((new.clone(), gone.clone()))
        });
        renamed.collect()
    }

    /// All places that go back.
    fn places(&self, top: &[u8]) -> BTreeSet<Path> {
        let moved =
            self.before.keys().filter_map(|at| self.origin(at).map(|origin| (at.clone(), origin)));
        let moved: Vec<(Path, Path)> = moved.chain(self.renamed_links()).collect();
        let mut places = BTreeSet::from([top.to_vec()]);
        loop {
            let count = places.len();
            for (at, origin) in &moved {
                let inside = places.iter().any(|place| is_within(at, place));
                let from = places
                    .iter()
                    .any(|place| self.lower(place).is_some_and(|lower| is_within(origin, &lower)));
                if from {
                    places.insert(at.clone());
                }
                if inside
                    && let Some(place) = self.upper(origin)
                    && !self.before.contains_key(&place)
                {
                    places.insert(place);
                }
            }
            if places.len() == count {
                return places;
            }
        }
    }

    fn expected(&self, top: &[u8]) -> Expected {
        let places = self.places(top);
        let goes = |at: &[u8]| places.iter().any(|place| is_within(at, place));
        let mut view = BTreeMap::new();
        for (at, entry) in self.before.iter().filter(|(at, _)| !goes(at)) {
            let several = self.names.get(&entry.ino).is_some_and(|names| names.len() > 1);
            let ctime = (!several && entry.nlink == 1).then_some(entry.ctime);
            // One that has a name in what goes back may part from it, also where that comes
            // to show nowhere in the end.
            let names = self.names.get(&entry.ino).filter(|_| several);
            let goes_back = |name: &Path| {
                let lowers = places.iter().filter_map(|place| self.lower(place));
                lowers.into_iter().any(|lower| is_within(name, &lower))
            };
            let parts = names.is_some_and(|names| names.iter().any(goes_back));
            view.insert(at.clone(), (entry.shown.clone(), ctime, (!parts).then_some(entry.ino)));
        }
        let mut back = BTreeSet::new();
        for place in &places {
            let Some(lower) = self.lower(place) else { continue };
            // What was in a directory that goes itself comes back with that, or not.
            if !place.is_empty() && goes(split(place).0) && !is_within(split(place).0, place) {
                continue;
            }
            for (path, entry) in self.below.iter().filter(|(path, _)| is_within(path, &lower)) {
                let rest = path[lower.len()..].strip_prefix(b"/").unwrap_or(&path[lower.len()..]);
                let at = if rest.is_empty() { place.clone() } else { join(place, rest) };
                let several = !entry.is_dir() && entry.nlink > 1;
                let ctime = (!several).then_some(entry.ctime);
                view.insert(at, (entry.shown.clone(), ctime, Some(entry.ino)));
                if !entry.is_dir() {
                    back.insert(entry.ino);
                }
            }
        }
        // Objects with several names are one; names that only the storage has stay apart.
        let others: Vec<Path> = view.keys().filter(|at| !goes(at)).cloned().collect();
        for at in others {
            let number = self.before[&at].ino;
            if !back.contains(&number) || self.before[&at].is_dir() {
                continue;
            }
            let lower = self.lower(&at).and_then(|path| self.below.get(&path));
            match lower.filter(|lower| lower.ino == number) {
                Some(lower) => view.insert(at, (lower.shown.clone(), None, Some(number))),
                None => view.insert(at.clone(), (self.before[&at].shown.clone(), None, None)),
            };
        }
        let mut times = BTreeMap::new();
        for place in &places {
            let mut above: &[u8] = place;
            while !above.is_empty() {
                above = split(above).0;
                let below = self.lower(above).and_then(|lower| self.below.get(&lower));
                times.extend(below.map(|below| (above.to_vec(), below.shown.mtime)));
            }
        }
        Expected { times, view }
    }
}

impl Expected {
    fn check(&self, after: &View) -> Result<(), String> {
        let paths = |view: &mut dyn Iterator<Item = &Path>| {
            view.map(|path| String::from_utf8_lossy(path).into_owned()).collect::<BTreeSet<_>>()
        };
        let (wanted, got) = (paths(&mut self.view.keys()), paths(&mut after.keys()));
        let missing: Vec<_> = wanted.difference(&got).collect();
        let surplus: Vec<_> = got.difference(&wanted).collect();
        same("missing and surplus", &(vec![], vec![]), &(missing, surplus))?;
        let mut counts: BTreeMap<u64, u32> = BTreeMap::new();
        after.values().for_each(|entry| *counts.entry(entry.ino).or_default() += 1);
        for (path, (shown, ctime, ino)) in &self.view {
            let entry = &after[path];
            let what = |text: String| format!("{:?}: {text}", String::from_utf8_lossy(path));
            let mut got = entry.shown.clone();
            if got.content != shown.content {
                return Err(what("the content differs".to_owned()));
            }
            got.content.clone_from(&shown.content);
            let mut ctime = *ctime;
            if self.times.get(path) == Some(&got.mtime) {
                got.mtime = shown.mtime;
                ctime = None;
            }
            same("shown", shown, &got).map_err(what)?;
            if let Some(ctime) = &ctime {
                same("ctime", ctime, &entry.ctime).map_err(what)?;
            }
            if let Some(ino) = ino {
                same("number", ino, &entry.ino).map_err(what)?;
            }
            if !entry.is_dir() {
                same("names of its number", &entry.nlink, &counts[&entry.ino]).map_err(what)?;
            }
        }
        Ok(())
    }
}

fn discard(overlay: &Overlay, path: &[u8]) -> Result<(), String> {
    let (dir, name) = split(path);
    let (mut node, mut looked) = (NodeId::ROOT, Vec::new());
    for part in dir.split(|byte| *byte == b'/').filter(|part| !part.is_empty()) {
        let entry = overlay.lookup(node, part).unwrap().ok_or("the directory is gone")?;
        node = entry.node;
        looked.push(node);
    }
    let done = overlay.discard(node, name).map(drop).map_err(|errno| format!("failed: {errno}"));
    looked.into_iter().for_each(|node| overlay.forget(node, 1));
    done
}

/// Drops what was looked up and tells that nothing is known any more.
fn unknown(overlay: &Arc<Overlay>) -> Result<(), String> {
    same("known nodes", &1, &overlay.known_nodes())
}

pub fn run(seed: u64, ops: &[Op]) -> Result<(), String> {
    let mut dice = Dice::new(seed ^ ops.len() as u64);
    run_on(seed, ops, &mut |paths| paths[dice.below(paths.len() as u64) as usize].clone())
}

/// Discards what `choose` takes of the paths, four times.
pub fn run_on(
    seed: u64,
    ops: &[Op],
    choose: &mut dyn FnMut(&[Path]) -> Path,
) -> Result<(), String> {
    count_mounts_from(seed as u32);
    let work = tempfile::tempdir().unwrap();
    let mut driver = Driver::new(work.path(), seed);
    for (step, op) in ops.iter().enumerate() {
        driver.apply(op).map_err(|what| format!("step {step}, {op:?}: {what}"))?;
    }
    let below = view(&driver.below_it(&work.path().join("empty")));
    let mut overlay = driver.hand_over();
    for round in 0..4 {
        let before = view(&overlay);
        let rules = Rules::new(&before, &below);
        let mut candidates: Vec<Path> =
            before.keys().filter(|path| !path.is_empty()).cloned().collect();
        // Also what is gone.
        candidates.extend(
            below
                .keys()
                .filter(|path| {
                    !path.is_empty()
                        && !before.contains_key(*path)
                        && before.get(split(path).0).is_some_and(Entry::is_dir)
                })
                .cloned(),
        );
        if candidates.is_empty() {
            break;
        }
        let path = choose(&candidates);
        let what = format!("discard {round} of {:?}", String::from_utf8_lossy(&path));
        let expected = rules.expected(&path);
        let moved: Vec<_> = before
            .keys()
            .filter_map(|at| {
                let text = |path: &[u8]| String::from_utf8_lossy(path).into_owned();
                rules.origin(at).map(|from| (text(at), text(&from)))
            })
            .collect();
        let what = format!("{what}, moved {moved:?}");
        discard(&overlay, &path).map_err(|text| format!("{what}: {text}"))?;
        expected.check(&view(&overlay)).map_err(|text| format!("{what}: {text}"))?;
        unknown(&overlay).map_err(|text| format!("{what}: {text}"))?;
        drop(overlay);
        overlay = driver.mount_again();
        expected.check(&view(&overlay)).map_err(|text| format!("{what}, remounted: {text}"))?;
    }
    overlay.discard_all().map_err(|errno| format!("discard of all: {errno}"))?;
    let before = view(&overlay);
    let all = Rules::new(&before, &below).expected(b"");
    all.check(&before).map_err(|text| format!("discard of all: {text}"))?;
    // When objects below were read, by the look at them, too.
    overlay.discard_all().map_err(|errno| format!("discard of nothing: {errno}"))?;
    overlay.finish();
    drop(overlay);
    is_empty(&driver)?;
    let overlay = driver.mount_again();
    all.check(&view(&overlay)).map_err(|text| format!("discard of all, remounted: {text}"))
}

/// The storage has what a fresh one has, and the index which file system of the base is which.
fn is_empty(driver: &Driver) -> Result<(), String> {
    let (storage, meta) = driver.storage();
    let names = |dir: &std::path::Path| -> BTreeSet<String> {
        let entries = std::fs::read_dir(dir).into_iter().flatten();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    };
    let index = storage.join(format!("{meta}_index"));
    let index_meta = std::fs::read_to_string(index.join(meta.as_str())).unwrap_or_default();
    let realms = index_meta.lines().any(|line| line.starts_with("m "));
    let mut left = names(storage);
    left.remove(&format!("{meta}_reserve"));
    let mut fresh = BTreeSet::from([meta.to_string()]);
    fresh.extend(realms.then(|| format!("{meta}_index")));
    let what = format!("in the storage, the index of which says {index_meta:?}");
    same(&what, &fresh, &left)?;
    same("in the index", &usize::from(realms), &names(&index).len())?;
    let text =
        String::from_utf8_lossy(&std::fs::read(storage.join(meta.as_str())).unwrap()).into_owned();
    for (text, kinds) in [(text, if realms { "bgtcf" } else { "bgtc" }), (index_meta, "m")] {
        // How names are written was decided by the first mount.
        let usual = |line: &str| line.is_empty() || line == "f escaped";
        let said = |line: &&str| !usual(line) && !kinds.contains(&line[..1]);
        let bad: Vec<&str> = text.lines().filter(said).collect();
        same("lines of META", &Vec::<&str>::new(), &bad)?;
    }
    Ok(())
}
