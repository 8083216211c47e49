//! `mini_fo commit --patch`: each change is shown, and somebody says whether it goes, as
//! `git add --patch` asks. What is picked is asked for like anything else then: it must be
//! what was shown.

mod answers;
mod dialogue;
mod hunks;
mod offer;

use std::path::Path;

use mini_fo_core::RestOptions;

use self::dialogue::{Dialogue, Shower};
use self::offer::Offer;
use super::choice::Choice;
use super::list::{Form, Listing};
use super::{Shown, opened, refused};
use crate::cli::args::CommitArgs;
use crate::cli::changes::out::{Lines, Out};
use crate::cli::changes::{content, diff, live as live_changes, question};
use crate::control::client::Channel;
use crate::control::wire::{CommitForm, CommitSeen, Picked, Request};
use crate::exit::{Failure, code};

/// Of a storage that is not mounted: what was picked in place of what was chosen. Without
/// `--patch` nobody is asked. `None`: there is nothing to be done.
///
/// # Errors
/// It cannot be shown; nobody can be asked.
pub fn at_rest(
    args: &CommitArgs,
    (options, base): (&RestOptions, &Path),
    choice: Choice,
) -> Result<Option<Choice>, Failure> {
    if !args.patch {
        return Ok(Some(choice));
    }
    refuse_unasked(args)?;
    let overlay = opened(true, options)?;
    let asked = Shown::planned_as(true, args, (&overlay, &choice), base).and_then(|shown| {
        let mut offers = Vec::new();
        let mut take = |line: &str| offers.extend(Offer::of(line));
        let mut lines = Lines::new(&mut take);
        let mut out = Out::into_program(&mut lines);
        let form = Form { json: true, quiet: false, would: true, offers: true };
        Listing::of(&shown.plan, &shown.lines).show(form, &mut out);
        out.finish()?;
        let shower = |request: &Request, out: &mut Out<'_>| match request {
            Request::Content(form) => content::show(&overlay, form, out).map(drop),
            Request::Diff(form) => diff::show(&overlay, form, out).map(drop),
            _ => Ok(()),
        };
        let mut show = |request: &Request, out: &mut Out<'_>| {
            shower(request, out).map_err(|errno| {
                Failure::new(code::FAILURE, format!("a change cannot be shown: {errno}"))
            })
        };
        ask(args, offers, &mut show)
    });
    overlay.finish();
    let Some(picked) = asked? else { return Ok(None) };
    Choice::of(&CommitForm { picked: Some(picked), ..CommitForm::default() }).map(Some)
}

/// The same of a live mount.
///
/// # Errors
/// As [`at_rest`].
pub fn live(
    args: &CommitArgs,
    channel: &Channel,
    form: CommitForm,
) -> Result<Option<CommitForm>, Failure> {
    if !args.patch {
        return Ok(Some(form));
    }
    refuse_unasked(args)?;
    let (mut offers, mut count) = (Vec::new(), 0);
    let mut take = |line: &str| {
        count += 1;
        offers.extend(Offer::of(line));
    };
    let mut lines = Lines::new(&mut take);
    let mut out = Out::into_program(&mut lines);
    let asked = CommitForm { dry_run: true, asks: true, json: true, offers: true, ..form.clone() };
    let seen: CommitSeen = live_changes::show(channel, &Request::Commit(asked), &mut out)?;
    out.finish()?;
    if offers.is_empty() && count > 0 {
        let text = "the daemon of the mount is of an earlier version, and cannot tell what is to \
                    be picked: mount it anew";
        return Err(Failure::new(code::FAILURE, text));
    }
    let mut show = |request: &Request, out: &mut Out<'_>| match request {
        Request::Content(_) => {
            live_changes::show::<crate::control::wire::Sent>(channel, request, out).map(drop)
        }
        _ => live_changes::show::<crate::control::wire::Seen>(channel, request, out).map(drop),
    };
    let picked = ask(args, offers, &mut show)?;
    if seen.in_use > 0 {
        let count = super::list::changes(seen.in_use);
        dialogue::say(args, &format!("not asked about: {count}, open in programs\n"))?;
    }
    let Some(picked) = picked else { return Ok(None) };
    let whole = picked.iter().filter(|one| one.part.is_none()).map(|one| one.path.clone());
    // What does not know of picks must not take all.
    let (paths, single) = (whole.collect(), true);
    let (only, except) = (Vec::new(), Vec::new());
    Ok(Some(CommitForm { paths, single, only, except, picked: Some(picked), ..form }))
}

/// Nobody is asked in vain.
fn refuse_unasked(args: &CommitArgs) -> Result<(), Failure> {
    if args.yes || args.dry_run || question::can_be_asked() {
        return Ok(());
    }
    let text = "--patch asks on a terminal, and there is none: with --yes the answers are read \
                from standard input, and what they pick is committed";
    Err(Failure::new(code::USAGE, text))
}

/// `None`: nothing was picked.
fn ask(
    args: &CommitArgs,
    offers: Vec<Offer>,
    show: Shower<'_>,
) -> Result<Option<Vec<Picked>>, Failure> {
    let conflicts = offers.iter().filter(|offer| offer.is_conflict());
    for offer in conflicts {
        dialogue::say(args, &refused::not_offered(&offer.path()))?;
    }
    let picked = Dialogue::new(args, show).all(&offer::asked_for(&offers))?;
    if picked.is_empty() {
        dialogue::say(args, "nothing was picked\n")?;
        return Ok(None);
    }
    Ok(Some(picked))
}
