//! Nothing is done by a node that the kernel has forgotten: its name may have
//! become another object's.

use std::cell::RefCell;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use mini_fo_core::{Caller, NodeId, OpenFile, OpenMode, OpenOptions, Overlay, RenameMode, SetAttr};
use tempfile::TempDir;

const WRITING: OpenMode = OpenMode {
    write: true,
    truncate: false,
    append: false,
    at_end: false,
    idle: false,
    no_access_time: false,
    direct: false,
    kill_suid_sgid: false,
};

const APPENDING: OpenMode = OpenMode { append: true, ..WRITING };

struct Scene {
    options: OpenOptions,
    overlay: Overlay,
    /// What the kernel was told, and has to forget.
    told: RefCell<Vec<NodeId>>,
    _dir: TempDir,
}

impl Scene {
    /// `d/a`, `d/b` and more in the base, of 200,000 bytes each.
    fn new(blocks_from: Option<u64>) -> Scene {
        let dir = TempDir::new().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let (base, storage) = (root.join("base"), root.join("storage"));
        fs::create_dir_all(base.join("d")).unwrap();
        fs::create_dir(&storage).unwrap();
        for name in ["a", "b"] {
            fs::write(base.join("d").join(name), vec![name.as_bytes()[0]; 200_000]).unwrap();
        }
        let options = OpenOptions { base, storage, blocks_from, ..OpenOptions::default() };
        let overlay = Overlay::assemble(&options).unwrap();
        Scene { options, overlay, told: RefCell::default(), _dir: dir }
    }

    fn find(&self, path: &str) -> NodeId {
        let mut node = NodeId::ROOT;
        for name in path.split('/') {
            node = self.overlay.lookup(node, name.as_bytes()).unwrap().unwrap().node;
            self.told.borrow_mut().push(node);
        }
        node
    }

    fn rename(&self, from: &str, to: &str) {
        let (parent, new_parent) = (self.parent(from), self.parent(to));
        let name = |path: &str| path.rsplit('/').next().unwrap().as_bytes().to_vec();
        let mode = RenameMode::Replace;
        self.overlay.rename(parent, &name(from), new_parent, &name(to), mode).unwrap();
    }

    fn parent(&self, path: &str) -> NodeId {
        path.rsplit_once('/').map_or(NodeId::ROOT, |(dir, _)| self.find(dir))
    }

    fn write(&self, path: &str, mode: OpenMode, data: &[u8], offset: u64) -> Arc<OpenFile> {
        let file = self.overlay.open(self.find(path), mode).unwrap();
        assert_eq!(self.overlay.write(&file, data, offset, false), Ok(data.len()));
        self.overlay.fsync(&file, false).unwrap();
        file
    }

    fn create(&self, path: &str, data: &[u8]) {
        let caller = Caller { uid: 0, gid: 0, umask: 0 };
        let name = path.rsplit('/').next().unwrap().as_bytes();
        let made = self.overlay.create(&caller, self.parent(path), name, 0o644, WRITING);
        let (entry, file) = made.unwrap();
        self.told.borrow_mut().push(entry.node);
        assert_eq!(self.overlay.write(&file, data, 0, false), Ok(data.len()));
    }

    /// The kernel closes a file and drops all it knows.
    fn close_and_forget(&self, file: Arc<OpenFile>) {
        self.overlay.closed(&file);
        drop(file);
        self.told.take().into_iter().for_each(|node| self.overlay.forget(node, 1));
    }

    fn check(self, expected: &[(&str, Vec<u8>)]) {
        let check = |overlay: &Overlay| {
            for (path, data) in expected {
                let mut node = NodeId::ROOT;
                for name in path.split('/') {
                    node = overlay.lookup(node, name.as_bytes()).unwrap().expect(path).node;
                }
                let file = overlay.open(node, OpenMode::default()).unwrap();
                let mut got = vec![0; data.len() + 1];
                let len = overlay.read(&file, &mut got, 0).unwrap();
                assert!(got[..len] == **data, "{path}");
            }
        };
        check(&self.overlay);
        self.overlay.finish();
        let Scene { options, overlay, told: _, _dir } = self;
        drop(overlay);
        let overlay = Overlay::assemble(&options).unwrap();
        check(&overlay);
    }
}

fn in_part(storage: &Path) -> bool {
    let space = if rustix::process::geteuid().is_root() { "trusted" } else { "user" };
    let name = format!("{space}.mini_fo.partial");
    rustix::fs::getxattr(storage, name, &mut [0; 4096]).is_ok()
}

#[test]
fn a_closed_file_is_settled_under_the_name_that_it_has_then() {
    let s = Scene::new(Some(0));
    let file = s.write("d/a", WRITING, b"changed", 100_000);
    if !in_part(&s.options.storage.join("d/a")) {
        eprintln!("skipped: no partial files here");
        return;
    }
    s.close_and_forget(file);
    s.rename("d/a", "kept");
    s.rename("d/b", "d/a");
    s.overlay.settle_closed();
    let mut kept = vec![b'a'; 200_000];
    kept[100_000..100_007].copy_from_slice(b"changed");
    s.check(&[("kept", kept), ("d/a", vec![b'b'; 200_000])]);
}

#[test]
fn a_rotated_log_is_settled_under_its_new_name() {
    let s = Scene::new(None);
    let file = s.write("d/a", APPENDING, b"line\n", 0);
    s.close_and_forget(file);
    s.rename("d/a", "d/a.1");
    s.create("d/a", b"a new log\n");
    s.overlay.settle_closed();
    let log = [&[b'a'; 200_000][..], b"line\n"].concat();
    s.check(&[("d/a.1", log), ("d/a", b"a new log\n".to_vec())]);
}

#[test]
fn a_file_is_settled_where_its_directory_was_moved() {
    let s = Scene::new(Some(0));
    let file = s.write("d/a", WRITING, b"changed", 0);
    s.close_and_forget(file);
    s.rename("d", "e");
    let caller = Caller { uid: 0, gid: 0, umask: 0 };
    s.overlay.mkdir(&caller, NodeId::ROOT, b"d", 0o755).unwrap();
    s.create("d/a", b"another\n");
    s.overlay.settle_closed();
    let mut moved = vec![b'a'; 200_000];
    moved[..7].copy_from_slice(b"changed");
    s.check(&[("e/a", moved), ("d/a", b"another\n".to_vec())]);
}

/// Once all is settled, nothing keeps a node.
#[test]
fn what_was_settled_is_forgotten() {
    let s = Scene::new(Some(0));
    let file = s.write("d/a", WRITING, b"changed", 0);
    s.close_and_forget(file);
    s.overlay.settle_closed();
    assert_eq!(s.overlay.known_nodes(), 1);
    let changes = SetAttr { mode: Some(0o600), ..SetAttr::default() };
    s.overlay.setattr(s.find("d/a"), &changes, None).unwrap();
}
