//! Everything is committed.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use mini_fo_core::{CommitSide, CommitWish, RenameMode};

use super::naive::{Told, told};
use super::scene::{Dice, Scene, Tree};
use super::trial::{By, Trial};

/// Changes are made, and committed by the engine, and once more by the test. The result: what
/// is made, and the steps.
fn all_of(act: impl Fn(&Tree)) -> Trial {
    let [_, last] = [By::Engine, By::Test].map(|by| {
        let scene = Scene::new();
        scene.live(|tree| act(tree));
        let trial = commit(&scene, by);
        trial.check_full(&scene);
        trial
    });
    last
}

fn commit(scene: &Scene, by: By) -> Trial {
    Trial::of(scene, by, CommitSide::Neither, &mut |_| CommitWish::Goes)
}

#[test]
fn nothing_comes_to_nothing() {
    let scene = Scene::new();
    scene.live(|_| ());
    let trial = commit(&scene, By::Test);
    assert!(trial.entries.is_empty() && trial.program.steps.is_empty());
    trial.check(&scene);
}

#[test]
fn each_kind() {
    all_of(|tree| {
        tree.write("d/f", b"new");
        tree.write("new", b"1");
        tree.chmod("a", 0o600);
        tree.unlink("link");
        tree.remove_all("e");
        tree.rename("b", "moved", RenameMode::Replace);
        tree.rename("dir", "away", RenameMode::Replace);
        tree.write("away/sub/x", b"X");
        tree.unlink("away/y");
        tree.unlink("c");
        tree.mkdir("c");
        tree.chmod("g/h", 0o700);
    });
}

#[test]
fn directories_change_places() {
    let trial = all_of(|tree| {
        tree.rename("d", "dir", RenameMode::Exchange);
        tree.write("d/sub/x", b"other");
    });
    assert_eq!(trial.makes.len(), 1, "{:?}", trial.makes);
}

#[test]
fn chains_of_renames() {
    all_of(|tree| {
        tree.rename("d", "old", RenameMode::Replace);
        tree.rename("dir", "d", RenameMode::Replace);
        tree.rename("e", "dir", RenameMode::Replace);
        tree.rename("a", "e", RenameMode::Replace);
        tree.rename("b", "a", RenameMode::Replace);
    });
}

#[test]
fn directories_that_replace_others() {
    all_of(|tree| {
        tree.remove_all("e");
        tree.rename("d", "e", RenameMode::Replace);
        tree.write("e/1", b"1 of e");
        tree.rename("a", "e/a", RenameMode::Replace);
    });
    all_of(|tree| {
        tree.remove_all("e");
        tree.mkdir("e");
        tree.mkdir("e/2");
        tree.write("e/2/new", b"new");
        tree.rename("g/h", "e/h", RenameMode::Replace);
    });
}

#[test]
fn into_and_out_of_what_comes_and_goes() {
    all_of(|tree| {
        tree.mkdir("new");
        tree.rename("d", "new/d", RenameMode::Replace);
        tree.rename("dir/sub", "sub", RenameMode::Replace);
        tree.rename("e/1", "one", RenameMode::Replace);
        tree.remove_all("dir");
        tree.remove_all("e");
        tree.rename("g", "new/g", RenameMode::Replace);
        tree.rename("new/g/h", "h", RenameMode::Replace);
        tree.rename("h/i", "new/g/I", RenameMode::Replace);
        tree.mkdir("g");
        tree.rename("new/d/f", "g/k", RenameMode::Replace);
    });
}

#[test]
fn into_itself_by_a_new_directory() {
    all_of(|tree| {
        tree.mkdir("new");
        tree.rename("g", "new/g", RenameMode::Replace);
        tree.rename("new", "g", RenameMode::Replace);
        tree.rename("g/g/h/i", "g/i", RenameMode::Replace);
        tree.rename("g/g/h", "g/i/h", RenameMode::Replace);
    });
}

#[test]
fn files_over_others() {
    all_of(|tree| {
        tree.rename("a", "b", RenameMode::Replace);
        tree.rename("c", "a", RenameMode::Replace);
        tree.rename("d/f", "dir/y", RenameMode::Exchange);
        tree.write("dir/y", b"written");
    });
}

#[test]
fn types_change() {
    all_of(|tree| {
        tree.rename("dir/sub", "sub", RenameMode::Replace);
        tree.rename("dir/y", "y", RenameMode::Replace);
        tree.remove_all("dir");
        tree.write("dir", b"a file");
        tree.unlink("a");
        tree.mkdir("a");
        tree.rename("b", "a/b", RenameMode::Replace);
        tree.rename("e", "a/e", RenameMode::Replace);
        tree.write("e", b"a file");
    });
}

#[test]
fn names_of_one_object() {
    for act in [
        |tree: &Tree| tree.write("d/many", b"other"),
        |tree: &Tree| tree.chmod("many", 0o600),
        |tree: &Tree| tree.rename("many", "moved", RenameMode::Replace),
        |tree: &Tree| {
            tree.rename("many", "moved", RenameMode::Replace);
            tree.write("d/many", b"other");
            tree.unlink("dir/many");
        },
        |tree: &Tree| tree.link("a", "a2"),
        |tree: &Tree| {
            tree.link("many", "more");
            tree.unlink("many");
        },
        |tree: &Tree| {
            tree.link("many", "more");
            tree.write("more", b"1");
            tree.link("more", "d/more");
        },
        |tree: &Tree| {
            tree.write("n", b"n");
            tree.link("n", "d/n");
            tree.link("n", "e/n");
        },
        |tree: &Tree| {
            tree.unlink("b");
            tree.link("a", "b");
            tree.unlink("c");
            tree.link("many", "c");
        },
        |tree: &Tree| {
            tree.rename("a", "b", RenameMode::Replace);
            tree.link("b", "a");
            tree.remove_all("dir");
        },
        |tree: &Tree| {
            tree.rename("d", "moved", RenameMode::Replace);
            tree.unlink("moved/many");
            tree.link("link", "moved/link");
        },
    ] {
        all_of(act);
    }
}

pub fn seeds(fewest: u64) -> std::ops::Range<u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let first = number("SEED").unwrap_or(0);
    first..first + number("SEEDS").unwrap_or(fewest)
}

/// Runs with a seed; what was changed is told if it fails.
pub fn with_seed(seed: u64, scene: &Scene, trial: impl FnOnce()) {
    let found: Vec<String> =
        told(&scene.at_rest(), &Default::default()).0.iter().map(Told::line).collect();
    if let Err(problem) = catch_unwind(AssertUnwindSafe(trial)) {
        eprintln!("seed {seed}: {found:#?}");
        resume_unwind(problem);
    }
}

#[test]
fn random_changes() {
    for seed in seeds(60) {
        let scene = Scene::new();
        let mut dice = Dice(seed * 2 + 1);
        for round in 0..3 {
            scene.live(|tree| (0..8 + round * 4).for_each(|_| tree.random(&mut dice)));
            with_seed(seed, &scene, || {
                let by = if dice.below(3) > 0 { By::Test } else { By::Engine };
                let trial = commit(&scene, by);
                match trial.entries.is_empty() {
                    true => trial.check(&scene),
                    false => trial.check_full(&scene),
                }
            });
        }
    }
}
