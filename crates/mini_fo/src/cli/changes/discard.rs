//! `mini_fo discard`: back to what is below.

mod choose;
mod keep;

use std::collections::HashSet;
use std::io::{self, BufRead, IsTerminal, Write};
use std::path::PathBuf;
use std::time::Duration;

use mini_fo_core::{Change, ChangeKind, ChangesOptions, Discarded, FoundChange, Overlay};
use rustix::io::Errno;

use super::live;
use super::out::{Color, Out};
use super::place::{self, Where};
use super::quote::quoted;
use super::status::{line_of, object};
use crate::cli::args::{DiscardArgs, ShowArgs};
use crate::cli::json;
use crate::control::client::Channel;
use crate::control::wire::{DiscardForm, Gone, PathBytes, Request};
use crate::exit::{Failure, code};
pub use choose::is_within;
use choose::{Choice, Entry, choose};
use keep::Keep;

/// How long the kernel gets to forget what went, in pieces.
const ROUND: Duration = Duration::from_millis(20);

/// So often nothing may go, and the kernel forget nothing.
const ROUNDS_IN_VAIN: u32 = 200;

/// Where changes go.
enum Place {
    Live(Channel),
    AtRest(PathBuf),
}

pub fn run(args: &DiscardArgs) -> Result<(), Failure> {
    let (place, paths) = asked(args)?;
    let out = Out::new(&args.show, args.json);
    let form = DiscardForm {
        paths: paths.into_iter().map(PathBytes).collect(),
        keep: kept(args)?,
        dry_run: args.dry_run,
        quiet: args.quiet,
        json: args.json,
        colored: out.is_colored(),
    };
    // A pager for nothing would be in the way of a question.
    drop(out);
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

/// Where, and which paths of the tree.
fn asked(args: &DiscardArgs) -> Result<(Place, Vec<Vec<u8>>), Failure> {
    let current = PathBuf::from(".");
    let first = args.paths.first().unwrap_or(&current);
    let rest = args.paths.get(1..).unwrap_or_default();
    let (place, inside) = match Where::find_name(first)? {
        Where::AtRest(path) => (Place::AtRest(path), None),
        Where::Live(channel, inside) => (Place::Live(channel), inside),
    };
    let mut paths = match inside {
        // All of them are paths in a mount.
        Some(first) => {
            let mut paths = vec![first];
            for path in rest {
                paths.push(in_same(&place, path)?);
            }
            paths
        }
        None => place::inside(rest),
    };
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
fn climbs(path: &std::path::Path) -> bool {
    let mut names =
        path.components().skip_while(|part| !matches!(part, std::path::Component::Normal(_)));
    names.any(|part| matches!(part, std::path::Component::ParentDir))
}

/// A further path, which must lie in the mount that the first one names.
fn in_same(place: &Place, path: &std::path::Path) -> Result<Vec<u8>, Failure> {
    let same = match (place, Where::find_name(path)?) {
        (Place::Live(first), Where::Live(channel, inside)) if first.is_same(&channel) => {
            Some(inside)
        }
        _ => None,
    };
    same.map(Option::unwrap_or_default).ok_or_else(|| {
        Failure::new(
            code::USAGE,
            format!("{}: it lies in another mount than the first path", path.display()),
        )
    })
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
    let asked = write!(err, "Discard {changes} changes, and lose the content of {content}? [y/N] ");
    let mut answer = String::new();
    if asked.and_then(|()| err.flush()).is_err()
        || io::stdin().lock().read_line(&mut answer).is_err()
    {
        return Ok(false);
    }
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

fn perform(args: &DiscardArgs, place: &Place, form: DiscardForm) -> Result<Gone, Failure> {
    let show = ShowArgs {
        color: args.show.color,
        no_pager: args.show.no_pager || !form.dry_run || !args.dry_run,
    };
    let mut out = Out::new(&show, form.json || form.quiet);
    let gone = match place {
        Place::Live(channel) => live::show(channel, &Request::Discard(form), &mut out)?,
        Place::AtRest(path) => {
            let open = if form.dry_run { place::at_rest } else { place::to_change };
            let overlay = open(path, &args.place)?;
            let gone = carry_out(&overlay, &form, &mut out, &mut |_| {});
            overlay.finish();
            gone.map_err(|errno| {
                Failure::new(code::FAILURE, format!("{}: {}", path.display(), failure(errno)))
            })?
        }
    };
    out.finish()?;
    Ok(gone)
}

/// Why nothing can be discarded, or not everything.
pub fn failure(errno: Errno) -> String {
    match errno {
        Errno::ROFS => "nothing can be changed here: it is mounted read-only".to_owned(),
        errno => format!(
            "cannot be discarded: {errno}; each entry is as it was or as below: discard again"
        ),
    }
}

/// A change that was found, and how it shows.
struct Listed {
    entry: Entry,
    content: bool,
    color: Color,
    word: String,
    text: Vec<u8>,
}

/// Lets changes go, or tells only what would. `tell`: whoever must know what has gone, also
/// if it ends with an error.
///
/// # Errors
/// EROFS, or the storage cannot be read or written.
pub fn carry_out(
    overlay: &Overlay,
    form: &DiscardForm,
    out: &mut Out,
    tell: &mut dyn FnMut(&Discarded),
) -> rustix::io::Result<Gone> {
    let tops: Vec<Vec<u8>> = form.paths.iter().map(|path| path.0.clone()).collect();
    let keep = Keep::of(&form.keep).map_err(|_| Errno::INVAL)?;
    let blind = form.quiet && !form.dry_run && form.keep.is_empty();
    let (mut gone, mut listed) = (Gone::default(), Vec::new());
    if !blind {
        listed = list(overlay, form, &keep, out, &mut gone)?;
    }
    let entries: Vec<Entry> = listed.iter().map(|change| change.entry.clone()).collect();
    let choice = match blind {
        true => Choice { paths: tops, ..Choice::default() },
        false => choose(&entries, &tops, &keep),
    };
    drop(entries);
    let mut told = Discarded::default();
    if !form.dry_run && !choice.paths.is_empty() {
        let paths: Vec<Box<[u8]>> = choice.paths.iter().map(|path| path.clone().into()).collect();
        told.failed = discard_all_of(overlay, &paths, tell)?;
    }
    gone.kept = choice.kept;
    gone.failed += told.failed.len() as u64;
    let stays = |path: &[u8]| told.failed.iter().any(|(failed, _)| **failed == *path);
    for change in choice.goes.iter().filter_map(|at| listed.get(*at)) {
        if stays(&change.entry.path) {
            continue;
        }
        gone.changes += 1;
        gone.content += u64::from(change.content);
        if !form.quiet {
            show(change, form.json, out);
        }
    }
    for (path, errno) in &told.failed {
        complain(path, *errno, form.json, out);
    }
    totals(&gone, form, out);
    Ok(gone)
}

/// Discards paths, in as many rounds as the descriptors make it: what the kernel knows is
/// held by one until it was told to forget it. The result is what stays.
fn discard_all_of(
    overlay: &Overlay,
    paths: &[Box<[u8]>],
    tell: &mut dyn FnMut(&Discarded),
) -> rustix::io::Result<Vec<(Box<[u8]>, Errno)>> {
    let mut failed: Vec<(Box<[u8]>, Errno)> = Vec::new();
    let (mut vain, mut paths) = (0, paths.to_vec());
    loop {
        let mut told = Discarded::default();
        let done = overlay.discard_paths(&paths, &mut told);
        tell(&told);
        for one in std::mem::take(&mut told.failed) {
            if !failed.contains(&one) {
                failed.push(one);
            }
        }
        vain = if told.names.is_empty() { vain + 1 } else { 0 };
        match done {
            // The kernel forgets at its leisure.
            Err(Errno::NFILE) if vain < ROUNDS_IN_VAIN => {
                let known: HashSet<_> = paths.iter().cloned().collect();
                paths.extend(told.left.into_iter().filter(|path| !known.contains(path)));
                std::thread::sleep(ROUND);
            }
            other => return other.map(|()| failed),
        }
    }
}

/// All changes of the tree: what belongs together may lie anywhere.
fn list(
    overlay: &Overlay,
    form: &DiscardForm,
    keep: &Keep,
    out: &mut Out,
    gone: &mut Gone,
) -> rustix::io::Result<Vec<Listed>> {
    let options = ChangesOptions { all_links: !form.keep.is_empty(), ..ChangesOptions::default() };
    let mut listed = Vec::new();
    overlay.changes(&options, &mut |found| {
        match &found {
            FoundChange::Change(change) => {
                let (color, word, text) = line_of(change);
                let text = if form.json { object(&found).into_bytes() } else { text };
                let (entry, content) = (entry(change), loses_content(change));
                listed.push(Listed { entry, content, color, word, text });
            }
            FoundChange::Unread(unread)
                if form.paths.iter().any(|top| is_within(unread.path, &top.0)) =>
            {
                gone.failed += u64::from(form.dry_run && !keep.has(unread.path));
                complain(unread.path, unread.errno, form.json, out);
            }
            FoundChange::Unread(_) => {}
        }
        true
    })?;
    Ok(listed)
}

fn entry(change: &Change<'_>) -> Entry {
    let is_dir = change.is_dir();
    let renamed = change.kind == ChangeKind::Renamed;
    let number = |attr: mini_fo_core::Attr| attr.ino;
    Entry {
        path: change.path.to_vec(),
        from: change.from.filter(|_| renamed).map(<[u8]>::to_vec),
        object: change.after.filter(|attr| !is_dir && attr.nlink > 1).map(number),
    }
}

/// There is something that nothing else has.
fn loses_content(change: &Change<'_>) -> bool {
    match change.kind {
        ChangeKind::Added | ChangeKind::Modified | ChangeKind::TypeChanged => true,
        ChangeKind::Renamed => change.content,
        ChangeKind::Attributes | ChangeKind::Deleted => false,
    }
}

fn show(change: &Listed, json: bool, out: &mut Out) {
    // Nobody reads any more: what goes, goes all the same.
    let _ = match json {
        true => out.put(&change.text),
        false => out.put_colored(change.color, change.word.as_bytes()) && out.put(&change.text),
    };
}

fn complain(path: &[u8], errno: Errno, json: bool, out: &mut Out) {
    if json {
        let line = format!(
            "{{{},\"kind\":\"failed\",\"errno\":{},\"error\":{}}}\n",
            json::bytes("path", path),
            errno.raw_os_error(),
            json::quoted(&errno.to_string())
        );
        out.put(line.as_bytes());
        return;
    }
    let why = match errno {
        Errno::NOENT => "its directory is not there: discard that".to_owned(),
        Errno::PERM | Errno::ACCESS => format!("{errno} (chattr +i or +a?)"),
        errno => errno.to_string(),
    };
    let mut text = b"mini_fo: ".to_vec();
    text.extend(&*quoted(path));
    text.extend(format!(": {why}\n").bytes());
    out.complain(&text);
}

fn totals(gone: &Gone, form: &DiscardForm, out: &mut Out) {
    let Gone { changes, content, kept, failed } = gone;
    if form.json {
        let line = format!(
            "{{\"kind\":\"totals\",\"discarded\":{changes},\"content\":{content},\"kept\":{kept},\
             \"failed\":{failed}}}\n"
        );
        if !form.quiet {
            out.put(line.as_bytes());
        }
        return;
    }
    if form.quiet {
        return;
    }
    let text = match (form.dry_run, *changes) {
        (_, 0) => "nothing to be discarded".to_owned(),
        (true, 1) => "1 change would be discarded".to_owned(),
        (true, many) => format!("{many} changes would be discarded"),
        (false, 1) => "1 change discarded".to_owned(),
        (false, many) => format!("{many} changes discarded"),
    };
    let kept = if *kept > 0 { format!(", {kept} kept") } else { String::new() };
    out.put(format!("{text}{kept}\n").as_bytes());
}
