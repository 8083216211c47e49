//! What all parts of a commit are about.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::PathBuf;

use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;

use super::CommitProgress;
use crate::commit::base::Base;
use crate::commit::error::CommitError;
use crate::commit::stage::Stage;
use crate::format::commit::{Damaged, Head, Token};
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
    /// By the descriptors of a mount that lends them.
    Lent(&'a Overlay),
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

    pub fn find_stage(&self) -> Result<Stage> {
        let other = || CommitError::OtherBase {
            base: self.options.base.clone(),
            storage: self.options.storage.clone(),
        };
        let found = Stage::find(&self.base, self.meta(), self.head.token);
        found.map_err(|errno| self.unwritable(errno))?.ok_or_else(other)
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
        self.remove_stage(None).map_err(|errno| self.unwritable(errno))?;
        self.journal().remove().map_err(|errno| self.journal_failed(errno))
    }

    /// Removes the stage, if it is that of this commit, or that of nobody and empty.
    pub fn remove_stage(&self, root_time: Option<Timestamp>) -> sys::Result<()> {
        let stage = match Stage::find(&self.base, self.meta(), self.head.token)? {
            None => Stage::find_bare(&self.base, self.meta())?,
            found => found,
        };
        let Some(stage) = stage else { return Ok(()) };
        stage.remove(&self.base, self.meta())?;
        self.base.set_root_time(root_time.unwrap_or(self.head.root_time));
        self.base.sync()
    }
}

pub(super) fn open_base(options: &OpenOptions, way: Way<'_>) -> Result<Base> {
    let base = options.base.clone();
    let failed = |errno| match errno {
        Errno::BUSY => CommitError::BaseBusy { base },
        errno => CommitError::BaseUnwritable { base, errno },
    };
    let opened = match way {
        Way::Paths => Base::open(&options.base),
        Way::Lent(overlay) => Base::of_overlay(overlay),
    };
    opened.map_err(failed)
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
