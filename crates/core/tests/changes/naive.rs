//! The naive comparison: both trees are read whole.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use mini_fo_core::{
    Attr, ChangeKind, ChangesOptions, FoundChange, NodeId, OpenOptions, Overlay, Timestamp,
};

use super::scene::{names, read};

/// A change, kept.
#[derive(Clone, Debug)]
pub struct Told {
    pub path: Vec<u8>,
    pub kind: ChangeKind,
    pub from: Option<Vec<u8>>,
    pub content: bool,
    pub differs: String,
    pub more_names: u32,
}

impl Told {
    pub fn line(&self) -> String {
        let kind = match self.kind {
            ChangeKind::Added => "added",
            ChangeKind::Modified => "modified",
            ChangeKind::Attributes => "attributes",
            ChangeKind::Deleted => "deleted",
            ChangeKind::Renamed => "renamed",
            ChangeKind::TypeChanged => "type changed",
        };
        let text = |path: &[u8]| String::from_utf8_lossy(path).into_owned();
        let mut line = format!("{kind} {}", text(&self.path));
        if let Some(from) = &self.from {
            line += &format!(" from {}", text(from));
        }
        if !self.differs.is_empty() {
            line += &format!(" ({})", self.differs);
        }
        line
    }
}

/// All changes, and what could not be read.
pub fn told(overlay: &Overlay, options: &ChangesOptions) -> (Vec<Told>, Vec<(Vec<u8>, i32)>) {
    let (mut all, mut unread) = (Vec::new(), Vec::new());
    let totals = overlay.changes(options, &mut |found| {
        match found {
            FoundChange::Change(change) => {
                let differs = &change.differs;
                let words = [
                    (differs.mode, "mode"),
                    (differs.owner, "owner"),
                    (differs.group, "group"),
                    (differs.mtime, "mtime"),
                    (differs.flags, "flags"),
                    (!differs.xattrs.is_empty(), "xattrs"),
                ];
                let words: Vec<&str> =
                    words.into_iter().filter(|(set, _)| *set).map(|(_, word)| word).collect();
                all.push(Told {
                    path: change.path.to_vec(),
                    kind: change.kind,
                    from: change.from.map(<[u8]>::to_vec),
                    content: change.content,
                    differs: words.join(" "),
                    more_names: change.more_names,
                });
            }
            FoundChange::Unread(found) => {
                unread.push((found.path.to_vec(), found.errno.raw_os_error()));
            }
        }
        true
    });
    let totals = totals.unwrap();
    assert_eq!((totals.all(), totals.unread), (all.len() as u64, unread.len() as u64));
    (all, unread)
}

/// What a tree shows of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Object {
    mode: u32,
    owners: (u32, u32),
    mtime: Option<Timestamp>,
    content: Vec<u8>,
    xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    ino: u64,
    nlink: u32,
}

impl Object {
    fn kind(&self) -> u32 {
        self.mode & libc::S_IFMT
    }

    fn is_dir(&self) -> bool {
        self.kind() == libc::S_IFDIR
    }

    fn has_attributes_of(&self, other: &Object) -> bool {
        let Object { mode, owners, mtime, xattrs, .. } = self;
        *mode == other.mode
            && *owners == other.owners
            && *mtime == other.mtime
            && *xattrs == other.xattrs
    }
}

type Snapshot = BTreeMap<Vec<u8>, Object>;

fn object(overlay: &Overlay, node: NodeId, attr: Attr) -> Object {
    let kind = attr.mode & libc::S_IFMT;
    let mut list = vec![0; 4096];
    let len = overlay.listxattr(node, &|| true, &mut list).unwrap();
    let names = list[..len].split(|byte| *byte == 0).filter(|name| !name.is_empty());
    let mut xattrs: Vec<_> = names
        .map(|name| {
            let mut value = vec![0; 4096];
            let len = overlay.getxattr(node, name, &mut value).unwrap();
            (name.to_vec(), value[..len].to_vec())
        })
        .collect();
    xattrs.sort();
    Object {
        mode: attr.mode,
        owners: (attr.uid, attr.gid),
        mtime: (kind != libc::S_IFDIR).then_some(attr.mtime),
        content: match kind {
            libc::S_IFREG => read(overlay, node),
            libc::S_IFLNK => overlay.readlink(node).unwrap(),
            _ => Vec::new(),
        },
        xattrs,
        ino: attr.ino,
        nlink: attr.nlink,
    }
}

fn snapshot(overlay: &Overlay) -> Snapshot {
    let root = overlay.getattr(NodeId::ROOT).unwrap();
    let mut found = Snapshot::from([(Vec::new(), object(overlay, NodeId::ROOT, root))]);
    let mut left = vec![(Vec::new(), NodeId::ROOT)];
    while let Some((path, node)) = left.pop() {
        for name in names(overlay, node) {
            let entry = overlay.lookup(node, &name).unwrap().unwrap();
            let path: Vec<u8> =
                if path.is_empty() { name } else { [&path, &b"/"[..], &name].concat() };
            let one = object(overlay, entry.node, entry.attr);
            if one.is_dir() {
                left.push((path.clone(), entry.node));
            }
            found.insert(path, one);
        }
    }
    found
}

