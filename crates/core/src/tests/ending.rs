//! What is not settled when the mount ends stays partial, and loses nothing.

use std::time::Duration;

use crate::interface::options::OpenOptions;
use crate::interface::types::{NodeId, OpenMode};
use crate::reach::overlay::Overlay;
use crate::store::partial::read_mark;
use crate::sys::Spot;
use crate::tests::mounted::mounted;

const FILES: usize = 20;

/// More than is copied at once.
const SIZE: usize = 300 << 10;

#[test]
fn the_end_does_not_wait_for_all_files() {
    let dir = tempfile::TempDir::new().unwrap();
    let (base, storage) = (dir.path().join("base"), dir.path().join("storage"));
    std::fs::create_dir(&base).unwrap();
    std::fs::create_dir(&storage).unwrap();
    let name = |i: usize| format!("file{i}");
    for i in 0..FILES {
        std::fs::write(base.join(name(i)), vec![i as u8; SIZE]).unwrap();
    }
    let options = OpenOptions { base, storage, ..OpenOptions::default() };
    let overlay = mounted(&options);
    if !overlay.partials.allowed {
        return;
    }
    let append = OpenMode { write: true, append: true, ..OpenMode::default() };
    let node = |overlay: &Overlay, i| {
        overlay.lookup(NodeId::ROOT, name(i).as_bytes()).unwrap().unwrap().node
    };
    for i in 0..FILES {
        let file = overlay.open(node(&overlay, i), append).unwrap();
        overlay.write(&file, b"end", SIZE as u64, false).unwrap();
        overlay.closed(&file);
    }
    overlay.settle_at_the_end(Duration::ZERO);
    let partial = |overlay: &Overlay, i| {
        let at = name(i);
        read_mark(overlay.own, Spot::at(overlay.anywhere(), at.as_bytes())).unwrap().is_some()
    };
    assert!((0..FILES).all(|i| partial(&overlay, i)));
    drop(overlay);
    let overlay = mounted(&options);
    for i in 0..FILES {
        let file = overlay.open(node(&overlay, i), OpenMode::default()).unwrap();
        let mut bytes = vec![0; SIZE + 10];
        assert_eq!(overlay.read(&file, &mut bytes, 0).unwrap(), SIZE + 3);
        assert!(bytes.starts_with(&vec![i as u8; SIZE]));
        assert_eq!(&bytes[SIZE..SIZE + 3], b"end");
    }
}
