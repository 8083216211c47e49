//! Commits of the mounted tree: everything shows as before, whatever is open.

use std::sync::Arc;

use mini_fo_core::{
    CommitListener, CommitSide, CommitWish, InUse, LiveCommitError, OpenNow, Overlay, Renewed,
};

use super::super::naive::Time;
use super::super::tree::snapshot;
use super::listers::Lister;
use super::{Check, Driver};

impl Driver {
    pub(super) fn commit(&mut self) -> Check {
        let overlay = Arc::clone(self.overlay());
        let open_now = || OpenNow {
            files: self.held.iter().map(|held| Arc::clone(held.file())).collect(),
            dirs: self.listers.iter().map(|lister| Arc::clone(lister.dir())).collect(),
            outlived: false,
        };
        let mut refusal = None;
        let mut plan = |borrower: &Overlay, in_use: &InUse| {
            let wish = |path: &[u8]| match in_use.has(path) {
                true => CommitWish::Stays,
                false => CommitWish::Goes,
            };
            // Clocks may not tell what was there first.
            let asked = &mut |change: &mini_fo_core::Change<'_>| wish(change.path);
            match borrower.plan_commit_but(CommitSide::Ours, in_use.paths(), asked) {
                Ok(plan) => Some(plan),
                Err(error) => {
                    refusal = Some(error);
                    None
                }
            }
        };
        let told = CommitListener { each: &mut |_, _| true, tell: &mut |_: Renewed| {} };
        match overlay.commit_live(&open_now, &mut plan, told) {
            Err(LiveCommitError::Unfit { .. } | LiveCommitError::LostName) => return Ok(()),
            Err(error) => return Err(format!("a commit: {error}")),
            Ok(_) => {}
        }
        if let Some(refusal) = refusal {
            return Err(format!("a commit is refused: {refusal:?}"));
        }
        // What is made anew has another number and time of change.
        for id in self.model.ids() {
            let inode = self.model.get_mut(id);
            (inode.ino, inode.ctime) = (None, Time::Any);
        }
        // MASK: a directory that was merged is one of the base, whose offsets mean something else
        // to those who open it again.
        self.listers.iter_mut().for_each(Lister::is_of_one_layer);
        if let Some(own) = &mut self.own {
            own.base_before = own.base.iter().flat_map(|layer| snapshot(&layer.path)).collect();
        }
        self.verify().map_err(|what| format!("after a commit: {what}"))
    }
}
