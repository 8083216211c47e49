//! Live commits copy large contents while all is served still: what is changed meanwhile, in
//! whatever way, comes to the base as it is by then.

#[path = "changes/naive.rs"]
#[allow(dead_code)]
mod naive;
#[path = "changes/scene.rs"]
#[allow(dead_code)]
mod scene;

use std::cell::RefCell;
use std::fs;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use mini_fo_core::{
    Change, CommitListener, CommitSide, CommitWish, InUse, LiveCommitError, OpenFile, OpenMode,
    OpenNow, Overlay, RenameMode,
};

use scene::{Dice, Scene, Tree};

fn for_writing() -> OpenMode {
    OpenMode { write: true, ..OpenMode::default() }
}

/// A mount, and the files that programs have open in it.
struct Mount {
    scene: Scene,
    tree: Tree,
    open: RefCell<Vec<(String, Arc<OpenFile>)>>,
}

impl Mount {
    /// On tmpfs, where a file that is written by a mapping has no new time.
    fn new() -> Option<Mount> {
        let Ok(work) = tempfile::tempdir_in("/dev/shm") else {
            eprintln!("skipped: /dev/shm cannot be used");
            return None;
        };
        let scene = Scene::new_in(work);
        let tree = Tree(Overlay::assemble(&scene.options).unwrap());
        Some(Mount { scene, tree, open: RefCell::default() })
    }

    /// Commits all; `meanwhile` is called after each content that was copied.
    fn commit(
        &self,
        meanwhile: &mut dyn FnMut(u64, u64) -> bool,
    ) -> Result<Option<u64>, LiveCommitError> {
        let open_now = || {
            let files = self.open.borrow().iter().map(|(_, file)| Arc::clone(file)).collect();
            OpenNow { files, ..OpenNow::default() }
        };
        let mut plan = |overlay: &Overlay, in_use: &InUse| {
            let wish = &mut |change: &Change<'_>| match in_use.has(change.path) {
                true => CommitWish::Stays,
                false => CommitWish::Goes,
            };
            let plan = overlay.plan_commit_but(CommitSide::Neither, in_use.paths(), wish).unwrap();
            assert!(!plan.has_conflicts(), "{:?}", plan.entries);
            plan.entries.iter().any(|_| true).then_some(plan)
        };
        let told = CommitListener { each: meanwhile, tell: &mut |_| {} };
        let done = self.tree.0.commit_live(&open_now, &mut plan, told);
        done.map(|done| done.map(|done| done.bytes))
    }

    /// A program writes to a file by a mapping, and closes it.
    fn write_by_mapping(&self, path: &str, text: &[u8]) {
        let node = self.tree.find(path).unwrap();
        let file = self.tree.0.open(node, for_writing()).unwrap();
        let stored = fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open(self.scene.storage.join(path))
            .unwrap();
        let (fd, all) = (stored.as_raw_fd(), libc::PROT_READ | libc::PROT_WRITE);
        // SAFETY: a new mapping of a file that is longer than what is written, and that only
        // this thread has; it ends before anything else uses the file.
        unsafe {
            let at = libc::mmap(std::ptr::null_mut(), 4096, all, libc::MAP_SHARED, fd, 0);
            assert_ne!(at, libc::MAP_FAILED);
            // What was read first is written without a fault, and so without a new time.
            std::ptr::read_volatile(at.cast::<u8>());
            std::ptr::copy_nonoverlapping(text.as_ptr(), at.cast(), text.len());
            assert_eq!(libc::munmap(at, 4096), 0);
        }
        drop(file);
    }

    fn hold(&self, path: &str) {
        let node = self.tree.find(path).unwrap();
        self.open
            .borrow_mut()
            .push((path.to_owned(), self.tree.0.open(node, for_writing()).unwrap()));
    }

    /// The base has of every file what the tree shows, but of those that are open.
    fn check_base(&self, what: &str) {
        let open = self.open.borrow();
        for (path, kind) in self.tree.all() {
            if kind != libc::S_IFREG || open.iter().any(|(held, _)| *held == path) {
                continue;
            }
            let stored = fs::read(self.scene.base.join(&path)).unwrap_or_else(|error| {
                panic!("{what}: {path}: {error}");
            });
            assert!(stored == self.tree.read(&path), "{what}: {path}");
        }
    }
}

fn large(byte: u8, size: usize) -> Vec<u8> {
    vec![byte; size]
}

fn exists(scene: &Scene, path: &str) -> bool {
    Path::new(&scene.base).join(path).exists()
}

