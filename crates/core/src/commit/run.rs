//! A commit from its beginning to its end, and what goes on with one that was interrupted.
//!
//! The order of what is written is that of this file: the journal, the stage with all that
//! is to come, the program in the journal, the steps in the base, the stage that
//! goes, the storage that forgets, the journal.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use hashbrown::HashSet;
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;

use super::base::Base;
use super::error::{CommitError, no_stage};
use super::known::Known;
use super::plan::CommitPlan;
use super::stage::{NoStage, Stage};
use super::steps::{Fault, Site};
use crate::changes::RestOptions;
use crate::changes::rest::found;
use crate::format::commit::{CommitProgram, CommitState, Damaged, Head, Path, Seen, Step, Token};
use crate::format::name::{MetaName, parent};
use crate::format::print::Hash;
use crate::format::time::Timestamp;
use crate::interface::options::OpenOptions;
use crate::open::assemble::Opened;
use crate::open::check::lock_storage;
use crate::reach::overlay::Overlay;
use crate::reach::refs::NodeRef;
use crate::store::commit_journal::{self, JournalFile, Unusable};
use crate::sys;

type Result<T> = std::result::Result<T, CommitError>;

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
    /// A directory in the base with what was taken out of it, that this user could not
    /// remove.
    pub remains: Option<PathBuf>,
}

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

/// What all parts of a commit are about.
struct Work<'a> {
    options: &'a OpenOptions,
    base: Base,
    storage: OwnedFd,
    head: Head,
    each: &'a mut dyn FnMut(CommitProgress),
    progress: CommitProgress,
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
        if let Some(undecided) = self.first_conflict() {
            return Err(CommitError::Undecided { path: undecided.into() });
        }
        let options = OpenOptions { read_only: false, stays_read_only: false, ..found(options)? };
        let failed =
            |errno| CommitError::Journal { storage: options.storage.clone(), why: why(errno) };
        let storage = overlay.storage_opened().map_err(failed)?;
        let base = open_base(&options)?;
        let head = Head { token: new_token(), root_time: Timestamp::default() };
        let mut work = Work {
            options: &options,
            base,
            storage,
            head,
            each,
            progress: CommitProgress::default(),
        };
        let CommitPlan { makes, mut program, .. } = self;
        work.tidy_up_before()?;
        work.head.root_time = sys::stat_fd(work.base.root()).map_err(failed)?.stx_mtime.into();
        work.progress.all = (makes.len() + program.steps.len()) as u64;
        if makes.is_empty() && program.steps.iter().all(|step| matches!(step, Step::Time { .. })) {
            // Nothing goes to the base; what was given up leaves the storage.
            overlay.finish();
            drop(overlay);
            let (left, remains) = (work.forget(&CommitProgram { steps: vec![], ..program })?, None);
            return Ok(Committed { left, remains, ..Committed::default() });
        }
        let stage = work.fill(&overlay, &makes, &mut program)?;
        work.forward(&stage, &program, CommitState::Ready, false)?;
        overlay.finish();
        drop(overlay);
        drop(stage);
        work.end(&program)
    }
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
/// As [`CommitPlan::carry_out`]. [`CommitError::TooLate`]: it cannot be taken back any more.
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
    let base = open_base(&options)?;
    let (head, progress) = (journal.head, CommitProgress::default());
    let mut work = Work { options: &options, base, storage, head, each, progress };
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
            let stage = work.find_stage()?;
            work.back(&stage, &program, state)?;
            return Ok(FinishedCommit::TakenBack);
        }
        (state, true) => {
            let stage = work.find_stage()?;
            work.turn_back(&stage, &program, state)?;
            return Ok(FinishedCommit::TakenBack);
        }
        (state, false) => {
            let stage = work.find_stage()?;
            work.forward(&stage, &program, state, true)?;
        }
    }
    drop(lock);
    work.end(&program).map(FinishedCommit::Done)
}

