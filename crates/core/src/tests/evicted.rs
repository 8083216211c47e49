//! A directory that is changed, and leaves the cache again, while another thread
//! has read its META and not entered it yet: what was read does not count.

use std::cell::RefCell;
use std::path::{Path, PathBuf};

use crate::interface::options::OpenOptions;
use crate::interface::types::NodeId;
use crate::reach::overlay::Overlay;
use crate::tests::mounted::mounted;

type Meanwhile = Box<dyn FnOnce(&Overlay) + Send>;

thread_local! {
    /// Happens once a directory was read, before it is entered.
    static MEANWHILE: RefCell<Option<Meanwhile>> = const { RefCell::new(None) };
}

/// A directory was read by this thread.
pub(crate) fn loaded(overlay: &Overlay) {
    if let Some(happens) = MEANWHILE.take() {
        // As another thread, which has other locks.
        std::thread::scope(|scope| scope.spawn(|| happens(overlay)).join()).unwrap();
    }
}

fn mount(dir: &Path) -> Overlay {
    let at = |name: &str| -> PathBuf { dir.join(name) };
    let (base, storage) = (at("base"), at("storage"));
    let options = OpenOptions { base, storage, ..OpenOptions::default() };
    mounted(&options)
}

fn node(overlay: &Overlay, parent: NodeId, name: &str) -> NodeId {
    overlay.lookup(parent, name.as_bytes()).unwrap().expect(name).node
}

#[test]
fn what_was_read_before_a_change_is_not_entered_after_it() {
    let dir = tempfile::TempDir::new().unwrap();
    for path in ["base/v", "storage"] {
        std::fs::create_dir_all(dir.path().join(path)).unwrap();
    }
    for name in ["f1", "f2", "f3"] {
        std::fs::write(dir.path().join("base/v").join(name), name).unwrap();
    }
    let overlay = mount(dir.path());
    let v = node(&overlay, NodeId::ROOT, "v");
    overlay.unlink(v, b"f1").unwrap();
    overlay.dirs.empty();
    MEANWHILE.set(Some(Box::new(move |overlay: &Overlay| {
        overlay.unlink(v, b"f3").unwrap();
        overlay.dirs.empty();
    })));
    // Reads META of v.
    assert!(overlay.lookup(v, b"absent").unwrap().is_none());
    assert!(MEANWHILE.take().is_none(), "v was in the cache");
    for (name, there) in [("f1", false), ("f2", true), ("f3", false)] {
        let found = overlay.lookup(v, name.as_bytes()).unwrap();
        assert_eq!(found.is_some(), there, "{name}");
    }
}
