//! A commit of a mount that is served.
//!
//! Everything is as at rest, and by the same code: requests are held up, the overlay lends
//! its storage (`open/lent.rs`) to another one beside it that plans and carries out the
//! commit, and then finds out what the nodes that the kernel knows have become
//! (`live/nodes.rs`). So a crash leaves what it leaves of a commit at rest. Files that
//! somebody has open or mapped stay in the storage, changed or not (`live/in_use.rs`): what
//! is written to them may pass the overlay by, and whoever reads them is to see it.

mod in_use;
mod nodes;

use std::cmp::Reverse;
use std::time::Duration;

use rustix::fd::AsFd;
use rustix::io::Errno;
use thiserror::Error;

pub use self::in_use::{InUse, OpenNow};
pub use self::nodes::{Another, Renewed};
use super::early::Early;
use super::error::CommitError;
use super::plan::{CommitFate, CommitPlan};
use super::run::{Committed, Way};
use crate::format::commit::{CommitState, Path};
use crate::interface::error::{OpenError, Warning};
use crate::reach::gate::Shut;
use crate::reach::overlay::Overlay;
use crate::store::commit_journal;
use crate::sys;

/// So long requests that are served already may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// So often it is looked whether files are still open that were closed a moment ago, for
/// the kernel tells of that later, ...
const LOOKS: u32 = 5;

/// ... and so long afterwards.
const BETWEEN: Duration = Duration::from_millis(30);

/// Files of fewer bytes are copied when their turn comes: that takes no longer than to look
/// whether they are what they were.
const LEAST: u64 = 64 << 10;

/// Why nothing of a live mount was committed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LiveCommitError {
    /// The mount cannot do that as it is.
    #[error("{why}: unmount it, and commit its storage; nothing was changed")]
    Unfit {
        /// Which property of it is in the way.
        why: &'static str,
    },
    /// Requests do not come to their end.
    #[error(
        "programs have asked for something that has taken longer than {} s: try again, or unmount \
         it and commit its storage; nothing was changed", PATIENCE.as_secs()
    )]
    Busy,
    /// Which of its names a file has that is open is not known.
    #[error(
        "a program has a file with several names open, under one that was deleted: end it, or \
         unmount the tree and commit its storage; nothing was changed"
    )]
    LostName,
    /// A mount with `-o volatile` of the storage did not end cleanly.
    #[error("a volatile mount of the storage did not end cleanly")]
    Unclean,
    /// Who has asked for it wants nothing any more.
    #[error("who has asked for the commit has gone; nothing was changed")]
    Unwanted,
    /// META of the storage cannot be written.
    #[error("the storage cannot be written: {0}; nothing was changed")]
    Storage(Errno),
    /// As at rest.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// The mount cannot be served any more.
    #[error("{why}; the mount serves nothing any more: unmount it")]
    Lost {
        /// What has happened.
        why: String,
    },
}

impl From<OpenError> for LiveCommitError {
    fn from(error: OpenError) -> LiveCommitError {
        LiveCommitError::Commit(error.into())
    }
}

type Result<T> = std::result::Result<T, LiveCommitError>;

/// Who is told of a commit.
pub struct CommitListener<'a> {
    /// Bytes that were copied ahead, and of how many. `false` from it: nothing is wanted any
    /// more.
    pub each: &'a mut dyn FnMut(u64, u64) -> bool,
    /// What has become of nodes.
    pub tell: &'a mut dyn FnMut(Renewed),
}

impl Overlay {
    /// Commits what `plan` says of an overlay that shows the same as this one, and of what
    /// is in use; it may be asked again, when more turns out to be. `None` from it: nothing
    /// is done. The first time it is asked of this overlay, which is served still, and large
    /// contents of that plan are copied then (`early.rs`); `each` is told of bytes that were,
    /// and of all, and says whether it is to go on. `tell` gets what has become of the nodes,
    /// before anything is served again: it waits for nobody who may wait for that, and so not
    /// for the kernel.
    ///
    /// # Errors
    /// But for [`LiveCommitError::Lost`], as at rest: the base is as it was, unless the error
    /// says something else.
    pub fn commit_live(
        &self,
        open_now: &dyn Fn() -> OpenNow,
        plan: &mut dyn FnMut(&Overlay, &InUse) -> Option<CommitPlan>,
        CommitListener { each, tell }: CommitListener<'_>,
    ) -> Result<Option<Committed>> {
        self.check_fit()?;
        // Nothing is being opened while that begins.
        let watch = self.shut(PATIENCE).and_then(|_shut| self.written.watch());
        let wanted = match watch {
            Some(_) => self.large_contents(open_now, plan).unwrap_or_default(),
            None => Vec::new(),
        };
        let copied = self.copy_early(wanted, each).ok_or(LiveCommitError::Unwanted)?;
        let (mut early, kept) = copied;
        let (shut, in_use) = self.shut_when_closed(open_now)?;
        if in_use.has_lost_name(self).map_err(LiveCommitError::Storage)? {
            return Err(LiveCommitError::LostName);
        }
        watch.iter().for_each(|watch| early.drop_written(watch));
        let ready = self.make_ready(&in_use);
        ready.map_err(LiveCommitError::Storage)?;
        let done = sys::with_umask(0o077, 0, |_| match self.lend() {
            Ok(()) => self.commit_lent(in_use, &early, plan),
            Err(errno) => Err(LiveCommitError::Storage(errno)),
        });
        let done = self.go_on(done, tell);
        drop(shut);
        drop(kept);
        done
    }

