//! A tree as a program sees it, read with plain system calls alone.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hasher};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

/// Times from here on are those of the run, and are not compared: 2020.
const RECENT: i64 = 1_577_836_800;

/// One object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Type and permissions.
    pub mode: u32,
    /// User and group.
    pub owner: (u32, u32),
    /// Number of names; 0 for directories, which may show 1.
    pub nlink: u64,
    /// 0 for directories and symlinks.
    pub size: u64,
    /// What a device is.
    pub rdev: u64,
    /// None where it is of this run.
    pub mtime: Option<(i64, i64)>,
    /// A hash of the bytes, or of a symlink's target.
    pub content: u64,
    /// Extended attributes, access control lists among them.
    pub xattrs: Vec<(String, Vec<u8>)>,
    /// What could not be read.
    pub trouble: String,
}

/// What must not change of a base besides.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Identity {
    ino: u64,
    ctime: (i64, i64),
    mtime: (i64, i64),
}

/// Every object below a directory, by its path relative to it; `.` is the
/// directory itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    objects: BTreeMap<String, Object>,
    /// The names of each file that has several.
    links: Vec<Vec<String>>,
    identities: BTreeMap<String, Identity>,
}

/// Which modification times are right.
#[derive(Clone, Copy)]
pub enum Times<'a> {
    /// The expected ones.
    Exact,
    /// Also those of now, of what changes from one of these trees to another:
    /// a change that was interrupted may have moved the time and nothing else.
    /// And of directories either one of these trees' or, unless `strict`, now.
    Interrupted { trees: &'a [&'a Tree], strict: bool },
    /// All.
    Any,
}

impl Tree {
    /// Reads the tree at `root`.
    pub fn of(root: &Path) -> Tree {
        let mut tree = Tree::default();
        let mut names: BTreeMap<u64, Vec<String>> = BTreeMap::new();
        read(root, ".", &mut tree, &mut names);
        tree.links = names.into_values().filter(|names| names.len() > 1).collect();
        tree.links.iter_mut().for_each(|group| group.sort());
        tree.links.sort();
        tree
    }

    /// Whether nothing happened to it at all: numbers and change times too.
    pub fn is_untouched_since(&self, before: &Tree) -> bool {
        self == before
    }

    /// The same, with all times of modification to the nanosecond, also those of now.
    pub fn exact_differences(&self, expected: &Tree) -> Vec<String> {
        let mut found = self.differences(expected, Times::Exact);
        for (path, identity) in &expected.identities {
            let shown = self.identities.get(path).map(|identity| identity.mtime);
            if let Some(shown) = shown.filter(|shown| *shown != identity.mtime) {
                found.push(format!("{path}: time {shown:?} for {:?}", identity.mtime));
            }
        }
        found
    }

    /// Objects that are not the ones that they were, though they have their places.
    pub fn replaced(&self, before: &Tree) -> Vec<String> {
        let other = |(path, was): &(&String, &Identity)| {
            self.identities.get(*path).is_some_and(|is| is.ino != was.ino)
        };
        let replaced = before.identities.iter().filter(other);
        replaced.map(|(path, _)| format!("{path}: another object")).collect()
    }

    /// There is a directory of this path.
    pub fn is_dir(&self, path: &str) -> bool {
        let object = self.objects.get(path);
        object.is_some_and(|object| object.mode & libc::S_IFMT == libc::S_IFDIR)
    }

    /// Its paths.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.objects.keys().map(String::as_str)
    }

    /// What is different from `expected`, a line for each object; empty if
    /// nothing is.
    pub fn differences(&self, expected: &Tree, times: Times) -> Vec<String> {
        let mut found = Vec::new();
        for (path, object) in &expected.objects {
            match self.objects.get(path) {
                None => found.push(format!("{path}: missing")),
                Some(shown) => compare(path, shown, object, times, &mut found),
            }
        }
        for path in self.objects.keys().filter(|path| !expected.objects.contains_key(*path)) {
            found.push(format!("{path}: should not be there"));
        }
        if found.is_empty() && self.links != expected.links {
            found.push(format!("hard links {:?}, expected {:?}", self.links, expected.links));
        }
        found
    }
}

