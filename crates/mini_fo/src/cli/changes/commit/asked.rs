//! A commit that a page asks for (`mini_fo review`): nobody is asked here, and all is told in
//! lines of JSON.

use std::path::Path;

use mini_fo_core::{
    Change, CommitFate, CommitSide, CommitWish, Overlay, RestOptions, layers_at_rest,
};

use super::list::{self, Line, Sums};
use super::{Shown, opened, refused};
use crate::cli::args::{CommitArgs, ShowArgs, WhereArgs};
use crate::cli::changes::place;
use crate::exit::{Failure, code};

/// What becomes of a change.
pub enum Fate {
    /// It goes into the base.
    Goes,
    /// It was asked for, and belongs together with what stays.
    Held,
    /// The base has something else than what it was made from: what.
    Conflict(String),
}

/// The base that a storage is committed into.
///
/// # Errors
/// It cannot be: not into several trees, nor where nothing may be written.
pub fn base(storage: &Path, place: &WhereArgs) -> Result<(RestOptions, Box<Path>), Failure> {
    let options = place::options(storage, place)?;
    let layers = layers_at_rest(&options).map_err(refused::open)?;
    let [base] = &*layers else { return Err(refused::several_layers()) };
    refused::unwritable(base)?;
    let base = base.as_path().into();
    Ok((options, base))
}

/// Commits what `wish` asks for, all of it or nothing; or tells what would come of it.
/// `each` gets every change that is not left alone, as `mini_fo status --json` has it.
///
/// # Errors
/// It cannot be done; or there are conflicts, or changes that would be held.
pub fn carry_out(
    storage: &Path,
    place: &WhereArgs,
    dry_run: bool,
    wish: &dyn Fn(&Change<'_>) -> CommitWish,
    each: &mut dyn FnMut(&str, Fate),
) -> Result<(), Failure> {
    let (options, base) = base(storage, place)?;
    let overlay = opened(&args(dry_run), &options)?;
    match planned(&overlay, &base, wish, each) {
        Ok(Some(shown)) if !dry_run => {
            let done = shown.plan.carry_out(overlay, &options, &mut |_| {});
            refused::left(&done.map_err(|error| refused::commit(error, &base))?)
        }
        Ok(None) if !dry_run => {
            overlay.finish();
            let text = "nothing is committed: it is not as it was any more";
            Err(Failure::new(code::FAILURE, text))
        }
        planned => {
            overlay.finish();
            planned.map(drop)
        }
    }
}

/// `None`: there is something to be decided first.
fn planned(
    overlay: &Overlay,
    base: &Path,
    wish: &dyn Fn(&Change<'_>) -> CommitWish,
    each: &mut dyn FnMut(&str, Fate),
) -> Result<Option<Shown>, Failure> {
    let mut lines = Vec::new();
    let plan = overlay.plan_commit(CommitSide::Neither, &mut |change| {
        lines.push(Line::of(change, true));
        wish(change)
    });
    let plan = plan.map_err(|refusal| refused::plan(&refusal, base))?;
    let lines = list::in_order_of(lines, &plan);
    for (line, entry) in lines.iter().zip(&plan.entries) {
        let fate = match entry.fate {
            CommitFate::Goes | CommitFate::Follows => Fate::Goes,
            CommitFate::Held => Fate::Held,
            CommitFate::Conflict(state) => Fate::Conflict(list::conflict(state)),
            CommitFate::Dropped(_) | CommitFate::Stays => continue,
        };
        each(&line.object(), fate);
    }
    let sums = Sums::of(&plan);
    let shown = Shown { plan, lines, sums };
    shown.refuse_others(base)?;
    Ok(Some(shown).filter(|_| sums.conflicts == 0 && sums.held == 0))
}

/// As they would be typed.
fn args(dry_run: bool) -> CommitArgs {
    CommitArgs {
        place: WhereArgs::default(),
        only: Vec::new(),
        except: Vec::new(),
        ours: false,
        theirs: false,
        abort: false,
        dry_run,
        yes: true,
        quiet: true,
        json: true,
        show: ShowArgs::default(),
        paths: Vec::new(),
    }
}
