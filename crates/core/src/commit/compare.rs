//! Whether a plan is still the one that somebody has agreed to.

use super::plan::{CommitEntry, CommitPlan};
use crate::format::commit::{Path, Slot, Step};

impl CommitPlan {
    /// Where this plan comes to something else than one of the same changes that was made
    /// before: another fate of a change, other steps, or another object of the base below
    /// them. `None`: nowhere. Which slots are used does not matter.
    #[must_use]
    pub fn differs_from(&self, before: &CommitPlan) -> Option<Path> {
        let (ours, others) = (entries(self), entries(before));
        let same = |one: &CommitEntry, other: &CommitEntry| {
            (&one.path, one.fate, one.bytes) == (&other.path, other.fate, other.bytes)
        };
        first(&ours, &others, |one, other| same(one, other), |entry| &entry.path).or_else(|| {
            let (ours, others) = (steps(self), steps(before));
            first(&ours, &others, |one, other| one == other, |step| step.at())
        })
    }
}

fn entries(plan: &CommitPlan) -> Vec<&CommitEntry> {
    let mut entries: Vec<&CommitEntry> = plan.entries.iter().collect();
    // Those of one path stay in their order.
    entries.sort_by(|one, other| one.path.cmp(&other.path));
    entries
}

fn steps(plan: &CommitPlan) -> Vec<Step> {
    let mut steps = plan.program.steps.clone();
    for step in &mut steps {
        match step {
            Step::Take { slot, .. } | Step::Put { slot, .. } | Step::Swap { slot, .. } => {
                *slot = Slot::new(0);
            }
            Step::Dress { .. } | Step::Time { .. } => {}
        }
    }
    steps.sort_by(|one, other| (one.rank(), one.at()).cmp(&(other.rank(), other.at())));
    steps
}

/// The path of the first of these that the others do not have, or the other way round.
fn first<T>(
    ours: &[T],
    others: &[T],
    same: impl Fn(&T, &T) -> bool,
    path: impl Fn(&T) -> &Path,
) -> Option<Path> {
    let at = ours.iter().zip(others).position(|(one, other)| !same(one, other));
    let at = at.unwrap_or(ours.len().min(others.len()));
    ours.get(at).or(others.get(at)).map(|found| path(found).clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commit::CommitFate;
    use crate::format::commit::CommitProgram;
    use crate::format::time::Timestamp;

    fn plan(paths: &[&str], nsec: u32, fate: CommitFate) -> CommitPlan {
        let path = |path: &str| Path::from(path.as_bytes());
        let after = Timestamp { sec: 1, nsec };
        let step = |at: &&str| Step::Time { at: path(at), after, before: None };
        let steps = paths.iter().map(step).collect();
        let entries = vec![CommitEntry { path: path("f"), fate, bytes: 1, in_parts: false }];
        let program = CommitProgram { steps, ..CommitProgram::default() };
        CommitPlan { entries, makes: Vec::new(), program, stages: Vec::new() }
    }

    #[test]
    fn what_matters_differs() {
        let shown = plan(&["a", "b"], 7, CommitFate::Goes);
        let differs = |plan: CommitPlan| plan.differs_from(&shown).map(|path| path.to_vec());
        assert_eq!(differs(plan(&["a", "b"], 7, CommitFate::Goes)), None);
        assert_eq!(differs(plan(&["b", "a"], 7, CommitFate::Goes)), None);
        assert_eq!(differs(plan(&["a", "b"], 7, CommitFate::Held)), Some(b"f".to_vec()));
        assert_eq!(differs(plan(&["a", "b"], 8, CommitFate::Goes)), Some(b"a".to_vec()));
        assert_eq!(differs(plan(&["a"], 7, CommitFate::Goes)), Some(b"b".to_vec()));
        assert_eq!(differs(plan(&["a", "b", "c"], 7, CommitFate::Goes)), Some(b"c".to_vec()));
    }
}
