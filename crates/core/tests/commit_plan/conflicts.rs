//! A base that is no longer what changes were made from, and what keeps a commit from being
//! done at all.

use std::fs;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use mini_fo_core::{Change, CommitFate, CommitRefusal, CommitSide, CommitWish, RenameMode};
use rustix::fs::IFlags;

use super::scene::{Scene, Tree};
use super::trial::{By, Trial, fates, text, writing};

/// Changes of the storage, then of the base, which has other times by then.
fn scene(act: impl Fn(&Tree), base: impl Fn(&Scene)) -> Scene {
    let scene = Scene::new();
    scene.live(|tree| act(tree));
    // Times of files go on in steps of the kernel's clock.
    sleep(Duration::from_millis(20));
    base(&scene);
    scene
}

fn all(_: &Change<'_>) -> CommitWish {
    CommitWish::Goes
}

/// The paths that are in conflict.
fn conflicts(scene: &Scene) -> Vec<String> {
    let plan = writing(scene).plan_commit(CommitSide::Neither, &mut all).unwrap();
    let conflict = |fate| matches!(fate, CommitFate::Conflict(_));
    let found = plan.entries.iter().filter(|entry| conflict(entry.fate));
    let found: Vec<String> = found.map(|entry| text(&entry.path)).collect();
    assert_eq!(plan.has_conflicts(), !found.is_empty());
    assert_eq!(plan.program().steps.is_empty(), !found.is_empty(), "{:?}", fates(&plan.entries));
    found
}

fn refused(scene: &Scene, side: CommitSide) -> CommitRefusal {
    writing(scene).plan_commit(side, &mut all).unwrap_err()
}

fn write(scene: &Scene, path: &str, content: &str) {
    fs::write(scene.base.join(path), content).unwrap();
}

#[test]
fn what_was_changed_on_both_sides() {
    let act = |tree: &Tree| {
        tree.write("a", b"ours");
        tree.unlink("b");
        tree.rename("c", "moved", RenameMode::Replace);
        tree.chmod("d", 0o700);
        tree.write("new", b"ours");
        tree.write("e/1", b"ours");
    };
    let none = scene(act, |_| ());
    assert!(conflicts(&none).is_empty());
    let other = scene(act, |scene| {
        ["a", "b", "c", "new"].iter().for_each(|path| write(scene, path, "theirs"));
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o750);
        fs::set_permissions(scene.base.join("d"), mode).unwrap();
    });
    assert_eq!(conflicts(&other), ["a", "b", "d", "moved", "new"]);
    Trial::of(&other, By::Test, CommitSide::Ours, &mut all).check_full(&other);
}

#[test]
fn conflicts_are_decided_for_the_base() {
    let act = |tree: &Tree| {
        tree.write("a", b"ours");
        tree.write("b", b"ours");
        tree.rename("c", "moved", RenameMode::Replace);
    };
    let both = scene(act, |scene| ["a", "c"].iter().for_each(|path| write(scene, path, "theirs")));
    let trial = Trial::of(&both, By::Engine, CommitSide::Theirs, &mut all);
    let content = |path: &str| fs::read_to_string(both.base.join(path)).ok();
    let theirs = Some("theirs".to_owned());
    assert_eq!([content("a"), content("c"), content("moved")], [theirs.clone(), theirs, None]);
    assert_eq!(content("b").unwrap(), "ours");
    both.live(|tree| {
        assert_eq!(tree.read("a"), b"theirs");
        assert!(tree.find("moved").is_none() && tree.told().is_empty());
    });
    let dropped = |fate| matches!(fate, CommitFate::Dropped(_));
    assert_eq!(trial.entries.iter().filter(|entry| dropped(entry.fate)).count(), 2);
}

#[test]
fn nothing_is_given_up_that_is_in_no_conflict() {
    let act = |tree: &Tree| {
        tree.rename("dir", "moved", RenameMode::Replace);
        tree.write("moved/y", b"ours");
    };
    let both = scene(act, |scene| {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        fs::set_permissions(scene.base.join("dir"), mode).unwrap();
    });
    assert_eq!(conflicts(&both), ["moved"]);
    let would = refused(&both, CommitSide::Theirs);
    assert_eq!(would, CommitRefusal::WouldDrop(vec![Box::from(&b"moved/y"[..])]));
}

