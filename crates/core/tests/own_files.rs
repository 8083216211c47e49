//! What the overlay makes in the storage for itself.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use mini_fo_core::{Caller, NodeId, OpenMode, OpenOptions, Overlay, SetAttr};
use tempfile::TempDir;

/// The umask of a thread is that of the caller whose request it served last.
#[test]
fn maps_and_copies_are_private_under_the_umask_of_any_caller() {
    let dir = TempDir::new().unwrap();
    let root = dir.path().canonicalize().unwrap();
    let (base, storage) = (root.join("base"), root.join("storage"));
    fs::create_dir(&base).unwrap();
    fs::create_dir(&storage).unwrap();
    fs::write(base.join("a"), vec![1; 100_000]).unwrap();
    fs::write(base.join("b"), vec![1; 100_000]).unwrap();
    let options =
        OpenOptions { base, storage: storage.clone(), blocks_from: Some(0), ..Default::default() };
    let overlay = Overlay::assemble(&options).unwrap();
    let find = |name: &[u8]| overlay.lookup(NodeId::ROOT, name).unwrap().unwrap().node;
    let caller = Caller { uid: 0, gid: 0, umask: 0o777 };
    overlay.mkdir(&caller, NodeId::ROOT, b"d", 0o755).unwrap();
    let file = overlay.open(find(b"a"), OpenMode { write: true, ..OpenMode::default() }).unwrap();
    assert_eq!(overlay.write(&file, b"changed", 10, false), Ok(7));
    let owner = SetAttr { uid: Some(1), ..SetAttr::default() };
    overlay.setattr(find(b"b"), &owner, None).unwrap();
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    let index = storage.join("META_dAfFgHE39ktF3HD2sr_index");
    if !index.exists() {
        eprintln!("skipped: no partial files here");
        return;
    }
    assert_eq!(mode(&index), 0o700);
    for entry in fs::read_dir(&index).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
    assert_eq!(mode(&storage.join("META_dAfFgHE39ktF3HD2sr")), 0o600);
    assert_eq!(mode(&storage.join("b")), mode(&options.base.join("b")));
}
