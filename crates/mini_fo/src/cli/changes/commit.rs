//! `mini_fo commit`: changes of a storage into its base.

mod again;
pub mod asked;
mod bar;
mod choice;
mod earlier;
mod list;
pub mod live;
mod others;
mod patch;
mod refused;

use std::ffi::OsStr;
use std::io::{self, IsTerminal};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use mini_fo_core::commit_steps::Part;
use mini_fo_core::{
    Change, CommitPlan, CommitRefusal, CommitSide, CommitWish, Overlay, RestOptions, Warning,
    changes_at_rest, layers_at_rest, writing_at_rest,
};

use super::out::Out;
use super::place::{self, Where};
use super::{named, question};
use crate::cli::args::{CommitArgs, ShowArgs};
use crate::exit::{Failure, code};
use again::Again;
use bar::Bar;
use choice::Choice;
use list::{Form, Line, Sums};

/// How it ended, if not in trouble.
pub enum Outcome {
    /// All is done.
    Done,
    /// Nothing was done, and somebody has to decide; what there is to be said of it.
    Undecided(String),
}

impl Outcome {
    fn no() -> Outcome {
        Outcome::Undecided(String::new())
    }
}

/// Commits what was asked for.
///
/// # Errors
/// It cannot be done.
pub fn run(args: &CommitArgs) -> Result<Outcome, Failure> {
    let (place, tops) = named::asked(&args.paths)?;
    let storage = match &place {
        Where::AtRest(path) => path,
        Where::Live(channel, _) => return live::run(args, channel, tops),
    };
    let choice = Choice::new(tops, &args.only, &args.except)?;
    let options = place::options(storage, &args.place)?;
    let layers = layers_at_rest(&options).map_err(refused::open)?;
    let [base] = &*layers else { return Err(refused::several_layers()) };
    refused::unwritable(base)?;
    if let Some(outcome) = earlier::see_to(args, &options, base)? {
        return Ok(outcome);
    }
    let choice = match patch::at_rest(args, (&options, base), choice)? {
        Some(choice) => choice,
        None => return Ok(Outcome::Done),
    };
    let overlay = place::opened(Ok(opened(args.dry_run, &options)?), refused::open)?;
    match decide(args, &overlay, &choice, base) {
        Ok(Decision::Go(shown)) => {
            match again::after_answer(args, (overlay, shown), &choice, (&options, base))? {
                Again::Same(overlay, shown) => carry_out(args, (*overlay, &options, base), *shown),
                Again::Other(outcome) => Ok(outcome),
            }
        }
        Ok(Decision::End(outcome)) => {
            overlay.finish();
            Ok(outcome)
        }
        Err(failure) => {
            overlay.finish();
            Err(failure)
        }
    }
}

/// Opens the storage: not one that may hold zeros where there was content.
fn opened(dry_run: bool, options: &RestOptions) -> Result<Overlay, Failure> {
    let open = if dry_run { changes_at_rest } else { writing_at_rest };
    let overlay = open(options).map_err(refused::open)?;
    let is_unclean = |warning: &Warning| matches!(warning, Warning::Unclean { .. });
    if overlay.warnings().iter().any(is_unclean) {
        overlay.finish();
        return Err(refused::unclean(&options.path));
    }
    Ok(overlay)
}

/// What a look at the changes comes to.
enum Decision {
    End(Outcome),
    /// It is to be done, and was shown as far as `Sums` do not say otherwise.
    Go(Box<Shown>),
}

/// A plan, and how it is told.
struct Shown {
    plan: CommitPlan,
    /// One for each entry.
    lines: Vec<Line>,
    sums: Sums,
}

impl Shown {
    /// What is to be done of what was chosen.
    fn planned(
        args: &CommitArgs,
        overlay: &Overlay,
        choice: &Choice,
        base: &Path,
    ) -> Result<Shown, Failure> {
        Shown::planned_as(args.json, args, (overlay, choice), base)
    }

    /// The same. `json`: told as objects.
    fn planned_as(
        json: bool,
        args: &CommitArgs,
        (overlay, choice): (&Overlay, &Choice),
        base: &Path,
    ) -> Result<Shown, Failure> {
        let side = match (args.ours, args.theirs) {
            (true, _) => CommitSide::Ours,
            (_, true) => CommitSide::Theirs,
            _ => CommitSide::Neither,
        };
        let held_to = (&[][..], choice.parts());
        Shown::of((side, json), overlay, &mut |change| choice.wish(change), held_to)
            .map_err(|refusal| refused::plan(&refusal, base))
    }

