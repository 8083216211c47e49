//! `mini_fo status` and `mini_fo diff`: what has changed; `mini_fo discard`: back to what was;
//! `mini_fo commit`: into the base.
#![forbid(unsafe_code)]

pub mod ask;
mod base;
pub mod commit;
pub mod content;
pub mod diff;
pub mod discard;
mod globs;
pub mod live;
mod named;
pub mod out;
pub mod place;
mod question;
mod quote;
pub mod status;

use crate::cli::args::{CommitArgs, DiffArgs, DiscardArgs, StatusArgs};
use crate::control::wire::Seen;
use crate::exit::{Failure, code};

/// `mini_fo status`.
///
/// # Errors
/// Something has changed (exit code 1, without a message), or could not be read (2).
pub fn status(args: &StatusArgs) -> Result<(), Failure> {
    outcome(status::run(args))
}

/// `mini_fo diff`.
///
/// # Errors
/// As [`status()`].
pub fn diff(args: &DiffArgs) -> Result<(), Failure> {
    outcome(diff::run(args))
}

/// `mini_fo discard`.
///
/// # Errors
/// Nothing was to go after all (exit code 1, without a message), or trouble (2).
pub fn discard(args: &DiscardArgs) -> Result<(), Failure> {
    discard::run(args).map_err(trouble)
}

/// `mini_fo commit`.
///
/// # Errors
/// Nothing was committed, and it is for the user to decide (exit code 1), or trouble (2).
pub fn commit(args: &CommitArgs) -> Result<(), Failure> {
    commit::ended(commit::run(args))
}

/// Exit code 1 is for what is no trouble, of which there is nothing to be said.
fn trouble(mut failure: Failure) -> Failure {
    if failure.code != code::FAILURE || !failure.is_silent() {
        failure.code = code::USAGE;
    }
    failure
}

/// What was found, as exit code: 1 says that there are changes, so every trouble is 2.
fn outcome(found: Result<Seen, Failure>) -> Result<(), Failure> {
    match found {
        Ok(Seen { unread: 0, changes: false }) => Ok(()),
        Ok(Seen { unread: 0, changes: true }) => Err(Failure::silent(code::FAILURE)),
        Ok(Seen { unread: 1, .. }) => Err(Failure::new(code::USAGE, "1 entry could not be read")),
        Ok(Seen { unread, .. }) => {
            Err(Failure::new(code::USAGE, format!("{unread} entries could not be read")))
        }
        Err(mut failure) => {
            failure.code = code::USAGE;
            Err(failure)
        }
    }
}