impl Work<'_> {
    fn meta(&self) -> MetaName {
        self.options.meta_name
    }

    fn journal(&self) -> JournalFile<'_> {
        JournalFile::of(self.storage.as_fd(), self.meta())
    }

    fn journal_failed(&self, errno: Errno) -> CommitError {
        CommitError::Journal { storage: self.options.storage.clone(), why: why(errno) }
    }

    fn find_stage(&self) -> Result<Stage> {
        let other = || CommitError::OtherBase {
            base: self.options.base.clone(),
            storage: self.options.storage.clone(),
        };
        let found = Stage::find(&self.base, self.meta(), self.head.token);
        found.map_err(|errno| self.unwritable(errno))?.ok_or_else(other)
    }

    fn unwritable(&self, errno: Errno) -> CommitError {
        CommitError::BaseUnwritable { base: self.options.base.clone(), errno }
    }

    /// Removes what an earlier commit has left that had not changed anything.
    fn tidy_up_before(&mut self) -> Result<()> {
        let journal = commit_journal::load(self.storage.as_fd(), self.meta())
            .map_err(|unusable| unusable_journal(self.options, unusable))?;
        let Some(journal) = journal else { return Ok(()) };
        if journal.state != CommitState::Staging {
            let path = self.options.storage.clone();
            return Err(crate::interface::error::OpenError::CommitUnfinished { path }.into());
        }
        let head = std::mem::replace(&mut self.head, journal.head);
        self.clear()?;
        self.head = head;
        Ok(())
    }

    /// Makes the stage and all that is to come, and writes the program down: from then on
    /// the commit goes to its end or back by what is written.
    fn fill(
        &mut self,
        overlay: &Overlay,
        makes: &[super::plan::Make],
        program: &mut CommitProgram,
    ) -> Result<Stage> {
        let begun = overlay.with_reserve(|| self.journal().begin(&self.head));
        begun.map_err(|errno| self.journal_failed(errno))?;
        let owner = (self.head.token, &*self.options.storage);
        let done = match Stage::make(&self.base, self.meta(), owner) {
            Ok(stage) => self.fill_stage(&stage, overlay, makes, program).map(|()| stage),
            // It is somebody else's.
            Err(no @ (NoStage::Taken(_) | NoStage::Odd)) => {
                self.journal().remove().map_err(|errno| self.journal_failed(errno))?;
                return Err(no_stage((&self.options.base, self.meta()), no));
            }
            Err(no) => {
                self.base.set_root_time(self.head.root_time);
                Err(no_stage((&self.options.base, self.meta()), no))
            }
        };
        // What fails now too is told by the next commit.
        done.inspect_err(|_| drop(self.clear()))
    }

    fn fill_stage(
        &mut self,
        stage: &Stage,
        overlay: &Overlay,
        makes: &[super::plan::Make],
        program: &mut CommitProgram,
    ) -> Result<()> {
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
            let made = make
                .make(overlay, &self.base, stage)
                .map_err(|errno| CommitError::Make { path: path.clone(), errno })?;
            if let Some((before, after)) = made.closing {
                program.steps.push(Step::Dress { at: path, before, after });
            }
            self.progress.bytes += made.bytes;
            self.one_more();
        }
        program.steps.sort_by_key(Step::rank);
        self.look_at_stage(stage, program).map_err(|errno| self.unwritable(errno))?;
        self.base.sync().map_err(|errno| self.unwritable(errno))?;
        let ready = overlay.with_reserve(|| self.journal().ready(&self.head, program));
        ready.map_err(|errno| self.journal_failed(errno))
    }

    /// What was made, and times of directories that only going back must know, because they
    /// leave the base.
    fn look_at_stage(&self, stage: &Stage, program: &mut CommitProgram) -> sys::Result<()> {
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
                    made.extend(stage.look(*slot)?.map(|stat| (*slot, Seen::of(&stat))));
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

    fn one_more(&mut self) {
        self.progress.done += 1;
        (self.each)(self.progress);
    }

    /// Nothing of a commit is left: the base is as it was.
    fn clear(&mut self) -> Result<()> {
        self.remove_stage(None).map_err(|errno| self.unwritable(errno))?;
        self.journal().remove().map_err(|errno| self.journal_failed(errno))
    }

    /// Removes the stage, if it is that of this commit, or that of nobody and empty.
    fn remove_stage(&self, root_time: Option<Timestamp>) -> sys::Result<()> {
        let stage = match Stage::find(&self.base, self.meta(), self.head.token)? {
            None => Stage::find_bare(&self.base, self.meta())?,
            found => found,
        };
        let Some(stage) = stage else { return Ok(()) };
        stage.remove(&self.base, self.meta())?;
        self.base.set_root_time(root_time.unwrap_or(self.head.root_time));
        self.base.sync()
    }

    /// Does the steps. What cannot be done takes all back.
    fn forward(
        &mut self,
        stage: &Stage,
        program: &CommitProgram,
        state: CommitState,
        resumed: bool,
    ) -> Result<()> {
        let mut state = state;
        let done = self.go(stage, program, &mut state, resumed);
        let Err(fault) = done else { return Ok(()) };
        tracing::debug!("a commit goes back: {fault:?}");
        self.turn_back(stage, program, state)?;
        Err(match fault {
            Fault::Changed(path) => CommitError::Changed { path },
            Fault::Failed(path, errno) => CommitError::TakenBack { path, errno },
        })
    }

    fn go(
        &mut self,
        stage: &Stage,
        program: &CommitProgram,
        state: &mut CommitState,
        resumed: bool,
    ) -> std::result::Result<(), Fault> {
        let takes = program.steps.partition_point(|step| step.rank() == 0);
        let (takes, others) = program.steps.split_at_checked(takes).unwrap_or_default();
        let root = |errno| Fault::Failed(Path::default(), errno);
        let known = Known::of(program);
        if *state == CommitState::Ready {
            self.steps(stage, (takes, &known), resumed)?;
            self.base.sync().map_err(root)?;
            self.journal().mark(CommitState::Taken).map_err(root)?;
            *state = CommitState::Taken;
        }
        self.steps(stage, (others, &known), resumed)?;
        // Who works in a directory that was taken, or has a file open, may have written to it.
        let site = Site { base: &self.base, stage, known: &known, resumed };
        program.steps.iter().try_for_each(|step| site.look_again(step))?;
        self.base.sync().map_err(root)?;
        self.journal().mark(CommitState::Done).map_err(root)
    }

    fn steps(
        &mut self,
        stage: &Stage,
        (steps, known): (&[Step], &Known<'_>),
        resumed: bool,
    ) -> std::result::Result<(), Fault> {
        for step in steps {
            Site { base: &self.base, stage, known, resumed }.forward(step)?;
            self.one_more();
        }
        Ok(())
    }

    /// Decides that it goes back, and does that.
    fn turn_back(
        &mut self,
        stage: &Stage,
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
        self.back(stage, program, to)
    }

    fn back(&mut self, stage: &Stage, program: &CommitProgram, state: CommitState) -> Result<()> {
        stage.give_space();
        self.go_back(stage, program, state).map_err(|fault| self.stuck(&fault))?;
        // Nothing but what was to come is in the stage now.
        let untouched = self.journal().mark(CommitState::Staging);
        untouched.map_err(|errno| self.stuck(&Fault::Failed(Path::default(), errno)))?;
        self.clear()
    }

    fn go_back(
        &mut self,
        stage: &Stage,
        program: &CommitProgram,
        state: CommitState,
    ) -> std::result::Result<(), Fault> {
        let takes = program.steps.partition_point(|step| step.rank() == 0);
        let (takes, others) = program.steps.split_at_checked(takes).unwrap_or_default();
        let root = |errno| Fault::Failed(Path::default(), errno);
        let known = Known::of(program);
        let site = Site { base: &self.base, stage, known: &known, resumed: true };
        if state == CommitState::BackPut {
            others.iter().rev().try_for_each(|step| site.back(step))?;
            self.base.sync().map_err(root)?;
            self.journal().mark(CommitState::BackTake).map_err(root)?;
        }
        takes.iter().rev().try_for_each(|step| site.back(step))?;
        for step in others {
            if let Step::Time { before: Some((at, time)), .. } = step {
                site.time_back(at, *time)?;
            }
        }
        program.times_back.iter().try_for_each(|(at, time)| site.time_back(at, *time))?;
        self.base.sync().map_err(root)
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

    /// The base is as it is to be: lets the storage forget, and removes what is left.
    fn end(&mut self, program: &CommitProgram) -> Result<Committed> {
        let failed = |errno| CommitError::Storage { storage: self.options.storage.clone(), errno };
        let root_time = program.steps.iter().find_map(|step| match step {
            Step::Time { at, after, .. } if at.is_empty() => Some(*after),
            _ => None,
        });
        // Which base it is, is verified before anything is removed there.
        drop(self.open()?);
        // What was taken has no names in the base any more when the storage counts those.
        let remains = match self.remove_stage(root_time) {
            Ok(()) => None,
            Err(Errno::PERM | Errno::ACCESS) if self.find_stage().is_ok() => {
                let name = Stage::set_aside(&self.base, self.meta()).map_err(failed)?;
                self.base.set_root_time(root_time.unwrap_or(self.head.root_time));
                Some(self.options.base.join(std::ffi::OsStr::from_bytes(&name)))
            }
            Err(errno) => return Err(self.unwritable_at_end(errno)),
        };
        let left = self.forget(program)?;
        self.journal().remove().map_err(failed)?;
        let (steps, bytes) = (program.steps.len() as u64, self.progress.bytes);
        Ok(Committed { steps, bytes, left, remains })
    }

    fn unwritable_at_end(&self, errno: Errno) -> CommitError {
        let (base, storage) = (self.options.base.clone(), self.options.storage.clone());
        CommitError::Remains { base, storage, errno }
    }

    /// Base and storage, once the base is as it is to be.
    fn open(&self) -> Result<Opened> {
        let options = OpenOptions { after_commit: true, ..self.options.clone() };
        Ok(Opened::open(&options)?)
    }

    fn forget(&self, program: &CommitProgram) -> Result<Vec<Path>> {
        let overlay = self.open()?.begin()?;
        let failed = |errno| CommitError::Storage { storage: self.options.storage.clone(), errno };
        if let Err(errno) = overlay.use_reserve() {
            tracing::warn!("what is kept back for deletions cannot be used: {errno}");
        }
        let told = overlay.forget_committed(program).map_err(failed)?;
        overlay.sync().map_err(failed)?;
        overlay.finish();
        Ok(told.failed.into_iter().map(|(path, _)| path).collect())
    }
}

fn open_base(options: &OpenOptions) -> Result<Base> {
    let base = options.base.clone();
    let failed = |errno| match errno {
        Errno::BUSY => CommitError::BaseBusy { base },
        errno => CommitError::BaseUnwritable { base, errno },
    };
    Base::open(&options.base).map_err(failed)
}

fn open_storage(options: &OpenOptions) -> Result<OwnedFd> {
    let flags =
        rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC;
    rustix::fs::open(&options.storage, flags, rustix::fs::Mode::empty()).map_err(|errno| {
        CommitError::Journal { storage: PathBuf::from(&options.storage), why: why(errno) }
    })
}

fn why(errno: Errno) -> String {
    errno.to_string()
}

fn unusable_journal(options: &OpenOptions, unusable: Unusable) -> CommitError {
    let (storage, meta) = (options.storage.clone(), options.meta_name);
    match unusable {
        Unusable::Failed(errno) => CommitError::Journal { storage, why: why(errno) },
        Unusable::Damaged(Damaged { line, reason }) => CommitError::Damaged {
            journal: storage.join(meta.commit()),
            storage,
            stage: meta.stage(),
            why: format!("line {line}: {reason}"),
        },
    }
}

fn new_token() -> Token {
    // Keyed anew from the system's randomness for each.
    let half = || RandomState::new().build_hasher().finish().to_be_bytes();
    let mut token = [0; 16];
    let both = half().into_iter().chain(half());
    token.iter_mut().zip(both).for_each(|(byte, new)| *byte = new);
    Token(Hash(token))
}
