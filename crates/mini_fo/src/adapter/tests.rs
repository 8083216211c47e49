//! The adapter without a kernel.

use std::fs;

use mini_fo_core::OpenOptions;

use super::*;

const REQUEST: Request =
    Request { unique: 1, node: 1, uid: u32::MAX, gid: u32::MAX, pid: 0, supplementary_group: None };

/// The kernel's last FORGETs of a node may overtake a lookup of it.
#[test]
fn what_is_cached_of_a_node_is_known_until_its_last_lookup_is_given_back() {
    let dir = tempfile::tempdir().unwrap();
    let (base, storage) = (dir.path().join("base"), dir.path().join("storage"));
    fs::create_dir(&base).unwrap();
    fs::create_dir(&storage).unwrap();
    fs::write(base.join("f"), "x").unwrap();
    let options = OpenOptions {
        base,
        storage,
        live_base: Some(Duration::from_secs(60)),
        access_times: core::AccessTimes::Never,
        ..OpenOptions::default()
    };
    let overlay = Arc::new(Overlay::assemble(&options).unwrap());
    let adapter = Adapter::new(overlay, Ids::default(), true);
    let look_up = || adapter.lookup(&REQUEST, b"f").unwrap().node;
    let node = look_up();
    assert_eq!(look_up(), node);
    let kept = || {
        let req = Request { node, ..REQUEST };
        let args = OpenArgs { flags: libc::O_RDONLY as u32, kill_suidgid: false };
        let opened = adapter.open(&req, &args).unwrap();
        adapter.files.released(&adapter.overlay, opened.fh);
        opened.flags.contains(OpenFlags::KEEP_CACHE)
    };
    assert!(!kept());
    assert!(kept());
    adapter.forget(node, 1);
    assert!(kept(), "one lookup is left");
    adapter.forget(node, 1);
    assert_eq!(look_up(), node);
    assert!(!kept());
}