fn split(path: &[u8]) -> (Vec<u8>, &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(at) => (path[..at].to_vec(), &path[at + 1..]),
        None => (Vec::new(), path),
    }
}

fn join(path: &[u8], name: &[u8]) -> Vec<u8> {
    if path.is_empty() { name.to_vec() } else { [path, b"/", name].concat() }
}

/// The told changes are those, and no others, that a comparison of both trees finds, once
/// what was renamed is taken as told. `numbers`: files keep their numbers when they are
/// renamed, so that this must be told.
pub fn check(overlay: &Overlay, base: &Path, told: &[Told], numbers: bool) {
    let lower = OpenOptions { base: base.into(), read_only: true, ..OpenOptions::default() };
    let before = snapshot(&Overlay::assemble(&lower).unwrap());
    let after = snapshot(overlay);
    let mut by_path: BTreeMap<&[u8], &Told> = BTreeMap::new();
    for one in told {
        assert!(by_path.insert(&one.path, one).is_none(), "{} is told twice", one.line());
    }
    let froms: BTreeSet<&[u8]> = told
        .iter()
        .filter(|told| told.kind == ChangeKind::Renamed)
        .map(|told| &**told.from.as_ref().expect("from where"))
        .collect();
    // What each path is to be compared with.
    let mut others: BTreeMap<Vec<u8>, Option<Vec<u8>>> = BTreeMap::new();
    let mut told_left = by_path.clone();
    let mut arrived = Vec::new();
    for (path, object) in &after {
        let natural = if path.is_empty() {
            Some(Vec::new())
        } else {
            let (parent, name) = split(path);
            let other = others[&parent].clone().filter(|other| before[other].is_dir());
            other.map(|other| join(&other, name)).filter(|other| {
                let there = before.get(other);
                there.is_some_and(|there| {
                    // A directory that was moved away, or anything under another type.
                    let left = froms.contains(&**other)
                        && (there.kind() != object.kind() || there.is_dir());
                    !left
                })
            })
        };
        let told = told_left.remove(&**path);
        let renamed = told.filter(|told| told.kind == ChangeKind::Renamed);
        let other = match renamed {
            Some(told) => {
                assert!(natural.is_none(), "{}, over {natural:?}", told.line());
                told.from.clone()
            }
            None => natural,
        };
        let text = String::from_utf8_lossy(path);
        let expected = other.as_ref().map(|other| &before[other]);
        match expected {
            None => {
                assert_eq!(told.map(|told| told.kind), Some(ChangeKind::Added), "{text}");
                // What is in a directory that took the place of something else is compared
                // with what was there.
                let replaced = |dir: &[u8]| {
                    let was = before.iter().find(|(_, other)| other.ino == after[dir].ino);
                    was.is_some_and(|(was, _)| others[dir].as_ref() != Some(was))
                };
                let mut above = path.clone();
                let mut comparable = true;
                while !above.is_empty() {
                    above = split(&above).0;
                    comparable &= !replaced(&above);
                }
                if numbers && comparable && !object.is_dir() && object.nlink == 1 {
                    let same = before.iter().find(|(_, other)| other.ino == object.ino);
                    arrived.extend(same.map(|(was, _)| (path.clone(), was.clone())));
                }
            }
            Some(expected) => {
                let kind = if expected.kind() != object.kind() {
                    Some(ChangeKind::TypeChanged)
                } else if renamed.is_some() {
                    Some(ChangeKind::Renamed)
                } else if expected.content != object.content {
                    Some(ChangeKind::Modified)
                } else if !object.has_attributes_of(expected) {
                    Some(ChangeKind::Attributes)
                } else {
                    None
                };
                assert_eq!(told.map(|told| told.kind), kind, "{text}: {told:?}");
                if let Some(told) = told.filter(|told| told.kind != ChangeKind::TypeChanged) {
                    assert_eq!(told.content, expected.content != object.content, "{text}");
                    let same = object.has_attributes_of(expected);
                    let without_times = told.differs.replace("mtime", "");
                    match object.is_dir() {
                        true => assert_eq!(without_times.trim().is_empty(), same, "{text}"),
                        false => assert_eq!(told.differs.is_empty(), same, "{text}"),
                    }
                }
            }
        }
        others.insert(path.clone(), other);
    }
    // What is left is gone.
    let shown: BTreeMap<&[u8], &[u8]> =
        others.iter().filter_map(|(path, other)| Some((&**other.as_ref()?, &**path))).collect();
    for (path, was) in arrived {
        let text = String::from_utf8_lossy(&path);
        assert!(shown.contains_key(&*was), "{text} was {:?}", String::from_utf8_lossy(&was));
    }
    for path in before.keys() {
        if shown.contains_key(&**path) || froms.contains(&**path) {
            continue;
        }
        let (parent, name) = split(path);
        let Some(now) = shown.get(&*parent).filter(|now| after[**now].is_dir()) else { continue };
        let at = join(now, name);
        if after.contains_key(&at) {
            // Told as another type, or as added.
            continue;
        }
        let told = told_left.remove(&*at);
        let text = String::from_utf8_lossy(path);
        assert_eq!(told.map(|told| told.kind), Some(ChangeKind::Deleted), "{text}");
    }
    let rest: Vec<String> = told_left.values().map(|told| told.line()).collect();
    assert!(rest.is_empty(), "told, and not so: {rest:?}");
}
