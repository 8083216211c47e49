//! Several actors at once, each checked against a model: what they do
//! commutes, so the end is the one of any order.

use std::collections::BTreeMap;
use std::sync::Arc;

use mini_fo_core::{Entry, MetaName, NodeId, OpenMode, Overlay, RenameMode, SetAttr};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use super::driver::{Driver, caller, mount};
use super::naive::Naive;
use super::ops::{self, Op};
use super::{drive, reader, tree};

const ACTORS: u64 = 4;
const ROUNDS: u64 = 6;
const OPS: usize = 400;
const MESSAGES: u64 = 40;
const NAMES: u64 = 8;

fn entry(overlay: &Overlay, above: NodeId, name: &[u8]) -> Entry {
    overlay.lookup(above, name).unwrap().unwrap_or_else(|| panic!("{name:?} is gone"))
}

fn content(overlay: &Overlay, node: NodeId) -> Vec<u8> {
    let file = overlay.open(node, OpenMode::default()).unwrap();
    let mut content = vec![0; 4096];
    let len = overlay.read(&file, &mut content, 0).unwrap();
    content.truncate(len);
    content
}

/// Makes files at home and moves them to the neighbour, one after the other;
/// the last one that arrives under a name stays.
fn send(overlay: &Overlay, home: NodeId, inbox: NodeId, from: u64) {
    let open = OpenMode { write: true, ..OpenMode::default() };
    for n in 0..MESSAGES {
        let text = format!("{from} {n}").into_bytes();
        let (made, file) = overlay.create(&caller(), home, b"a message", 0o600, open).unwrap();
        overlay.write(&file, &text, 0, false).unwrap();
        let name = format!("{from} {}", n % 7).into_bytes();
        overlay.rename(home, b"a message", inbox, &name, RenameMode::Replace).unwrap();
        overlay.forget(made.node, 1);
    }
}

/// What the inboxes hold in the end, whatever the order was.
fn check_inboxes(overlay: &Overlay) {
    for owner in 0..ACTORS {
        let inbox = entry(overlay, NodeId::ROOT, format!("inbox {owner}").as_bytes());
        let from = (owner + 1) % ACTORS;
        for slot in 0..7 {
            let last = (0..MESSAGES).rev().find(|n| n % 7 == slot).unwrap();
            let found = entry(overlay, inbox.node, format!("{from} {slot}").as_bytes());
            assert_eq!(content(overlay, found.node), format!("{from} {last}").into_bytes());
            overlay.forget(found.node, 1);
        }
        overlay.forget(inbox.node, 1);
    }
}

/// Random operations in a directory of its own, each compared with the model,
/// while the others do the same, and renames cross between them.
fn one_round(round: u64, runner: &mut TestRunner) {
    let work = tempfile::tempdir().unwrap();
    let (base, storage) = (work.path().join("base"), work.path().join("storage"));
    std::fs::create_dir(&base).unwrap();
    std::fs::create_dir(&storage).unwrap();
    let strategy = prop::collection::vec(ops::any_op(), OPS);
    let mut plans: Vec<(Naive, Vec<Op>)> = Vec::new();
    for actor in 0..ACTORS {
        let mut model = Naive::new();
        let seed = if round.is_multiple_of(2) { 0 } else { round * ACTORS + actor };
        tree::make_base(&base.join(format!("home {actor}")), &mut model, seed);
        std::fs::create_dir(base.join(format!("inbox {actor}"))).unwrap();
        std::fs::create_dir(base.join(format!("desk {actor}"))).unwrap();
        plans.push((model, strategy.new_tree(runner).unwrap().current()));
    }
    let before = tree::snapshot(&base);
    let overlay = mount(&base, &storage);
    std::thread::scope(|scope| {
        for (actor, (model, ops)) in (0..).zip(plans) {
            let overlay = &overlay;
            let find = |what: &str, actor: u64| {
                entry(overlay, NodeId::ROOT, format!("{what} {actor}").as_bytes()).node
            };
            let home = find("home", actor);
            let (desk, inbox) = (find("desk", actor), find("inbox", (actor + ACTORS - 1) % ACTORS));
            scope.spawn(move || {
                let mut driver = Driver::below(Arc::clone(overlay), home, model);
                drive(&mut driver, &ops).unwrap_or_else(|what| panic!("actor {actor}: {what}"));
                driver.finish().unwrap();
                overlay.forget(home, 1);
            });
            scope.spawn(move || {
                send(overlay, desk, inbox, actor);
                overlay.forget(desk, 1);
                overlay.forget(inbox, 1);
            });
        }
    });
    check_inboxes(&overlay);
    assert_eq!(overlay.known_nodes(), 1, "every reference was given back");
    drop(overlay);
    check_inboxes(&mount(&base, &storage));
    assert_eq!(before, tree::snapshot(&base), "the base");
}

