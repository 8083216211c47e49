//! A storage on a file server, which other machines reach: their part is played by hand.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;

use mini_fo_core::{OpenError, OpenOptions, Opened, Overlay};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

const META: &str = "META_dAfFgHE39ktF3HD2sr";

struct Scene {
    _work: tempfile::TempDir,
    options: OpenOptions,
}

impl Scene {
    fn new() -> Scene {
        let work = tempfile::tempdir().unwrap();
        let root = work.path().canonicalize().unwrap();
        let (base, storage) = (root.join("base"), root.join("storage"));
        fs::create_dir(&base).unwrap();
        fs::create_dir(&storage).unwrap();
        let options = OpenOptions { base, storage, on_server: true, ..OpenOptions::default() };
        Scene { _work: work, options }
    }

    fn reader(&self) -> Overlay {
        let options = OpenOptions { read_only: true, ..self.options.clone() };
        Overlay::assemble(&options).unwrap()
    }

    fn path(&self, end: &str) -> PathBuf {
        self.options.storage.join(format!("{META}{end}"))
    }

    fn names(&self) -> Vec<String> {
        let names = fs::read_dir(&self.options.storage).unwrap();
        let mut names: Vec<_> =
            names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// The lock as another machine has it.
    fn lock(&self) -> File {
        let (read, write) = (true, true);
        File::options().read(read).write(write).open(self.path("_lock")).unwrap()
    }

    fn is_held_alone(&self) -> bool {
        flock(self.lock(), FlockOperation::NonBlockingLockShared) == Err(Errno::WOULDBLOCK)
    }

    fn is_held(&self) -> bool {
        flock(self.lock(), FlockOperation::NonBlockingLockExclusive) == Err(Errno::WOULDBLOCK)
    }
}

fn in_use(result: Result<Overlay, OpenError>) -> bool {
    matches!(result, Err(OpenError::StorageInUse { .. }))
}

#[test]
fn who_comes_second_leaves_all_to_the_first() {
    let scene = Scene::new();
    let second = Opened::open(&scene.options).unwrap();
    fs::write(scene.path("_lock"), "").unwrap();
    fs::set_permissions(scene.path("_lock"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(scene.path(""), "what the first has written\n").unwrap();
    let before = fs::metadata(&scene.options.storage).unwrap();
    assert!(in_use(second.begin()));
    let after = fs::metadata(&scene.options.storage).unwrap();
    assert_eq!(fs::read(scene.path("")).unwrap(), b"what the first has written\n");
    assert_eq!(scene.names(), [META.to_owned(), format!("{META}_lock")]);
    assert_eq!(
        (before.mode(), before.ctime_nsec(), before.ctime()),
        (after.mode(), after.ctime_nsec(), after.ctime())
    );
}

#[test]
fn a_storage_that_others_may_write_mounts_while_it_is_empty() {
    let scene = Scene::new();
    fs::set_permissions(&scene.options.storage, fs::Permissions::from_mode(0o775)).unwrap();
    drop(Overlay::assemble(&scene.options).unwrap());
    let mode = fs::metadata(&scene.options.storage).unwrap().mode();
    assert_eq!(mode & 0o7777, 0o700);
}

#[test]
fn a_lock_alone_is_no_content() {
    for mode in [0o700, 0o775] {
        let scene = Scene::new();
        // The power went when the lock was there and META not yet.
        drop(Overlay::assemble(&scene.options).unwrap());
        for name in scene.names().iter().filter(|name| !name.ends_with("_lock")) {
            fs::remove_file(scene.options.storage.join(name)).unwrap();
        }
        assert_eq!(scene.names(), [format!("{META}_lock")]);
        fs::set_permissions(&scene.options.storage, fs::Permissions::from_mode(mode)).unwrap();
        drop(Overlay::assemble(&scene.options).unwrap());
    }
}

#[test]
fn a_reader_that_may_not_write_goes_on_to_keep_writers_out() {
    let scene = Scene::new();
    drop(Overlay::assemble(&scene.options).unwrap());
    let reader = scene.reader();
    let other = scene.lock();
    flock(&other, FlockOperation::NonBlockingLockShared).unwrap();
    assert_eq!(reader.begin_to_write(true), Err(Errno::BUSY));
    drop(other);
    assert!(scene.is_held() && !scene.is_held_alone());
    assert_eq!(reader.begin_to_write(true), Ok(true));
    assert!(scene.is_held_alone());
    drop(reader);
    assert!(!scene.is_held());
}

#[test]
fn a_refused_switch_keeps_the_lock() {
    let scene = Scene::new();
    drop(Overlay::assemble(&scene.options).unwrap());
    let reader = scene.reader();
    let meta = fs::read(scene.path("")).unwrap();
    fs::write(scene.path(""), [&meta[..], b"nonsense\n"].concat()).unwrap();
    assert_eq!(reader.begin_to_write(true), Err(Errno::ROFS));
    assert!(scene.is_held());
    fs::write(scene.path(""), meta).unwrap();
    assert_eq!(reader.begin_to_write(true), Ok(true));
    assert!(scene.is_held_alone());
}

#[test]
fn what_was_written_since_a_reader_came_keeps_it_a_reader() {
    let scene = Scene::new();
    drop(Overlay::assemble(&scene.options).unwrap());
    fs::remove_file(scene.path("_lock")).unwrap();
    let reader = scene.reader();
    // Another machine had the storage, and has it no more.
    fs::write(scene.path("_lock"), "").unwrap();
    fs::set_permissions(scene.path("_lock"), fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(reader.begin_to_write(true), Err(Errno::ROFS));
}

#[test]
fn a_reader_makes_the_lock_when_it_writes() {
    let scene = Scene::new();
    drop(Overlay::assemble(&scene.options).unwrap());
    fs::remove_file(scene.path("_lock")).unwrap();
    let reader = scene.reader();
    assert_eq!(reader.begin_to_write(true), Ok(true));
    assert!(scene.is_held_alone());
}
