//! The stage, with all that is to come; nothing else of the base is touched yet.

use std::collections::BTreeSet;

use hashbrown::HashSet;
use rustix::fd::AsFd;
use rustix::io::Errno;

use super::work::{Result, Way, Work, unusable_journal};
use crate::commit::error::{CommitError, no_stage};
use crate::commit::known::Known;
use crate::commit::links::Links;
use crate::commit::make::Ready;
use crate::commit::path::on_the_way;
use crate::commit::plan::Make;
use crate::commit::stage::NoStage;
use crate::commit::stages::Stages;
use crate::commit::tryout;
use crate::format::commit::{CommitProgram, CommitState, Path, Seen, StagePlace, Step};
use crate::format::name::{STAGE_IN_A_MOUNT, parent};
use crate::interface::error::OpenError;
use crate::open::check::committing;
use crate::reach::overlay::Overlay;
use crate::reach::refs::NodeRef;
use crate::store::commit_journal;
use crate::sys;

impl Work<'_> {
    /// Removes what an earlier commit has left that had not changed anything.
    pub fn tidy_up_before(&mut self) -> Result<()> {
        let journal = commit_journal::load(self.storage.as_fd(), self.meta())
            .map_err(|unusable| unusable_journal(self.options, unusable))?;
        let Some(journal) = journal else { return Ok(()) };
        if journal.state != CommitState::Staging {
            let path = self.options.storage.clone();
            return Err(OpenError::CommitUnfinished { path }.into());
        }
        let head = std::mem::replace(&mut self.head, journal.head);
        self.clear()?;
        self.head = head;
        Ok(())
    }

    /// Refuses directories of the base in which another commit has begun something, or above
    /// which: that is to be finished or taken back first.
    pub fn refuse_others(&self, program: &CommitProgram) -> Result<()> {
        let known = Known::of(program);
        let dirs: BTreeSet<Vec<u8>> =
            program.steps.iter().map(|step| known.origin(parent(step.at()))).collect();
        let all: BTreeSet<&[u8]> = dirs.iter().flat_map(|dir| on_the_way(dir)).collect();
        for dir in [&b""[..]].into_iter().chain(all) {
            // What is new has none.
            let Ok(opened) = self.base.dir(dir) else { continue };
            let names = [self.meta().stage(), STAGE_IN_A_MOUNT];
            let mut owners = names.iter().filter_map(|name| committing::owner(&opened, name));
            let Some(owner) = owners.next() else { continue };
            let base = self.options.base.clone();
            return Err(match owner {
                Some((_, owner)) => CommitError::StageTaken { base, owner },
                None => no_stage((&base, self.meta()), NoStage::Odd(dir.into())),
            });
        }
        Ok(())
    }

    /// Makes the stages and all that is to come, and writes the program down: from then on
    /// the commit goes to its end or back by what is written.
    pub fn fill(
        &mut self,
        overlay: &Overlay,
        makes: &[Make],
        program: &mut CommitProgram,
    ) -> Result<Stages> {
        let begun = overlay.with_reserve(|| self.journal().begin(&self.head));
        begun.map_err(|errno| self.journal_failed(errno))?;
        let made = Stages::make(&self.base, self.meta(), (&self.head, &self.options.storage));
        let done = match made {
            Ok(stages) => self.fill_stages(&stages, overlay, makes, program).map(|()| stages),
            Err(no) => {
                let times_back = |place: &StagePlace| self.base.set_time_of(&place.dir, place.time);
                self.head.stages.iter().for_each(times_back);
                let is_another_s = matches!(no, NoStage::Taken(_) | NoStage::Odd(_));
                let told = no_stage((&self.options.base, self.meta()), no);
                if is_another_s {
                    self.journal().remove().map_err(|errno| self.journal_failed(errno))?;
                    return Err(told);
                }
                Err(told)
            }
        };
        // What fails now too is told by the next commit.
        done.inspect_err(|_| drop(self.clear()))
    }

    fn fill_stages(
        &mut self,
        stages: &Stages,
        overlay: &Overlay,
        makes: &[Make],
        program: &mut CommitProgram,
    ) -> Result<()> {
        tryout::try_out((&self.base, stages), program)
            .map_err(|(path, errno)| CommitError::Immovable { path, errno })?;
        self.make_all(stages, overlay, makes, program)?;
        program.steps.sort_by_key(Step::rank);
        self.look_at_stages(stages, program).map_err(|errno| self.unwritable(errno))?;
        self.base.sync(&self.head.stages).map_err(|errno| self.unwritable(errno))?;
        let ready = overlay.with_reserve(|| self.journal().ready(&self.head, program));
        ready.map_err(|errno| self.journal_failed(errno))
    }

    /// All that is to come, in the stage.
    fn make_all(
        &mut self,
        stages: &Stages,
        overlay: &Overlay,
        makes: &[Make],
        program: &mut CommitProgram,
    ) -> Result<()> {
        let CommitProgram { steps, kept, renewed, .. } = program;
        let links = Links::of(self.stored_tree(), stages, kept);
        let early = match self.way {
            Way::Lent(_, early) => Some(early),
            Way::Paths => None,
        };
        let ready = Ready { links, early };
        // The directory that the last one was in stays known: else what its META says would be
        // read anew for each of its entries.
        let mut near: Option<(Path, NodeRef<'_>)> = None;
        for make in makes {
            let path: Path = make.path().into();
            let dir = parent(&path);
            if near.as_ref().is_none_or(|(known, _)| **known != *dir) {
                let failed = |errno| CommitError::Make { path: path.clone(), errno };
                near = overlay.reach(dir).map_err(failed)?.map(|node| (dir.into(), node));
            }
            let made =
                make.make((overlay, &ready), (&self.base, stages)).map_err(
                    |errno| match errno {
                        Errno::STALE if make.is_part() => {
                            CommitError::Outdated { path: path.clone() }
                        }
                        errno => CommitError::Make { path: path.clone(), errno },
                    },
                )?;
            renewed.extend(made.renewed);
            if let Some((before, after)) = made.closing {
                steps.push(Step::Dress { at: path, before, after });
            }
            self.progress.bytes += made.bytes;
            self.one_more();
        }
        Ok(())
    }

    /// What was made, and times of directories that only going back must know, because they
    /// leave the base.
    fn look_at_stages(&self, stages: &Stages, program: &mut CommitProgram) -> sys::Result<()> {
        let mut known: HashSet<&[u8]> = HashSet::new();
        let (mut made, mut times_back) = (Vec::new(), Vec::new());
        for step in &program.steps {
            if let Step::Time { before: Some((below, _)), .. } = step {
                known.insert(below);
            }
        }
        for step in &program.steps {
            match step {
                Step::Put { slot, .. } | Step::Swap { slot, .. } => {
                    made.extend(stages.look(*slot)?.map(|stat| (*slot, Seen::of(&stat))));
                }
                Step::Take { at, .. } if known.insert(parent(at)) => {
                    let stat = sys::stat_fd(&*self.base.dir(parent(at))?)?;
                    times_back.push((parent(at).into(), stat.stx_mtime.into()));
                }
                _ => {}
            }
        }
        (program.made, program.times_back) = (made, times_back);
        Ok(())
    }
}
