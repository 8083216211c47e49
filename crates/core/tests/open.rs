//! What is verified when base and storage are opened.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use mini_fo_core::{ErrorClass, META_NAME, NodeId, OpenError, OpenOptions, Overlay, Warning};
use tempfile::TempDir;

struct Scene {
    dir: TempDir,
    options: OpenOptions,
}

impl Scene {
    fn new() -> Scene {
        let dir = TempDir::new().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let root = dir.path().canonicalize().unwrap();
        let (base, storage) = (root.join("base"), root.join("storage"));
        fs::create_dir_all(base.join("sub")).unwrap();
        fs::create_dir(&storage).unwrap();
        Scene { dir, options: OpenOptions { base, storage, ..OpenOptions::default() } }
    }

    fn base(&self) -> &Path {
        &self.options.base
    }

    fn storage(&self) -> &Path {
        &self.options.storage
    }

    fn meta(&self) -> PathBuf {
        self.storage().join(META_NAME)
    }

    /// A program that another test starts holds our descriptors, and with them
    /// the lock of a storage, between fork and exec.
    fn open(&self) -> Overlay {
        for _ in 0..200 {
            match Overlay::assemble(&self.options) {
                Err(OpenError::StorageInUse { .. }) => {
                    std::thread::sleep(std::time::Duration::from_millis(10));
                }
                other => return other.unwrap(),
            }
        }
        panic!("the storage stays in use");
    }

    /// The class and the message of the refusal.
    fn refusal(&self) -> (ErrorClass, String) {
        refusal(&self.options)
    }

    /// As [`Scene::refusal`] for a user without rights; `None`: we cannot
    /// become one.
    fn refusal_for_a_user(&self) -> Option<(ErrorClass, String)> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: not root");
            return None;
        }
        let options = self.options.clone();
        // Credentials set this way are the thread's own.
        let user = std::thread::spawn(move || {
            let (uid, gid) =
                (rustix::process::Uid::from_raw(65534), rustix::process::Gid::from_raw(65534));
            rustix::thread::set_thread_groups(&[]).unwrap();
            rustix::thread::set_thread_res_gid(gid, gid, gid).unwrap();
            rustix::thread::set_thread_res_uid(uid, uid, uid).unwrap();
            refusal(&options)
        });
        Some(user.join().unwrap())
    }
}

fn refusal(options: &OpenOptions) -> (ErrorClass, String) {
    match Overlay::assemble(options) {
        Ok(_) => panic!("it was opened"),
        Err(err) => (err.class(), err.to_string()),
    }
}

fn expect(found: (ErrorClass, String), class: ErrorClass, parts: &[&str]) {
    assert_eq!(found.0, class, "{}", found.1);
    for part in parts {
        assert!(found.1.contains(part), "'{part}' is missing in: {}", found.1);
    }
}

#[test]
fn a_base_that_is_none() {
    let mut scene = Scene::new();
    scene.options.base = scene.dir.path().join("missing");
    expect(scene.refusal(), ErrorClass::Base, &["missing: there is no such directory"]);
    let file = scene.dir.path().join("image.iso");
    fs::write(&file, b"").unwrap();
    scene.options.base = file;
    expect(scene.refusal(), ErrorClass::Base, &["image.iso: it is not a directory", "loop,ro"]);
    assert!(!scene.meta().exists(), "a refusal writes nothing");
}

#[test]
fn a_storage_that_is_none() {
    let mut scene = Scene::new();
    scene.options.storage = scene.dir.path().join("missing");
    expect(scene.refusal(), ErrorClass::Storage, &["there is no such directory", "mkdir -p "]);
    let file = scene.dir.path().join("file");
    fs::write(&file, b"").unwrap();
    scene.options.storage = file;
    expect(scene.refusal(), ErrorClass::Storage, &["file: it is not a directory"]);
}

#[test]
fn what_a_user_may_not_use() {
    let scene = Scene::new();
    let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode));
    if let Some(found) = scene.refusal_for_a_user() {
        let parts = ["user 65534, group 65534 has no write permission", "user 0", "mode 0755"];
        expect(found, ErrorClass::Storage, &parts);
    }
    mode(scene.base(), 0o700).unwrap();
    if let Some(found) = scene.refusal_for_a_user() {
        expect(found, ErrorClass::Base, &["user 65534 needs read and search permission"]);
    }
}

