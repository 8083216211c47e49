//! A commit that a page asks for (`mini_fo review`): nobody is asked here, and all is told in
//! lines of JSON.

use std::path::Path;

use mini_fo_core::{Change, CommitFate, CommitSide, Overlay, RestOptions, layers_at_rest};

use super::choice::Choice;
use super::list::{self, Sums};
use super::{Shown, live, opened, refused};
use crate::cli::args::WhereArgs;
use crate::cli::changes::out::{Lines, Out};
use crate::cli::changes::{self, place};
use crate::control::client::Channel;
use crate::control::wire::{CommitForm, CommitSeen, Request};
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

/// Commits what a form asks for, all of it or nothing; or tells what would come of it.
/// `each` gets every change that is not left alone, as `mini_fo status --json` has it.
///
/// # Errors
/// It cannot be done; or there are conflicts, or changes that would be held.
pub fn at_rest(
    storage: &Path,
    place: &WhereArgs,
    form: &CommitForm,
    each: &mut dyn FnMut(&str, Fate),
) -> Result<CommitSeen, Failure> {
    let (options, base) = base(storage, place)?;
    let overlay = opened(form.dry_run, &options)?;
    match planned(&overlay, &base, form, each) {
        Ok(Some(shown)) if !form.dry_run => {
            let done = shown.plan.carry_out(overlay, &options, &mut |_| {});
            refused::left(&done.map_err(|error| refused::commit(error, &base))?)?;
        }
        planned => {
            overlay.finish();
            if planned?.is_none() && !form.dry_run {
                return Err(changed());
            }
        }
    }
    Ok(CommitSeen::default())
}

/// The same of a live mount.
///
/// # Errors
/// As [`at_rest`].
pub fn live(
    channel: &Channel,
    form: CommitForm,
    each: &mut dyn FnMut(&str, Fate),
) -> Result<CommitSeen, Failure> {
    let dry_run = form.dry_run;
    let (_, others) = live::others_of(channel)?;
    let mut take = |line: &str| {
        if let Some((object, fate)) = fate_of(line) {
            each(&object, fate);
        }
    };
    let mut lines = Lines::new(&mut take);
    let mut out = Out::into_program(&mut lines);
    let request = Request::Commit(CommitForm { others, ..form });
    let seen: CommitSeen = changes::live::show(channel, &request, &mut out)?;
    out.finish()?;
    match &seen.but {
        _ if !dry_run && (seen.is_another || seen.conflicts > 0) => Err(changed()),
        Some(but) => Err(Failure::new(code::STORAGE, but)),
        None => Ok(seen),
    }
}

fn changed() -> Failure {
    Failure::new(code::FAILURE, "nothing is committed: it is not as it was any more")
}

/// What a line of `mini_fo commit --json` tells, and the same as `mini_fo status` has it.
fn fate_of(line: &str) -> Option<(String, Fate)> {
    let (object, word) = line.rsplit_once(",\"fate\":\"")?;
    let fate = match word {
        "goes\"}" | "follows\"}" => Fate::Goes,
        "held\"}" => Fate::Held,
        "conflict\"}" => Fate::Conflict("the base has something else by now".to_owned()),
        _ => return None,
    };
    Some((format!("{object}}}"), fate))
}

/// `None`: there is something to be decided first.
fn planned(
    overlay: &Overlay,
    base: &Path,
    form: &CommitForm,
    each: &mut dyn FnMut(&str, Fate),
) -> Result<Option<Shown>, Failure> {
    let choice = Choice::of(form)?;
    let mut wish = |change: &Change<'_>| choice.wish(change);
    let shown = Shown::of((CommitSide::Neither, true), overlay, &mut wish, (&[], choice.parts()));
    let shown = shown.map_err(|refusal| refused::plan(&refusal, base))?;
    for (line, entry) in shown.lines.iter().zip(&shown.plan.entries) {
        let fate = match entry.fate {
            CommitFate::Goes | CommitFate::Follows | CommitFate::Part => Fate::Goes,
            CommitFate::Held => Fate::Held,
            CommitFate::Conflict(state) => Fate::Conflict(list::conflict(state)),
            CommitFate::Dropped(_) | CommitFate::Stays => continue,
        };
        each(&line.object(), fate);
    }
    shown.refuse_others(base)?;
    let Sums { conflicts, held, .. } = shown.sums;
    Ok(Some(shown).filter(|_| conflicts == 0 && held == 0))
}
