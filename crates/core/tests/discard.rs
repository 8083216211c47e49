//! Changes that are discarded.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mini_fo_core::{
    Caller, LayerOptions, NodeId, OpenMode, OpenOptions, Overlay, RenameMode, SetAttr, examine,
};
use rustix::io::Errno;

const META: &str = "META_dAfFgHE39ktF3HD2sr";

struct Scene {
    _work: tempfile::TempDir,
    base: PathBuf,
    options: OpenOptions,
}

impl Scene {
    fn new() -> Scene {
        let work = tempfile::tempdir().unwrap();
        let root = work.path().canonicalize().unwrap();
        let (base, storage) = (root.join("base"), root.join("storage"));
        fs::create_dir(&storage).unwrap();
        fs::create_dir_all(base.join("d/e")).unwrap();
        for file in ["f", "g", "d/f", "d/e/f"] {
            fs::write(base.join(file), format!("base {file}")).unwrap();
        }
        let options = OpenOptions { base: base.clone(), storage, ..OpenOptions::default() };
        Scene { _work: work, base, options }
    }

    fn mount(&self) -> Arc<Overlay> {
        Arc::new(Overlay::assemble(&self.options).unwrap())
    }

    fn storage(&self) -> &Path {
        &self.options.storage
    }

    fn meta(&self) -> String {
        fs::read_to_string(self.storage().join(META)).unwrap()
    }
}

fn find(overlay: &Overlay, path: &str) -> Option<NodeId> {
    path.split('/').filter(|name| !name.is_empty()).try_fold(NodeId::ROOT, |node, name| {
        overlay.lookup(node, name.as_bytes()).unwrap().map(|entry| entry.node)
    })
}

fn node(overlay: &Overlay, path: &str) -> NodeId {
    find(overlay, path).unwrap()
}

fn content(overlay: &Overlay, path: &str) -> Option<String> {
    let file = overlay.open(find(overlay, path)?, OpenMode::default()).unwrap();
    let mut buf = [0; 100];
    let got = overlay.read(&file, &mut buf, 0).unwrap();
    Some(String::from_utf8_lossy(&buf[..got]).into_owned())
}

fn writing() -> OpenMode {
    OpenMode { write: true, ..OpenMode::default() }
}

fn change(overlay: &Overlay, path: &str) {
    let file = overlay.open(node(overlay, path), writing()).unwrap();
    overlay.write(&file, b"mine", 0, false).unwrap();
}

fn caller() -> Caller {
    let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
    Caller { uid: uid.as_raw(), gid: gid.as_raw(), umask: 0 }
}

#[test]
fn an_open_file_goes_on_with_what_it_had() {
    let scene = Scene::new();
    let overlay = scene.mount();
    let id = node(&overlay, "d/f");
    let file = overlay.open(id, writing()).unwrap();
    overlay.write(&file, b"mine", 0, false).unwrap();
    let parent = node(&overlay, "d");
    let told = overlay.discard(parent, b"f").unwrap();
    assert!(told.names.contains(&(parent, Box::from(&b"f"[..]))), "{told:?}");
    overlay.write(&file, b"also", 4, false).unwrap();
    let mut buf = [0; 8];
    overlay.read(&file, &mut buf, 0).unwrap();
    assert_eq!((&buf, overlay.getattr(id).unwrap().nlink), (b"minealso", 0));
    assert_eq!(content(&overlay, "d/f").unwrap(), "base d/f");
    // Written to again, it is another file.
    change(&overlay, "d/f");
    assert_eq!(content(&overlay, "d/f").unwrap(), "mine d/f");
    overlay.read(&file, &mut buf, 0).unwrap();
    assert_eq!(&buf, b"minealso");
    assert!(fs::read(scene.base.join("d/f")).unwrap() == b"base d/f");
}

#[test]
fn a_directory_that_somebody_is_in_stays_the_same() {
    let scene = Scene::new();
    let overlay = scene.mount();
    let dir = node(&overlay, "d");
    overlay.setattr(dir, &SetAttr { mode: Some(0o700), ..SetAttr::default() }, None).unwrap();
    overlay.mkdir(&caller(), dir, b"new", 0o755).unwrap();
    overlay.discard(NodeId::ROOT, b"d").unwrap();
    assert!(overlay.getattr(dir).unwrap().mode & 0o7777 != 0o700);
    assert_eq!(node(&overlay, "d"), dir);
    assert!(find(&overlay, "d/new").is_none() && !scene.storage().join("d").exists());
    overlay.mkdir(&caller(), dir, b"again", 0o755).unwrap();
    assert!(scene.storage().join("d/again").is_dir());
}

