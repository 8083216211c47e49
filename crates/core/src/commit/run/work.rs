//! What all parts of a commit are about.

use std::ffi::OsStr;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;

use super::CommitProgress;
use crate::commit::base::Base;
use crate::commit::early::Early;
use crate::commit::error::CommitError;
use crate::commit::stage::Stage;
use crate::commit::stages::Stages;
use crate::format::commit::{Damaged, Head, StagePlace, Step, Token};
use crate::format::name::MetaName;
use crate::format::print::Hash;
use crate::format::time::Timestamp;
use crate::interface::options::OpenOptions;
use crate::reach::overlay::Overlay;
use crate::store::commit_journal::{JournalFile, Unusable};
use crate::store::dirs::Dirs;
use crate::sys;

pub(super) type Result<T> = std::result::Result<T, CommitError>;

/// How base and storage are reached.
#[derive(Clone, Copy)]
pub(in crate::commit) enum Way<'a> {
    /// By their paths: they are not mounted.
    Paths,
    /// By the descriptors of a mount that lends them, with what was copied before.
    Lent(&'a Overlay, &'a Early),
}

/// What all parts of a commit are about.
pub(super) struct Work<'a> {
    pub options: &'a OpenOptions,
    pub way: Way<'a>,
    pub base: Base,
    pub storage: OwnedFd,
    pub head: Head,
    pub each: &'a mut dyn FnMut(CommitProgress),
    pub progress: CommitProgress,
}

impl Work<'_> {
    pub fn meta(&self) -> MetaName {
        self.options.meta_name
    }

    pub fn journal(&self) -> JournalFile<'_> {
        JournalFile::of(self.storage.as_fd(), self.meta())
    }

    /// The storage as files can be taken from it by another name. `None`: that is lent, by
    /// another mount than the base.
    pub fn stored_tree(&self) -> Option<Dirs> {
        let opened = matches!(self.way, Way::Paths).then(|| open_storage(self.options));
        opened?.ok().map(Dirs::of)
    }

    pub fn journal_failed(&self, errno: Errno) -> CommitError {
        CommitError::Journal { storage: self.options.storage.clone(), why: why(errno) }
    }

    pub fn find_stages(&self) -> Result<Stages> {
        let other = || CommitError::OtherBase {
            base: self.options.base.clone(),
            storage: self.options.storage.clone(),
        };
        let found = Stages::find(&self.base, self.meta(), &self.head);
        found.map_err(|errno| self.unwritable(errno))?.ok_or_else(other)
    }

    /// Notes what times the directories have in which stages will be.
    pub fn note_times(&mut self) -> Result<()> {
        for place in &mut self.head.stages {
            let stat = self.base.dir(&place.dir).and_then(|dir| sys::stat_fd(&*dir));
            let failed = |errno| CommitError::BaseUnwritable {
                base: self.options.base.join(OsStr::from_bytes(&place.dir)),
                errno,
            };
            place.time = stat.map_err(failed)?.stx_mtime.into();
        }
        Ok(())
    }

    pub fn unwritable(&self, errno: Errno) -> CommitError {
        CommitError::BaseUnwritable { base: self.options.base.clone(), errno }
    }

    pub fn one_more(&mut self) {
        self.progress.done += 1;
        (self.each)(self.progress);
    }

    /// Nothing of a commit is left: the base is as it was.
    pub fn clear(&mut self) -> Result<()> {
        self.remove_stages(&[]).map_err(|errno| self.unwritable(errno))?;
        self.journal().remove().map_err(|errno| self.journal_failed(errno))
    }

    /// Removes the stages, if they are those of this commit, or those of nobody and empty. The
    /// directories that they were in get the times that `steps` say, or those from before.
    pub fn remove_stages(&self, steps: &[Step]) -> sys::Result<()> {
        let mut found = false;
        for place in &self.head.stages {
            let at = (self.meta(), &*place.dir);
            let stage = match Stage::find(&self.base, at, self.head.token)? {
                None => Stage::find_bare(&self.base, at)?,
                found => found,
            };
            let Some(stage) = stage else { continue };
            stage.remove(&self.base, self.meta())?;
            self.base.set_time_of(&place.dir, time_after(place, steps));
            found = true;
        }
        if found { self.base.sync(&self.head.stages) } else { Ok(()) }
    }
}

/// The time of modification that a directory with a stage is to have in the end.
pub(super) fn time_after(place: &StagePlace, steps: &[Step]) -> Timestamp {
    let said = steps.iter().find_map(|step| match step {
        Step::Time { at, after, .. } if **at == *place.dir => Some(*after),
        _ => None,
    });
    said.unwrap_or(place.time)
}

/// The base, and that nobody else commits with stages at these places.
pub(super) fn open_base(
    options: &OpenOptions,
    way: Way<'_>,
    stages: &[StagePlace],
) -> Result<Base> {
    let base = options.base.clone();
    let failed = |errno| match errno {
        Errno::BUSY => CommitError::BaseBusy { base },
        errno => CommitError::BaseUnwritable { base, errno },
    };
    let opened = match way {
        Way::Paths => Base::open(&options.base),
        Way::Lent(overlay, _) => Base::of_overlay(overlay),
    };
    // A storage at rest need not say that it was mounted so.
    let across = options.submounts || stages.iter().any(|place| !place.mount.is_empty());
    let locked = opened.and_then(|base| {
        let mut base = base.across(across);
        base.lock(stages).map(|()| base)
    });
    locked.map_err(failed)
}

pub(super) fn open_storage(options: &OpenOptions) -> Result<OwnedFd> {
    let flags =
        rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC;
    rustix::fs::open(&options.storage, flags, rustix::fs::Mode::empty()).map_err(|errno| {
        CommitError::Journal { storage: PathBuf::from(&options.storage), why: why(errno) }
    })
}

pub(super) fn why(errno: Errno) -> String {
    errno.to_string()
}

pub(super) fn unusable_journal(options: &OpenOptions, unusable: Unusable) -> CommitError {
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

pub(super) fn new_token() -> Token {
    // Keyed anew from the system's randomness for each.
    let half = || RandomState::new().build_hasher().finish().to_be_bytes();
    let mut token = [0; 16];
    let both = half().into_iter().chain(half());
    token.iter_mut().zip(both).for_each(|(byte, new)| *byte = new);
    Token(Hash(token))
}
