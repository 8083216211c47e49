//! A commit from its beginning to its end, and what goes on with one that was interrupted.
//!
//! The order of what is written: the journal, the stage with all that is to come, the program
//! in the journal (`run/fill.rs`), the steps in the base (`run/go.rs`), the stage that goes,
//! the storage that forgets, the journal (`run/end.rs`). `run/earlier.rs` begins in the middle.

mod earlier;
mod end;
mod fill;
mod go;
mod work;

use std::path::PathBuf;

pub use self::earlier::{FinishedCommit, UnfinishedCommit, finish_commit, unfinished_commit};
pub(super) use self::work::Way;
use self::work::{Result, Work, new_token, open_base, why};
use super::error::CommitError;
use super::plan::CommitPlan;
use crate::changes::RestOptions;
use crate::changes::rest::found;
use crate::format::commit::{CommitProgram, CommitState, Head, Step};
use crate::interface::options::OpenOptions;
use crate::reach::overlay::Overlay;

/// How far a commit has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CommitProgress {
    /// Objects that were made, and steps that were done.
    pub done: u64,
    /// How many there are.
    pub all: u64,
    /// Bytes of content that were written.
    pub bytes: u64,
}

/// What a commit has come to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Committed {
    /// Steps that were done in the base.
    pub steps: u64,
    /// Bytes of content that were written.
    pub bytes: u64,
    /// Paths that were committed and that the storage could not let go, though they do not
    /// differ any more (`chattr +i` in the storage).
    pub left: Vec<Box<[u8]>>,
    /// Directories in the base with what was taken out of it, that this user could not
    /// remove.
    pub remains: Vec<PathBuf>,
}

impl CommitPlan {
    /// Does what was planned. The overlay, which must be the one that has planned it, ends:
    /// what it knows of the base is not true any more. `options` are those by which it was
    /// opened.
    ///
    /// # Errors
    /// The base is as it was, unless the error says something else.
    pub fn carry_out(
        self,
        overlay: Overlay,
        options: &RestOptions,
        each: &mut dyn FnMut(CommitProgress),
    ) -> Result<Committed> {
        let options = OpenOptions { read_only: false, stays_read_only: false, ..found(options)? };
        self.carry_out_by(overlay, (&options, Way::Paths), each)
    }

    /// The same, however base and storage are reached.
    pub(super) fn carry_out_by(
        self,
        overlay: Overlay,
        (options, way): (&OpenOptions, Way<'_>),
        each: &mut dyn FnMut(CommitProgress),
    ) -> Result<Committed> {
        if let Some(undecided) = self.first_conflict() {
            return Err(CommitError::Undecided { path: undecided.into() });
        }
        let failed =
            |errno| CommitError::Journal { storage: options.storage.clone(), why: why(errno) };
        let storage = overlay.storage_opened().map_err(failed)?;
        let base = open_base(options, way, &self.stages)?;
        let CommitPlan { makes, mut program, stages, .. } = self;
        let head = Head { token: new_token(), stages };
        let mut work =
            Work { options, way, base, storage, head, each, progress: CommitProgress::default() };
        work.tidy_up_before()?;
        work.note_times()?;
        work.progress.all = (makes.len() + program.steps.len()) as u64;
        if makes.is_empty() && program.steps.iter().all(|step| matches!(step, Step::Time { .. })) {
            // Nothing goes to the base; what was given up leaves the storage.
            overlay.finish();
            drop(overlay);
            let left = work.forget(&CommitProgram { steps: vec![], ..program })?;
            return Ok(Committed { left, ..Committed::default() });
        }
        work.refuse_others(&program)?;
        let stages = work.fill(&overlay, &makes, &mut program)?;
        work.forward(&stages, &program, CommitState::Ready, false)?;
        overlay.finish();
        drop(overlay);
        drop(stages);
        work.end(&program)
    }
}