#[test]
fn a_mount_point_inside_the_base_without_the_right_to_clone() {
    let mut scene = Scene::new();
    scene.options.mountpoint = Some(scene.base().join("sub"));
    if let Some(found) = scene.refusal_for_a_user() {
        expect(found, ErrorClass::Nested, &["lies inside base", "CAP_SYS_ADMIN"]);
    }
}

struct Mounted(PathBuf);

impl Mounted {
    fn new(args: &[&str], at: &Path) -> Option<Mounted> {
        let mounted = Command::new("mount").args(args).arg(at).output();
        if mounted.is_ok_and(|mounted| mounted.status.success()) {
            return Some(Mounted(at.to_path_buf()));
        }
        eprintln!("skipped: cannot mount");
        None
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_storage_on_a_read_only_file_system() {
    let mut scene = Scene::new();
    let Some(_mounted) = Mounted::new(&["-t", "tmpfs", "-o", "ro", "tmpfs"], scene.storage())
    else {
        return;
    };
    expect(scene.refusal(), ErrorClass::Storage, &["its file system is read-only", "-o ro"]);
    scene.options.read_only = true;
    assert!(scene.open().is_read_only());
}

#[test]
fn a_full_storage_is_a_warning() {
    let scene = Scene::new();
    let args = ["-t", "tmpfs", "-o", "size=64k", "tmpfs"];
    let Some(_mounted) = Mounted::new(&args, scene.storage()) else {
        return;
    };
    drop(scene.open());
    let _ = fs::write(scene.storage().join("big"), vec![1; 128 << 10]);
    let full = Warning::StorageFull { path: scene.storage().to_path_buf() };
    assert!(scene.open().warnings().contains(&full));
}

#[test]
fn a_storage_in_use() {
    let mut scene = Scene::new();
    let first = scene.open();
    expect(scene.refusal(), ErrorClass::InUse, &["it is in use by another mount"]);
    scene.options.read_only = true;
    expect(scene.refusal(), ErrorClass::InUse, &["it is in use"]);
    drop(first);
    let (_reader, _other) = (scene.open(), scene.open());
    scene.options.read_only = false;
    expect(scene.refusal(), ErrorClass::InUse, &["it is in use"]);
}

#[test]
fn directories_inside_each_other() {
    let mut scene = Scene::new();
    let (base, storage) = (scene.base().to_path_buf(), scene.storage().to_path_buf());
    scene.options.storage = base.join("sub/..");
    expect(scene.refusal(), ErrorClass::Nested, &["base and storage are the same directory"]);
    fs::create_dir(storage.join("inner")).unwrap();
    scene.options.storage = storage.clone();
    scene.options.base = storage.join("inner");
    expect(scene.refusal(), ErrorClass::Nested, &["lies inside storage"]);
    scene.options.base = base;
    scene.options.mountpoint = Some(storage.join("inner"));
    expect(scene.refusal(), ErrorClass::Nested, &["mount point", "lies inside storage"]);
}

#[test]
fn a_storage_inside_the_base_is_not_shown() {
    let mut scene = Scene::new();
    scene.options.storage = scene.base().join("changes");
    fs::create_dir(scene.storage()).unwrap();
    let overlay = scene.open();
    assert!(overlay.lookup(NodeId::ROOT, b"changes").unwrap().is_none());
    assert!(overlay.lookup(NodeId::ROOT, b"sub").unwrap().is_some());
}

#[test]
fn the_storage_of_another_base() {
    let mut scene = Scene::new();
    drop(scene.open());
    let first = scene.base().to_path_buf();
    scene.options.base = scene.dir.path().join("other");
    fs::create_dir(scene.base()).unwrap();
    let before = fs::read(scene.meta()).unwrap();
    match Overlay::assemble(&scene.options) {
        Err(OpenError::OtherBase { recorded, .. }) => assert_eq!(recorded, first),
        other => panic!("{:?}", other.err()),
    }
    expect(scene.refusal(), ErrorClass::OtherBase, &["-o accept_base"]);
    assert_eq!(fs::read(scene.meta()).unwrap(), before);
    scene.options.accept_other_base = true;
    drop(scene.open());
    scene.options.accept_other_base = false;
    drop(scene.open());
}

#[test]
fn a_fresh_storage_gets_the_base_recorded_and_the_times_of_its_root() {
    let scene = Scene::new();
    let old = fs::metadata(scene.base()).unwrap().modified().unwrap();
    let old = old - std::time::Duration::from_secs(1_000_000);
    fs::File::open(scene.base()).unwrap().set_modified(old).unwrap();
    drop(scene.open());
    let meta = fs::read_to_string(scene.meta()).unwrap();
    let ino = fs::metadata(scene.base()).unwrap().ino();
    let base = scene.base().display();
    assert!(
        meta.lines()
            .any(|line| { line.starts_with("b ") && line.ends_with(&format!(" {ino} {base}")) })
    );
    let overlay = scene.open();
    assert_eq!(overlay.warnings(), []);
    let shown = overlay.getattr(NodeId::ROOT).unwrap().mtime.sec;
    assert_eq!(shown, fs::metadata(scene.base()).unwrap().mtime());
    let lines = |meta: &str| meta.lines().filter(|line| line.starts_with("b ")).count();
    assert_eq!(lines(&fs::read_to_string(scene.meta()).unwrap()), 1);
}

#[test]
fn damage_makes_it_read_only_unless_asked_otherwise() {
    let mut scene = Scene::new();
    fs::create_dir(scene.storage().join("sub")).unwrap();
    let path = scene.storage().join("sub").join(META_NAME);
    fs::write(&path, b"D a\nrubbish\n").unwrap();
    let overlay = scene.open();
    assert!(overlay.is_read_only());
    let reason = "it does not begin with a letter and a space";
    let damaged = Warning::DamagedMeta { path: path.clone(), line: 2, reason };
    assert_eq!(
        overlay.warnings(),
        [damaged.clone(), Warning::ReadOnlyByDamage { path: scene.storage().into() }]
    );
    drop(overlay);
    assert!(!scene.meta().exists(), "nothing is written");
    scene.options.write_despite_damage = true;
    let overlay = scene.open();
    assert!(!overlay.is_read_only());
    assert_eq!(overlay.warnings(), [damaged]);
    assert_eq!(fs::read(&path).unwrap(), b"D a\n");
}

#[test]
fn an_unknown_feature_makes_it_read_only() {
    let scene = Scene::new();
    fs::write(scene.meta(), b"f teleport\n").unwrap();
    let overlay = scene.open();
    assert!(overlay.is_read_only());
    assert_eq!(
        overlay.warnings(),
        [Warning::UnknownFeature { path: scene.storage().into(), word: "teleport".into() }]
    );
}

#[test]
fn a_redirect_that_leads_nowhere_is_a_warning() {
    let scene = Scene::new();
    fs::create_dir(scene.storage().join("new")).unwrap();
    fs::write(scene.meta(), b"R /gone/away new\nR /sub there\n").unwrap();
    let overlay = scene.open();
    let path = scene.storage().join("new");
    assert_eq!(overlay.warnings(), [Warning::RedirectLost { path, target: "gone/away".into() }]);
    assert!(!overlay.is_read_only());
}

#[test]
fn leftovers_are_removed_when_writing() {
    let mut scene = Scene::new();
    let file = scene.storage().join(format!("{META_NAME}.1-18ab0123456789ab-0"));
    let dir = scene.storage().join(format!("{META_NAME}.2-18ab0123456789ab-0"));
    fs::write(&file, b"half").unwrap();
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join(META_NAME), b"").unwrap();
    scene.options.read_only = true;
    assert_eq!(scene.open().warnings(), []);
    assert!(file.exists() && dir.exists());
    scene.options.read_only = false;
    assert_eq!(
        scene.open().warnings(),
        [Warning::Leftovers { path: scene.storage().into(), count: 2 }]
    );
    assert!(!file.exists() && !dir.exists());
}
