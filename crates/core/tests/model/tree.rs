//! The base tree, and the proof that it stays as it is.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path as FsPath, PathBuf};

use mini_fo_core::Timestamp;
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Timespec, Timestamps, XattrFlags};

use super::naive::{Id, Kind, Naive, New, ROOT, Time};
use super::ops::NAMES;
use super::reader::xattrs;

/// Numbers that are the same in every run (xorshift).
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Dice {
        Dice((seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }
}

/// A base tree on disk and in the model: for the seed 0 a fixed one, else one
/// drawn from the seed.
pub fn make_base(base: &FsPath, model: &mut Naive, seed: u64) {
    std::fs::create_dir(base).unwrap();
    std::fs::set_permissions(base, std::fs::Permissions::from_mode(0o755)).unwrap();
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let root = model.get_mut(ROOT);
    (root.uid, root.gid, root.nlink) = (uid, gid, 1);
    let mut maker =
        Maker { model, dice: Dice::new(seed), uid, gid, linkable: Vec::new(), is_root: uid == 0 };
    if seed == 0 {
        maker.fixed_level(base, ROOT, 2, None);
    } else {
        maker.drawn_level(base, ROOT, 2);
    }
    let mut age = 0;
    settle_times(base, ROOT, model, &mut age);
}

struct Maker<'a> {
    model: &'a mut Naive,
    dice: Dice,
    uid: u32,
    gid: u32,
    is_root: bool,
    /// What hard links can be made to.
    linkable: Vec<(PathBuf, Id)>,
}