#[test]
fn a_rename_is_undone_from_either_end() {
    for end in ["d", "moved"] {
        let scene = Scene::new();
        let overlay = scene.mount();
        let root = NodeId::ROOT;
        overlay.rename(root, b"d", root, b"moved", RenameMode::Replace).unwrap();
        change(&overlay, "moved/f");
        overlay.discard(root, end.as_bytes()).unwrap();
        let seen = |overlay: &Overlay| (content(overlay, "d/f"), find(overlay, "moved").is_some());
        assert_eq!(seen(&overlay), (Some("base d/f".to_owned()), false), "{end}");
        drop(overlay);
        assert_eq!(seen(&scene.mount()), (Some("base d/f".to_owned()), false), "{end}");
    }
}

/// `status` tells it as renamed.
#[test]
fn a_renamed_hard_link_is_undone_from_either_end() {
    for (moved, discarded) in [(true, "new"), (true, "d/f"), (false, "new"), (false, "d/f")] {
        let scene = Scene::new();
        fs::hard_link(scene.base.join("d/f"), scene.base.join("other")).unwrap();
        let overlay = scene.mount();
        let dir = node(&overlay, "d");
        if moved {
            overlay.rename(dir, b"f", NodeId::ROOT, b"new", RenameMode::Replace).unwrap();
        } else {
            overlay.link(node(&overlay, "d/f"), NodeId::ROOT, b"new").unwrap();
            overlay.unlink(dir, b"f").unwrap();
            overlay.link(node(&overlay, "other"), NodeId::ROOT, b"new2").unwrap();
        }
        change(&overlay, "new");
        let (parent, name) = discarded.rsplit_once('/').unwrap_or(("", discarded));
        overlay.discard(node(&overlay, parent), name.as_bytes()).unwrap();
        assert_eq!(content(&overlay, "new"), None, "{discarded}");
        for name in ["d/f", "other"] {
            assert_eq!(content(&overlay, name).unwrap(), "base d/f", "{discarded}");
        }
        assert_eq!(node(&overlay, "d/f"), node(&overlay, "other"));
        assert_eq!(overlay.getattr(node(&overlay, "other")).unwrap().nlink, 2);
        // It was one more name, and is an object of its own now.
        let more = content(&overlay, "new2");
        assert_eq!(more.as_deref(), (!moved).then_some("mine d/f"));
    }
}

#[test]
fn what_has_taken_the_old_place_stays() {
    let scene = Scene::new();
    let overlay = scene.mount();
    let root = NodeId::ROOT;
    overlay.rename(root, b"f", root, b"moved", RenameMode::Replace).unwrap();
    overlay.mkdir(&caller(), root, b"f", 0o755).unwrap();
    overlay.discard(root, b"moved").unwrap();
    let is_dir = overlay.getattr(node(&overlay, "f")).unwrap().mode & libc::S_IFMT;
    assert_eq!((is_dir, find(&overlay, "moved")), (libc::S_IFDIR, None));
}

#[test]
fn a_whiteout_that_is_taken_back_is_not_in_meta() {
    let scene = Scene::new();
    let overlay = scene.mount();
    overlay.unlink(NodeId::ROOT, b"f").unwrap();
    overlay.unlink(NodeId::ROOT, b"g").unwrap();
    overlay.discard(NodeId::ROOT, b"f").unwrap();
    // Readers of 2005 know no record that takes one back.
    let whiteouts: Vec<String> =
        scene.meta().lines().filter(|line| line.starts_with("D ")).map(str::to_owned).collect();
    assert_eq!(whiteouts, ["D g"]);
    assert_eq!(content(&overlay, "f").unwrap(), "base f");
}

