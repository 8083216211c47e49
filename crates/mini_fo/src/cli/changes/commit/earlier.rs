//! A commit that was interrupted is finished, or taken back, before anything else is done.

use std::io::Write as _;
use std::path::Path;

use mini_fo_core::{
    FinishedCommit, RestOptions, UnfinishedCommit, finish_commit, unfinished_commit,
};

use super::bar::Bar;
use super::list::quoted_path;
use super::{Outcome, others, refused};
use crate::cli::args::CommitArgs;
use crate::exit::Failure;

/// Does so. `None`: what is asked for now can be done.
///
/// # Errors
/// It cannot be finished, or not taken back any more.
pub fn see_to(
    args: &CommitArgs,
    options: &RestOptions,
    base: &Path,
) -> Result<Option<Outcome>, Failure> {
    let found = unfinished_commit(options).map_err(|error| refused::commit(error, base))?;
    let at = quoted_path(base);
    let what = match found {
        UnfinishedCommit::Nothing if args.abort => {
            say(args, "no commit was interrupted: there is nothing to be taken back");
            return Ok(Some(Outcome::Done));
        }
        UnfinishedCommit::Nothing => return Ok(None),
        // What it has left in the base does not show.
        UnfinishedCommit::Untouched if args.dry_run => return Ok(None),
        UnfinishedCommit::Untouched => format!("before it had changed anything of {at}"),
        UnfinishedCommit::Begun => format!("while it changed {at}"),
        UnfinishedCommit::Returning => format!("while it was taken back from {at}"),
        UnfinishedCommit::Done => format!("when {at} had all of it"),
    };
    let what = format!("an earlier commit was interrupted {what}");
    if args.dry_run {
        let way = match found {
            UnfinishedCommit::Begun => "finishes it, --abort takes it back",
            _ => "brings it to its end",
        };
        let text = format!("{what}: 'mini_fo commit' without --dry-run {way}");
        return Ok(Some(Outcome::Undecided(text)));
    }
    others::refuse(base, &|_| true)?;
    let bar = Bar::new(args.quiet, 0);
    let done = finish_commit(options, args.abort, &mut |progress| bar.show(progress));
    bar.end();
    let done = match done.map_err(|error| refused::commit(error, base))? {
        FinishedCommit::Done(committed) => {
            refused::left(&committed)?;
            "it is finished"
        }
        FinishedCommit::TakenBack if found == UnfinishedCommit::Untouched => {
            "what it had prepared is cleared away"
        }
        FinishedCommit::TakenBack => "it is taken back",
        FinishedCommit::Nothing => "somebody else has seen to it",
    };
    say(args, &format!("{what}: {done}"));
    Ok(args.abort.then_some(Outcome::Done))
}

/// Tells it where errors go: it is no part of what was asked for.
fn say(args: &CommitArgs, text: &str) {
    if !args.quiet {
        // Without a standard error nobody wants to know.
        let _ = writeln!(std::io::stderr(), "mini_fo: {text}");
    }
}
