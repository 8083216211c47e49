//! What becomes of the changes of a run.
#![forbid(unsafe_code)]

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use rustix::fd::AsRawFd;
use rustix::fs::{Access, AtFlags, CWD};

use super::ask;
use super::changed::Changes;
use super::join;
use super::place::Place;
use super::settle::{Settled, settle};
use super::start::Started;
use super::tell::Told;
use super::watch::Ended;
use crate::cli::args::run::{Ending, RunArgs};
use crate::cli::args::{CommitArgs, DiscardArgs};
use crate::cli::changes;
use crate::exit::{Failure, code};

/// A run whose command has ended.
pub struct Run<'a> {
    pub args: &'a RunArgs,
    pub place: &'a Place,
    /// The tree that it has seen.
    pub base: &'a Path,
    /// What goes on there does so as root of a range of users.
    pub as_root: bool,
    pub ended: Ended,
}

/// What was done with changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    Kept,
    /// They are nowhere any more.
    Gone,
    /// They are in the base.
    Committed,
    /// The user had all of them before him.
    Reviewed,
}

impl Run<'_> {
    /// Does with the changes what is to be done, and tells it.
    ///
    /// # Errors
    /// It could not be done: the changes stay.
    pub fn conclude(&self, started: Started) -> Result<(), Failure> {
        let Started { daemon, root, users, .. } = started;
        let in_memory = self.args.tmpfs.is_some();
        // Asked through the mount: it is open, and knows what it has changed.
        let live = PathBuf::from(format!("/proc/self/fd/{}", root.as_raw_fd()));
        let untouched = !in_memory && self.place.is_unused();
        let changes = match untouched || self.nobody_asks() {
            true => Ok(Changes::default()),
            false => match &users {
                None => Changes::of(&live),
                Some(users) => Changes::of_users(users, &live),
            },
        };
        let ending = self.ending(&changes);
        if in_memory
            && matches!(ending, Ending::Ask | Ending::Review)
            && let Some(users) = &users
        {
            join::enter_users(users).map_err(|errno| {
                Failure::new(code::RUN, format!("the changes cannot be shown: {errno}"))
            })?;
        }
        if in_memory && ending == Ending::Ask {
            look(&live)?;
        }
        if in_memory && ending == Ending::Review {
            ask::review(&live)?;
        }
        let settled = settle(self.place, daemon, root).map_err(|error| {
            Failure::new(code::RUN, format!("the end of the run cannot be waited for: {error}"))
        })?;
        let changes = changes?;
        let (done, failed) = match settled {
            _ if in_memory => (Done::Gone, self.place.remove().err()),
            Settled::Over => match self.carry_out(ending, &changes) {
                Ok(done) => (done, None),
                Err(failure) => (Done::Kept, Some(failure)),
            },
            Settled::With(_) => (Done::Kept, None),
            Settled::Gone => (Done::Gone, None),
        };
        let left = self.left(done, &settled, &changes)?;
        let undone = done == Done::Kept && ending != Ending::Keep;
        let (changes, left, settled) = (&changes, left.as_ref(), &settled);
        self.tell(&Told { changes, done, left, settled, undone })?;
        failed.map_or(Ok(()), Err)
    }

    /// What has changed is neither told, nor is anything done that depends on it.
    fn nobody_asks(&self) -> bool {
        let stays = self.wanted() == Ending::Keep && !self.place.temporary;
        self.args.quiet && self.args.json.is_none() && stays
    }

    fn wanted(&self) -> Ending {
        match self.ended.is_success() {
            true => self.args.on_exit,
            false => self.args.on_error.unwrap_or(self.args.on_exit),
        }
    }

    /// What is to be done. Where nothing has changed there is nothing to decide.
    fn ending(&self, changes: &Result<Changes, Failure>) -> Ending {
        match changes {
            Ok(changes) if changes.is_empty() => Ending::Keep,
            Ok(_) => self.wanted(),
            Err(_) => Ending::Keep,
        }
    }

    fn carry_out(&self, ending: Ending, changes: &Changes) -> Result<Done, Failure> {
        match ending {
            Ending::Keep => Ok(Done::Kept),
            Ending::Discard => self.discard().map(|()| Done::Gone),
            Ending::Commit => self.commit(true).map(|()| Done::Committed),
            Ending::Review => ask::review(&self.place.dir).map(|()| Done::Reviewed),
            Ending::Ask => self.ask(changes),
        }
    }

    /// What is still to be decided, if that is not what there was at the end. An empty place
    /// that nobody has asked for goes.
    fn left(
        &self,
        done: Done,
        settled: &Settled,
        changes: &Changes,
    ) -> Result<Option<Changes>, Failure> {
        if *settled != Settled::Over || self.args.tmpfs.is_some() {
            return Ok(None);
        }
        let left = match done {
            Done::Kept | Done::Gone => None,
            Done::Committed | Done::Reviewed => Some(Changes::of(&self.place.dir)?),
        };
        let is_empty = left.as_ref().unwrap_or(changes).is_empty();
        // What was discarded has taken a temporary place with it.
        if done != Done::Gone && is_empty && self.place.temporary {
            self.place.remove()?;
        }
        Ok(left)
    }

    /// Asks the user until he has decided.
    fn ask(&self, changes: &Changes) -> Result<Done, Failure> {
        let can_commit = self.can_commit();
        let commit = if can_commit { "(c)ommit, " } else { "" };
        while ask::is_asked() {
            let question = format!(
                "mini_fo: {}. (k)eep, {commit}(d)iscard, (s)tatus, d(i)ff, (r)eview? ",
                changes.summary()
            );
            match ask::answer(&question).as_deref() {
                Some("d" | "discard") => return self.discard().map(|()| Done::Gone),
                Some("c" | "commit") if can_commit => match self.commit(false) {
                    Ok(()) => return Ok(Done::Committed),
                    Err(failure) if failure.is_silent() => {}
                    Err(failure) => {
                        let _ = writeln!(io::stderr(), "mini_fo: {failure}");
                    }
                },
                Some("k" | "keep") | None => break,
                Some("r" | "review") => {
                    return ask::review(&self.place.dir).map(|()| Done::Reviewed);
                }
                Some(word) => ask::show(word, &self.place.dir),
            }
        }
        Ok(Done::Kept)
    }

    /// Whether the user may write into the base.
    pub fn can_commit(&self) -> bool {
        rustix::fs::accessat(CWD, self.base, Access::WRITE_OK, AtFlags::EACCESS).is_ok()
    }

    /// `sure`: without a question.
    fn commit(&self, sure: bool) -> Result<(), Failure> {
        changes::commit(&CommitArgs {
            yes: sure,
            quiet: sure,
            paths: vec![self.place.dir.clone()],
            ..CommitArgs::default()
        })
    }

    fn discard(&self) -> Result<(), Failure> {
        if self.place.temporary {
            return self.place.remove();
        }
        if self.place.is_unused() {
            return Ok(());
        }
        changes::discard(&DiscardArgs {
            all: true,
            yes: true,
            quiet: true,
            paths: vec![self.place.dir.clone()],
            ..DiscardArgs::default()
        })
    }
}

/// Of what goes anyway, only a look is offered.
fn look(live: &Path) -> Result<(), Failure> {
    while ask::is_asked() {
        let question = "mini_fo: the changes are in memory. (e)nd, (s)tatus, d(i)ff, (r)eview? ";
        match ask::answer(question).as_deref() {
            Some("e" | "end") | None => break,
            Some("r" | "review") => ask::review(live)?,
            Some(word) => ask::show(word, live),
        }
    }
    Ok(())
}
