//! A commit from plan to end, with all that must hold.

use std::collections::BTreeSet;

use mini_fo_core::commit_steps::{CommitProgram, Make};
use mini_fo_core::{
    Change, ChangeKind, ChangesOptions, CommitEntry, CommitFate, CommitSide, CommitWish, Overlay,
    RestOptions, writing_at_rest,
};

use super::executor::Executor;
use super::naive::told;
use super::scene::Scene;
use super::view::{View, difference, of_base, of_overlay};

/// Who carries a plan out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// The test itself, plainly.
    Test,
    Engine,
}

pub struct Trial {
    pub entries: Vec<CommitEntry>,
    pub makes: Vec<Make>,
    pub program: CommitProgram,
    /// What the tree showed.
    pub before: View,
    /// What the base has now.
    pub base: View,
}

pub fn text(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}

pub fn fates(entries: &[CommitEntry]) -> Vec<String> {
    entries.iter().map(|entry| format!("{} {:?}", text(&entry.path), entry.fate)).collect()
}

impl Trial {
    /// Commits what is asked for.
    pub fn of(
        scene: &Scene,
        by: By,
        side: CommitSide,
        asked: &mut dyn FnMut(&Change<'_>) -> CommitWish,
    ) -> Trial {
        let upper = writing(scene);
        let before = of_overlay(&upper);
        let plan = upper.plan_commit(side, asked).unwrap();
        assert!(!plan.has_conflicts(), "{:?}", fates(&plan.entries));
        let (entries, makes) = (plan.entries.clone(), plan.makes().to_vec());
        let program = plan.program().clone();
        match by {
            By::Test => {
                Executor { base: &scene.base, upper: &upper }.run(&plan);
                drop(upper);
                discard(scene, &program);
            }
            By::Engine => {
                let done = plan.carry_out(upper, &rest(scene), &mut |_| {});
                let done = done.unwrap_or_else(|error| panic!("{error}\n{}", brief(&program)));
                assert!(done.left.is_empty(), "{:?} of\n{}", done.left, brief(&program));
            }
        }
        Trial { entries, makes, program, before, base: of_base(&scene.base) }
    }

    /// Everything went: the base is what the tree showed, and the storage says nothing.
    pub fn check_full(&self, scene: &Scene) {
        if let Some(text) = difference(&self.before, &self.base) {
            panic!("the base is not what the tree showed:\n{text}\n{}", brief(&self.program));
        }
        self.check(scene);
        assert_eq!(self.program.tops, [Box::from(&b""[..])]);
    }

    /// The tree is what it was, and the storage has what stayed.
    pub fn check(&self, scene: &Scene) {
        let after = scene.at_rest();
        if let Some(text) = difference(&self.before, &of_overlay(&after)) {
            panic!("the tree is not what it was:\n{text}\n{}", brief(&self.program));
        }
        let all = ChangesOptions { all_links: true, ..Default::default() };
        let (found, unread) = told(&after, &all);
        assert!(unread.is_empty(), "{unread:?}");
        let left: BTreeSet<String> = found.iter().map(|told| text(&told.path)).collect();
        let stays = |fate| matches!(fate, CommitFate::Stays | CommitFate::Held);
        let stay = self.entries.iter().filter(|entry| stays(entry.fate));
        let mut stay: BTreeSet<String> = stay.map(|entry| text(&entry.path)).collect();
        // Of an object with several names another one may be told as the new one now.
        let renamed = found.iter().filter(|told| told.kind == ChangeKind::Renamed);
        for from in renamed.filter_map(|told| told.from.as_ref()).map(|from| text(from)) {
            if !left.contains(&from) {
                stay.remove(&from);
            }
        }
        let lines: Vec<String> = found.iter().map(|told| told.line()).collect();
        assert_eq!(left, stay, "{lines:#?}\n{}", brief(&self.program));
    }
}

fn rest(scene: &Scene) -> RestOptions {
    RestOptions { path: scene.storage.clone(), ..RestOptions::default() }
}

pub fn writing(scene: &Scene) -> Overlay {
    writing_at_rest(&rest(scene)).unwrap()
}

/// Lets the storage forget what was committed.
fn discard(scene: &Scene, program: &CommitProgram) {
    let overlay = writing(scene);
    let told = overlay.forget_committed(program).unwrap();
    assert!(told.failed.is_empty(), "{:?} of\n{}", told.failed, brief(program));
    overlay.finish();
}

/// A program to be read.
fn brief(program: &CommitProgram) -> String {
    let CommitProgram { steps, tops, kept, .. } = program;
    let paths = |paths: &[Box<[u8]>]| paths.iter().map(|path| text(path)).collect::<Vec<_>>();
    let lines: Vec<String> = steps
        .iter()
        .map(|step| {
            let words = format!("{step:?}");
            let name = words.split(' ').next().unwrap_or_default();
            let slot = words.split("number: ").nth(1).and_then(|rest| rest.split(' ').next());
            format!("    {name} {} {}", text(step.at()), slot.unwrap_or_default())
        })
        .collect();
    format!("{}\n  tops {:?}\n  kept {:?}", lines.join("\n"), paths(tops), paths(kept))
}