impl Maker<'_> {
    fn owned(&self, mode: u32) -> New {
        New { mode, uid: self.uid, gid: self.gid }
    }

    fn file(&mut self, dir: Id, at: &FsPath, content: Vec<u8>) -> Id {
        std::fs::write(at, &content).unwrap();
        self.entered(dir, at, Kind::File(content), 0o644)
    }

    fn special(&mut self, dir: Id, at: &FsPath, kind: u32, device: u64) -> Id {
        let mode = Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(CWD, at, FileType::from_raw_mode(kind), mode, device).unwrap();
        self.entered(dir, at, Kind::Special(kind, device), 0o600)
    }

    fn symlink(&mut self, dir: Id, at: &FsPath) -> Id {
        std::os::unix::fs::symlink("f", at).unwrap();
        self.entered(dir, at, Kind::Symlink(b"f".to_vec()), 0o777)
    }

    fn dir(&mut self, dir: Id, at: &FsPath) -> Id {
        std::fs::create_dir(at).unwrap();
        self.entered(dir, at, Kind::Dir(BTreeMap::new()), 0o755)
    }

    fn entered(&mut self, dir: Id, at: &FsPath, kind: Kind, mode: u32) -> Id {
        if !matches!(kind, Kind::Symlink(_)) {
            std::fs::set_permissions(at, std::fs::Permissions::from_mode(mode)).unwrap();
        }
        let new = self.owned(mode);
        self.model.make(dir, at.file_name().unwrap().as_bytes(), kind, new).unwrap()
    }

    fn link(&mut self, dir: Id, at: &FsPath, (from, id): &(PathBuf, Id)) {
        std::fs::hard_link(from, at).unwrap();
        self.model.link(*id, dir, at.file_name().unwrap().as_bytes()).unwrap();
    }

    /// Something of everything; some names are hard links of their like above.
    fn fixed_level(&mut self, dir: &FsPath, id: Id, depth: u32, above: Option<(&FsPath, Id)>) {
        for name in [&b"f"[..], b"g", b"new\nline", b"l", b"n"] {
            let at = dir.join(OsStr::from_bytes(name));
            if let Some((from, from_id)) = above.filter(|_| name != b"f") {
                let object = self.model.child(from_id, name).unwrap();
                self.link(id, &at, &(from.join(OsStr::from_bytes(name)), object));
                continue;
            }
            match name {
                b"f" => self.file(id, &at, vec![b'f'; 5000]),
                b"l" => self.symlink(id, &at),
                b"n" => self.special(id, &at, libc::S_IFIFO, 0),
                _ => self.file(id, &at, vec![name[0]; 100]),
            };
        }
        for name in [&b"a"[..], b"b", b"with space"] {
            let at = dir.join(OsStr::from_bytes(name));
            let child = self.dir(id, &at);
            if depth > 0 {
                let above = (name == b"a").then_some((dir, id));
                self.fixed_level(&at, child, depth - 1, above);
            }
        }
    }

    fn drawn_level(&mut self, dir: &FsPath, id: Id, depth: u32) {
        for name in NAMES {
            if self.dice.below(4) == 0 {
                continue;
            }
            let at = dir.join(OsStr::from_bytes(name));
            let made = match self.dice.below(14) {
                0..=3 => {
                    let len = self.dice.pick(&[0, 1, 100, 5000]);
                    self.file(id, &at, vec![name[0]; len])
                }
                4 => self.file(id, &at, vec![name[0]; 50_000]),
                5 => self.sparse(id, &at),
                6 => self.symlink(id, &at),
                7 => self.drawn_special(id, &at),
                8..=10 if !self.linkable.is_empty() => {
                    let which = self.dice.below(self.linkable.len() as u64) as usize;
                    let from = self.linkable[which].clone();
                    self.link(id, &at, &from);
                    continue;
                }
                _ if depth == 0 => self.file(id, &at, b"deep".to_vec()),
                _ => {
                    let made = self.dir(id, &at);
                    self.drawn_level(&at, made, depth - 1);
                    made
                }
            };
            if !self.model.is_dir(made) {
                self.linkable.push((at.clone(), made));
            }
            self.decorate(&at, made);
        }
    }

    fn drawn_special(&mut self, dir: Id, at: &FsPath) -> Id {
        match self.dice.below(3) {
            0 => self.special(dir, at, libc::S_IFIFO, 0),
            1 if self.is_root => self.special(dir, at, libc::S_IFCHR, rustix::fs::makedev(1, 3)),
            _ => self.special(dir, at, libc::S_IFSOCK, 0),
        }
    }

    /// A large file with little data.
    fn sparse(&mut self, dir: Id, at: &FsPath) -> Id {
        let len = 60_000 + self.dice.below(100_000);
        let id = self.file(dir, at, Vec::new());
        let file = std::fs::OpenOptions::new().write(true).open(at).unwrap();
        file.set_len(len).unwrap();
        let content = self.model.content_mut(id);
        content.resize(len as usize, 0);
        for _ in 0..2 {
            let offset = self.dice.below(len - 20);
            file.write_all_at(b"an island", offset).unwrap();
            content[offset as usize..][..9].copy_from_slice(b"an island");
        }
        id
    }

    /// Modes, owners and extended attributes, in some places.
    fn decorate(&mut self, at: &FsPath, id: Id) {
        let is_dir = self.model.is_dir(id);
        if self.is_root && self.dice.below(3) == 0 {
            let (uid, gid) = (self.dice.below(4) as u32, 1000 + self.dice.below(4) as u32);
            std::os::unix::fs::lchown(at, Some(uid), Some(gid)).unwrap();
            let inode = self.model.get_mut(id);
            (inode.uid, inode.gid) = (uid, gid);
        }
        let kind = self.model.get(id).kind.bits();
        if kind != libc::S_IFLNK && self.dice.below(3) == 0 {
            let dirs = [0o755, 0o700, 0o1777, 0o2775];
            let mode = self.dice.pick(if is_dir { &dirs } else { &[0o644, 0o600, 0o640, 0o755] });
            std::fs::set_permissions(at, std::fs::Permissions::from_mode(mode)).unwrap();
            self.model.get_mut(id).mode = mode;
        }
        for n in 0..3 {
            let name: &[u8] = [&b"user.x0"[..], b"user.x1", b"trusted.x"][n];
            let can =
                if n == 2 { self.is_root } else { [libc::S_IFREG, libc::S_IFDIR].contains(&kind) };
            if can && self.dice.below(4) == 0 {
                let value = vec![b'v'; self.dice.below(40) as usize];
                rustix::fs::lsetxattr(at, name, &value, XattrFlags::empty()).unwrap();
                self.model.get_mut(id).xattrs.insert(name.to_vec(), value);
            }
        }
    }
}