    /// What of the storage is in use, as far as files are open.
    #[must_use]
    pub fn in_use(&self, open: OpenNow) -> InUse {
        InUse::of(self, open)
    }

    /// The tree has something at this path.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn has_path(&self, path: &[u8]) -> sys::Result<bool> {
        Ok(self.reach(path)?.is_some())
    }

    /// Paths of large files that go, the largest first, with their bytes.
    fn large_contents(
        &self,
        open_now: &dyn Fn() -> OpenNow,
        plan: &mut dyn FnMut(&Overlay, &InUse) -> Option<CommitPlan>,
    ) -> sys::Result<Vec<(Path, u64)>> {
        let _pass = self.pass()?;
        let Some(plan) = plan(self, &self.in_use(open_now())) else { return Ok(Vec::new()) };
        let goes = |fate| matches!(fate, CommitFate::Goes | CommitFate::Follows);
        let large = plan.entries.iter().filter(|entry| goes(entry.fate) && entry.bytes >= LEAST);
        let mut large: Vec<(Path, u64)> =
            large.map(|entry| (entry.path.clone(), entry.bytes)).collect();
        large.sort_by_key(|(_, bytes)| Reverse(*bytes));
        Ok(large)
    }

    /// A commit is possible while it is mounted.
    fn check_fit(&self) -> Result<()> {
        let unfit = |why| Err(LiveCommitError::Unfit { why });
        if self.is_read_only() {
            return unfit("the mount is read-only");
        }
        // Files that are open have names there, and would be taken for unfinished work.
        if self.renames_what_is_open() {
            return unfit("its storage lies on NFS");
        }
        Ok(())
    }

    /// Holds up all requests, and finds out what is in use.
    fn shut_when_closed(&self, open_now: &dyn Fn() -> OpenNow) -> Result<(Shut<'_>, InUse)> {
        let mut look = 1;
        loop {
            let shut = self.shut(PATIENCE).ok_or(LiveCommitError::Busy)?;
            if self.is_lost() {
                return Err(LiveCommitError::Lost { why: "an earlier commit has failed".into() });
            }
            let in_use = InUse::of(self, open_now());
            if in_use.is_empty() || look == LOOKS {
                return Ok((shut, in_use));
            }
            drop(shut);
            std::thread::sleep(BETWEEN);
            look += 1;
        }
    }

    /// What is open goes on, and is in the storage as far as that tells it to others.
    fn make_ready(&self, in_use: &InUse) -> sys::Result<()> {
        in_use.dirs.iter().try_for_each(|dir| self.keep_listing(dir))?;
        // Else who opens the storage would not know which data of them counts.
        let partial = in_use.files.iter().filter(|file| file.partial().is_some());
        partial.into_iter().try_for_each(|file| self.fsync(file, false))
    }

    fn commit_lent(
        &self,
        mut in_use: InUse,
        early: &Early,
        plan: &mut dyn FnMut(&Overlay, &InUse) -> Option<CommitPlan>,
    ) -> Result<Option<Committed>> {
        let borrower = self.beside(false)?.begin_beside()?;
        let is_unclean = |warning: &Warning| matches!(warning, Warning::Unclean { .. });
        if borrower.warnings().iter().any(is_unclean) {
            borrower.finish();
            return Err(LiveCommitError::Unclean);
        }
        if let Err(errno) = borrower.use_reserve() {
            tracing::warn!("what is kept back for deletions cannot be used: {errno}");
        }
        let plan = loop {
            let Some(plan) = plan(&borrower, &in_use) else {
                borrower.finish();
                return Ok(None);
            };
            if !in_use.add_mapped(&borrower, &plan) {
                break plan;
            }
        };
        let options = self.options_beside();
        let way = (&options, Way::Lent(self, early));
        Ok(Some(plan.carry_out_by(borrower, way, &mut |_| {})?))
    }

    /// The storage is this overlay's again, whatever has become of the commit.
    fn go_on(
        &self,
        done: Result<Option<Committed>>,
        tell: &mut dyn FnMut(Renewed),
    ) -> Result<Option<Committed>> {
        let lost = |why: String| {
            tracing::error!("after a commit nothing is served any more: {why}");
            self.set_lost();
            Err(LiveCommitError::Lost { why })
        };
        if let (Err(error), false) = (&done, self.is_before_a_commit()) {
            return lost(error.to_string());
        }
        match self.take_back() {
            Ok(warnings) => warnings.iter().for_each(|warning| tracing::warn!("{warning}")),
            Err(why) => return lost(why),
        }
        tell(self.find_nodes_again());
        done
    }

    /// The base is what it was before a commit, or what it is to be after one.
    fn is_before_a_commit(&self) -> bool {
        let journal = commit_journal::load(self.lock.as_fd(), self.meta);
        journal.is_ok_and(|journal| {
            journal.is_none_or(|journal| journal.state == CommitState::Staging)
        })
    }
}
