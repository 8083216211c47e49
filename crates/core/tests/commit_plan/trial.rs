//! A commit from plan to end, with all that must hold.

use std::collections::BTreeSet;

use mini_fo_core::{
    Change, ChangesOptions, CommitFate, CommitPlan, CommitSide, CommitWish, Discarded, Overlay,
    RestOptions, writing_at_rest,
};

use super::executor::Executor;
use super::naive::told;
use super::scene::Scene;
use super::view::{View, difference, of_base, of_overlay};

pub struct Trial {
    pub plan: CommitPlan,
    pub before: View,
    pub base: View,
}

pub fn text(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}

impl Trial {
    /// Commits what is asked for.
    pub fn of(scene: &Scene, asked: &mut dyn FnMut(&Change<'_>) -> CommitWish) -> Trial {
        Trial::with(scene, CommitSide::Neither, asked)
    }

    pub fn with(
        scene: &Scene,
        side: CommitSide,
        asked: &mut dyn FnMut(&Change<'_>) -> CommitWish,
    ) -> Trial {
        let upper = scene.at_rest();
        let before = of_overlay(&upper);
        let plan = upper.plan_commit(side, asked).unwrap();
        assert!(!plan.has_conflicts(), "{:?}", Trial::fates_of(&plan));
        Executor { base: &scene.base, upper: &upper }.run(&plan);
        drop(upper);
        let discarded = writing(scene);
        let program = plan.program();
        let mut told_ = Discarded::default();
        if !program.tops.is_empty() {
            discarded.discard_paths(&program.tops, &program.kept, &mut told_).unwrap();
        }
        assert!(told_.failed.is_empty(), "{:?} of {program:#?}", told_.failed);
        discarded.finish();
        drop(discarded);
        Trial { plan, before, base: of_base(&scene.base) }
    }

    pub fn fates_of(plan: &CommitPlan) -> Vec<String> {
        plan.entries.iter().map(|entry| format!("{} {:?}", text(&entry.path), entry.fate)).collect()
    }

    pub fn fates(&self) -> Vec<String> {
        Trial::fates_of(&self.plan)
    }

    /// Everything went: the base is what the tree showed, and the storage says nothing.
    pub fn check_full(&self, scene: &Scene) {
        if let Some(text) = difference(&self.before, &self.base) {
            panic!("the base is not what the tree showed:\n{text}");
        }
        self.check(scene);
        assert_eq!(self.plan.program().tops, [Box::from(&b""[..])]);
    }

    /// The tree is what it was, and the storage has what stayed.
    pub fn check(&self, scene: &Scene) {
        let after = scene.at_rest();
        if let Some(text) = difference(&self.before, &of_overlay(&after)) {
            panic!("the tree is not what it was:\n{text}");
        }
        let (found, unread) =
            told(&after, &ChangesOptions { all_links: true, ..Default::default() });
        assert!(unread.is_empty(), "{unread:?}");
        let left: BTreeSet<String> = found.iter().map(|told| text(&told.path)).collect();
        let stays = |fate| matches!(fate, CommitFate::Stays | CommitFate::Held);
        let stay = self.plan.entries.iter().filter(|entry| stays(entry.fate));
        let stay: BTreeSet<String> = stay.map(|entry| text(&entry.path)).collect();
        assert_eq!(left, stay, "{:#?}", found.iter().map(|told| told.line()).collect::<Vec<_>>());
    }
}

fn writing(scene: &Scene) -> Overlay {
    let options = RestOptions { path: scene.storage.clone(), ..RestOptions::default() };
    writing_at_rest(&options).unwrap()
}