#[test]
fn what_changes_while_contents_are_copied_comes_as_it_is_then() {
    let Some(mount) = Mount::new() else { return };
    let tree = &mount.tree;
    let names = ["mapped", "written", "cut", "replaced", "gone", "moved", "open", "same"];
    for (at, name) in names.iter().enumerate() {
        tree.write(name, &large(b'a' + at as u8, 200_000 - 1_000 * at));
    }
    tree.write_at("large", b"a part", 300_000);
    let (mut calls, mut copied) = (0, None);
    let done = mount.commit(&mut |done, all| {
        calls += 1;
        // Whoever asks is answered.
        assert_eq!(tree.read("a"), b"a");
        if done < all {
            return true;
        }
        copied = Some(SystemTime::now());
        mount.write_by_mapping("mapped", b"by a mapping");
        tree.write_at("written", b"written", 100_000);
        tree.write("cut", b"short");
        tree.write("new", &large(b'n', 150_000));
        tree.rename("new", "replaced", RenameMode::Replace);
        tree.unlink("gone");
        tree.rename("moved", "elsewhere", RenameMode::Replace);
        mount.hold("open");
        tree.write_at("large", b"another part", 500_000);
        true
    });
    assert_eq!(calls, names.len() + 1);
    assert!(done.unwrap().is_some());
    mount.check_base("after the commit");
    assert!(!exists(&mount.scene, "open") && !exists(&mount.scene, "gone"));
    assert!(!exists(&mount.scene, "moved"));
    // It is the copy that was made before.
    let same = fs::metadata(mount.scene.base.join("same")).unwrap().created();
    assert!(same.is_ok_and(|made| copied.is_some_and(|copied| made <= copied)));
    let mapped = fs::read(mount.scene.base.join("mapped")).unwrap();
    assert!(mapped.starts_with(b"by a mapping"));
    mount.open.borrow_mut().clear();
    tree.0.finish();
}

/// What new files of a directory of the base get by themselves is not what the tree shows.
#[test]
fn a_copy_inherits_no_access_list() {
    let Some(mount) = Mount::new() else { return };
    // u::rwx, u:1000:rwx, g::r-x, m::rwx, o::r-x (linux/posix_acl_xattr.h).
    let entries = [
        (1u16, 7u16, u32::MAX),
        (2, 7, 1000),
        (4, 5, u32::MAX),
        (16, 7, u32::MAX),
        (32, 5, u32::MAX),
    ];
    let mut list = 2u32.to_le_bytes().to_vec();
    for (tag, rights, id) in entries {
        list.extend(tag.to_le_bytes());
        list.extend(rights.to_le_bytes());
        list.extend(id.to_le_bytes());
    }
    let dir = mount.scene.base.join("d");
    let flags = rustix::fs::XattrFlags::empty();
    if rustix::fs::setxattr(&dir, "system.posix_acl_default", &list, flags).is_err() {
        return eprintln!("skipped: no access lists here");
    }
    mount.tree.write("moved", &large(b'm', 100_000));
    mount.tree.rename("moved", "d/moved", RenameMode::Replace);
    assert!(mount.commit(&mut |_, _| true).unwrap().is_some());
    mount.check_base("the commit");
    let moved = dir.join("moved");
    let got = rustix::fs::getxattr(&moved, "system.posix_acl_access", &mut [0u8; 256][..]);
    assert_eq!(got.err(), Some(rustix::io::Errno::NODATA));
    mount.tree.0.finish();
}

#[test]
fn who_asks_may_go_while_contents_are_copied() {
    let Some(mount) = Mount::new() else { return };
    let tree = &mount.tree;
    tree.write("one", &large(b'1', 100_000));
    tree.write("other", &large(b'2', 90_000));
    let done = mount.commit(&mut |_, _| false);
    assert!(matches!(done, Err(LiveCommitError::Unwanted)), "{done:?}");
    assert!(!exists(&mount.scene, "one") && !exists(&mount.scene, ".mini_fo.stage"));
    assert_eq!(tree.read("one"), large(b'1', 100_000));
    // And may come back.
    assert!(mount.commit(&mut |_, _| true).unwrap().is_some());
    mount.check_base("the second time");
    tree.0.finish();
}

#[test]
fn random_changes_while_contents_are_copied() {
    let Some(mount) = Mount::new() else { return };
    let (tree, names) = (&mount.tree, ["1", "2", "3", "4", "5", "large"]);
    let dice = RefCell::new(Dice(4));
    for round in 0..60 {
        let change = || {
            let mut dice = dice.borrow_mut();
            let name = names[dice.below(names.len())];
            let size = 66_000 + dice.below(100_000);
            let byte = b'a' + dice.below(26) as u8;
            let is_there = tree.find(name).is_some();
            match dice.below(8) {
                0 if is_there => tree.unlink(name),
                1 if is_there => {
                    let other = names[dice.below(names.len())];
                    if other != name {
                        tree.rename(name, other, RenameMode::Replace);
                    }
                }
                2 if is_there => tree.chmod(name, [0o600, 0o644][dice.below(2)]),
                3 | 4 if is_there => tree.write_at(name, &[byte], dice.below(60_000) as u64),
                5 | 6 if is_there && name != "large" && mount.scene.storage.join(name).exists() => {
                    mount.write_by_mapping(name, &[byte; 8]);
                }
                _ => tree.write(name, &large(byte, size)),
            }
        };
        (0..4).for_each(|_| change());
        let times = dice.borrow_mut().below(3);
        mount
            .commit(&mut |_, _| {
                (0..times).for_each(|_| change());
                true
            })
            .unwrap();
        mount.check_base(&format!("round {round}"));
        for name in names {
            let there = tree.find(name).is_some();
            assert_eq!(there, exists(&mount.scene, name), "round {round}: {name}");
        }
    }
    tree.0.finish();
}
