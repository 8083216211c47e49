//! A base, a storage, and what is done to them.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use mini_fo_core::{
    Caller, ChangesOptions, DialectName, LayerOptions, ListFor, NodeId, OpenMode, OpenOptions,
    Overlay, RenameMode, RestOptions, SetAttr, SetTime, Timestamp, changes_at_rest,
};

use super::naive::{Told, told};

const CALLER: Caller = Caller { uid: 0, gid: 0, umask: 0o022 };

pub struct Scene {
    pub work: tempfile::TempDir,
    pub base: PathBuf,
    pub storage: PathBuf,
    pub options: OpenOptions,
}

impl Scene {
    pub fn new() -> Scene {
        Scene::new_in(tempfile::tempdir().unwrap())
    }

    pub fn new_in(work: tempfile::TempDir) -> Scene {
        let root = work.path().canonicalize().unwrap();
        let (base, storage) = (root.join("base"), root.join("storage"));
        fs::create_dir(&storage).unwrap();
        for dir in ["d", "dir/sub", "e/2", "g/h/i"] {
            fs::create_dir_all(base.join(dir)).unwrap();
        }
        let files = [
            ("a", "a"),
            ("b", "b"),
            ("c", "c"),
            ("d/f", "f of d"),
            ("dir/sub/x", "x"),
            ("dir/sub/z", "z"),
            ("dir/y", "y"),
            ("e/1", "1 of e"),
            ("e/2/3", "3"),
            ("g/h/i/j", "j"),
            ("g/k", "k"),
            ("many", "many"),
        ];
        for (path, text) in files {
            fs::write(base.join(path), text).unwrap();
            let old = SystemTime::UNIX_EPOCH + Duration::new(1_500_000_000, 123);
            fs::File::open(base.join(path)).unwrap().set_modified(old).unwrap();
        }
        fs::write(base.join("large"), vec![b'l'; 600_000]).unwrap();
        fs::hard_link(base.join("many"), base.join("d/many")).unwrap();
        fs::hard_link(base.join("many"), base.join("dir/many")).unwrap();
        symlink("a", base.join("link")).unwrap();
        let options = OpenOptions {
            base: base.clone(),
            storage: storage.clone(),
            volatile: true,
            blocks_from: Some(0),
            ..OpenOptions::default()
        };
        Scene { work, base, storage, options }
    }

    /// Does something in a mount.
    pub fn live<T>(&self, act: impl FnOnce(&Tree) -> T) -> T {
        let tree = Tree(Overlay::assemble(&self.options).unwrap());
        let result = act(&tree);
        tree.0.finish();
        result
    }

    pub fn at_rest(&self) -> Overlay {
        changes_at_rest(&RestOptions { path: self.storage.clone(), ..RestOptions::default() })
            .unwrap()
    }

    pub fn layer_at_rest(&self, path: &Path, dialect: Option<DialectName>) -> Overlay {
        let base = vec![LayerOptions { path: self.base.clone(), dialect: None }];
        let path = path.to_path_buf();
        changes_at_rest(&RestOptions { path, dialect, base, ..RestOptions::default() }).unwrap()
    }
}

/// A live overlay, by paths.
pub struct Tree(pub Overlay);

pub fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

impl Tree {
    pub fn find(&self, path: &str) -> Option<NodeId> {
        let mut names = path.split('/').filter(|name| !name.is_empty());
        names.try_fold(NodeId::ROOT, |node, name| {
            self.0.lookup(node, name.as_bytes()).unwrap().map(|entry| entry.node)
        })
    }

