//! The steps in the base: all of them, or back.

use super::work::{Result, Work};
use crate::commit::error::CommitError;
use crate::commit::known::Known;
use crate::commit::stage::Stage;
use crate::commit::stages::Stages;
use crate::commit::steps::{Fault, Site};
use crate::format::commit::{CommitProgram, CommitState, Path, Step};

impl Work<'_> {
    /// Does the steps. What cannot be done takes all back.
    pub fn forward(
        &mut self,
        stages: &Stages,
        program: &CommitProgram,
        state: CommitState,
        resumed: bool,
    ) -> Result<()> {
        let mut state = state;
        let done = self.go(stages, program, &mut state, resumed);
        let Err(fault) = done else { return Ok(()) };
        tracing::debug!("a commit goes back: {fault:?}");
        self.turn_back(stages, program, state)?;
        Err(match fault {
            Fault::Changed(path) => CommitError::Changed { path },
            Fault::Failed(path, errno) => CommitError::TakenBack { path, errno },
        })
    }

    fn go(
        &mut self,
        stages: &Stages,
        program: &CommitProgram,
        state: &mut CommitState,
        resumed: bool,
    ) -> std::result::Result<(), Fault> {
        let takes = program.steps.partition_point(|step| step.rank() == 0);
        let (takes, others) = program.steps.split_at_checked(takes).unwrap_or_default();
        let root = |errno| Fault::Failed(Path::default(), errno);
        let known = Known::of(program);
        if *state == CommitState::Ready {
            self.steps(stages, (takes, &known), resumed)?;
            self.base.sync(&self.head.stages).map_err(root)?;
            self.journal().mark(CommitState::Taken).map_err(root)?;
            *state = CommitState::Taken;
        }
        self.steps(stages, (others, &known), resumed)?;
        self.base.sync(&self.head.stages).map_err(root)?;
        // Who works in a directory that was taken, or has a file open, may have written to it.
        let site = Site { base: &self.base, stages, known: &known, resumed };
        program.steps.iter().try_for_each(|step| site.look_again(step))?;
        self.journal().mark(CommitState::Done).map_err(root)
    }

    fn steps(
        &mut self,
        stages: &Stages,
        (steps, known): (&[Step], &Known<'_>),
        resumed: bool,
    ) -> std::result::Result<(), Fault> {
        for step in steps {
            Site { base: &self.base, stages, known, resumed }.forward(step)?;
            self.one_more();
        }
        Ok(())
    }

    /// Decides that it goes back, and does that.
    pub fn turn_back(
        &mut self,
        stages: &Stages,
        program: &CommitProgram,
        state: CommitState,
    ) -> Result<()> {
        let to = match state {
            CommitState::Ready => CommitState::BackTake,
            _ => CommitState::BackPut,
        };
        self.journal()
            .mark(to)
            .map_err(|errno| self.stuck(&Fault::Failed(Path::default(), errno)))?;
        self.back(stages, program, to)
    }

    pub fn back(
        &mut self,
        stages: &Stages,
        program: &CommitProgram,
        state: CommitState,
    ) -> Result<()> {
        stages.all().for_each(Stage::give_space);
        self.go_back(stages, program, state).map_err(|fault| self.stuck(&fault))?;
        // Nothing but what was to come is in the stage now.
        let untouched = self.journal().mark(CommitState::Staging);
        untouched.map_err(|errno| self.stuck(&Fault::Failed(Path::default(), errno)))?;
        self.clear()
    }

    fn go_back(
        &mut self,
        stages: &Stages,
        program: &CommitProgram,
        state: CommitState,
    ) -> std::result::Result<(), Fault> {
        let takes = program.steps.partition_point(|step| step.rank() == 0);
        let (takes, others) = program.steps.split_at_checked(takes).unwrap_or_default();
        let root = |errno| Fault::Failed(Path::default(), errno);
        let known = Known::of(program);
        let site = Site { base: &self.base, stages, known: &known, resumed: true };
        if state == CommitState::BackPut {
            others.iter().rev().try_for_each(|step| site.back(step))?;
            self.base.sync(&self.head.stages).map_err(root)?;
            self.journal().mark(CommitState::BackTake).map_err(root)?;
        }
        takes.iter().rev().try_for_each(|step| site.back(step))?;
        for step in others {
            if let Step::Time { before: Some((at, time)), .. } = step {
                site.time_back(at, *time)?;
            }
        }
        program.times_back.iter().try_for_each(|(at, time)| site.time_back(at, *time))?;
        self.base.sync(&self.head.stages).map_err(root)
    }

    fn stuck(&self, fault: &Fault) -> CommitError {
        let (base, storage) = (self.options.base.clone(), self.options.storage.clone());
        match fault {
            Fault::Changed(path) => CommitError::InTheWay { base, storage, path: path.clone() },
            Fault::Failed(path, errno) => {
                CommitError::Stuck { base, storage, path: path.clone(), errno: *errno }
            }
        }
    }
}
