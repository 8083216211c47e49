//! A base of which all objects show one number: as if the hash of numbers were
//! the worst there can be. Nothing may depend on it being better.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::format::identity::alike;
use crate::interface::options::OpenOptions;
use crate::interface::types::{NodeId, OpenMode, RenameMode, SetAttr};
use crate::reach::overlay::Overlay;
use crate::tests::mounted::mounted;

struct Scene {
    _dir: tempfile::TempDir,
    base: PathBuf,
    storage: PathBuf,
}

impl Scene {
    /// Files `a` to `d` under two names each and one with a single one, in the
    /// root and in a directory.
    fn new() -> Scene {
        alike::ARE.set(true);
        let dir = tempfile::TempDir::new().unwrap();
        let (base, storage) = (dir.path().join("base"), dir.path().join("storage"));
        std::fs::create_dir_all(base.join("dir")).unwrap();
        std::fs::create_dir(&storage).unwrap();
        for below in [base.clone(), base.join("dir")] {
            for name in ["a", "b", "c", "d"] {
                let path = below.join(name);
                std::fs::write(&path, name.repeat(3)).unwrap();
                std::fs::hard_link(&path, below.join(format!("{name}2"))).unwrap();
            }
            std::fs::write(below.join("single"), "one").unwrap();
        }
        Scene { _dir: dir, base, storage }
    }

    fn mount(&self) -> Overlay {
        let (base, storage) = (self.base.clone(), self.storage.clone());
        let options = OpenOptions { base, storage, ..OpenOptions::default() };
        mounted(&options)
    }

    fn mount_again(&self, overlay: Overlay) -> Overlay {
        drop(overlay);
        self.mount()
    }
}

fn node(overlay: &Overlay, path: &str) -> NodeId {
    let step = |at, name: &str| overlay.lookup(at, name.as_bytes()).unwrap().expect(path).node;
    path.split('/').fold(NodeId::ROOT, step)
}

fn read(overlay: &Overlay, path: &str) -> String {
    let file = overlay.open(node(overlay, path), OpenMode::default()).unwrap();
    let mut bytes = [0; 100];
    let length = overlay.read(&file, &mut bytes, 0).unwrap();
    String::from_utf8_lossy(&bytes[..length]).into_owned()
}

fn write(overlay: &Overlay, path: &str, text: &str) {
    let open = OpenMode { write: true, truncate: true, ..OpenMode::default() };
    let file = overlay.open(node(overlay, path), open).unwrap();
    overlay.write(&file, text.as_bytes(), 0, false).unwrap();
}

fn check(overlay: &Overlay, expected: &BTreeMap<String, String>) {
    for (path, text) in expected {
        assert_eq!(read(overlay, path), *text, "{path}");
    }
    let mut nodes: BTreeMap<NodeId, &str> = BTreeMap::new();
    for (path, text) in expected {
        let known = nodes.entry(node(overlay, path)).or_insert(text);
        assert_eq!(*known, text, "{path} shares a node with another object");
    }
    let mut contents: Vec<_> = expected.values().collect();
    contents.sort();
    contents.dedup();
    assert_eq!(nodes.len(), contents.len(), "hard links fell apart");
}

fn all(base: &Path) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    for (below, more) in [("", ""), ("dir/", "in dir")] {
        for name in ["a", "b", "c", "d", "a2", "b2", "c2", "d2"] {
            let path = format!("{below}{name}");
            let text = format!("{}{more}", &name[..1].repeat(3));
            std::fs::write(base.join(&path), &text).unwrap();
            all.insert(path, text);
        }
        std::fs::write(base.join(below).join("single"), format!("one{more}")).unwrap();
        all.insert(format!("{below}single"), format!("one{more}"));
    }
    all
}

#[test]
fn objects_with_one_number_stay_themselves() {
    let scene = Scene::new();
    let mut expected = all(&scene.base);
    let mut overlay = scene.mount();
    for round in 0..3 {
        check(&overlay, &expected);
        // From the other end: whoever comes first has the number as its id.
        overlay = scene.mount_again(overlay);
        for path in expected.keys().rev() {
            assert_eq!(read(&overlay, path), expected[path]);
        }
        check(&overlay, &expected);
        for names in [["a", "a2"], ["dir/b", "dir/b2"], ["c", "c2"]] {
            let text = format!("{} {round}", names[0]);
            write(&overlay, names[round % 2], &text);
            for name in names {
                expected.insert(name.into(), text.clone());
            }
        }
        check(&overlay, &expected);
    }
}

#[test]
fn changes_of_names_hit_the_right_one_of_objects_with_one_number() {
    let scene = Scene::new();
    let mut expected = all(&scene.base);
    let overlay = scene.mount();
    for name in ["a", "b2", "dir/c"] {
        write(&overlay, name, &format!("new {name}"));
        let stem = name.trim_end_matches('2');
        for path in [stem.to_owned(), format!("{stem}2")] {
            expected.insert(path, format!("new {name}"));
        }
    }
    let dir = node(&overlay, "dir");
    for name in ["a", "d2"] {
        let to = format!("moved {name}");
        let mode = RenameMode::NoReplace;
        overlay.rename(NodeId::ROOT, name.as_bytes(), dir, to.as_bytes(), mode).unwrap();
        let text = expected.remove(name).unwrap();
        expected.insert(format!("dir/{to}"), text);
    }
    overlay.link(node(&overlay, "c"), dir, b"linked").unwrap();
    expected.insert("dir/linked".into(), expected["c"].clone());
    overlay.unlink(NodeId::ROOT, b"b").unwrap();
    expected.remove("b");
    overlay.rename(dir, b"single", NodeId::ROOT, b"single", RenameMode::Replace).unwrap();
    expected.insert("single".into(), expected["dir/single"].clone());
    expected.remove("dir/single");
    let mode = SetAttr { mode: Some(0o600), ..SetAttr::default() };
    overlay.setattr(node(&overlay, "dir/d"), &mode, None).unwrap();
    check(&overlay, &expected);
    let overlay = scene.mount_again(overlay);
    check(&overlay, &expected);
    for path in ["dir/moved a", "b2", "dir/linked", "dir/c2", "d"] {
        write(&overlay, path, &format!("last {path}"));
        let before = expected[path].clone();
        for text in expected.values_mut().filter(|text| **text == before) {
            *text = format!("last {path}");
        }
        check(&overlay, &expected);
    }
    let overlay = scene.mount_again(overlay);
    check(&overlay, &expected);
    assert_eq!(overlay.getattr(node(&overlay, "dir/d2")).unwrap().mode & 0o777, 0o600);
}
