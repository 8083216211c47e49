//! Many storages below the one that is written, each of which has changed the same file.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use mini_fo_core::{Attr, LayerOptions, NodeId, OpenMode, OpenOptions, Overlay, SetAttr};

/// More than what is copied whole in any case.
const SIZE: usize = 100_000;

/// A look that asks for each layer all those below it twice takes as many steps as there
/// are numbers of so many bits.
const LAYERS: u16 = 40;

fn attributes(overlay: &Overlay, names: &[&str]) -> BTreeMap<String, Attr> {
    let look = |name: &&str| {
        let entry = overlay.lookup(NodeId::ROOT, name.as_bytes()).unwrap().unwrap();
        overlay.forget(entry.node, 1);
        (name.to_string(), entry.attr)
    };
    names.iter().map(look).collect()
}

fn mount(layers: &[PathBuf], storage: &Path) -> Overlay {
    let layer = |path: &PathBuf| LayerOptions { path: path.clone(), dialect: None };
    let mut layers = layers.iter().map(layer);
    Overlay::assemble(&OpenOptions {
        base: layers.next().unwrap().path,
        under: layers.collect(),
        storage: storage.to_owned(),
        volatile: true,
        ..OpenOptions::default()
    })
    .unwrap()
}

/// Changes the mode of the first name in one storage after the other.
fn change_again_and_again(names: &'static [&'static str]) {
    let dir = tempfile::TempDir::new().unwrap();
    let base = dir.path().join("base");
    fs::create_dir(&base).unwrap();
    let data: Vec<u8> = (0..SIZE).map(|at| (at % 251) as u8).collect();
    fs::write(base.join(names[0]), &data).unwrap();
    names[1..].iter().for_each(|name| fs::hard_link(base.join(names[0]), base.join(name)).unwrap());
    fs::set_permissions(base.join(names[0]), PermissionsExt::from_mode(0o600)).unwrap();
    let mut layers = vec![base];
    let mut before = None;

    for turn in 0..LAYERS {
        let storage = dir.path().join(format!("storage{turn}"));
        fs::create_dir(&storage).unwrap();
        let overlay = mount(&layers, &storage);
        let shown = attributes(&overlay, names);
        assert!(before.is_none_or(|before| before == shown), "a checkpoint shows at {turn}");
        let node = overlay.lookup(NodeId::ROOT, names[0].as_bytes()).unwrap().unwrap().node;
        let mode = Some(0o600 | u32::from(turn % 8));
        overlay.setattr(node, &SetAttr { mode, ..SetAttr::default() }, None).unwrap();
        let file = overlay.open(node, OpenMode::default()).unwrap();
        let mut read = vec![0; SIZE + 1];
        let len = overlay.read(&file, &mut read, 0).unwrap();
        assert!(read[..len] == data, "the data at {turn}");
        drop(file);
        overlay.forget(node, 1);
        before = Some(attributes(&overlay, names));
        overlay.finish();
        layers.insert(0, storage);
    }
}

/// As a thread of the program, and not for ever.
fn in_time(work: impl FnOnce() + Send + 'static) {
    let (done, end) = mpsc::channel();
    std::thread::spawn(move || {
        work();
        done.send(()).unwrap();
    });
    // A panic ends it at once.
    end.recv_timeout(Duration::from_secs(120)).unwrap();
}

#[test]
fn a_file_without_data_of_its_own_in_every_layer() {
    in_time(|| change_again_and_again(&["f"]));
}

#[test]
fn one_with_several_names() {
    in_time(|| change_again_and_again(&["f", "g"]));
}
