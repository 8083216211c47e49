//! What an earlier commit has left, and how that comes to an end.

use rustix::fd::AsFd;

use super::work::{Result, Way, Work, open_base, open_storage, unusable_journal};
use super::{CommitProgress, Committed};
use crate::changes::RestOptions;
use crate::changes::rest::found;
use crate::commit::error::CommitError;
use crate::format::commit::CommitState;
use crate::interface::options::OpenOptions;
use crate::open::check::lock_storage;
use crate::store::commit_journal;

/// What an earlier commit has left in a storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnfinishedCommit {
    /// Nothing.
    Nothing,
    /// The base is as it was; the next commit tidies up.
    Untouched,
    /// A part of it may be done in the base: it goes on, or back.
    Begun,
    /// It is being taken back, and only that.
    Returning,
    /// All is in the base: it only goes on.
    Done,
}

/// How an unfinished commit has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FinishedCommit {
    /// There was none.
    Nothing,
    /// It was done.
    Done(Committed),
    /// The base is as it was before it.
    TakenBack,
}

/// What an earlier commit has left in a storage.
///
/// # Errors
/// It cannot be found out.
pub fn unfinished_commit(options: &RestOptions) -> Result<UnfinishedCommit> {
    let options = found(options)?;
    // A layer alone: nothing of it can be committed.
    if options.storage.as_os_str().is_empty() {
        return Ok(UnfinishedCommit::Nothing);
    }
    let storage = open_storage(&options)?;
    let journal = commit_journal::load(storage.as_fd(), options.meta_name)
        .map_err(|unusable| unusable_journal(&options, unusable))?;
    Ok(match journal.map(|journal| journal.state) {
        None => UnfinishedCommit::Nothing,
        Some(CommitState::Staging) => UnfinishedCommit::Untouched,
        Some(CommitState::Ready | CommitState::Taken) => UnfinishedCommit::Begun,
        Some(CommitState::BackPut | CommitState::BackTake) => UnfinishedCommit::Returning,
        Some(CommitState::Done) => UnfinishedCommit::Done,
    })
}

/// Goes on with a commit that was interrupted, or back with `back`.
///
/// # Errors
/// As [`super::CommitPlan::carry_out`]. [`CommitError::TooLate`]: it cannot be taken back any more.
pub fn finish_commit(
    options: &RestOptions,
    back: bool,
    each: &mut dyn FnMut(CommitProgress),
) -> Result<FinishedCommit> {
    let options = OpenOptions { read_only: false, stays_read_only: false, ..found(options)? };
    let lock = lock_storage(&options)?;
    let storage = open_storage(&options)?;
    let journal = commit_journal::load(storage.as_fd(), options.meta_name)
        .map_err(|unusable| unusable_journal(&options, unusable))?;
    let Some(journal) = journal else { return Ok(FinishedCommit::Nothing) };
    let base = open_base(&options, Way::Paths, &journal.head.stages)?;
    let (head, progress) = (journal.head, CommitProgress::default());
    let mut work = Work { options: &options, way: Way::Paths, base, storage, head, each, progress };
    let (state, program) = (journal.state, journal.program);
    work.progress.all = program.steps.len() as u64;
    match (state, back) {
        (CommitState::Staging, _) => {
            work.clear()?;
            return Ok(FinishedCommit::TakenBack);
        }
        (CommitState::Done, true) => {
            return Err(CommitError::TooLate { storage: options.storage.clone() });
        }
        (CommitState::Done, false) => {}
        (CommitState::BackPut | CommitState::BackTake, _) => {
            let stages = work.find_stages()?;
            work.back(&stages, &program, state)?;
            return Ok(FinishedCommit::TakenBack);
        }
        (state, true) => {
            let stages = work.find_stages()?;
            work.turn_back(&stages, &program, state)?;
            return Ok(FinishedCommit::TakenBack);
        }
        (state, false) => {
            let stages = work.find_stages()?;
            work.forward(&stages, &program, state, true)?;
        }
    }
    drop(lock);
    work.end(&program).map(FinishedCommit::Done)
}
