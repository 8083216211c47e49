//! The question may wait for hours: what was shown need not be true any more when the answer
//! comes.

use std::path::Path;

use mini_fo_core::{Overlay, RestOptions};

use super::choice::Choice;
use super::{Outcome, Shown, opened, refused};
use crate::cli::args::CommitArgs;
use crate::exit::Failure;

/// What a second look comes to.
pub enum Again {
    /// All is as it was shown; as it was opened and planned now.
    Same(Box<Overlay>, Box<Shown>),
    /// It is not, and nothing is done.
    Other(Outcome),
}

/// Plans anew what was answered with yes. Without a question nothing has waited.
///
/// # Errors
/// It cannot be done any more.
pub fn after_answer(
    args: &CommitArgs,
    (overlay, shown): (Overlay, Box<Shown>),
    choice: &Choice,
    (options, base): (&RestOptions, &Path),
) -> Result<Again, Failure> {
    if args.yes {
        return Ok(Again::Same(Box::new(overlay), shown));
    }
    // An overlay may know of the base what it has seen before.
    overlay.finish();
    drop(overlay);
    let overlay = opened(args.dry_run, options)?;
    let now = match Shown::planned(args, &overlay, choice, base) {
        Ok(now) => now,
        Err(failure) => {
            overlay.finish();
            return Err(failure);
        }
    };
    let said_otherwise = || {
        let mut pairs = now.lines.iter().zip(&shown.lines);
        let (line, _) = pairs.find(|(now, shown)| !now.says_as(shown))?;
        line.paths().next().map(Box::from)
    };
    let path = now.plan.differs_from(&shown.plan).or_else(said_otherwise);
    let Some(path) = path.or_else(|| choice.is_another()) else {
        return Ok(Again::Same(Box::new(overlay), Box::new(now)));
    };
    overlay.finish();
    Ok(Again::Other(Outcome::Undecided(refused::meanwhile(&path))))
}
