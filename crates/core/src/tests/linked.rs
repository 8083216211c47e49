//! Hard links in a storage that was copied, and on a base that was made anew: one
//! node for all names, whatever number each of them shows.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::interface::options::OpenOptions;
use crate::interface::types::{NodeId, OpenMode, RenameMode};
use crate::reach::overlay::Overlay;
use crate::tests::mounted::mounted;

/// Large enough to be left in the base, in part.
const SIZE: usize = 1 << 20;

struct Scene(tempfile::TempDir);

impl Scene {
    fn new() -> Scene {
        let scene = Scene(tempfile::TempDir::new().unwrap());
        std::fs::create_dir(scene.at("base")).unwrap();
        std::fs::create_dir(scene.at("storage")).unwrap();
        std::fs::write(scene.at("base/f"), vec![b'b'; SIZE]).unwrap();
        scene
    }

    fn at(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    fn mount(&self) -> Overlay {
        let (base, storage) = (self.at("base"), self.at("storage"));
        let accept_other_base = true;
        let blocks_from = Some(0);
        let default = OpenOptions::default();
        let options = OpenOptions { base, storage, accept_other_base, blocks_from, ..default };
        mounted(&options)
    }

    /// All objects in it are others, with the same attributes.
    fn copy(&self, dir: &str) {
        let (from, to) = (self.at(dir), self.at("copy"));
        let copied = Command::new("cp").arg("-a").args([&from, &to]).status().unwrap();
        assert!(copied.success());
        let number = |path: &Path| std::fs::metadata(path).unwrap().ino();
        assert_ne!(number(&from.join("f")), number(&to.join("f")));
        std::fs::rename(&from, self.at("old")).unwrap();
        std::fs::rename(&to, &from).unwrap();
        std::fs::remove_dir_all(self.at("old")).unwrap();
    }
}

fn node(overlay: &Overlay, name: &str) -> NodeId {
    overlay.lookup(NodeId::ROOT, name.as_bytes()).unwrap().expect(name).node
}

fn write(overlay: &Overlay, name: &str, text: &[u8], at: u64) {
    let mode = OpenMode { write: true, ..OpenMode::default() };
    let file = overlay.open(node(overlay, name), mode).unwrap();
    overlay.write(&file, text, at, false).unwrap();
    overlay.fsync(&file, false).unwrap();
}

fn is(overlay: &Overlay, name: &str, expected: &[u8]) {
    let file = overlay.open(node(overlay, name), OpenMode::default()).unwrap();
    let mut bytes = vec![0; SIZE];
    let mut length = 0;
    while length < SIZE {
        let got = overlay.read(&file, &mut bytes[length..], length as u64).unwrap();
        assert_ne!(got, 0);
        length += got;
    }
    assert!(bytes == expected, "{name} has other data");
}

/// One object under both names.
fn are_one(overlay: &Overlay, [a, b]: [&str; 2]) {
    let [left, right] =
        [a, b].map(|name| overlay.lookup(NodeId::ROOT, name.as_bytes()).unwrap().expect(name));
    assert_eq!(left.node, right.node, "{a} and {b} fell apart");
    assert_eq!(left.attr.ino, right.attr.ino);
}

/// Writes by both names, of which the first is looked up first.
fn written(scene: &Scene, names: [&str; 2]) {
    let mut expected = vec![b'b'; SIZE];
    expected[0] = b'X';
    expected[9000..9002].copy_from_slice(b"YY");
    let overlay = scene.mount();
    write(&overlay, names[0], b"X", 0);
    write(&overlay, names[1], b"YY", 9000);
    are_one(&overlay, names);
    // rename(2) of one object onto itself does nothing.
    let [from, to] = names.map(str::as_bytes);
    overlay.rename(NodeId::ROOT, from, NodeId::ROOT, to, RenameMode::Replace).unwrap();
    names.iter().for_each(|name| is(&overlay, name, &expected));
    overlay.finish();
    drop(overlay);
    let overlay = scene.mount();
    are_one(&overlay, names);
    names.iter().for_each(|name| is(&overlay, name, &expected));
}

fn each_order(prepare: impl Fn(&Scene), copied: &str) {
    for names in [["f", "g"], ["g", "f"]] {
        let scene = Scene::new();
        prepare(&scene);
        scene.copy(copied);
        written(&scene, names);
    }
}

fn linked(scene: &Scene) {
    let overlay = scene.mount();
    overlay.link(node(&overlay, "f"), NodeId::ROOT, b"g").unwrap();
    overlay.finish();
}

/// `f` has a second name in the base already, which is moved.
fn moved(scene: &Scene) {
    std::fs::hard_link(scene.at("base/f"), scene.at("base/f2")).unwrap();
    let overlay = scene.mount();
    overlay.rename(NodeId::ROOT, b"f2", NodeId::ROOT, b"g", RenameMode::Replace).unwrap();
    let entry = overlay.lookup(NodeId::ROOT, b"f").unwrap().unwrap();
    assert_eq!((entry.node, entry.attr.nlink), (node(&overlay, "g"), 2));
    // So that both have an entry.
    overlay.rename(NodeId::ROOT, b"f", NodeId::ROOT, b"h", RenameMode::Replace).unwrap();
    overlay.rename(NodeId::ROOT, b"h", NodeId::ROOT, b"f", RenameMode::Replace).unwrap();
    overlay.finish();
}

#[test]
fn links_of_a_copied_storage() {
    each_order(linked, "storage");
}

#[test]
fn links_of_the_base_in_a_copied_storage() {
    each_order(moved, "storage");
}

#[test]
fn links_on_a_base_that_was_made_anew() {
    each_order(linked, "base");
    each_order(moved, "base");
}