    /// The same. `wish`: what is asked for; `stays`: what is not to leave the storage, changed
    /// or not; `parts`: what goes in part.
    fn of(
        (side, json): (CommitSide, bool),
        overlay: &Overlay,
        wish: &mut dyn FnMut(&Change<'_>) -> CommitWish,
        (stays, parts): (&[Box<[u8]>], &[Part]),
    ) -> Result<Shown, CommitRefusal> {
        let mut lines = Vec::new();
        let plan = overlay.plan_commit_parts(side, (stays, parts), &mut |change| {
            lines.push(Line::of(change, json));
            wish(change)
        })?;
        let lines = list::in_order_of(lines, &plan);
        let sums = Sums::of(&plan);
        Ok(Shown { plan, lines, sums })
    }

    /// Refuses a base that others show.
    fn refuse_others(&self, base: &Path) -> Result<(), Failure> {
        others::refuse(base, &|path| list::touches(&self.plan, &self.lines, path))
    }
}

fn decide(
    args: &CommitArgs,
    overlay: &Overlay,
    choice: &Choice,
    base: &Path,
) -> Result<Decision, Failure> {
    let found = Shown::planned(args, overlay, choice, base)?;
    let Shown { plan, lines, sums } = &found;
    if let Some(path) = choice.is_another() {
        return Ok(Decision::End(Outcome::Undecided(refused::meanwhile(&path))));
    }
    let is_there = |top: &[u8]| base.join(OsStr::from_bytes(top)).symlink_metadata().is_ok();
    choice.refuse_unknown(lines.iter().flat_map(Line::paths), &is_there)?;
    if sums.conflicts > 0 {
        shown(args, plan, lines, sums, true)?;
        return Ok(Decision::End(Outcome::Undecided(refused::conflicts(sums))));
    }
    if args.dry_run || sums.is_nothing() {
        shown(args, plan, lines, sums, true)?;
        let outcome = if sums.is_nothing() { Outcome::Done } else { Outcome::no() };
        return Ok(Decision::End(outcome));
    }
    // Nobody is asked in vain.
    found.refuse_others(base)?;
    if args.yes {
        return Ok(Decision::Go(Box::new(found)));
    }
    if !question::can_be_asked() {
        return Err(refused::unasked(sums, base));
    }
    if !args.json && !args.quiet {
        shown(args, plan, lines, sums, false)?;
    }
    if !question::ask(&sums.question(base)) {
        return Ok(Decision::End(Outcome::no()));
    }
    Ok(Decision::Go(Box::new(found)))
}

fn carry_out(
    args: &CommitArgs,
    (overlay, options, base): (Overlay, &RestOptions, &Path),
    found: Shown,
) -> Result<Outcome, Failure> {
    if let Err(failure) = found.refuse_others(base) {
        overlay.finish();
        return Err(failure);
    }
    let Shown { plan, lines, sums } = found;
    let listing = list::Listing::of(&plan, &lines);
    let bar = Bar::new(args.quiet, sums.bytes);
    let done = plan.carry_out(overlay, options, &mut |progress| bar.show(progress));
    bar.end();
    let committed = done.map_err(|error| refused::commit(error, base))?;
    let mut out = Out::new(&show_args(args), args.json || args.quiet);
    let form = Form { json: args.json, quiet: args.quiet, would: false, offers: false };
    // What was shown before the question is not shown again.
    if args.yes || args.json {
        listing.show(form, &mut out);
    }
    sums.tell(form, base, &mut out);
    let told = out.finish();
    refused::left(&committed)?;
    told.map_err(|failure| refused::untold(&failure))?;
    Ok(Outcome::Done)
}

/// Shows what a plan comes to. `whole`: also in one line.
fn shown(
    args: &CommitArgs,
    plan: &CommitPlan,
    lines: &[Line],
    sums: &Sums,
    whole: bool,
) -> Result<(), Failure> {
    let mut out = Out::new(&show_args(args), args.json || args.quiet);
    let form = Form { json: args.json, quiet: args.quiet, would: true, offers: false };
    list::Listing::of(plan, lines).show(form, &mut out);
    if whole {
        sums.tell(form, Path::new(""), &mut out);
    }
    out.finish()
}

/// A pager would take what is typed for the question, and hide the progress.
fn show_args(args: &CommitArgs) -> ShowArgs {
    let no_pager = args.show.no_pager || !args.dry_run || !io::stdout().is_terminal();
    ShowArgs { color: args.show.color, no_pager }
}

/// What an outcome is for the shell.
///
/// # Errors
/// Always but for [`Outcome::Done`].
pub fn ended(outcome: Result<Outcome, Failure>) -> Result<(), Failure> {
    match outcome {
        Ok(Outcome::Done) => Ok(()),
        Ok(Outcome::Undecided(text)) => Err(Failure::new(code::FAILURE, text)),
        Err(mut failure) => {
            failure.code = code::USAGE;
            Err(failure)
        }
    }
}