    fn parent<'p>(&self, path: &'p str) -> (NodeId, &'p [u8]) {
        let (parent, name) = split(path);
        (self.find(parent).unwrap(), name.as_bytes())
    }

    pub fn told(&self) -> Vec<Told> {
        told(&self.0, &ChangesOptions::default()).0
    }

    pub fn open(&self, path: &str, mode: OpenMode) {
        self.0.open(self.find(path).unwrap(), mode).unwrap();
    }

    pub fn read(&self, path: &str) -> Vec<u8> {
        read(&self.0, self.find(path).unwrap())
    }

    pub fn write(&self, path: &str, text: &[u8]) {
        let mode = OpenMode { write: true, truncate: true, ..OpenMode::default() };
        let file = match self.find(path) {
            Some(node) => self.0.open(node, mode).unwrap(),
            None => {
                let (parent, name) = self.parent(path);
                self.0.create(&CALLER, parent, name, 0o100_644, mode).unwrap().1
            }
        };
        self.0.write(&file, text, 0, false).unwrap();
    }

    pub fn write_at(&self, path: &str, text: &[u8], at: u64) {
        let mode = OpenMode { write: true, ..OpenMode::default() };
        let file = self.0.open(self.find(path).unwrap(), mode).unwrap();
        self.0.write(&file, text, at, false).unwrap();
    }

    fn set(&self, path: &str, set: SetAttr) {
        self.0.setattr(self.find(path).unwrap(), &set, None).unwrap();
    }

    pub fn chmod(&self, path: &str, mode: u32) {
        self.set(path, SetAttr { mode: Some(mode), ..SetAttr::default() });
    }

    pub fn touch(&self, path: &str, time: SystemTime) {
        let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let at = Timestamp { sec: since.as_secs() as i64, nsec: since.subsec_nanos() };
        self.set(path, SetAttr { mtime: Some(SetTime::At(at)), ..SetAttr::default() });
    }

    pub fn mkdir(&self, path: &str) {
        let (parent, name) = self.parent(path);
        self.0.mkdir(&CALLER, parent, name, 0o755).unwrap();
    }

    pub fn unlink(&self, path: &str) {
        let (parent, name) = self.parent(path);
        self.0.unlink(parent, name).unwrap();
    }

    pub fn rename(&self, from: &str, to: &str, mode: RenameMode) {
        let ((from, name), (to, new_name)) = (self.parent(from), self.parent(to));
        let done = self.0.rename(from, name, to, new_name, mode);
        assert_eq!(done, Ok(()), "{from:?}/{name:?} to {to:?}/{new_name:?} {mode:?}");
    }

    pub fn link(&self, path: &str, new: &str) {
        let (to, name) = self.parent(new);
        self.0.link(self.find(path).unwrap(), to, name).unwrap();
    }

    pub fn remove_all(&self, path: &str) {
        let (parent, name) = self.parent(path);
        let entry = self.0.lookup(parent, name).unwrap().unwrap();
        if entry.attr.mode & libc::S_IFMT != libc::S_IFDIR {
            return self.unlink(path);
        }
        for name in names(&self.0, entry.node) {
            self.remove_all(&format!("{path}/{}", String::from_utf8(name).unwrap()));
        }
        self.0.rmdir(parent, name).unwrap();
    }

    /// All paths, and the type of each.
    pub fn all(&self) -> Vec<(String, u32)> {
        let (mut found, mut left) = (Vec::new(), vec![(String::new(), NodeId::ROOT)]);
        while let Some((path, node)) = left.pop() {
            for name in names(&self.0, node) {
                let entry = self.0.lookup(node, &name).unwrap().unwrap();
                let name = String::from_utf8(name).unwrap();
                let path = if path.is_empty() { name } else { format!("{path}/{name}") };
                let kind = entry.attr.mode & libc::S_IFMT;
                found.push((path.clone(), kind));
                if kind == libc::S_IFDIR {
                    left.push((path, entry.node));
                }
            }
        }
        found.sort();
        found
    }

    /// One change by chance.
    pub fn random(&self, dice: &mut Dice) {
        let all = self.all();
        if all.len() < 4 {
            return;
        }
        let (path, kind) = all[dice.below(all.len())].clone();
        let (is_dir, is_link) = (kind == libc::S_IFDIR, kind == libc::S_IFLNK);
        let dirs: Vec<&String> =
            all.iter().filter(|one| one.1 == libc::S_IFDIR).map(|one| &one.0).collect();
        let parent =
            if dirs.is_empty() || dice.below(4) == 0 { "" } else { dirs[dice.below(dirs.len())] };
        let fresh = ["a", "b", "f", "n", "o", "sub", "dir"][dice.below(7)];
        let new = if parent.is_empty() { fresh.into() } else { format!("{parent}/{fresh}") };
        let taken = all.iter().any(|(path, _)| *path == new);
        let inside = |a: &str, b: &str| a == b || a.starts_with(&format!("{b}/"));
        match dice.below(14) {
            0 | 1 if !is_dir && !is_link => {
                self.write(&path, ["1", "22", "f of d", "x"][dice.below(4)].as_bytes());
            }
            2 if !is_link => self.chmod(&path, [0o755, 0o600][dice.below(2)]),
            3 if !is_link => self.touch(&path, SystemTime::UNIX_EPOCH + Duration::from_secs(9)),
            4 => self.remove_all(&path),
            5 if !taken => self.mkdir(&new),
            6 if !taken => self.write(&new, b"new"),
            7..=9 if !taken && !inside(&new, &path) => {
                self.rename(&path, &new, RenameMode::Replace);
            }
            10 if taken && !inside(&new, &path) && !inside(&path, &new) => {
                self.rename(&path, &new, RenameMode::Exchange);
            }
            11 if !taken && !is_dir && !inside(&new, &path) => {
                self.link(&path, &new);
            }
            12 => {
                let node = self.find(&path).unwrap();
                if !is_link {
                    self.0.setxattr(node, b"user.x", &[dice.below(3) as u8], 0).unwrap();
                }
            }
            13 if taken && !inside(&new, &path) && !inside(&path, &new) => {
                self.remove_all(&new);
                self.rename(&path, &new, RenameMode::Replace);
            }
            _ => {}
        }
    }
}

pub fn names(overlay: &Overlay, node: NodeId) -> Vec<Vec<u8>> {
    let open = overlay.open_dir(node).unwrap();
    let mut names = Vec::new();
    overlay
        .read_dir(&open, 0, ListFor::Lookups, &mut |entry| {
            if entry.name != b"." && entry.name != b".." {
                names.push(entry.name.to_vec());
            }
            true
        })
        .unwrap();
    names
}

pub fn read(overlay: &Overlay, node: NodeId) -> Vec<u8> {
    let file = overlay.open(node, OpenMode::default()).unwrap();
    let (mut all, mut piece) = (Vec::new(), vec![0; 1 << 16]);
    loop {
        match overlay.read(&file, &mut piece, all.len() as u64).unwrap() {
            0 => return all,
            got => all.extend(&piece[..got]),
        }
    }
}

pub struct Dice(pub u64);

impl Dice {
    pub fn below(&mut self, end: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % end
    }
}
