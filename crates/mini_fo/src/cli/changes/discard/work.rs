//! What the command does with a tree, and the daemon of a mount for it.

use std::collections::HashSet;
use std::time::Duration;

use mini_fo_core::{
    Attr, Change, ChangeKind, ChangesOptions, Discarded, FoundChange, Overlay, UnreadChange,
};
use rustix::io::Errno;

use super::choose::{Choice, Entry, Tie, choose, is_in, is_within, reach};
use crate::cli::changes::globs::Globs;
use crate::cli::changes::out::{Color, Out};
use crate::cli::changes::quote::quoted;
use crate::cli::changes::status::{line_of, object};
use crate::cli::json;
use crate::control::wire::{DiscardForm, Gone};

/// How long the kernel gets to forget what went, in pieces.
const ROUND: Duration = Duration::from_millis(20);

/// Changes are looked for at so many places alone, each of which is compared with each change.
const FEW: usize = 64;

/// So often nothing may go, and the kernel forget nothing.
const ROUNDS_IN_VAIN: u32 = 200;

/// Why nothing can be discarded, or not everything.
pub fn failure(errno: Errno) -> String {
    match errno {
        Errno::ROFS => "nothing can be changed here: it is mounted read-only".to_owned(),
        errno => format!(
            "not all could be discarded: {errno}; each entry is as it was or as below. Discard the \
             same again, and the other end of what was moved"
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
    let keep = Globs::of(&form.keep).map_err(|_| Errno::INVAL)?;
    let blind = form.quiet && !form.dry_run && form.keep.is_empty();
    let (mut gone, mut listed) = (Gone::default(), Vec::new());
    let mut choice = Choice::default();
    if blind {
        choice.paths = tops;
    } else {
        let ties = ties(overlay)?;
        let places = reach(&tops, &ties);
        listed = list(overlay, form, &keep, places, &mut |unread| {
            gone.failed += u64::from(form.dry_run && !keep.has(unread.path));
            complain(unread.path, unread.errno, form.json, out);
        })?;
        let entries: Vec<Entry> = entries_of(&listed).cloned().collect();
        choice = choose(&entries, &tops, &ties, &keep);
    }
    let mut told = Discarded::default();
    if !form.dry_run && !choice.paths.is_empty() {
        let paths: Vec<Box<[u8]>> = choice.paths.iter().map(|path| path.clone().into()).collect();
        let mounted: Vec<Box<[u8]>> =
            form.mounted.iter().map(|path| path.0.clone().into()).collect();
        told = discard_all_of(overlay, &paths, &mounted, tell)?;
    }
    gone.kept = choice.kept;
    gone.failed += told.failed.len() as u64;
    let stays = staying(&listed, &told);
    for change in choice.goes.iter().filter_map(|at| listed.get(*at)) {
        if stays(&change.entry) {
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

/// Which changes stay, as something could not go.
fn staying(listed: &[Listed], told: &Discarded) -> impl Fn(&Entry) -> bool {
    let failed: HashSet<&[u8]> = told.failed.iter().map(|(path, _)| &**path).collect();
    let whole: HashSet<&[u8]> = told.whole.iter().map(|path| &**path).collect();
    // The directories that something is in which stays are as they were.
    let above: HashSet<&[u8]> = failed.iter().flat_map(|path| above(path)).collect();
    let stays = move |path: &[u8]| {
        let itself = failed.contains(path) || above.contains(path);
        itself || is_in(path, |path| whole.contains(path))
    };
    // All names of an object, if one of them does.
    let entries = entries_of(listed).filter(|entry| stays(&entry.path));
    let objects: HashSet<u64> = entries.filter_map(|entry| entry.object).collect();
    move |entry| stays(&entry.path) || entry.object.is_some_and(|object| objects.contains(&object))
}

/// The directories that a path is in; the root's is empty.
fn above(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
    [0].into_iter().chain(ends).filter_map(|end| path.get(..end)).filter(move |dir| *dir != path)
}

fn entries_of(listed: &[Listed]) -> impl Iterator<Item = &Entry> {
    listed.iter().map(|change| &change.entry)
}

/// Discards paths, in as many rounds as the descriptors make it: what the kernel knows is
/// held by one until it was told to forget it. The result is what stays.
fn discard_all_of(
    overlay: &Overlay,
    paths: &[Box<[u8]>],
    mounted: &[Box<[u8]>],
    tell: &mut dyn FnMut(&Discarded),
) -> rustix::io::Result<Discarded> {
    let mut all = Discarded::default();
    let (mut vain, mut paths) = (0, paths.to_vec());
    loop {
        let mut told = Discarded::default();
        let done = overlay.discard_paths(&paths, mounted, &mut told);
        tell(&told);
        for one in std::mem::take(&mut told.failed) {
            if !all.failed.contains(&one) {
                all.failed.push(one);
            }
        }
        all.whole.append(&mut told.whole);
        vain = if told.names.is_empty() { vain + 1 } else { 0 };
        match done {
            // The kernel forgets at its leisure.
            Err(Errno::NFILE) if vain < ROUNDS_IN_VAIN => {
                let known: HashSet<_> = paths.iter().cloned().collect();
                paths.extend(told.left.into_iter().filter(|path| !known.contains(path)));
                std::thread::sleep(ROUND);
            }
            other => return other.map(|()| all),
        }
    }
}

fn ties(overlay: &Overlay) -> rustix::io::Result<Vec<Tie>> {
    let ties = overlay.discard_ties()?;
    Ok(ties.into_iter().map(|(from, to)| (from.into(), to.into())).collect())
}

/// The changes that matter: what belongs together may lie anywhere.
fn list(
    overlay: &Overlay,
    form: &DiscardForm,
    keep: &Globs,
    places: Vec<Vec<u8>>,
    unread: &mut dyn FnMut(&UnreadChange<'_>),
) -> rustix::io::Result<Vec<Listed>> {
    let few = places.len() <= FEW && keep.is_empty() && !overlay.knows_hard_links();
    let all = places.iter().any(Vec::is_empty);
    let within = if few && !all { places } else { Vec::new() };
    let mut options = ChangesOptions { within, ..ChangesOptions::default() };
    let (listed, more_names) = list_once(overlay, form, &options, unread)?;
    if !more_names {
        return Ok(listed);
    }
    // One of these may be what is meant. They take a walk through the base.
    options.all_links = true;
    list_once(overlay, form, &options, &mut |_| {}).map(|(listed, _)| listed)
}

/// The same, and whether there are names that are not told.
fn list_once(
    overlay: &Overlay,
    form: &DiscardForm,
    options: &ChangesOptions,
    unread: &mut dyn FnMut(&UnreadChange<'_>),
) -> rustix::io::Result<(Vec<Listed>, bool)> {
    let (mut listed, mut more_names) = (Vec::new(), false);
    overlay.changes(options, &mut |found| {
        match &found {
            FoundChange::Change(change) => {
                more_names |= change.more_names > 0;
                let (color, word, text) = line_of(change);
                let text = if form.json { object(&found).into_bytes() } else { text };
                let (entry, content) = (entry(change), loses_content(change));
                listed.push(Listed { entry, content, color, word, text });
            }
            FoundChange::Unread(one)
                if form.paths.iter().any(|top| is_within(one.path, &top.0)) =>
            {
                unread(one);
            }
            FoundChange::Unread(_) => {}
        }
        true
    })?;
    Ok((listed, more_names))
}

fn entry(change: &Change<'_>) -> Entry {
    let renamed = change.kind == ChangeKind::Renamed;
    let number = |attr: &Attr| attr.ino;
    // It is a name of what is below under it, too.
    let same = change.before.as_ref().map(number) == change.after.as_ref().map(number);
    let linked = change.after.filter(|attr| same && attr.nlink > 1 && !change.is_dir());
    Entry {
        path: change.path.to_vec(),
        from: change.from.filter(|_| renamed).map(<[u8]>::to_vec),
        object: linked.filter(|_| !renamed).map(|attr| number(&attr)),
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
        Errno::NOENT => {
            "there is no such directory (if it was deleted, discard that), or the name \
                         is one of mini_fo's own"
                .to_owned()
        }
        Errno::BUSY => "something is mounted there".to_owned(),
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
