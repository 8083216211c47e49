//! Storages that are deeper, or wider, than there are descriptors.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use mini_fo_core::{META_NAME, NodeId, OpenOptions, Overlay, Warning};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{Mode, OFlags};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

const DEPTH: usize = 3000;

/// The limit is one of the whole process, and so is what is open: even to remove a deep tree
/// takes many.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn with_few_descriptors<T>(run: impl FnOnce() -> T) -> T {
    let before = getrlimit(Resource::Nofile);
    let few = Rlimit { current: Some(256), maximum: before.maximum };
    setrlimit(Resource::Nofile, few).unwrap();
    let done = run();
    setrlimit(Resource::Nofile, before).unwrap();
    done
}

fn layers(dir: &Path) -> (PathBuf, PathBuf) {
    let layers = ["base", "storage"].map(|name| dir.join(name));
    layers.iter().for_each(|layer| std::fs::create_dir(layer).unwrap());
    layers.into()
}

fn open(dir: &OwnedFd, name: &str, flags: OFlags) -> OwnedFd {
    rustix::fs::openat(dir, name, flags | OFlags::CLOEXEC, Mode::from_raw_mode(0o700)).unwrap()
}

fn damage(dir: &OwnedFd) {
    let meta = open(dir, META_NAME, OFlags::WRONLY | OFlags::CREATE);
    rustix::io::write(meta.as_fd(), b"rubbish\n").unwrap();
}

fn subdir(dir: &OwnedFd, name: &str) -> OwnedFd {
    rustix::fs::mkdirat(dir, name, Mode::from_raw_mode(0o700)).unwrap();
    open(dir, name, OFlags::RDONLY | OFlags::DIRECTORY)
}

/// A chain of directories; every 500th has siblings on both sides, which are
/// visited after the way back up, and each of those a damaged META.
fn deep_storage(root: &Path) {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut at = rustix::fs::open(root, flags, Mode::empty()).unwrap();
    for level in 0..DEPTH {
        if level % 500 == 0 {
            ["a", "z"].iter().for_each(|name| damage(&subdir(&at, name)));
        }
        at = subdir(&at, "d");
    }
    damage(&at);
}

#[test]
fn a_deep_storage_is_examined_with_few_descriptors() {
    let _alone = alone();
    let dir = tempfile::TempDir::new().unwrap();
    let (base, storage) = layers(dir.path());
    deep_storage(&storage);
    let options = OpenOptions { base, storage, ..OpenOptions::default() };
    let overlay = with_few_descriptors(|| Overlay::assemble(&options)).unwrap();
    let (mut damaged, mut longest) = (0, 0);
    for warning in overlay.warnings() {
        match warning {
            Warning::DamagedMeta { path, line: 1, .. } => {
                damaged += 1;
                longest = longest.max(path.as_os_str().as_bytes().len());
            }
            Warning::ReadOnlyByDamage { .. } => {}
            other => panic!("{other}"),
        }
    }
    assert_eq!(damaged, 2 * DEPTH / 500 + 1);
    assert!(longest > 2 * DEPTH);
    assert!(overlay.is_read_only());
}

#[test]
fn a_wide_directory_is_discarded_with_few_descriptors() {
    let _alone = alone();
    let dir = tempfile::TempDir::new().unwrap();
    let (base, storage) = layers(dir.path());
    let options = OpenOptions { base, storage: storage.clone(), ..OpenOptions::default() };
    drop(Overlay::assemble(&options).unwrap());
    for number in 0..500 {
        std::fs::create_dir_all(storage.join(format!("wide/{number}/in"))).unwrap();
    }
    let overlay = Overlay::assemble(&options).unwrap();
    let done = with_few_descriptors(|| overlay.discard(NodeId::ROOT, b"wide"));
    assert!(done.is_ok(), "{done:?}");
    assert!(!storage.join("wide").exists());
}
