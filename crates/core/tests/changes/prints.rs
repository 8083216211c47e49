//! What changes were made from: recorded at the first change of each entry, kept through
//! all later ones, and compared with the base as it is by then.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, SystemTime};

use mini_fo_core::{
    BaseChanges, BaseState, ChangeKind, ChangesOptions, FoundChange, Overlay, RenameMode,
};

use super::scene::{Scene, Tree};

/// A change, and whether the base is what it was.
pub type Found = (ChangeKind, Option<String>, BaseState);

/// By the path.
pub fn states(overlay: &Overlay) -> BTreeMap<String, Found> {
    let text = |path: &[u8]| String::from_utf8(path.to_vec()).unwrap();
    let mut all = BTreeMap::new();
    let options = ChangesOptions { all_links: true, ..ChangesOptions::default() };
    overlay
        .changes(&options, &mut |found| {
            match found {
                FoundChange::Change(change) => {
                    let state = change.base_state().unwrap();
                    all.insert(text(change.path), (change.kind, change.from.map(text), state));
                }
                FoundChange::Unread(unread) => panic!("{}: {}", text(unread.path), unread.errno),
            }
            true
        })
        .unwrap();
    all
}

fn state(scene: &Scene, path: &str) -> BaseState {
    states(&scene.at_rest()).get(path).unwrap_or_else(|| panic!("{path} is not told")).2
}

pub fn changed(change: impl FnOnce(&mut BaseChanges)) -> BaseState {
    let mut changes = BaseChanges::default();
    change(&mut changes);
    BaseState::Changed(changes)
}

pub fn set_time(path: &Path, sec: u64) {
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(sec);
    fs::File::open(path).unwrap().set_modified(time).unwrap();
}

fn all_kinds(tree: &Tree) {
    tree.write("d/f", b"new");
    tree.chmod("a", 0o600);
    tree.unlink("c");
    tree.rename("b", "moved", RenameMode::Replace);
    tree.unlink("link");
    tree.chmod("g", 0o700);
    tree.rename("dir", "away", RenameMode::Replace);
    tree.write("away/sub/x", b"X");
    tree.unlink("away/y");
    tree.rename("away/sub/z", "z", RenameMode::Replace);
    tree.chmod("large", 0o600);
    tree.write("many", b"all");
    tree.rename("e/1", "g/k", RenameMode::Replace);
}

#[test]
fn every_kind_of_change_knows_what_it_was_made_from() {
    let scene = Scene::new();
    let live = scene.live(|tree| {
        all_kinds(tree);
        states(&tree.0)
    });
    let rest = states(&scene.at_rest());
    assert_eq!(live, rest);
    for (path, (kind, _, state)) in &rest {
        assert_eq!(*state, BaseState::Same, "{kind:?} {path}");
    }
    let told: Vec<&str> = rest.keys().map(String::as_str).collect();
    let expected = [
        "a",
        "away",
        "away/sub/x",
        "away/y",
        "c",
        "d/f",
        "d/many",
        "dir/many",
        "e/1",
        "g",
        "g/k",
        "large",
        "link",
        "many",
        "moved",
        "z",
    ];
    let expected: Vec<&str> = expected
        .into_iter()
        .map(|path| if path == "dir/many" { "away/many" } else { path })
        .collect();
    let mut expected = expected;
    expected.sort_unstable();
    assert_eq!(told, expected);
}

#[test]
fn later_changes_do_not_touch_it() {
    let scene = Scene::new();
    scene.live(|tree| tree.chmod("d/f", 0o600));
    fs::write(scene.base.join("d/f"), "F OF D").unwrap();
    let edited = changed(|changes| changes.content = true);
    assert_eq!(state(&scene, "d/f"), edited);
    let acts: [&dyn Fn(&Tree); 6] = [
        &|tree| tree.write("d/f", b"later"),
        &|tree| tree.chmod("d/f", 0o644),
        &|tree| tree.unlink("d/f"),
        &|tree| tree.write("d/f", b"anew"),
        &|tree| tree.rename("a", "d/f", RenameMode::Replace),
        &|tree| tree.rename("d/f", "b", RenameMode::Exchange),
    ];
    for (n, act) in acts.into_iter().enumerate() {
        scene.live(act);
        assert_eq!(state(&scene, "d/f"), edited, "after {n}");
    }
    assert_eq!(state(&scene, "a"), BaseState::Same);
    assert_eq!(state(&scene, "b"), BaseState::Same);
}

