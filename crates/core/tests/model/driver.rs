//! Applies operations to overlay and model and compares.

use std::collections::{BTreeMap, HashMap};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path as FsPath;
use std::sync::Arc;

use mini_fo_core::{
    Caller, Entry, NodeId, OpenFile, OpenMode, OpenOptions, Overlay, SetAttr, SetTime, Timestamp,
};
use rustix::io::Errno;

use super::naive::{Id, Kind, Naive, ROOT};
use super::ops::{NAMES, Op, Path};

type Check = Result<(), String>;

const HANDLES: usize = 6;

struct Held {
    id: Id,
    node: NodeId,
    file: Arc<OpenFile>,
    writes: bool,
}

pub struct Driver {
    work: tempfile::TempDir,
    base_before: Vec<String>,
    overlay: Option<Overlay>,
    model: Naive,
    held: Vec<Held>,
    caller: Caller,
    is_root: bool,
}

impl Driver {
    pub fn new() -> Driver {
        let work = tempfile::tempdir().unwrap();
        let uid = rustix::process::geteuid().as_raw();
        let gid = rustix::process::getegid().as_raw();
        let mut model = Naive::new();
        make_base(&work.path().join("base"), &mut model, uid);
        std::fs::create_dir(work.path().join("storage")).unwrap();
        let base_before = snapshot(&work.path().join("base"));
        let caller = Caller { uid, gid, umask: 0 };
        let mut driver = Driver {
            work,
            base_before,
            overlay: None,
            model,
            held: Vec::new(),
            caller,
            is_root: uid == 0,
        };
        driver.mount();
        driver
    }

    fn mount(&mut self) {
        let options = OpenOptions {
            base: self.work.path().join("base"),
            storage: self.work.path().join("storage"),
            volatile: true,
            ..OpenOptions::default()
        };
        let overlay = Overlay::assemble(&options).unwrap();
        assert!(overlay.warnings().is_empty(), "{:?}", overlay.warnings());
        self.overlay = Some(overlay);
    }

    fn overlay(&self) -> &Overlay {
        self.overlay.as_ref().unwrap()
    }

    /// Compares everything once more, also after a remount, and the base.
    pub fn finish(mut self) -> Check {
        self.apply(&Op::Remount)?;
        let after = snapshot(&self.work.path().join("base"));
        same("the base", &self.base_before, &after)
    }