fn compare(path: &str, shown: &Object, expected: &Object, times: Times, found: &mut Vec<String>) {
    let mut text = String::new();
    let mut say = |what: &str, shown: String, expected: String| {
        if shown != expected {
            // Writing to a string does not fail.
            let _ = write!(text, " {what} {shown} for {expected}");
        }
    };
    say("mode", format!("{:o}", shown.mode), format!("{:o}", expected.mode));
    say("owner", format!("{:?}", shown.owner), format!("{:?}", expected.owner));
    say("nlink", shown.nlink.to_string(), expected.nlink.to_string());
    say("size", shown.size.to_string(), expected.size.to_string());
    say("rdev", shown.rdev.to_string(), expected.rdev.to_string());
    say("content", format!("{:x}", shown.content), format!("{:x}", expected.content));
    say("trouble", shown.trouble.clone(), expected.trouble.clone());
    let names = |object: &Object| {
        let each = object.xattrs.iter();
        each.map(|(name, value)| format!("{name}={}", value.escape_ascii())).collect::<Vec<_>>()
    };
    say("xattrs", format!("{:?}", names(shown)), format!("{:?}", names(expected)));
    let allowed = shown.mtime == expected.mtime
        || match times {
            Times::Exact => false,
            Times::Any => true,
            Times::Interrupted { trees, strict } => {
                let is_dir = expected.mode & libc::S_IFMT == libc::S_IFDIR;
                let of = |tree: &&Tree| tree.objects.get(path).map(|object| object.mtime);
                let known = trees.iter().any(|tree| of(tree) == Some(shown.mtime));
                match is_dir {
                    true => known || !strict && shown.mtime.is_none(),
                    false => known && shown.mtime.is_none(),
                }
            }
        };
    if !allowed {
        say("mtime", format!("{:?}", shown.mtime), format!("{:?}", expected.mtime));
    }
    if !text.is_empty() {
        found.push(format!("{path}:{text}"));
    }
}

fn read(root: &Path, path: &str, tree: &mut Tree, names: &mut BTreeMap<u64, Vec<String>>) {
    let at = root.join(path);
    let (object, meta) = look(&at);
    let is_dir = object.mode & libc::S_IFMT == libc::S_IFDIR;
    tree.objects.insert(path.to_owned(), object);
    let Some(meta) = meta else { return };
    let identity = Identity {
        ino: meta.ino(),
        ctime: (meta.ctime(), meta.ctime_nsec()),
        mtime: (meta.mtime(), meta.mtime_nsec()),
    };
    tree.identities.insert(path.to_owned(), identity);
    if !is_dir {
        names.entry(meta.ino()).or_default().push(path.to_owned());
        return;
    }
    match list(&at) {
        Err(error) => {
            if let Some(object) = tree.objects.get_mut(path) {
                object.trouble = format!("readdir: {error}");
            }
        }
        Ok(entries) => {
            for name in entries {
                let below = if path == "." { name } else { format!("{path}/{name}") };
                read(root, &below, tree, names);
            }
        }
    }
}

fn list(at: &Path) -> std::io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(at)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    Ok(names)
}

fn look(at: &Path) -> (Object, Option<fs::Metadata>) {
    let mut object = Object {
        mode: 0,
        owner: (0, 0),
        nlink: 0,
        size: 0,
        rdev: 0,
        mtime: None,
        content: 0,
        xattrs: Vec::new(),
        trouble: String::new(),
    };
    let meta = match fs::symlink_metadata(at) {
        Ok(meta) => meta,
        Err(error) => {
            object.trouble = format!("stat: {error}");
            return (object, None);
        }
    };
    let kind = meta.mode() & libc::S_IFMT;
    object.mode = meta.mode();
    object.owner = (meta.uid(), meta.gid());
    object.rdev = meta.rdev();
    object.mtime = (meta.mtime() < RECENT).then(|| (meta.mtime(), meta.mtime_nsec()));
    if kind != libc::S_IFDIR {
        object.nlink = meta.nlink();
    }
    if kind == libc::S_IFREG {
        object.size = meta.len();
    }
    match content(at, kind) {
        Ok(content) => object.content = content,
        Err(error) => object.trouble = format!("read: {error}"),
    }
    match xattrs(at) {
        Ok(xattrs) => object.xattrs = xattrs,
        Err(error) => object.trouble = format!("xattrs: {error}"),
    }
    (object, Some(meta))
}

fn content(at: &Path, kind: u32) -> std::io::Result<u64> {
    let bytes = match kind {
        libc::S_IFREG => {
            let mut bytes = Vec::new();
            let noatime = libc::O_NOATIME;
            let mut file = File::options().read(true).custom_flags(noatime).open(at)?;
            file.read_to_end(&mut bytes)?;
            bytes
        }
        libc::S_IFLNK => fs::read_link(at)?.as_os_str().as_bytes().to_vec(),
        _ => return Ok(0),
    };
    let mut hasher = DefaultHasher::new();
    hasher.write(&bytes);
    Ok(hasher.finish())
}

fn xattrs(at: &Path) -> rustix::io::Result<Vec<(String, Vec<u8>)>> {
    let mut buffer = [0; 4096];
    let length = rustix::fs::llistxattr(at, &mut buffer[..])?;
    let mut all = Vec::new();
    let listed = buffer.get(..length).unwrap_or_default();
    for name in listed.split(|&byte| byte == 0).filter(|name| !name.is_empty()) {
        let mut value = vec![0; 4096];
        let text = CString::new(name).map_err(|_| rustix::io::Errno::INVAL)?;
        let length = rustix::fs::lgetxattr(at, text.as_c_str(), &mut value[..])?;
        value.truncate(length);
        all.push((String::from_utf8_lossy(name).into_owned(), value));
    }
    all.sort();
    Ok(all)
}