#[test]
fn a_discarded_change_leaves_nothing() {
    let scene = Scene::new();
    let fresh = Scene::new();
    fresh.live(|_| ());
    scene.live(all_kinds);
    scene.live(|tree| drop(tree.0.discard_all().unwrap()));
    let lines = |scene: &Scene| {
        let meta = fs::read_to_string(scene.storage.join("META_dAfFgHE39ktF3HD2sr")).unwrap();
        meta.lines().filter(|line| line.starts_with("p ")).count()
    };
    assert_eq!((lines(&scene), lines(&fresh)), (0, 0));
    // The next change is made from what is there by then.
    fs::write(scene.base.join("d/f"), "F OF D").unwrap();
    scene.live(|tree| tree.chmod("d/f", 0o600));
    assert_eq!(state(&scene, "d/f"), BaseState::Same);
}

#[test]
fn what_has_changed_below_is_told() {
    let scene = Scene::new();
    scene.live(|tree| {
        all_kinds(tree);
        tree.remove_all("e");
    });
    let base = &scene.base;
    fs::write(base.join("d/f"), "longer than it was").unwrap();
    fs::set_permissions(base.join("a"), PermissionsExt::from_mode(0o711)).unwrap();
    fs::remove_file(base.join("c")).unwrap();
    fs::create_dir(base.join("c")).unwrap();
    fs::write(base.join("b"), "B").unwrap();
    fs::remove_file(base.join("link")).unwrap();
    symlink("b", base.join("link")).unwrap();
    fs::set_permissions(base.join("g"), PermissionsExt::from_mode(0o711)).unwrap();
    fs::remove_file(base.join("dir/sub/x")).unwrap();
    fs::write(base.join("dir/y"), "Y").unwrap();
    fs::write(base.join("dir/sub/z"), "Z").unwrap();
    fs::write(base.join("large"), vec![b'L'; 600_000]).unwrap();
    fs::write(base.join("e/more"), "more").unwrap();
    let found = states(&scene.at_rest());
    let state = |path: &str| found.get(path).unwrap_or_else(|| panic!("{path}: {found:#?}")).2;
    assert_eq!(state("d/f"), changed(|changes| changes.content = true));
    assert_eq!(state("a"), changed(|changes| changes.mode = true));
    assert_eq!(state("moved"), changed(|changes| changes.content = true));
    assert_eq!(state("g"), changed(|changes| changes.mode = true));
    assert_eq!(state("away"), BaseState::Same);
    assert_eq!(state("away/sub/x"), changed(|changes| changes.gone = true));
    // Neither was copied: of what was deleted nothing but the time tells it.
    for path in ["away/y", "large", "link", "e"] {
        assert_eq!(state(path), changed(|changes| changes.mtime = true), "{path}");
    }
    assert_eq!(state("z"), changed(|changes| changes.content = true));
    assert_eq!(state("c"), changed(|changes| changes.kind = true));
    assert_eq!(state("g/k"), BaseState::Same);
}

#[test]
fn the_same_content_with_another_time_is_the_same() {
    let scene = Scene::new();
    scene.live(|tree| {
        tree.chmod("d/f", 0o600);
        tree.unlink("c");
    });
    for path in ["d/f", "c"] {
        set_time(&scene.base.join(path), 1_600_000_000);
    }
    assert_eq!(state(&scene, "d/f"), BaseState::Same);
    // Nobody has read it.
    assert_eq!(state(&scene, "c"), changed(|changes| changes.mtime = true));
}

#[test]
fn of_earlier_versions_nothing_is_known() {
    let scene = Scene::new();
    scene.live(|tree| {
        tree.write("d/f", b"new");
        tree.unlink("c");
    });
    for dir in ["", "d"] {
        let meta = scene.storage.join(dir).join("META_dAfFgHE39ktF3HD2sr");
        let text = fs::read_to_string(&meta).unwrap();
        let old: String =
            text.lines().filter(|l| !l.starts_with("p ")).map(|l| format!("{l}\n")).collect();
        assert_ne!(old, text, "nothing was recorded in {dir:?}");
        fs::write(&meta, old).unwrap();
    }
    // What is changed again is not what the change was made from.
    scene.live(|tree| {
        tree.unlink("d/f");
        tree.write("c", b"again");
    });
    assert_eq!(state(&scene, "d/f"), BaseState::Unknown);
    assert_eq!(state(&scene, "c"), BaseState::Unknown);
}

#[test]
fn compacting_keeps_it() {
    let scene = Scene::new();
    scene.live(|tree| {
        tree.chmod("d/f", 0o600);
        // Lines that say nothing any more.
        for _ in 0..3000 {
            tree.rename("d/f", "d/g", RenameMode::Replace);
            tree.rename("d/g", "d/f", RenameMode::Replace);
        }
    });
    let meta = fs::metadata(scene.storage.join("d/META_dAfFgHE39ktF3HD2sr")).unwrap();
    assert!(meta.len() < 400_000, "it was not written anew: {}", meta.len());
    fs::write(scene.base.join("d/f"), "F OF D").unwrap();
    assert_eq!(state(&scene, "d/f"), changed(|changes| changes.content = true));
}
