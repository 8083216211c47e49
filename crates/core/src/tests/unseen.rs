//! Changes of a directory that programs must not see, beside others that they make.

use std::path::PathBuf;
use std::time::Duration;

use crate::format::time::Timestamp;
use crate::interface::options::OpenOptions;
use crate::interface::types::{NodeId, SetAttr, SetTime};
use crate::reach::overlay::Overlay;
use crate::sys::{self, Within};
use crate::tests::mounted::mounted;

struct Scene {
    _dir: tempfile::TempDir,
    overlay: Overlay,
    node: NodeId,
}

/// A directory `d` that was copied up.
fn scene() -> Scene {
    let dir = tempfile::TempDir::new().unwrap();
    let [base, storage]: [PathBuf; 2] = ["base", "storage"].map(|name| dir.path().join(name));
    std::fs::create_dir_all(base.join("d")).unwrap();
    std::fs::create_dir(&storage).unwrap();
    let options = OpenOptions { base, storage, ..OpenOptions::default() };
    let overlay = mounted(&options);
    let node = overlay.lookup(NodeId::ROOT, b"d").unwrap().unwrap().node;
    let mode = SetAttr { mode: Some(0o750), ..SetAttr::default() };
    overlay.setattr(node, &mode, None).unwrap();
    Scene { _dir: dir, overlay, node }
}

impl Scene {
    /// Lets a program set attributes in the middle of a change that it must not see.
    fn set_amid(&self, node: NodeId, attributes: &SetAttr) {
        let dir = self.overlay.dir(&self.overlay.node(node).unwrap()).unwrap();
        let edit = dir.edit();
        std::thread::scope(|scope| {
            let change = |storage: Within<'_>| {
                let program = scope.spawn(|| self.overlay.setattr(node, attributes, None).unwrap());
                let name = b"META_dAfFgHE39ktF3HD2sr.test";
                drop(sys::create_private(storage, name)?);
                sys::unlink(storage, name, rustix::fs::AtFlags::empty())?;
                // It is done, or waits.
                (0..20).take_while(|_| !program.is_finished()).for_each(|_| {
                    std::thread::sleep(Duration::from_millis(10));
                });
                Ok(())
            };
            edit.unseen(change, |()| Vec::new()).unwrap();
        });
    }
}

#[test]
fn times_that_a_program_sets_meanwhile_stay() {
    let scene = scene();
    let time = Timestamp { sec: 1_000_000, nsec: 7 };
    for node in [scene.node, NodeId::ROOT] {
        let ctime = scene.overlay.getattr(node).unwrap().ctime;
        scene.set_amid(node, &SetAttr { mtime: Some(SetTime::At(time)), ..SetAttr::default() });
        let attr = scene.overlay.getattr(node).unwrap();
        assert_eq!(attr.mtime, time);
        assert!(attr.ctime > ctime, "the change shows");
    }
}
