//! What tests of commits that meet others have in common.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use mini_fo_core::{
    CommitFate, CommitPlan, CommitSide, CommitWish, META_NAME, RestOptions, writing_at_rest,
};

use crate::scene::{Scene, Tree};

pub const PRECIOUS: &str = "precious";

/// What others do in the base, and what that is called.
pub type Edit = (&'static str, fn(&Path));

pub fn rest(storage: &Path) -> RestOptions {
    RestOptions { path: storage.to_path_buf(), ..RestOptions::default() }
}

pub fn everything(scene: &Scene) -> CommitPlan {
    scene.at_rest().plan_commit(CommitSide::Neither, &mut |_| CommitWish::Goes).unwrap()
}

/// Changes the tree, then the base, and asks what a commit of all comes to.
pub fn after(change: impl FnOnce(&Tree), edit: impl FnOnce(&Path)) -> CommitPlan {
    let scene = Scene::new();
    scene.live(change);
    edit(&scene.base);
    everything(&scene)
}

/// As an editor does: a new file in the place of the old one.
pub fn replace(path: &Path) {
    let new = path.with_extension("new");
    fs::write(&new, PRECIOUS).unwrap();
    fs::rename(new, path).unwrap();
}

pub fn write(path: &Path) {
    fs::write(path, PRECIOUS).unwrap();
}

/// Ends without a word when so many makes and steps are done, as if it was killed.
pub fn killed(storage: &Path, done: u64) {
    let options = rest(storage);
    let upper = writing_at_rest(&options).unwrap();
    let plan = upper.plan_commit(CommitSide::Neither, &mut |_| CommitWish::Goes).unwrap();
    assert!(!plan.has_conflicts(), "{:?}", plan.entries);
    let all = (plan.makes().len() + plan.program().steps.len()) as u64;
    let at = if done == 0 { all } else { plan.makes().len() as u64 + done };
    let run = catch_unwind(AssertUnwindSafe(|| {
        plan.carry_out(upper, &options, &mut |progress| {
            assert!(progress.done < at, "killed");
        })
    }));
    assert!(run.is_err(), "it has come to its end");
}

pub fn stage(scene: &Scene) -> PathBuf {
    scene.base.join(format!("{META_NAME}_stage"))
}

/// Another storage over the same base.
pub fn other_storage(scene: &Scene, change: impl FnOnce(&Tree)) -> PathBuf {
    let other = scene.storage.with_file_name("other");
    fs::create_dir(&other).unwrap();
    let options = mini_fo_core::OpenOptions { storage: other.clone(), ..scene.options.clone() };
    let tree = Tree(mini_fo_core::Overlay::assemble(&options).unwrap());
    change(&tree);
    tree.0.finish();
    other
}

/// The slot that holds a text.
pub fn slot(scene: &Scene, text: &str) -> PathBuf {
    let entries = fs::read_dir(stage(scene)).unwrap().map(|entry| entry.unwrap().path());
    let mut slots = entries.filter(|path| {
        let name = path.file_name().unwrap().to_str().unwrap();
        name.starts_with('n') && fs::read_to_string(path).is_ok_and(|found| found == text)
    });
    slots.next().unwrap_or_else(|| panic!("no slot holds {text}"))
}

/// What others have written is in a file of the base, wherever a commit has left it.
pub fn is_kept(dir: &Path) -> bool {
    fs::read_dir(dir).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        match path.symlink_metadata().unwrap() {
            found if found.is_dir() => is_kept(&path),
            found if found.is_file() => {
                fs::read(&path).unwrap().windows(8).any(|piece| piece == PRECIOUS.as_bytes())
            }
            _ => false,
        }
    })
}

pub fn conflict_at(plan: &CommitPlan, path: &str) -> bool {
    let at = |entry: &&mini_fo_core::CommitEntry| *entry.path == *path.as_bytes();
    let found = plan.entries.iter().find(at);
    found.is_some_and(|entry| matches!(entry.fate, CommitFate::Conflict(_)))
}