    /// The directory and name of a path, in the model and in the overlay. The
    /// caller forgets what is in `looked`.
    fn parent<'p>(&self, path: &'p Path) -> Result<Option<Place<'p>>, String> {
        let (last, above) = path.0.split_last().unwrap();
        let mut place = Place { id: ROOT, node: NodeId::ROOT, name: NAMES[*last], looked: vec![] };
        for index in above {
            let name = NAMES[*index];
            let expected = self.model.child(place.id, name);
            let found = self.overlay().lookup(place.node, name);
            let found = found.map_err(|errno| format!("lookup of {name:?}: {errno}"))?;
            if expected.is_some() != found.is_some() {
                return Err(format!("{name:?} exists: {expected:?} but {found:?}"));
            }
            let (Some(id), Some(entry)) = (expected, found) else {
                self.forget(&place);
                return Ok(None);
            };
            place.looked.push(entry.node);
            if !self.model.is_dir(id) {
                self.forget(&place);
                return Ok(None);
            }
            place.id = id;
            place.node = entry.node;
        }
        Ok(Some(place))
    }

    fn forget(&self, place: &Place<'_>) {
        place.looked.iter().for_each(|node| self.overlay().forget(*node, 1));
    }

    /// Runs `f` on the object of a path, if both sides have it.
    fn on(&mut self, path: &Path, f: impl FnOnce(&mut Self, Id, &Entry) -> Check) -> Check {
        let Some(place) = self.parent(path)? else { return Ok(()) };
        let found = self.overlay().lookup(place.node, place.name).map_err(|e| e.to_string())?;
        let expected = self.model.child(place.id, place.name);
        let done = match (expected, found) {
            (None, None) => Ok(()),
            (Some(id), Some(entry)) => {
                let done = f(self, id, &entry);
                self.overlay().forget(entry.node, 1);
                done
            }
            (expected, found) => Err(format!("exists: {expected:?} but {found:?}")),
        };
        self.forget(&place);
        done
    }

    fn in_parent(&mut self, path: &Path, f: impl FnOnce(&mut Self, &Place<'_>) -> Check) -> Check {
        let Some(place) = self.parent(path)? else { return Ok(()) };
        let done = f(self, &place);
        self.forget(&place);
        done
    }

    pub fn apply(&mut self, op: &Op) -> Check {
        match op {
            Op::Create(..) | Op::Mkdir(..) | Op::Symlink(..) | Op::Fifo(..) => self.make(op),
            Op::Unlink(path) => self.in_parent(path, |this, at| {
                let got = this.overlay().unlink(at.node, at.name);
                same("unlink", &this.model.unlink(at.id, at.name), &got)
            }),
            Op::Rmdir(path) => self.in_parent(path, |this, at| {
                let got = this.overlay().rmdir(at.node, at.name);
                same("rmdir", &this.model.rmdir(at.id, at.name), &got)
            }),
            Op::RemoveAll(path) => self.in_parent(path, |this, at| this.remove_all(at)),
            Op::Rename(from, to, mode) => {
                let Some(source) = self.parent(from)? else { return Ok(()) };
                let done = self.in_parent(to, |this, target| {
                    let got = this.overlay().rename(
                        source.node,
                        source.name,
                        target.node,
                        target.name,
                        *mode,
                    );
                    let from = (source.id, source.name);
                    same("rename", &this.model.rename(from, (target.id, target.name), *mode), &got)
                });
                self.forget(&source);
                done
            }
            Op::Link(from, to) => self.on(from, |this, id, entry| {
                this.in_parent(to, |this, at| {
                    let got = this.overlay().link(entry.node, at.node, at.name);
                    if let Ok(new) = &got {
                        this.overlay().forget(new.node, 1);
                        same("node of a link", &entry.node, &new.node)?;
                    }
                    same("link", &this.model.link(id, at.id, at.name), &got.map(drop))
                })
            }),
            Op::Touch(_) | Op::Write(..) | Op::Append(..) | Op::OpenTruncate(_) => self.data(op),
            Op::Truncate(..) | Op::Chmod(..) | Op::Chown(..) | Op::SetMtime(..) => self.attr(op),
            Op::SetXattr(..) | Op::RemoveXattr(..) => self.xattr(op),
            Op::Hold(path, writes) => self.hold(path, *writes),
            Op::UseHeld(index, byte) => self.use_held(*index, *byte),
            Op::Release(index) => {
                if *index < self.held.len() {
                    let held = self.held.swap_remove(*index);
                    self.overlay().forget(held.node, 1);
                }
                Ok(())
            }
            Op::Reserved(path) => self.in_parent(path, |this, at| {
                let name = b"META_dAfFgHE39ktF3HD2sr.x";
                let got = this.overlay().mkdir(&this.caller, at.node, name, 0o755).map(drop);
                same("mkdir of a reserved name", &Err(Errno::PERM), &got)
            }),
            Op::TooLong(path) => self.in_parent(path, |this, at| {
                let got = this.overlay().lookup(at.node, &[b'x'; 256]).map(drop);
                same("lookup of a long name", &Err(Errno::NAMETOOLONG), &got)
            }),
            Op::Verify => self.verify(),
            Op::Remount => self.remount(),
        }
    }

    fn make(&mut self, op: &Op) -> Check {
        let (Op::Create(path, _) | Op::Mkdir(path, _) | Op::Symlink(path, _) | Op::Fifo(path, _)) =
            op
        else {
            return Ok(());
        };
        let own = if self.is_root { 0 } else { 0o700 };
        self.in_parent(path, |this, at| {
            let (overlay, caller) = (this.overlay(), &this.caller);
            let (kind, mode, got) = match op {
                Op::Create(_, mode) => {
                    let open = OpenMode { write: true, ..OpenMode::default() };
                    let made = overlay.create(caller, at.node, at.name, *mode, open);
                    (Kind::File(Vec::new()), *mode, made.map(|(entry, _)| entry))
                }
                Op::Mkdir(_, mode) => {
                    let mode = *mode | own;
                    let made = overlay.mkdir(caller, at.node, at.name, mode);
                    (Kind::Dir(BTreeMap::new()), mode, made)
                }
                Op::Symlink(_, n) => {
                    let target = format!("to {n}").into_bytes();
                    let made = overlay.symlink(caller, at.node, at.name, &target);
                    (Kind::Symlink(target), 0o777, made)
                }
                Op::Fifo(_, mode) => {
                    let made = overlay.mknod(caller, at.node, at.name, libc::S_IFIFO | *mode, 0);
                    (Kind::Fifo, *mode, made)
                }
                _ => return Ok(()),
            };
            let expected = this.model.make(at.id, at.name, kind, mode, this.caller.uid);
            if let (Ok(id), Ok(entry)) = (&expected, &got) {
                let checked = this.check_attr(*id, entry);
                this.overlay().forget(entry.node, 1);
                checked?;
            }
            same("make", &expected.map(drop), &got.map(drop))
        })
    }

    fn remove_all(&mut self, at: &Place<'_>) -> Check {
        let Some(id) = self.model.child(at.id, at.name) else { return Ok(()) };
        if !self.model.is_dir(id) {
            let got = self.overlay().unlink(at.node, at.name);
            return same("unlink", &self.model.unlink(at.id, at.name), &got);
        }
        let entry = self.overlay().lookup(at.node, at.name).unwrap().ok_or("it is gone")?;
        let names: Vec<Vec<u8>> = self.model.entries(id).unwrap().keys().cloned().collect();
        for name in &names {
            let below = Place { id, node: entry.node, name, looked: vec![] };
            self.remove_all(&below)?;
        }
        self.overlay().forget(entry.node, 1);
        let got = self.overlay().rmdir(at.node, at.name);
        same("rmdir", &self.model.rmdir(at.id, at.name), &got)
    }

    fn data(&mut self, op: &Op) -> Check {
        let (Op::Touch(path) | Op::Write(path, ..) | Op::Append(path, ..) | Op::OpenTruncate(path)) =
            op
        else {
            return Ok(());
        };
        self.on(path, |this, id, entry| {
            if !matches!(this.model.get(id).kind, Kind::File(_)) {
                return Ok(());
            }
            let open = OpenMode {
                write: true,
                append: matches!(op, Op::Append(..)),
                truncate: matches!(op, Op::OpenTruncate(_)),
                ..OpenMode::default()
            };
            let file = this.overlay().open(entry.node, open).map_err(|e| format!("open: {e}"))?;
            let length = this.length(id);
            let (offset, data) = match op {
                Op::Write(_, offset, byte, len) => {
                    (usize::from(*offset), vec![*byte; usize::from(*len)])
                }
                Op::Append(_, byte, len) => (length, vec![*byte; usize::from(*len)]),
                Op::OpenTruncate(_) => {
                    this.put(id, |content| content.clear());
                    return Ok(());
                }
                _ => return Ok(()),
            };
            let got = this.overlay().write(&file, &data, offset as u64, false);
            this.put(id, |content| write_at(content, offset, &data));
            same("write", &Ok(data.len()), &got)
        })
    }

    fn put(&mut self, id: Id, change: impl FnOnce(&mut Vec<u8>)) {
        let inode = self.model.get_mut(id);
        inode.mtime = None;
        if let Kind::File(content) = &mut inode.kind {
            change(content);
        }
    }

    fn length(&self, id: Id) -> usize {
        match &self.model.get(id).kind {
            Kind::File(content) => content.len(),
            _ => 0,
        }
    }

    fn attr(&mut self, op: &Op) -> Check {
        let (Op::Truncate(path, _)
        | Op::Chmod(path, _)
        | Op::Chown(path, _)
        | Op::SetMtime(path, _)) = op
        else {
            return Ok(());
        };
        let (is_root, own) = (self.is_root, if self.is_root { 0 } else { 0o700 });
        self.on(path, |this, id, entry| {
            let kind = this.model.get(id).kind.clone();
            let mut set = SetAttr::default();
            match (op, &kind) {
                (Op::Truncate(_, size), Kind::File(_)) => {
                    set.size = Some(u64::from(*size));
                    this.put(id, |content| content.resize(usize::from(*size), 0));
                }
                (Op::Chmod(_, mode), Kind::File(_) | Kind::Dir(_) | Kind::Fifo) => {
                    let mode = *mode | own;
                    set.mode = Some(mode);
                    this.model.get_mut(id).mode = mode;
                }
                (Op::Chown(_, uid), _) if is_root => {
                    set.uid = Some(*uid);
                    this.model.get_mut(id).uid = *uid;
                }
                (Op::SetMtime(_, sec), _) => {
                    let time = Timestamp { sec: i64::from(*sec), nsec: 123_456_789 };
                    set.mtime = Some(SetTime::At(time));
                    this.model.get_mut(id).mtime = Some(time);
                }
                _ => return Ok(()),
            }
            let attr = this.overlay().setattr(entry.node, &set, None);
            let attr = attr.map_err(|errno| format!("setattr: {errno}"))?;
            this.check_attr(id, &Entry { node: entry.node, attr })
        })
    }

    fn xattr(&mut self, op: &Op) -> Check {
        let (Op::SetXattr(path, n, _) | Op::RemoveXattr(path, n)) = op else { return Ok(()) };
        let name = format!("user.x{n}").into_bytes();
        self.on(path, |this, id, entry| {
            if !matches!(this.model.get(id).kind, Kind::File(_) | Kind::Dir(_)) {
                return Ok(());
            }
            let xattrs = &mut this.model.get_mut(id).xattrs;
            let (expected, got) = if let Op::SetXattr(_, _, value) = op {
                xattrs.insert(name.clone(), value.clone());
                (Ok(()), this.overlay().setxattr(entry.node, &name, value, 0))
            } else {
                let expected = xattrs.remove(&name).map(drop).ok_or(Errno::NODATA);
                (expected, this.overlay().removexattr(entry.node, &name))
            };
            same("xattr", &expected, &got)
        })
    }

    fn hold(&mut self, path: &Path, writes: bool) -> Check {
        if self.held.len() >= HANDLES {
            return Ok(());
        }
        self.on(path, |this, id, entry| {
            if !matches!(this.model.get(id).kind, Kind::File(_)) {
                return Ok(());
            }
            let open = OpenMode { write: writes, ..OpenMode::default() };
            let file = this.overlay().open(entry.node, open).map_err(|e| format!("open: {e}"))?;
            // One reference stays with the handle.
            let place = this.parent(path)?.ok_or("the parent is gone")?;
            this.overlay().lookup(place.node, place.name).unwrap();
            this.forget(&place);
            this.held.push(Held { id, node: entry.node, file, writes });
            Ok(())
        })
    }

    fn use_held(&mut self, index: usize, byte: u8) -> Check {
        let Some(held) = self.held.get(index) else { return Ok(()) };
        let (id, node, file) = (held.id, held.node, Arc::clone(&held.file));
        if held.writes {
            let data = [byte; 100];
            let offset = usize::from(byte) * 7;
            let got = self.overlay().write(&file, &data, offset as u64, false);
            self.put(id, |content| write_at(content, offset, &data));
            same("write through a handle", &Ok(data.len()), &got)?;
        }
        self.check_content(id, &file)?;
        let attr = self.overlay().getattr(node).map_err(|errno| format!("getattr: {errno}"))?;
        self.check_attr(id, &Entry { node, attr })
    }

    fn check_content(&self, id: Id, file: &OpenFile) -> Check {
        let Kind::File(expected) = &self.model.get(id).kind else { return Ok(()) };
        let mut content = vec![0; expected.len() + 100];
        let got = self.overlay().read(file, &mut content, 0).map_err(|e| format!("read: {e}"))?;
        content.truncate(got);
        if &content == expected { Ok(()) } else { Err("the content differs".to_owned()) }
    }

    fn check_attr(&mut self, id: Id, entry: &Entry) -> Check {
        let inode = self.model.get_mut(id);
        let attr = &entry.attr;
        let kind = match &inode.kind {
            Kind::Dir(_) => libc::S_IFDIR,
            Kind::File(_) => libc::S_IFREG,
            Kind::Symlink(_) => libc::S_IFLNK,
            Kind::Fifo => libc::S_IFIFO,
        };
        same("type", &kind, &(attr.mode & libc::S_IFMT))?;
        same("mode", &format!("{:o}", inode.mode), &format!("{:o}", attr.mode & 0o7777))?;
        same("owner", &inode.uid, &attr.uid)?;
        if let Some(mtime) = inode.mtime {
            same("mtime", &mtime, &attr.mtime)?;
        }
        if let Kind::File(content) = &inode.kind {
            same("size", &(content.len() as u64), &attr.size)?;
        }
        if !matches!(inode.kind, Kind::Dir(_)) {
            same("nlink", &inode.nlink, &attr.nlink)?;
        }
        let ino = *inode.ino.get_or_insert(attr.ino);
        same("st_ino", &ino, &attr.ino)
    }

    fn remount(&mut self) -> Check {
        self.verify()?;
        for held in std::mem::take(&mut self.held) {
            self.overlay().forget(held.node, 1);
        }
        same("known nodes", &1, &self.overlay().known_nodes())?;
        self.overlay = None;
        self.mount();
        self.verify()
    }

    fn verify(&mut self) -> Check {
        let mut numbers = HashMap::new();
        let ino = self.overlay().getattr(NodeId::ROOT).unwrap().ino;
        numbers.insert(ino, ROOT);
        self.verify_dir(ROOT, NodeId::ROOT, &mut numbers)
    }

    fn verify_dir(&mut self, id: Id, node: NodeId, numbers: &mut HashMap<u64, Id>) -> Check {
        let listed = self.list(node)?;
        let names: Vec<Vec<u8>> = self.model.entries(id).unwrap().keys().cloned().collect();
        same("names", &names, &listed.keys().cloned().collect())?;
        for name in names {
            let child = self.model.child(id, &name).unwrap();
            let entry = self.overlay().lookup(node, &name).map_err(|e| e.to_string())?;
            let entry = entry.ok_or_else(|| format!("{name:?} is listed, but not found"))?;
            let what = |err: String| format!("{:?}: {err}", String::from_utf8_lossy(&name));
            self.check_attr(child, &entry).map_err(what)?;
            same("d_ino", &entry.attr.ino, &listed[&name]).map_err(what)?;
            let owner = *numbers.entry(entry.attr.ino).or_insert(child);
            same("object of a number", &child, &owner).map_err(what)?;
            self.verify_object(child, &entry).map_err(what)?;
            if self.model.is_dir(child) {
                self.verify_dir(child, entry.node, numbers).map_err(what)?;
            }
            self.overlay().forget(entry.node, 1);
        }
        Ok(())
    }

    fn verify_object(&self, id: Id, entry: &Entry) -> Check {
        let inode = self.model.get(id);
        match &inode.kind {
            Kind::File(_) => {
                let file = self.overlay().open(entry.node, OpenMode::default());
                self.check_content(id, &*file.map_err(|errno| format!("open: {errno}"))?)?;
            }
            Kind::Symlink(target) => {
                same("target", &Ok(target.clone()), &self.overlay().readlink(entry.node))?;
                return Ok(());
            }
            Kind::Fifo => return Ok(()),
            Kind::Dir(_) => {}
        }
        let mut list = vec![0; 4096];
        let len = self.overlay().listxattr(entry.node, &mut list).map_err(|e| e.to_string())?;
        list.truncate(len);
        let mut xattrs = BTreeMap::new();
        for name in list.split(|byte| *byte == 0).filter(|name| name.starts_with(b"user.")) {
            let mut value = vec![0; 100];
            let len = self.overlay().getxattr(entry.node, name, &mut value);
            value.truncate(len.map_err(|errno| errno.to_string())?);
            xattrs.insert(name.to_vec(), value);
        }
        same("xattrs", &inode.xattrs, &xattrs)
    }

    /// Lists a directory in small steps: every name exactly once.
    fn list(&self, node: NodeId) -> Result<BTreeMap<Vec<u8>, u64>, String> {
        let dir = self.overlay().open_dir(node).map_err(|errno| errno.to_string())?;
        let (mut names, mut offset) = (BTreeMap::new(), 0);
        loop {
            let (mut taken, mut twice) = (0, None);
            let listed = self.overlay().read_dir(&dir, offset, &mut |entry| {
                if taken == 3 {
                    return false;
                }
                taken += 1;
                offset = entry.next;
                if names.insert(entry.name.to_vec(), entry.ino).is_some() {
                    twice = Some(entry.name.to_vec());
                }
                true
            });
            listed.map_err(|errno| format!("read_dir: {errno}"))?;
            if let Some(name) = twice {
                return Err(format!("{name:?} is listed twice"));
            }
            if taken == 0 {
                break;
            }
        }
        for dots in [&b"."[..], b".."] {
            names.remove(dots).ok_or("a dot entry is missing")?;
        }
        Ok(names)
    }
}

