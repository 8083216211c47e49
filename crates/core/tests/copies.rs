//! What copies have, whatever was known of their directory when others were made there.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;

use mini_fo_core::{Caller, NodeId, OpenOptions, Overlay, RenameMode, SetAttr};

const CALLER: Caller = Caller { uid: 0, gid: 0, umask: 0 };

struct Scene {
    _work: tempfile::TempDir,
    storage: PathBuf,
    overlay: Overlay,
    dir: NodeId,
}

impl Scene {
    /// A directory `d` with ten files of mode 0644.
    fn new() -> Scene {
        let work = tempfile::tempdir().unwrap();
        let root = work.path().canonicalize().unwrap();
        let (base, storage) = (root.join("base"), root.join("storage"));
        fs::create_dir_all(base.join("d")).unwrap();
        fs::create_dir(&storage).unwrap();
        for file in 0..10 {
            let path = base.join(format!("d/{file}"));
            fs::write(&path, "content").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        }
        let options = OpenOptions { base, storage: storage.clone(), ..OpenOptions::default() };
        let overlay = Overlay::assemble(&options).unwrap();
        let dir = overlay.lookup(NodeId::ROOT, b"d").unwrap().unwrap().node;
        Scene { _work: work, storage, overlay, dir }
    }

    fn find(&self, name: &str) -> NodeId {
        self.overlay.lookup(self.dir, name.as_bytes()).unwrap().unwrap().node
    }

    fn chmod(&self, name: &str, mode: u32) {
        self.set(self.find(name), SetAttr { mode: Some(mode), ..SetAttr::default() });
    }

    fn set(&self, node: NodeId, changes: SetAttr) {
        self.overlay.setattr(node, &changes, None).unwrap();
    }

    fn stored(&self, name: &str) -> fs::Metadata {
        fs::symlink_metadata(self.storage.join("d").join(name)).unwrap()
    }

    /// An access list in the storage.
    fn list(&self, name: &str) -> Option<Vec<u8>> {
        let (path, mut list) = (self.storage.join("d").join(name), vec![0; 256]);
        let len = rustix::fs::getxattr(path, "system.posix_acl_access", &mut list[..]).ok()?;
        list.truncate(len);
        Some(list)
    }
}

/// Lets user 1234 do everything.
fn open_list() -> Vec<u8> {
    const NOBODY: u32 = u32::MAX;
    let entries = [(1, 7, NOBODY), (2, 7, 1234), (4, 5, NOBODY), (16, 7, NOBODY), (32, 5, NOBODY)];
    let mut list = 2_u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        list.extend(u16::to_le_bytes(tag));
        list.extend(u16::to_le_bytes(permissions));
        list.extend(u32::to_le_bytes(id));
    }
    list
}

#[test]
fn a_copy_inherits_no_list_that_its_directory_got_later() {
    let scene = Scene::new();
    // What new files get here is known from now on.
    scene.chmod("0", 0o600);
    scene.chmod("1", 0o600);
    let default = b"system.posix_acl_default";
    if let Err(errno) = scene.overlay.setxattr(scene.dir, default, &open_list(), 0) {
        return eprintln!("SKIPPED: no access lists here: {errno}");
    }
    for (name, mode) in [("2", 0o640), ("3", 0o604)] {
        scene.chmod(name, mode);
        assert_eq!((scene.stored(name).mode() & 0o7777, scene.list(name)), (mode, None));
    }
    scene.overlay.removexattr(scene.dir, default).unwrap();
    scene.chmod("4", 0o640);
    assert_eq!((scene.stored("4").mode() & 0o7777, scene.list("4")), (0o640, None));
}