/// The records of a discard that a crash has interrupted.
#[test]
fn the_next_mount_finishes_what_was_begun() {
    let scene = Scene::new();
    let overlay = scene.mount();
    change(&overlay, "d/f");
    change(&overlay, "d/e/f");
    change(&overlay, "g");
    overlay.unlink(NodeId::ROOT, b"f").unwrap();
    overlay.finish();
    drop(overlay);
    let begun = scene.meta() + "z /d\nz /f\n";
    fs::write(scene.storage().join(META), begun).unwrap();
    assert!(!examine(&scene.options).unwrap().is_empty(), "nothing is told of it");
    let overlay = scene.mount();
    let seen = ["f", "g", "d/f", "d/e/f"].map(|path| content(&overlay, path).unwrap());
    assert_eq!(seen, ["base f", "mine g", "base d/f", "base d/e/f"].map(str::to_owned));
    assert!(!scene.storage().join("d").exists());
    drop(overlay);
    let overlay = scene.mount();
    change(&overlay, "d/f");
    drop(overlay);
    // It is not done twice.
    assert_eq!(content(&scene.mount(), "d/f").unwrap(), "mine d/f");
}

/// The index, maps and features go with what they were made for.
#[test]
fn a_storage_without_changes_is_as_a_fresh_one() {
    let scene = Scene::new();
    fs::write(scene.base.join("large"), vec![7; 300_000]).unwrap();
    fs::hard_link(scene.base.join("f"), scene.base.join("d/again")).unwrap();
    let kinds = |scene: &Scene| -> Vec<String> {
        scene.meta().lines().map(|line| line[..2].to_owned()).filter(|kind| kind != "c ").collect()
    };
    let names = |dir: &Path| -> Vec<String> {
        let entries = fs::read_dir(dir).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    };
    let xattrs = |scene: &Scene| {
        let mut list = vec![0; 1000];
        let len = rustix::fs::listxattr(scene.storage(), &mut list[..]).unwrap();
        String::from_utf8_lossy(&list[..len]).into_owned()
    };
    let overlay = scene.mount();
    overlay.finish();
    drop(overlay);
    let fresh = (kinds(&scene), names(scene.storage()), xattrs(&scene));
    let overlay = scene.mount();
    change(&overlay, "f");
    let large = node(&overlay, "large");
    overlay.setattr(large, &SetAttr { mode: Some(0o600), ..SetAttr::default() }, None).unwrap();
    assert!(scene.meta().contains("f realms index partial"), "{}", scene.meta());
    assert_ne!((kinds(&scene), names(scene.storage()), xattrs(&scene)), fresh);
    overlay.discard_all().unwrap();
    assert_eq!(overlay.getattr(large).unwrap().mode & 0o777, 0o600, "open nodes live on");
    overlay.finish();
    drop(overlay);
    assert_eq!((kinds(&scene), names(scene.storage()), xattrs(&scene)), fresh);
    // All of it can come again.
    let overlay = scene.mount();
    change(&overlay, "d/again");
    assert_eq!(content(&overlay, "f").unwrap(), "mine f");
    drop(overlay);
    assert_eq!(content(&scene.mount(), "f").unwrap(), "mine f");
}

#[test]
fn names_of_its_own_cannot_be_discarded() {
    let scene = Scene::new();
    let overlay = scene.mount();
    let refused = overlay.discard(NodeId::ROOT, META.as_bytes()).map(drop);
    assert_eq!(refused, Err(Errno::NOENT));
    assert_eq!(overlay.discard(NodeId::ROOT, b"nothing").map(|told| told.names), Ok(vec![]));
}

#[test]
fn a_directory_of_a_lower_layer_shows_again() {
    let mut scene = Scene::new();
    let above = scene.base.with_file_name("above");
    fs::create_dir(&above).unwrap();
    scene.options.under = vec![LayerOptions { path: scene.base.clone(), dialect: None }];
    scene.options.base = above;
    change(&scene.mount(), "d/f");
    // Known while the storage has it.
    let overlay = scene.mount();
    let dir = node(&overlay, "d");
    assert_eq!(content(&overlay, "d/f").unwrap(), "mine d/f");
    overlay.discard(dir, b"f").unwrap();
    assert_eq!(overlay.getattr(dir).unwrap().ino, dir.0);
    assert_eq!(content(&overlay, "d/f").unwrap(), "base d/f");
    assert_eq!(overlay.discard(dir, b"f").map(|told| told.failed), Ok(vec![]));
}
