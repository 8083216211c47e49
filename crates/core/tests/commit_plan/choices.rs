//! Some changes are committed, and others stay.

use mini_fo_core::{Change, CommitFate, CommitSide, CommitWish, RenameMode};

use super::full::{seeds, with_seed};
use super::scene::{Dice, Scene, Tree};
use super::trial::{By, Trial, fates, text};

/// What of a change is asked for: paths, and those that must stay; with all below them.
fn wish(change: &Change<'_>, goes: &[&str], stays: &[&str]) -> CommitWish {
    let within = |tops: &[&str]| {
        let inside = |path: &[u8]| {
            let path = text(path);
            tops.iter().any(|top| path == *top || path.starts_with(&format!("{top}/")))
        };
        inside(change.path) || change.from.is_some_and(inside)
    };
    match (within(stays), within(goes)) {
        (true, _) => CommitWish::Stays,
        (false, true) => CommitWish::Goes,
        (false, false) => CommitWish::MayGo,
    }
}

/// What becomes of each change, and what the storage forgets.
fn chosen(goes: &[&str], stays: &[&str], act: impl Fn(&Tree)) -> (Vec<String>, Vec<String>) {
    let [_, last] = [By::Engine, By::Test].map(|by| {
        let scene = Scene::new();
        scene.live(|tree| act(tree));
        let asked = &mut |change: &Change<'_>| wish(change, goes, stays);
        let trial = Trial::of(&scene, by, CommitSide::Neither, asked);
        trial.check(&scene);
        trial
    });
    (fates(&last.entries), last.program.tops.iter().map(|top| text(top)).collect())
}

#[test]
fn only_what_is_asked_for() {
    let (fates, tops) = chosen(&["d", "new/x"], &[], |tree| {
        tree.write("d/f", b"new");
        tree.chmod("d", 0o700);
        tree.unlink("a");
        tree.mkdir("new");
        tree.write("new/x", b"x");
        tree.write("new/y", b"y");
    });
    let expected = ["a Stays", "d Goes", "d/f Goes", "new Follows", "new/x Goes", "new/y Stays"];
    assert_eq!(fates, expected);
    assert_eq!(tops, ["d", "new/x"]);
}

#[test]
fn attributes_of_a_directory_without_what_is_in_it() {
    let (fates, tops) = chosen(&["d"], &["d/f"], |tree| {
        tree.write("d/f", b"new");
        tree.chmod("d", 0o700);
        tree.write("d/g", b"new");
    });
    assert_eq!(fates, ["d Goes", "d/f Stays", "d/g Goes"]);
    assert_eq!(tops, ["d/g"]);
}

#[test]
fn a_renamed_directory_goes_or_stays_with_all_that_is_in_it() {
    let act = |tree: &Tree| {
        tree.rename("dir", "moved", RenameMode::Replace);
        tree.write("moved/y", b"new");
        tree.unlink("moved/sub/x");
        tree.rename("moved/sub/z", "z", RenameMode::Replace);
        tree.write("a", b"new");
    };
    let all = ["a Stays", "moved Follows", "moved/sub/x Follows", "moved/y Goes", "z Follows"];
    assert_eq!(chosen(&["moved/y"], &[], act).0, all);
    let all = ["a Stays", "moved Follows", "moved/sub/x Follows", "moved/y Follows", "z Goes"];
    assert_eq!(chosen(&["z"], &[], act).0, all);
    let all = ["a Goes", "moved Held", "moved/sub/x Stays", "moved/y Held", "z Held"];
    assert_eq!(chosen(&["a", "moved", "z"], &["moved/sub/x"], act).0, all);
}

#[test]
fn a_directory_made_anew_goes_as_a_whole() {
    let act = |tree: &Tree| {
        tree.remove_all("e");
        tree.mkdir("e");
        tree.write("e/1", b"another");
        tree.write("e/new", b"new");
    };
    let (fates, tops) = chosen(&["e/new"], &[], act);
    assert_eq!(fates, ["e/1 Follows", "e/2 Follows", "e/new Goes"]);
    assert_eq!(tops, [""]);
    assert_eq!(chosen(&["e"], &["e/1"], act).0, ["e/1 Stays", "e/2 Held", "e/new Held"]);
}

#[test]
fn names_of_one_object_go_together() {
    let act = |tree: &Tree| {
        tree.write("d/many", b"other");
        tree.unlink("many");
        tree.write("a", b"new");
    };
    let together = ["a Stays", "d/many Goes", "dir/many Follows", "many Follows"];
    assert_eq!(chosen(&["d"], &[], act).0, together);
    let held = ["a Goes", "d/many Held", "dir/many Held", "many Stays"];
    assert_eq!(chosen(&["a", "d", "dir"], &["many"], act).0, held);
    let act = |tree: &Tree| {
        tree.link("a", "e/more");
        tree.write("b", b"new");
    };
    let (fates, tops) = chosen(&["e"], &[], act);
    assert_eq!(fates, ["b Stays", "e/more Goes"]);
    assert_eq!(tops, ["a", "e/more"]);
}

#[test]
fn what_was_put_in_the_place_of_what_moved() {
    let act = |tree: &Tree| {
        tree.rename("d", "old", RenameMode::Replace);
        tree.mkdir("d");
        tree.write("d/f", b"new");
        tree.rename("a", "b", RenameMode::Replace);
        tree.write("c", b"new");
    };
    let all = ["a Stays", "b Stays", "c Stays", "d Stays", "d/f Stays", "old Goes"];
    assert_eq!(chosen(&["old"], &[], act).0, all);
    let all = ["a Stays", "b Stays", "c Stays", "d Follows", "d/f Goes", "old Follows"];
    assert_eq!(chosen(&["d/f"], &[], act).0, all);
    let all = ["a Follows", "b Goes", "c Stays", "d Stays", "d/f Stays", "old Stays"];
    assert_eq!(chosen(&["b"], &[], act).0, all);
}

#[test]
fn random_choices() {
    let mut stayed = [0; 4];
    for seed in seeds(60) {
        let scene = Scene::new();
        let mut dice = Dice(seed * 2 + 1);
        for round in 0..4 {
            scene.live(|tree| (0..6 + round * 4).for_each(|_| tree.random(&mut dice)));
            let stay_too = dice.below(2) == 0;
            with_seed(seed, &scene, || {
                let asked = &mut |_: &Change<'_>| match dice.below(4) {
                    0 => CommitWish::Goes,
                    1 if stay_too => CommitWish::Stays,
                    _ => CommitWish::MayGo,
                };
                let by = if seed % 3 > 0 { By::Test } else { By::Engine };
                let trial = Trial::of(&scene, by, CommitSide::Neither, asked);
                for entry in &trial.entries {
                    let fate = [CommitFate::Goes, CommitFate::Follows, CommitFate::Held];
                    let at = fate.iter().position(|fate| *fate == entry.fate).unwrap_or(3);
                    stayed[at] += 1;
                }
                trial.check(&scene);
            });
        }
    }
    assert!(seeds(60).count() < 60 || stayed.iter().all(|count| *count > 10), "{stayed:?}");
}