/// Puts all times into the past, and enters times and numbers into the model.
fn settle_times(at: &FsPath, id: Id, model: &mut Naive, age: &mut i64) {
    *age += 1;
    let time = |sec: i64| Timespec { tv_sec: sec, tv_nsec: 1_000_001 * *age };
    // A plain read would move such a time of access.
    let times = Timestamps {
        last_access: time(999_999_000 + *age),
        last_modification: time(1_000_000_000 + *age),
    };
    rustix::fs::utimensat(CWD, at, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
    let stat = at.symlink_metadata().unwrap();
    let inode = model.get_mut(id);
    let nsec = |nsec: i64| u32::try_from(nsec).unwrap();
    inode.mtime = Time::Is(Timestamp { sec: stat.mtime(), nsec: nsec(stat.mtime_nsec()) });
    inode.ctime = Time::Is(Timestamp { sec: stat.ctime(), nsec: nsec(stat.ctime_nsec()) });
    inode.ino = Some(stat.ino());
    let below: Vec<(Vec<u8>, Id)> = match model.entries(id) {
        Some(entries) => entries.iter().map(|(name, id)| (name.clone(), *id)).collect(),
        None => return,
    };
    for (name, child) in below {
        settle_times(&at.join(OsStr::from_bytes(&name)), child, model, age);
    }
}

/// Everything of a tree that must not change, a line an entry.
pub fn snapshot(dir: &FsPath) -> Vec<String> {
    let mut lines = Vec::new();
    let mut left = vec![dir.to_path_buf()];
    let is_root = rustix::process::geteuid().is_root();
    while let Some(path) = left.pop() {
        let meta = path.symlink_metadata().unwrap();
        let mut hasher = DefaultHasher::new();
        if meta.is_file() {
            quietly(&path).read_content().hash(&mut hasher);
        }
        // Others cannot keep the times of access of everything.
        let atime = if is_root { (meta.atime(), meta.atime_nsec()) } else { (0, 0) };
        lines.push(format!(
            "{path:?} {} {:o} {} {} {} {} {} {}.{} {}.{} {atime:?} {:?} {:x}",
            meta.ino(),
            meta.mode(),
            meta.nlink(),
            meta.uid(),
            meta.gid(),
            meta.rdev(),
            meta.len(),
            meta.mtime(),
            meta.mtime_nsec(),
            meta.ctime(),
            meta.ctime_nsec(),
            xattrs(&path),
            hasher.finish(),
        ));
        if meta.is_dir() {
            left.extend(quietly(&path).names().into_iter().map(|name| path.join(name)));
        }
    }
    lines.sort();
    lines
}

/// Opened without a trace in its time of access.
struct Quiet(rustix::fd::OwnedFd);

fn quietly(path: &FsPath) -> Quiet {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let opened = rustix::fs::open(path, flags | OFlags::NOATIME, Mode::empty());
    Quiet(opened.or_else(|_| rustix::fs::open(path, flags, Mode::empty())).unwrap())
}

impl Quiet {
    fn read_content(self) -> Vec<u8> {
        let mut content = Vec::new();
        std::fs::File::from(self.0).read_to_end(&mut content).unwrap();
        content
    }

    fn names(self) -> Vec<std::ffi::OsString> {
        let entries = rustix::fs::Dir::new(self.0).unwrap().map(|entry| entry.unwrap());
        entries
            .map(|entry| OsStr::from_bytes(entry.file_name().to_bytes()).to_owned())
            .filter(|name| name != "." && name != "..")
            .collect()
    }
}
