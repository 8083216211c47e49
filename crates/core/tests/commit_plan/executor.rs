//! Does what a plan says in the base, plainly: no journal, nothing that could be taken back.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};

use mini_fo_core::commit_steps::{Dress, Make, Seen, Slot, Step};
use mini_fo_core::{CommitPlan, NodeId, Overlay, Timestamp};
use rustix::fs::{AtFlags, CWD, FileType, Mode, RenameFlags, XattrFlags};

use super::scene::read;
use super::view::xattrs;

pub struct Executor<'a> {
    pub base: &'a Path,
    pub upper: &'a Overlay,
}

pub fn under(base: &Path, path: &[u8]) -> PathBuf {
    match path {
        b"" => base.to_path_buf(),
        path => base.join(std::ffi::OsStr::from_bytes(path)),
    }
}

impl Executor<'_> {
    pub fn run(&self, plan: &CommitPlan) {
        let stage = self.base.join("the.stage");
        fs::create_dir(&stage).unwrap();
        let slot = |slot: &Slot| stage.join(slot.number.to_string());
        for make in plan.makes() {
            match make {
                Make::Object { slot: to, path } => self.make(path, &slot(to)),
                Make::Part { .. } => panic!("nothing is asked for in parts"),
                Make::Link { slot: to, of } => fs::hard_link(slot(of), slot(to)).unwrap(),
                Make::LinkBase { slot: to, at } => {
                    fs::hard_link(under(self.base, at), slot(to)).unwrap();
                }
            }
        }
        let steps = &plan.program().steps;
        for step in steps {
            // Where each was before is looked at before anything has changed.
            if let Step::Time { before: Some((at, time)), .. } = step {
                let meta = fs::symlink_metadata(under(self.base, at)).unwrap();
                let now = Timestamp { sec: meta.mtime(), nsec: meta.mtime_nsec() as u32 };
                assert!(meta.is_dir() && (at.is_empty() || now == *time), "{step:?}: {now:?}");
            }
        }
        assert!(steps.is_sorted_by_key(Step::rank));
        steps.iter().for_each(|step| self.step(step, &slot));
        fs::remove_dir_all(&stage).unwrap();
        for step in steps {
            if let Step::Time { at, after, .. } = step {
                set_time(&under(self.base, at), *after);
            }
        }
    }

    fn step(&self, step: &Step, slot: &dyn Fn(&Slot) -> PathBuf) {
        let place = |path: &[u8]| under(self.base, path);
        let rename = |from: PathBuf, to: PathBuf, flags| {
            let done = rustix::fs::renameat_with(CWD, &from, CWD, &to, flags);
            assert_eq!(done, Ok(()), "{step:?}");
        };
        match step {
            Step::Take { slot: to, at, was } => {
                same_object(&place(at), was, step);
                rename(place(at), slot(to), RenameFlags::NOREPLACE);
            }
            Step::Put { slot: from, at } => rename(slot(from), place(at), RenameFlags::NOREPLACE),
            Step::Swap { slot: from, at, was } => {
                same_object(&place(at), was, step);
                rename(slot(from), place(at), RenameFlags::EXCHANGE);
            }
            Step::Dress { at, before, after } => {
                let path = place(at);
                assert_eq!(&dress_of(&path, before), before, "{step:?}");
                dress(&path, after);
            }
            Step::Time { at, .. } => {
                assert!(fs::symlink_metadata(place(at)).unwrap().is_dir(), "{step:?}");
            }
        }
    }

    fn make(&self, path: &[u8], to: &Path) {
        let node = find(self.upper, path);
        let attr = self.upper.getattr(node).unwrap();
        let kind = attr.mode & libc::S_IFMT;
        match kind {
            libc::S_IFDIR => fs::create_dir(to).unwrap(),
            libc::S_IFLNK => {
                let target = self.upper.readlink(node).unwrap();
                symlink(std::ffi::OsStr::from_bytes(&target), to).unwrap();
            }
            libc::S_IFREG => {
                let made = File::options().write(true).create_new(true).mode(0o600).open(to);
                made.unwrap().write_all(&read(self.upper, node)).unwrap();
            }
            _ => {
                let kind = FileType::from_raw_mode(kind);
                rustix::fs::mknodat(CWD, to, kind, Mode::empty(), attr.rdev).unwrap();
            }
        }
        lchown(to, Some(attr.uid), Some(attr.gid)).unwrap();
        for (name, value) in xattrs(self.upper, node) {
            rustix::fs::lsetxattr(to, &name[..], &value, XattrFlags::empty()).unwrap();
        }
        if kind != libc::S_IFLNK {
            fs::set_permissions(to, PermissionsExt::from_mode(attr.mode & 0o7777)).unwrap();
        }
        set_time(to, attr.mtime);
    }
}

pub fn find(overlay: &Overlay, path: &[u8]) -> NodeId {
    let mut names = path.split(|byte| *byte == b'/').filter(|name| !name.is_empty());
    let found = names.try_fold(NodeId::ROOT, |node, name| {
        overlay.lookup(node, name).unwrap().map(|entry| entry.node)
    });
    found.unwrap_or_else(|| panic!("{} is not there", String::from_utf8_lossy(path)))
}

fn same_object(path: &Path, was: &Seen, step: &Step) {
    let meta = fs::symlink_metadata(path).unwrap_or_else(|error| panic!("{step:?}: {error}"));
    let is_dir = meta.mode() & libc::S_IFMT == libc::S_IFDIR;
    let time = Timestamp { sec: meta.mtime(), nsec: meta.mtime_nsec() as u32 };
    let seen = Seen {
        ino: meta.ino(),
        mode: if is_dir { libc::S_IFDIR } else { meta.mode() },
        owner: if is_dir { (0, 0) } else { (meta.uid(), meta.gid()) },
        size: if is_dir { 0 } else { meta.len() },
        mtime: if is_dir { Timestamp::default() } else { time },
        // Steps move it.
        ctime: was.ctime,
    };
    assert_eq!(&seen, was, "{step:?}");
}

fn dress_of(path: &Path, like: &Dress) -> Dress {
    let meta = fs::metadata(path).unwrap();
    let value = |name: &[u8]| {
        let mut value = vec![0; 1 << 16];
        let got = rustix::fs::lgetxattr(path, name, &mut value).ok();
        got.map(|len| value[..len].into())
    };
    let xattrs = like.xattrs.iter().map(|(name, _)| (name.clone(), value(name))).collect();
    Dress { mode: meta.mode() & 0o7777, uid: meta.uid(), gid: meta.gid(), xattrs }
}

fn dress(path: &Path, like: &Dress) {
    lchown(path, Some(like.uid), Some(like.gid)).unwrap();
    for (name, value) in &like.xattrs {
        match value {
            Some(value) => {
                rustix::fs::lsetxattr(path, &name[..], value, XattrFlags::empty()).unwrap();
            }
            None => rustix::fs::lremovexattr(path, &name[..]).unwrap(),
        }
    }
    fs::set_permissions(path, PermissionsExt::from_mode(like.mode)).unwrap();
}

pub fn set_time(path: &Path, time: Timestamp) {
    let time = rustix::fs::Timespec { tv_sec: time.sec, tv_nsec: time.nsec.into() };
    let omit = rustix::fs::Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_OMIT };
    let times = rustix::fs::Timestamps { last_access: omit, last_modification: time };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}
