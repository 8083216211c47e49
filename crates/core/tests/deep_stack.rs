//! Many storages below the one that is written, each of which has changed the same file.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, mpsc};
use std::time::Duration;

use mini_fo_core::{
    Attr, DialectName, LayerOptions, NodeId, OpenMode, OpenOptions, Overlay, SetAttr,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// A program that is started has the locks on all storages for a moment.
static ALONE: Mutex<()> = Mutex::new(());

/// More than what is copied whole in any case.
const SIZE: usize = 100_000;

/// A look that asks for each layer all those below it twice takes as many steps as there
/// are numbers of so many bits.
const LAYERS: u16 = 40;

/// As many as there can be.
const MOST: usize = 500;

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
    let _alone = ALONE.lock();
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

/// As a thread of the program, with as many descriptors as it takes, and not for ever.
fn in_time(work: impl FnOnce() + Send + 'static) {
    let most = getrlimit(Resource::Nofile).maximum;
    if most.is_some_and(|most| most < 10_000) {
        eprintln!("skipped: there may be only {most:?} descriptors");
        return;
    }
    setrlimit(Resource::Nofile, Rlimit { current: most, maximum: most }).unwrap();
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

/// Directories of each layer lead to what is below by two names, each of which does so
/// in its turn.
#[test]
fn redirects_that_lead_to_redirects() {
    let dir = tempfile::TempDir::new().unwrap();
    let (storage, mut layers) = (dir.path().join("storage"), Vec::new());
    fs::create_dir(&storage).unwrap();
    for number in 0..MOST {
        let layer = dir.path().join(format!("layer{number}"));
        fs::create_dir_all(layer.join("a/a")).unwrap();
        fs::write(layer.join("a/a").join(format!("file{number}")), "").unwrap();
        for path in ["a", "a/a"] {
            let (name, to) = ("user.overlay.redirect", b"/a/a");
            let flags = rustix::fs::XattrFlags::empty();
            if rustix::fs::setxattr(layer.join(path), name, to, flags).is_err() {
                eprintln!("skipped: no user attributes on this file system");
                return;
            }
        }
        layers.push(layer);
    }
    in_time(move || {
        let dialect = Some(DialectName::OverlayUser);
        let mut layers = layers.into_iter().map(|path| LayerOptions { path, dialect });
        let overlay = Overlay::assemble(&OpenOptions {
            base: layers.next().unwrap().path,
            dialect,
            under: layers.collect(),
            storage,
            ..OpenOptions::default()
        })
        .unwrap();
        let top = overlay.lookup(NodeId::ROOT, b"a").unwrap().unwrap();
        let below = overlay.lookup(top.node, b"a").unwrap().unwrap();
        for number in 0..MOST {
            // Of the uppermost only what lies in its own directory shows in both.
            let name = format!("file{number}");
            let found = overlay.lookup(top.node, name.as_bytes()).unwrap();
            assert_eq!(found.is_some(), number > 0, "{name}");
            let found = overlay.lookup(below.node, name.as_bytes()).unwrap();
            assert!(found.is_some(), "{name}");
        }
        drop(dir);
    });
}

/// A copy of a storage on itself says the same: attributes, and where the data is.
#[test]
fn a_file_without_data_of_its_own_in_as_many_layers_as_there_can_be() {
    let _alone = ALONE.lock();
    let dir = tempfile::TempDir::new().unwrap();
    let [base, first, top] = ["base", "first", "top"].map(|name| dir.path().join(name));
    [&base, &first, &top].iter().for_each(|path| fs::create_dir(path).unwrap());
    let data: Vec<u8> = (0..SIZE).map(|at| (at % 251) as u8).collect();
    fs::write(base.join("f"), &data).unwrap();
    let overlay = mount(std::slice::from_ref(&base), &first);
    let node = overlay.lookup(NodeId::ROOT, b"f").unwrap().unwrap().node;
    let mode = Some(0o4711);
    overlay.setattr(node, &SetAttr { mode, ..SetAttr::default() }, None).unwrap();
    overlay.forget(node, 1);
    overlay.finish();
    drop(overlay);
    let mut layers = vec![base];
    for number in 1..MOST {
        let layer = dir.path().join(format!("layer{number}"));
        let done = std::process::Command::new("cp").arg("-a").args([&first, &layer]).status();
        assert!(done.unwrap().success());
        layers.insert(0, layer);
    }
    in_time(move || {
        let overlay = mount(&layers, &top);
        let entry = overlay.lookup(NodeId::ROOT, b"f").unwrap().unwrap();
        assert_eq!((entry.attr.mode & 0o7777, entry.attr.size), (0o4711, SIZE as u64));
        let file = overlay.open(entry.node, OpenMode::default()).unwrap();
        let mut read = vec![0; SIZE + 1];
        let len = overlay.read(&file, &mut read, 0).unwrap();
        assert!(read[..len] == data);
        drop(dir);
    });
}
