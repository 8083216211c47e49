//! The base tree, and the proof that it stays as it is.

use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path as FsPath;

use super::naive::{Id, Kind, Naive, ROOT};

/// A base tree with something of everything, on disk and in the model.
pub fn make_base(base: &FsPath, model: &mut Naive, uid: u32) {
    std::fs::create_dir(base).unwrap();
    model.get_mut(ROOT).uid = uid;
    make_level(base, ROOT, model, uid, 2, None);
}

/// Hard links of what lies above: the directory, and its id.
type Above<'a> = Option<(&'a FsPath, Id)>;

fn make_level(dir: &FsPath, id: Id, model: &mut Naive, uid: u32, depth: u32, above: Above<'_>) {
    use std::os::unix::ffi::OsStrExt;
    let at = |name: &[u8]| dir.join(std::ffi::OsStr::from_bytes(name));
    for (name, len) in [(&b"f"[..], 5000), (b"g", 100), (b"new\nline", 10)] {
        if linked(above, dir, id, name, model) {
            continue;
        }
        let content = vec![name[0]; len];
        std::fs::write(at(name), &content).unwrap();
        std::fs::set_permissions(at(name), std::fs::Permissions::from_mode(0o644)).unwrap();
        model.make(id, name, Kind::File(content), 0o644, uid).unwrap();
    }
    if !linked(above, dir, id, b"l", model) {
        std::os::unix::fs::symlink("f", at(b"l")).unwrap();
        model.make(id, b"l", Kind::Symlink(b"f".to_vec()), 0o777, uid).unwrap();
    }
    if !linked(above, dir, id, b"n", model) {
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        let fifo = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, at(b"n"), fifo, mode, 0).unwrap();
        model.make(id, b"n", Kind::Fifo, 0o600, uid).unwrap();
    }
    for name in [&b"a"[..], b"b", b"with space"] {
        std::fs::create_dir(at(name)).unwrap();
        std::fs::set_permissions(at(name), std::fs::Permissions::from_mode(0o755)).unwrap();
        let child = model.make(id, name, Kind::Dir(BTreeMap::new()), 0o755, uid).unwrap();
        if depth > 0 {
            let above = (name == b"a").then_some((dir, id));
            make_level(&at(name), child, model, uid, depth - 1, above);
        }
    }
}

/// Makes a name a hard link of its like above, for some names.
fn linked(above: Above<'_>, dir: &FsPath, id: Id, name: &[u8], model: &mut Naive) -> bool {
    use std::os::unix::ffi::OsStrExt;
    let Some((from, from_id)) = above.filter(|_| name != b"f") else { return false };
    let name_os = std::ffi::OsStr::from_bytes(name);
    std::fs::hard_link(from.join(name_os), dir.join(name_os)).unwrap();
    let object = model.child(from_id, name).unwrap();
    model.link(object, id, name).unwrap();
    true
}

/// Everything of a tree that must not change, a line an entry.
pub fn snapshot(dir: &FsPath) -> Vec<String> {
    let mut lines = Vec::new();
    let mut left = vec![dir.to_path_buf()];
    while let Some(path) = left.pop() {
        let meta = path.symlink_metadata().unwrap();
        let content = if meta.is_file() { std::fs::read(&path).unwrap() } else { Vec::new() };
        lines.push(format!(
            "{path:?} {} {:o} {} {} {} {}.{} {}.{} {content:?}",
            meta.ino(),
            meta.mode(),
            meta.nlink(),
            meta.uid(),
            meta.len(),
            meta.mtime(),
            meta.mtime_nsec(),
            meta.ctime(),
            meta.ctime_nsec(),
        ));
        if meta.is_dir() {
            left.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
    lines.sort();
    lines
}
