//! `mini_fo discard`: back to what is below.

mod choose;
mod work;

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::ask::ask;
use super::globs::{self, Globs};
use super::out::Out;
use super::place::Where;
use super::{named, question};
use crate::cli::args::{DiscardArgs, ShowArgs};
use crate::control::wire::{DiscardForm, Gone, PathBytes, Request};
use crate::exit::{Failure, code};
use crate::mountinfo;
pub use choose::is_within;
pub use work::{carry_out, failure};

pub fn run(args: &DiscardArgs) -> Result<(), Failure> {
    let (place, paths) = asked(args)?;
    // A pager would take what is typed for the question.
    let show = ShowArgs { color: args.show.color, no_pager: true };
    let colored = Out::new(&show, args.json).is_colored();
    let form = DiscardForm {
        paths: paths.into_iter().map(PathBytes).collect(),
        keep: kept(args)?,
        mounted: mounted_in(&place),
        dry_run: args.dry_run,
        quiet: args.quiet,
        json: args.json,
        colored,
    };
    if let Where::Live(channel, _) = &place
        && channel.is_read_only()
        && !args.dry_run
    {
        return Err(Failure::new(code::FAILURE, failure(Errno::ROFS)));
    }
    if args.dry_run {
        let gone = perform(args, &place, form)?;
        return match gone {
            Gone { failed: 0, changes: 0, .. } => Ok(()),
            Gone { failed: 0, .. } => Err(Failure::silent(code::FAILURE)),
            Gone { failed, .. } => Err(left(failed)),
        };
    }
    let mut form = form;
    if !args.yes {
        let shown = DiscardForm { dry_run: true, ..form.clone() };
        let quiet = args.json || args.quiet || !io::stderr().is_terminal();
        let would = perform(args, &place, DiscardForm { quiet, ..shown })?;
        if would.content > 0 && !confirmed(would)? {
            return Err(Failure::silent(code::FAILURE));
        }
        form.quiet |= !quiet;
    }
    match perform(args, &place, form)?.failed {
        0 => Ok(()),
        failed => Err(left(failed)),
    }
}

fn left(failed: u64) -> Failure {
    let text = match failed {
        1 => "1 entry stays as it is".to_owned(),
        more => format!("{more} entries stay as they are"),
    };
    Failure::new(code::USAGE, text)
}

/// On what something is mounted, as this process sees it.
pub fn mounted_in(place: &Where) -> Vec<PathBytes> {
    let Where::Live(channel, _) = place else { return Vec::new() };
    let (Some(dev), Ok(mounts)) = (channel.device(), mountinfo::read()) else {
        return Vec::new();
    };
    let dev = (rustix::fs::major(dev), rustix::fs::minor(dev));
    mountinfo::inside(&mounts, dev).into_iter().map(PathBytes).collect()
}

/// Where, and which paths of the tree.
fn asked(args: &DiscardArgs) -> Result<(Where, Vec<Vec<u8>>), Failure> {
    let (place, mut paths) = named::asked(&args.paths)?;
    if paths.is_empty() && args.all {
        paths.push(Vec::new());
    }
    if paths.is_empty() || !args.all && paths.iter().any(Vec::is_empty) {
        let first = args.paths.first().map_or(Path::new("."), PathBuf::as_path);
        let text = format!("{}: name paths in it, or everything with --all", first.display());
        return Err(Failure::new(code::USAGE, text));
    }
    Ok((place, paths))
}

fn kept(args: &DiscardArgs) -> Result<Vec<String>, Failure> {
    let Some(list) = &args.keep else { return Ok(Vec::new()) };
    let failed = |error: &dyn std::fmt::Display| {
        Failure::new(code::USAGE, format!("{}: {error}", list.display()))
    };
    let text = std::fs::read_to_string(list).map_err(|error| failed(&error))?;
    let globs = globs::lines(&text);
    Globs::of(&globs).map_err(|error| failed(&error))?;
    Ok(globs)
}

/// Asks before content is lost.
fn confirmed(would: Gone) -> Result<bool, Failure> {
    let Gone { changes, content, .. } = would;
    if !question::can_be_asked() {
        let text = format!(
            "the content of {content} of {changes} changes would be lost: --yes discards them \
             without a question, --dry-run shows them"
        );
        return Err(Failure::new(code::USAGE, text));
    }
    let what = match changes {
        1 => "this change, and lose its content".to_owned(),
        _ => format!("{changes} changes, and lose the content of {content}"),
    };
    Ok(question::ask(&format!("Discard {what}?")))
}

fn perform(args: &DiscardArgs, place: &Where, form: DiscardForm) -> Result<Gone, Failure> {
    let show = ShowArgs {
        color: args.show.color,
        no_pager: args.show.no_pager || !form.dry_run || !args.dry_run,
    };
    let mut out = Out::new(&show, form.json || form.quiet);
    let request = Request::Discard(form.clone());
    let gone = ask(place, &request, &args.place, &mut out, |overlay, out| {
        carry_out(overlay, &form, out, &mut |_| {})
    })?;
    out.finish()?;
    Ok(gone)
}