#[test]
fn what_came_into_a_directory_that_was_deleted() {
    let act = |tree: &Tree| {
        tree.remove_all("g");
        tree.remove_all("dir");
        tree.write("dir", b"a file");
    };
    // Something else goes on in the same directory of the storage.
    let later = |scene: &Scene| {
        scene.live(|tree| tree.write("later", b"later"));
    };
    let none = scene(act, later);
    assert!(conflicts(&none).is_empty());
    let both = scene(act, |scene| {
        write(scene, "g/h/i/new", "theirs");
        let time = fs::metadata(scene.base.join("dir/sub/x")).unwrap().modified().unwrap();
        write(scene, "dir/sub/x", "y");
        fs::File::open(scene.base.join("dir/sub/x")).unwrap().set_modified(time).unwrap();
        later(scene);
    });
    assert_eq!(conflicts(&both), ["dir", "g"]);
}

#[test]
fn what_changed_below_a_directory_that_was_made_anew() {
    let act = |tree: &Tree| {
        tree.remove_all("e");
        tree.mkdir("e");
        tree.write("e/1", b"ours");
    };
    assert!(conflicts(&scene(act, |_| ())).is_empty());
    let both = scene(act, |scene| write(scene, "e/1", "theirs"));
    assert_eq!(conflicts(&both), ["e/1"]);
}

/// What `chattr +i` does, taken back at the end.
struct Fixed(fs::File);

impl Drop for Fixed {
    fn drop(&mut self) {
        let flags = rustix::fs::ioctl_getflags(&self.0).unwrap();
        rustix::fs::ioctl_setflags(&self.0, flags - IFlags::IMMUTABLE).unwrap();
    }
}

impl Fixed {
    /// `None`: that cannot be done here.
    fn at(path: &Path) -> Option<Fixed> {
        let file = fs::File::open(path).unwrap();
        let flags = rustix::fs::ioctl_getflags(&file).ok()?;
        rustix::fs::ioctl_setflags(&file, flags | IFlags::IMMUTABLE).ok()?;
        Some(Fixed(file))
    }
}

#[test]
fn what_nobody_can_change_is_told_before() {
    type Act = fn(&Tree);
    let cases: [(&str, Act); 5] = [
        ("a", |tree| tree.write("a", b"new")),
        ("d", |tree| tree.unlink("d/f")),
        ("g/h/i/j", |tree| tree.remove_all("g")),
        ("d", |tree| tree.write("d/new", b"new")),
        ("e", |tree| tree.rename("e", "moved", RenameMode::Replace)),
    ];
    for (path, act) in cases {
        let scene = scene(act, |_| ());
        let Some(_fixed) = Fixed::at(&scene.base.join(path)) else {
            eprintln!("no flags here: not tried");
            return;
        };
        // The flag has changed a time.
        let refusal = refused(&scene, CommitSide::Ours);
        assert_eq!(refusal, CommitRefusal::Fixed(path.as_bytes().into()), "{path}");
    }
}

#[test]
fn only_one_plain_tree_can_be_written() {
    let scene = Scene::new();
    let layer = scene.work.path().join("layer");
    fs::create_dir(&layer).unwrap();
    fs::write(layer.join("new"), "1").unwrap();
    let overlay = scene.layer_at_rest(&layer, None);
    let refusal = overlay.plan_commit(CommitSide::Neither, &mut all).unwrap_err();
    assert_eq!(refusal, CommitRefusal::NotPlain);
}

#[test]
fn what_holds_the_storage_stays() {
    let mut scene = Scene::new();
    let storage = scene.base.join("g/storage");
    fs::create_dir(&storage).unwrap();
    (scene.storage, scene.options.storage) = (storage.clone(), storage);
    scene.live(|tree| tree.rename("g", "moved", RenameMode::Replace));
    let refusal = refused(&scene, CommitSide::Neither);
    assert_eq!(refusal, CommitRefusal::HoldsStorage(Box::from(&b"g"[..])));
}
