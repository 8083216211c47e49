//! `-o volatile`: what a power cut may have taken is told.

use std::fs;

use mini_fo_core::{META_NAME, NodeId, OpenMode, OpenOptions, Overlay, SetAttr, Warning, examine};
use tempfile::TempDir;

/// The name of one of mini_fo's own attributes: root's are `trusted.`.
fn own(what: &str) -> String {
    let space = if rustix::process::geteuid().is_root() { "trusted" } else { "user" };
    format!("{space}.mini_fo.{what}")
}

struct Scene {
    options: OpenOptions,
    _dir: TempDir,
}

impl Scene {
    /// `None`: the file system has no extended attributes.
    fn new() -> Option<Scene> {
        let dir = TempDir::new().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let (base, storage) = (root.join("base"), root.join("storage"));
        fs::create_dir(&base).unwrap();
        fs::create_dir(&storage).unwrap();
        // Too large to be copied for a new mode.
        fs::write(base.join("big"), vec![7; 3 << 20]).unwrap();
        let none = rustix::fs::XattrFlags::empty();
        if rustix::fs::setxattr(&base, "user.x", b"", none).is_err() {
            eprintln!("skipped: no extended attributes here");
            return None;
        }
        let options = OpenOptions { base, storage, volatile: true, ..OpenOptions::default() };
        Some(Scene { options, _dir: dir })
    }

    fn is_marked(&self) -> bool {
        rustix::fs::getxattr(&self.options.storage, own("unclean"), &mut [0; 16]).is_ok()
    }

    fn warns(&self, options: &OpenOptions) -> bool {
        let unclean = |warning: &Warning| matches!(warning, Warning::Unclean { .. });
        let by_mount = Overlay::assemble(options).unwrap().warnings().iter().any(unclean);
        let by_check = examine(options).unwrap().iter().any(unclean);
        by_mount || by_check
    }
}

fn chmod(overlay: &Overlay) {
    let node = overlay.lookup(NodeId::ROOT, b"big").unwrap().unwrap().node;
    let mode = SetAttr { mode: Some(0o600), ..SetAttr::default() };
    overlay.setattr(node, &mode, None).unwrap();
}

fn content(overlay: &Overlay) -> Vec<u8> {
    let node = overlay.lookup(NodeId::ROOT, b"big").unwrap().unwrap().node;
    let file = overlay.open(node, OpenMode::default()).unwrap();
    let mut data = vec![0; 4 << 20];
    let got = overlay.read(&file, &mut data, 0).unwrap();
    data.truncate(got);
    data
}

#[test]
fn a_clean_end_leaves_no_mark() {
    let Some(s) = Scene::new() else { return };
    let overlay = Overlay::assemble(&s.options).unwrap();
    assert!(s.is_marked());
    let ctime = overlay.getattr(NodeId::ROOT).unwrap().ctime;
    chmod(&overlay);
    overlay.finish();
    assert!(!s.is_marked());
    assert_eq!(overlay.getattr(NodeId::ROOT).unwrap().ctime, ctime);
    drop(overlay);
    assert!(!s.warns(&OpenOptions { volatile: false, ..s.options.clone() }));
}

#[test]
fn what_did_not_end_cleanly_is_told_until_it_is_taken_as_it_is() {
    let Some(s) = Scene::new() else { return };
    let overlay = Overlay::assemble(&s.options).unwrap();
    chmod(&overlay);
    drop(overlay);
    let plain = OpenOptions { volatile: false, ..s.options.clone() };
    for options in [&plain, &s.options] {
        assert!(s.warns(options));
        Overlay::assemble(options).unwrap().finish();
        assert!(s.is_marked(), "a mount of an unclean storage made it clean");
    }
    let taken = OpenOptions { write_despite_damage: true, ..plain.clone() };
    Overlay::assemble(&taken).unwrap().finish();
    assert!(!s.is_marked());
    assert!(!s.warns(&plain));
}

/// What a power cut leaves where META came later than the files.
#[test]
fn a_mark_counts_though_meta_lacks_the_feature() {
    let Some(s) = Scene::new() else { return };
    let overlay = Overlay::assemble(&s.options).unwrap();
    chmod(&overlay);
    drop(overlay);
    let stored = s.options.storage.join("big");
    if rustix::fs::getxattr(&stored, own("partial"), &mut [0; 4096]).is_err() {
        eprintln!("skipped: no partial files here");
        return;
    }
    let path = s.options.storage.join(META_NAME);
    let meta = fs::read_to_string(&path).unwrap();
    let feature = "f partial\n";
    assert!(meta.contains(feature), "{meta}");
    fs::write(&path, meta.replace(feature, "")).unwrap();
    let read_only = OpenOptions { read_only: true, ..s.options.clone() };
    for options in [&read_only, &OpenOptions { volatile: false, ..s.options.clone() }] {
        let overlay = Overlay::assemble(options).unwrap();
        assert!(content(&overlay) == vec![7; 3 << 20]);
    }
    assert!(fs::read_to_string(&path).unwrap().contains(feature), "META is not repaired");
    // As many attributes as may be lost on their own.
    fs::write(&path, meta.replace(feature, "")).unwrap();
    rustix::fs::removexattr(&s.options.storage, own("storage")).unwrap();
    let overlay = Overlay::assemble(&s.options).unwrap();
    assert!(content(&overlay) == vec![7; 3 << 20]);
}