#[test]
fn actors_in_directories_of_their_own_do_not_feel_each_other() {
    let mut runner = super::runner();
    for round in 0..ROUNDS {
        one_round(round, &mut runner);
    }
}

/// What an actor does to a file that all share, by a name of its own.
fn share(overlay: &Overlay, actor: u64) {
    let name = format!("name {actor}").into_bytes();
    let found = entry(overlay, NodeId::ROOT, &name);
    let reading = overlay.open(found.node, OpenMode::default()).unwrap();
    let open = OpenMode { write: true, ..OpenMode::default() };
    let file = overlay.open(found.node, open).unwrap();
    let at = actor * 100;
    for n in 0..100 {
        assert_eq!(overlay.write(&file, &[b'0' + actor as u8], at + n, false), Ok(1));
        let mut own = [0; 1];
        overlay.read(&reading, &mut own, at + n).unwrap();
        assert_eq!(own, [b'0' + actor as u8], "what was written, by the older handle");
        let set = SetAttr { mode: Some(0o640), ..SetAttr::default() };
        overlay.setattr(found.node, &set, None).unwrap();
    }
    overlay.setxattr(found.node, format!("user.{actor}").as_bytes(), &name, 0).unwrap();
    if actor.is_multiple_of(3) {
        let to = format!("moved {actor}").into_bytes();
        overlay.rename(NodeId::ROOT, &name, NodeId::ROOT, &to, RenameMode::Replace).unwrap();
    } else if actor % 3 == 1 {
        overlay.unlink(NodeId::ROOT, &name).unwrap();
    } else {
        let linked = overlay.link(found.node, NodeId::ROOT, format!("more {actor}").as_bytes());
        overlay.forget(linked.unwrap().node, 1);
    }
    overlay.forget(found.node, 1);
}

fn check_shared(overlay: &Overlay, ino: u64) {
    let mut expected = BTreeMap::new();
    for actor in 0..NAMES {
        match actor % 3 {
            0 => drop(expected.insert(format!("moved {actor}"), ())),
            1 => {}
            _ => {
                expected.insert(format!("name {actor}"), ());
                expected.insert(format!("more {actor}"), ());
            }
        }
    }
    let text: Vec<u8> = (0..NAMES).flat_map(|actor| vec![b'0' + actor as u8; 100]).collect();
    for name in expected.keys() {
        let found = entry(overlay, NodeId::ROOT, name.as_bytes());
        assert_eq!(found.attr.ino, ino, "{name}");
        assert_eq!(found.attr.nlink as usize, expected.len(), "{name}");
        assert_eq!(found.attr.mode & 0o7777, 0o640, "{name}");
        assert_eq!(content(overlay, found.node), text, "{name}");
        for actor in 0..NAMES {
            let mut value = [0; 100];
            let attr = format!("user.{actor}");
            let len = overlay.getxattr(found.node, attr.as_bytes(), &mut value).unwrap();
            assert_eq!(&value[..len], format!("name {actor}").as_bytes());
        }
        overlay.forget(found.node, 1);
    }
    for actor in (0..NAMES).filter(|actor| actor % 3 != 2) {
        let gone = overlay.lookup(NodeId::ROOT, format!("name {actor}").as_bytes());
        assert_eq!(gone, Ok(None));
    }
}

#[test]
fn a_hard_linked_base_file_changed_by_all_its_names_at_once() {
    use std::os::unix::fs::MetadataExt;
    for _ in 0..20 {
        let work = tempfile::tempdir().unwrap();
        let (base, storage) = (work.path().join("base"), work.path().join("storage"));
        std::fs::create_dir(&base).unwrap();
        std::fs::create_dir(&storage).unwrap();
        std::fs::write(base.join("name 0"), vec![b'-'; 100 * NAMES as usize]).unwrap();
        for actor in 1..NAMES {
            std::fs::hard_link(base.join("name 0"), base.join(format!("name {actor}"))).unwrap();
        }
        let ino = base.join("name 0").metadata().unwrap().ino();
        let before = tree::snapshot(&base);
        let overlay = mount(&base, &storage);
        std::thread::scope(|scope| {
            for actor in 0..NAMES {
                let overlay = &overlay;
                scope.spawn(move || share(overlay, actor));
            }
        });
        check_shared(&overlay, ino);
        assert_eq!(overlay.known_nodes(), 1, "every reference was given back");
        drop(overlay);
        check_shared(&mount(&base, &storage), ino);
        assert_eq!(before, tree::snapshot(&base), "the base");
        let read = reader::read(&base, &storage, MetaName::DEFAULT.as_str());
        assert!(read.values().all(|object| object.ino == ino), "by the format: {read:?}");
    }
}