struct Place<'a> {
    id: Id,
    node: NodeId,
    name: &'a [u8],
    looked: Vec<NodeId>,
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, expected: &T, got: &T) -> Check {
    if expected == got {
        Ok(())
    } else {
        Err(format!("{what}: {expected:?} expected, got {got:?}"))
    }
}

fn write_at(content: &mut Vec<u8>, offset: usize, data: &[u8]) {
    if data.is_empty() {
        return;
    }
    if content.len() < offset + data.len() {
        content.resize(offset + data.len(), 0);
    }
    content[offset..offset + data.len()].copy_from_slice(data);
}

/// A base tree with something of everything, on disk and in the model.
fn make_base(base: &FsPath, model: &mut Naive, uid: u32) {
    std::fs::create_dir(base).unwrap();
    model.get_mut(ROOT).uid = uid;
    make_level(base, ROOT, model, uid, 2);
}

fn make_level(dir: &FsPath, id: Id, model: &mut Naive, uid: u32, depth: u32) {
    use std::os::unix::ffi::OsStrExt;
    let at = |name: &[u8]| dir.join(std::ffi::OsStr::from_bytes(name));
    for name in [&b"a"[..], b"b", b"with space"] {
        std::fs::create_dir(at(name)).unwrap();
        std::fs::set_permissions(at(name), std::fs::Permissions::from_mode(0o755)).unwrap();
        let child = model.make(id, name, Kind::Dir(BTreeMap::new()), 0o755, uid).unwrap();
        if depth > 0 {
            make_level(&at(name), child, model, uid, depth - 1);
        }
    }
    for (name, len) in [(&b"f"[..], 5000), (b"g", 0), (b"new\nline", 10)] {
        let content = vec![name[0]; len];
        std::fs::write(at(name), &content).unwrap();
        std::fs::set_permissions(at(name), std::fs::Permissions::from_mode(0o644)).unwrap();
        model.make(id, name, Kind::File(content), 0o644, uid).unwrap();
    }
    std::os::unix::fs::symlink("f", at(b"l")).unwrap();
    model.make(id, b"l", Kind::Symlink(b"f".to_vec()), 0o777, uid).unwrap();
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, at(b"n"), rustix::fs::FileType::Fifo, mode, 0).unwrap();
    model.make(id, b"n", Kind::Fifo, 0o600, uid).unwrap();
}

/// Everything of a tree that must not change, a line an entry.
fn snapshot(dir: &FsPath) -> Vec<String> {
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
