//! When reading a base file that was opened moves its time of access.

use std::fs;

use mini_fo_core::{AccessTimes, NodeId, OpenMode, OpenOptions, Overlay};
use tempfile::TempDir;

const READING: OpenMode = OpenMode {
    write: false,
    truncate: false,
    append: false,
    at_end: false,
    idle: false,
    no_access_time: false,
    direct: false,
    kill_suid_sgid: false,
};

/// Opens a base file, which was changed after it was last read, and reads it, some
/// times: whether an access was due at each opening.
fn due(access_times: AccessTimes) -> Vec<bool> {
    let dir = TempDir::new().unwrap();
    let root = dir.path().canonicalize().unwrap();
    let (base, storage) = (root.join("base"), root.join("storage"));
    fs::create_dir(&base).unwrap();
    fs::create_dir(&storage).unwrap();
    for name in ["f", "g"] {
        fs::write(base.join(name), "data").unwrap();
    }
    let options = OpenOptions { base, storage, access_times, ..OpenOptions::default() };
    let overlay = Overlay::assemble(&options).unwrap();
    let found = |name: &str| overlay.lookup(NodeId::ROOT, name.as_bytes()).unwrap().unwrap().node;
    let (node, other) = (found("f"), found("g"));
    let mut due = Vec::new();
    for _ in 0..4 {
        let file = overlay.open(node, READING).unwrap();
        due.push(overlay.reading_is_due(&file));
        overlay.read(&file, &mut [0; 4], 0).unwrap();
        // Opening without reading is no access.
        let unread = overlay.open(other, READING).unwrap();
        due.push(overlay.reading_is_due(&unread));
    }
    due
}

#[test]
fn reading_moves_the_time_as_the_policy_says() {
    let first_only = [true, true, false, true, false, true, false, true];
    assert_eq!(due(AccessTimes::Relative), first_only);
    assert_eq!(due(AccessTimes::NotOfDirectories), first_only);
    assert_eq!(due(AccessTimes::Always), [true; 8]);
    assert_eq!(due(AccessTimes::Never), [false; 8]);
}
