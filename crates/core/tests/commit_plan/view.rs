//! All that users see of a tree.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use mini_fo_core::{NodeId, Overlay, Timestamp};

use super::executor::under;
use super::scene::{names, read};

/// What shows of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    pub mode: u32,
    pub owners: (u32, u32),
    pub mtime: Timestamp,
    pub rdev: u64,
    pub content: Vec<u8>,
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// The first of its names, and how many there are; of what is no directory.
    pub links: (Vec<u8>, u32),
}

pub type View = BTreeMap<Vec<u8>, Object>;

/// A short text of where two of them differ.
pub fn difference(a: &View, b: &View) -> Option<String> {
    let paths: std::collections::BTreeSet<&Vec<u8>> = a.keys().chain(b.keys()).collect();
    let all: Vec<String> = paths
        .into_iter()
        .filter(|path| a.get(*path) != b.get(*path))
        .map(|path| {
            let text = String::from_utf8_lossy(path);
            format!("{text}:\n    {}\n    {}", brief(a.get(path)), brief(b.get(path)))
        })
        .collect();
    (!all.is_empty()).then(|| all.join("\n"))
}

fn brief(object: Option<&Object>) -> String {
    let Some(object) = object else { return "-".to_owned() };
    let mut object = object.clone();
    object.content.truncate(20);
    format!("{object:?}")
}

pub fn xattrs(overlay: &Overlay, node: NodeId) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut list = vec![0; 4096];
    let len = overlay.listxattr(node, &|| true, &mut list).unwrap();
    let names = list[..len].split(|byte| *byte == 0).filter(|name| !name.is_empty());
    let mut all: Vec<_> = names
        .map(|name| {
            let mut value = vec![0; 4096];
            let len = overlay.getxattr(node, name, &mut value).unwrap();
            (name.to_vec(), value[..len].to_vec())
        })
        .collect();
    all.sort();
    all
}

fn join(path: &[u8], name: &[u8]) -> Vec<u8> {
    if path.is_empty() { name.to_vec() } else { [path, b"/", name].concat() }
}

/// The tree of an overlay.
pub fn of_overlay(overlay: &Overlay) -> View {
    let mut view = View::new();
    let mut first: BTreeMap<NodeId, Vec<u8>> = BTreeMap::new();
    let mut left = vec![(Vec::new(), NodeId::ROOT)];
    while let Some((path, node)) = left.pop() {
        let attr = overlay.getattr(node).unwrap();
        let kind = attr.mode & libc::S_IFMT;
        if kind == libc::S_IFDIR {
            for name in names(overlay, node) {
                let entry = overlay.lookup(node, &name).unwrap().unwrap();
                left.push((join(&path, &name), entry.node));
            }
        }
        let name = first.entry(node).or_insert_with(|| path.clone());
        if path < *name {
            *name = path.clone();
        }
        let content = match kind {
            libc::S_IFREG => read(overlay, node),
            libc::S_IFLNK => overlay.readlink(node).unwrap(),
            _ => Vec::new(),
        };
        let links = match kind {
            libc::S_IFDIR => (Vec::new(), 0),
            _ => (node.0.to_le_bytes().to_vec(), attr.nlink),
        };
        let xattrs = xattrs(overlay, node);
        let owners = (attr.uid, attr.gid);
        let object = Object {
            mode: attr.mode,
            owners,
            mtime: attr.mtime,
            rdev: attr.rdev,
            content,
            xattrs,
            links,
        };
        view.insert(path, object);
    }
    for object in view.values_mut().filter(|object| object.links.1 > 0) {
        let id = u64::from_le_bytes(object.links.0[..].try_into().unwrap());
        object.links.0.clone_from(&first[&NodeId(id)]);
    }
    view
}

/// A tree on its file system.
pub fn of_base(base: &Path) -> View {
    let mut view = View::new();
    let mut first: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
    let mut left = vec![Vec::new()];
    while let Some(path) = left.pop() {
        let place = under(base, &path);
        let meta = fs::symlink_metadata(&place).unwrap();
        let kind = meta.file_type();
        if kind.is_dir() {
            for entry in fs::read_dir(&place).unwrap() {
                left.push(join(&path, entry.unwrap().file_name().as_bytes()));
            }
        }
        let name = first.entry(meta.ino()).or_insert_with(|| path.clone());
        if path < *name {
            *name = path.clone();
        }
        let content = if kind.is_file() {
            fs::read(&place).unwrap()
        } else if kind.is_symlink() {
            fs::read_link(&place).unwrap().into_os_string().into_encoded_bytes()
        } else {
            Vec::new()
        };
        let device = kind.is_char_device() || kind.is_block_device();
        let links = match kind.is_dir() {
            true => (Vec::new(), 0),
            false => (meta.ino().to_le_bytes().to_vec(), meta.nlink() as u32),
        };
        let object = Object {
            mode: meta.mode(),
            owners: (meta.uid(), meta.gid()),
            mtime: Timestamp { sec: meta.mtime(), nsec: meta.mtime_nsec() as u32 },
            rdev: if device { meta.rdev() } else { 0 },
            content,
            xattrs: xattrs_at(&place),
            links,
        };
        view.insert(path, object);
    }
    for object in view.values_mut().filter(|object| object.links.1 > 0) {
        let id = u64::from_le_bytes(object.links.0[..].try_into().unwrap());
        object.links.0.clone_from(&first[&id]);
    }
    view
}

fn xattrs_at(path: &Path) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut list = vec![0; 4096];
    let len = rustix::fs::llistxattr(path, &mut list).unwrap();
    let names = list[..len].split(|byte| *byte == 0).filter(|name| !name.is_empty());
    let mut all: Vec<_> = names
        .map(|name| {
            let mut value = vec![0; 4096];
            let len = rustix::fs::lgetxattr(path, name, &mut value).unwrap();
            (name.to_vec(), value[..len].to_vec())
        })
        .collect();
    all.sort();
    all
}
