//! The naive merge: one layer is put on what those below it show, whole trees at a time.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::rc::Rc;

use mini_fo_core::Timestamp;

use super::Speech;
use crate::naive::{Id, Kind, Naive, New, ROOT, Time};

/// What is known of an object besides what it holds.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Where it lies.
    pub at: PathBuf,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// Anything but a directory. Hard links share it.
#[derive(Debug)]
pub struct Leaf {
    pub facts: Facts,
    pub kind: Kind,
    /// The number that it shows is not that of its file.
    pub numbered: bool,
}

/// What goes on below a directory of a layer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Rest {
    #[default]
    Same,
    Nothing,
    /// Another name in the same directory.
    Name(Vec<u8>),
    /// From the root of what is below.
    Path(Vec<Vec<u8>>),
}

/// What a layer has under a name.
#[derive(Debug)]
pub enum Said {
    Leaf(Rc<Leaf>),
    Dir(SaidDir),
    /// A directory of what is below, without one in the layer itself.
    Lead(Vec<Vec<u8>>),
}

/// A directory of a layer.
#[derive(Debug, Default)]
pub struct SaidDir {
    pub facts: Facts,
    pub entries: BTreeMap<Vec<u8>, Said>,
    /// Names that are hidden of what is below.
    pub hidden: BTreeSet<Vec<u8>>,
    pub rest: Rest,
}

/// What is shown.
#[derive(Clone, Debug)]
pub enum Shown {
    Leaf(Rc<Leaf>),
    Dir(ShownDir),
}

#[derive(Clone, Debug, Default)]
pub struct ShownDir {
    pub facts: Facts,
    pub entries: BTreeMap<Vec<u8>, Shown>,
    /// Where the lowest directory lies that it is made of, and whether its number is that
    /// one's.
    lowest: (PathBuf, bool),
}

impl ShownDir {
    /// The directory at a path.
    pub fn dir(&self, path: &[Vec<u8>]) -> Option<&ShownDir> {
        let Some((name, rest)) = path.split_first() else { return Some(self) };
        match self.entries.get(name) {
            Some(Shown::Dir(dir)) => dir.dir(rest),
            _ => None,
        }
    }

    fn child(&self, name: &[u8]) -> Option<&ShownDir> {
        self.dir(&[name.to_vec()])
    }

    /// Paths of all directories in it.
    pub fn paths(&self) -> Vec<Vec<Vec<u8>>> {
        let mut paths = Vec::new();
        for (name, entry) in &self.entries {
            let Shown::Dir(dir) = entry else { continue };
            paths.push(vec![name.clone()]);
            let below = dir.paths().into_iter();
            paths.extend(below.map(|path| [&[name.clone()][..], &path].concat()));
        }
        paths
    }

    /// Something shows in two places, and is no hard link: nobody makes such layers, and
    /// what a change of one of them means is not said anywhere.
    pub fn has_twins(&self) -> bool {
        let mut seen = BTreeSet::new();
        !self.once(&mut seen)
    }

    fn once(&self, seen: &mut BTreeSet<PathBuf>) -> bool {
        seen.insert(self.lowest.0.clone())
            && self.entries.values().all(|entry| match entry {
                Shown::Dir(dir) => dir.once(seen),
                Shown::Leaf(_) => true,
            })
    }

    /// Enters everything into the model of a file system.
    pub fn enter(&self, model: &mut Naive) {
        let mut known = HashMap::new();
        self.enter_below(ROOT, model, &mut known);
        settle(model, ROOT, &self.facts, self.number());
    }

    fn enter_below(&self, id: Id, model: &mut Naive, known: &mut HashMap<*const Leaf, Id>) {
        for (name, entry) in &self.entries {
            match entry {
                Shown::Leaf(leaf) => {
                    let child = match known.get(&Rc::as_ptr(leaf)) {
                        Some(child) => {
                            model.link(*child, id, name).unwrap();
                            *child
                        }
                        None => make(model, id, name, leaf.kind.clone()),
                    };
                    known.insert(Rc::as_ptr(leaf), child);
                    let stat = leaf.facts.at.symlink_metadata().unwrap();
                    settle(model, child, &leaf.facts, leaf.numbered.then(|| stat.ino()));
                    model.get_mut(child).nlink = stat.nlink() as u32;
                }
                Shown::Dir(dir) => {
                    let child = make(model, id, name, Kind::Dir(BTreeMap::new()));
                    dir.enter_below(child, model, known);
                    settle(model, child, &dir.facts, dir.number());
                }
            }
        }
    }

    fn number(&self) -> Option<u64> {
        let (lowest, is_its) = &self.lowest;
        is_its.then(|| lowest.symlink_metadata().unwrap().ino())
    }
}

fn make(model: &mut Naive, dir: Id, name: &[u8], kind: Kind) -> Id {
    model.make(dir, name, kind, New { mode: 0, uid: 0, gid: 0 }).unwrap()
}

fn settle(model: &mut Naive, id: Id, facts: &Facts, number: Option<u64>) {
    let stat = facts.at.symlink_metadata().unwrap();
    let inode = model.get_mut(id);
    (inode.mode, inode.uid, inode.gid) = (facts.mode, facts.uid, facts.gid);
    inode.xattrs = facts.xattrs.clone();
    let nsec = u32::try_from(stat.mtime_nsec()).unwrap();
    inode.mtime = Time::Is(Timestamp { sec: stat.mtime(), nsec });
    (inode.ctime, inode.ino) = (Time::Any, number);
}

/// What shows in a directory of a layer. `below`: the directory that shows in it; `root`:
/// all that is below the layer.
fn merged(upper: &SaidDir, below: Option<&ShownDir>, root: &ShownDir, speech: Speech) -> ShownDir {
    let mut entries = below.map(|below| below.entries.clone()).unwrap_or_default();
    entries.retain(|name, _| !upper.hidden.contains(name));
    for (name, said) in &upper.entries {
        let shown = match said {
            Said::Leaf(leaf) => Some(Shown::Leaf(Rc::clone(leaf))),
            Said::Lead(path) => root.dir(path).cloned().map(Shown::Dir),
            Said::Dir(dir) => {
                let under = match &dir.rest {
                    Rest::Nothing => None,
                    Rest::Same if upper.hidden.contains(name) => None,
                    Rest::Same => below.and_then(|below| below.child(name)),
                    Rest::Name(other) => below.and_then(|below| below.child(other)),
                    Rest::Path(path) => root.dir(path),
                };
                Some(Shown::Dir(merged(dir, under, root, speech)))
            }
        };
        entries.remove(name);
        entries.extend(shown.map(|shown| (name.clone(), shown)));
    }
    let is_storage = matches!(speech, Speech::MiniFo(_));
    let own = || (upper.facts.at.clone(), !is_storage);
    let lowest = below.map_or_else(own, |below| below.lowest.clone());
    ShownDir { facts: upper.facts.clone(), entries, lowest }
}

/// What shows once a layer is put on all that is below.
pub fn merged_root(upper: &SaidDir, below: Option<&ShownDir>, speech: Speech) -> ShownDir {
    let nothing = ShownDir::default();
    let mut shown = merged(upper, below, below.unwrap_or(&nothing), speech);
    // The root of a storage is closed, whatever shows.
    if let (Speech::MiniFo(_), Some(below)) = (speech, below) {
        let facts = &mut shown.facts;
        (facts.mode, facts.uid, facts.gid) = (below.facts.mode, below.facts.uid, below.facts.gid);
    }
    shown
}