#[test]
fn a_copy_keeps_its_group_where_the_directory_gives_its_own() {
    let scene = Scene::new();
    let (gid, other) = (scene.overlay.getattr(scene.find("0")).unwrap().gid, Some(4321));
    scene.chmod("0", 0o600);
    scene.chmod("1", 0o600);
    if !rustix::process::geteuid().is_root() {
        return eprintln!("SKIPPED: only root gives directories away");
    }
    scene.set(scene.dir, SetAttr { gid: other, ..SetAttr::default() });
    scene.set(scene.dir, SetAttr { mode: Some(0o2755), ..SetAttr::default() });
    for name in ["2", "3"] {
        scene.chmod(name, 0o640);
        assert_eq!((scene.stored(name).gid(), scene.stored(name).mode() & 0o7777), (gid, 0o640));
    }
}

#[test]
fn a_copy_comes_with_the_mode_that_was_asked_for() {
    let scene = Scene::new();
    for (name, mode) in [("0", 0o4711), ("1", 0o0), ("2", 0o1777), ("3", 0o644)] {
        let before = scene.overlay.getattr(scene.find(name)).unwrap();
        scene.chmod(name, mode);
        let (after, stored) =
            (scene.overlay.getattr(scene.find(name)).unwrap(), scene.stored(name));
        assert_eq!((after.mode & 0o7777, stored.mode() & 0o7777), (mode, mode), "{name}");
        assert_eq!((after.mtime, after.ino, after.size), (before.mtime, before.ino, 7));
        // The change is seen, other than a copy-up alone.
        assert!(after.ctime > before.ctime, "{name}");
    }
}

#[test]
fn a_file_of_the_base_moves_with_all_that_it_has() {
    let scene = Scene::new();
    let (dir, overlay) = (scene.dir, &scene.overlay);
    let before = overlay.getattr(scene.find("0")).unwrap();
    let new = scene.overlay.mkdir(&CALLER, dir, b"new", 0o755).unwrap().node;
    overlay.rename(dir, b"0", dir, b"moved", RenameMode::Replace).unwrap();
    overlay.rename(dir, b"1", dir, b"2", RenameMode::Replace).unwrap();
    overlay.rename(dir, b"3", new, b"3", RenameMode::NoReplace).unwrap();
    let after = overlay.getattr(scene.find("moved")).unwrap();
    assert_eq!((after.mode, after.mtime, after.ino), (before.mode, before.mtime, before.ino));
    for gone in ["0", "1", "3"] {
        assert!(overlay.lookup(dir, gone.as_bytes()).unwrap().is_none(), "{gone}");
        assert!(!scene.storage.join("d").join(gone).exists(), "{gone}");
    }
    for path in ["d/moved", "d/2", "d/new/3"] {
        assert_eq!(fs::read_to_string(scene.storage.join(path)).unwrap(), "content");
    }
}

/// A failed move leaves a copy, and that shows nowhere.
#[test]
fn a_move_that_fails_is_not_seen_in_times() {
    let scene = Scene::new();
    let (dir, overlay) = (scene.dir, &scene.overlay);
    scene.chmod("9", 0o600);
    let full = overlay.mkdir(&CALLER, dir, b"full", 0o755).unwrap().node;
    let stored = fs::File::open(scene.storage.join("d/full")).unwrap();
    let set = |flags| rustix::fs::ioctl_setflags(&stored, flags);
    if set(rustix::fs::IFlags::IMMUTABLE).is_err() {
        return eprintln!("SKIPPED: no flags here");
    }
    let before = (overlay.getattr(dir).unwrap(), overlay.getattr(scene.find("0")).unwrap());
    let failed = overlay.rename(dir, b"0", full, b"0", RenameMode::Replace);
    set(rustix::fs::IFlags::empty()).unwrap();
    // The copy had its name before the move failed.
    assert!(failed.is_err() && scene.storage.join("d/0").exists());
    let after = (overlay.getattr(dir).unwrap(), overlay.getattr(scene.find("0")).unwrap());
    assert_eq!((after.0.mtime, after.0.ctime), (before.0.mtime, before.0.ctime));
    assert_eq!((after.1.mtime, after.1.ctime), (before.1.mtime, before.1.ctime));
    assert!(overlay.lookup(full, b"0").unwrap().is_none());
    overlay.rename(dir, b"0", full, b"0", RenameMode::Replace).unwrap();
}
