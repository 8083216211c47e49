//! `mini_fo discard`: back to what is below.

mod choose;
mod keep;
mod work;

use std::io::{self, BufRead, IsTerminal, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::io::Errno;

use super::ask::ask;
use super::out::Out;
use super::place::{self, Where};
use crate::cli::args::{DiscardArgs, ShowArgs};
use crate::control::wire::{DiscardForm, Gone, PathBytes, Request};
use crate::exit::{Failure, code};
use crate::mountinfo;
pub use choose::is_within;
use keep::Keep;
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
    let current = PathBuf::from(".");
    let first = args.paths.first().unwrap_or(&current);
    let rest = args.paths.get(1..).unwrap_or_default();
    let place = Where::find_name(first)?;
    // Whether all of them are paths in a mount.
    let (mut paths, of_tree) = match &place {
        Where::Live(_, Some(first)) => {
            let mut paths = vec![first.clone()];
            let mut known = None;
            for path in rest {
                paths.push(in_same(&place, path, &mut known)?);
            }
            (paths, &[][..])
        }
        _ => (place::inside(rest), rest),
    };
    let up = |path: &&PathBuf| path.components().any(|part| part == Component::ParentDir);
    if let Some(odd) = of_tree.iter().find(up) {
        let text = format!("{}: a path of the tree goes down only", odd.display());
        return Err(Failure::new(code::USAGE, text));
    }
    if let Some(odd) = args.paths.iter().find(|path| climbs(path)) {
        let text = format!("{}: a path with .. in it is not what it seems", odd.display());
        return Err(Failure::new(code::USAGE, text));
    }
    if paths.is_empty() && args.all {
        paths.push(Vec::new());
    }
    if paths.is_empty() || !args.all && paths.iter().any(Vec::is_empty) {
        let text = format!("{}: name paths in it, or everything with --all", first.display());
        return Err(Failure::new(code::USAGE, text));
    }
    Ok((place, paths))
}

/// It goes up from something that may not be there.
fn climbs(path: &Path) -> bool {
    let mut names = path.components().skip_while(|part| !matches!(part, Component::Normal(_)));
    names.any(|part| part == Component::ParentDir)
}

/// A further path, which must lie in the mount that the first one names. `known`: a directory
/// that was asked for before, and its path in the mount.
fn in_same(
    place: &Where,
    path: &Path,
    known: &mut Option<(PathBuf, Vec<u8>)>,
) -> Result<Vec<u8>, Failure> {
    // What is no directory is in the mount that its directory is in.
    let in_dir = match (path.parent(), path.file_name(), path.symlink_metadata()) {
        (Some(dir), Some(name), Ok(found)) if !found.is_dir() => Some((dir, name)),
        _ => None,
    };
    if let (Some((dir, name)), Some((known, inside))) = (in_dir, &*known)
        && dir == known
    {
        return Ok(join(inside, name.as_bytes()));
    }
    let same = match (place, Where::find_name(path)?) {
        (Where::Live(first, _), Where::Live(channel, inside)) if first.is_same(&channel) => {
            Some(inside)
        }
        _ => None,
    };
    let Some(inside) = same.map(Option::unwrap_or_default) else {
        let text = format!("{}: it lies in another mount than the first path", path.display());
        return Err(Failure::new(code::USAGE, text));
    };
    if let Some((dir, name)) = in_dir
        && let Some(above) = inside.strip_suffix(name.as_bytes())
    {
        *known = Some((dir.to_path_buf(), above.strip_suffix(b"/").unwrap_or(above).to_vec()));
    }
    Ok(inside)
}

fn join(dir: &[u8], name: &[u8]) -> Vec<u8> {
    if dir.is_empty() { name.to_vec() } else { [dir, b"/", name].concat() }
}

fn kept(args: &DiscardArgs) -> Result<Vec<String>, Failure> {
    let Some(list) = &args.keep else { return Ok(Vec::new()) };
    let failed = |error: &dyn std::fmt::Display| {
        Failure::new(code::USAGE, format!("{}: {error}", list.display()))
    };
    let text = std::fs::read_to_string(list).map_err(|error| failed(&error))?;
    let globs = keep::lines(&text);
    Keep::of(&globs).map_err(|error| failed(&error))?;
    Ok(globs)
}

/// Asks before content is lost.
fn confirmed(would: Gone) -> Result<bool, Failure> {
    let Gone { changes, content, .. } = would;
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        let text = format!(
            "the content of {content} of {changes} changes would be lost: --yes discards them \
             without a question, --dry-run shows them"
        );
        return Err(Failure::new(code::USAGE, text));
    }
    let mut err = io::stderr();
    let what = match changes {
        1 => "this change, and lose its content".to_owned(),
        _ => format!("{changes} changes, and lose the content of {content}"),
    };
    let asked = write!(err, "Discard {what}? [y/N] ");
    let mut answer = String::new();
    if asked.and_then(|()| err.flush()).is_err()
        || io::stdin().lock().read_line(&mut answer).is_err()
    {
        return Ok(false);
    }
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
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
