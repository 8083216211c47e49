//! `mini_fo diff`: changes as a patch in git's extended format.
//!
//! What git does not know (owners, devices, empty directories, permissions other than the
//! right to execute) is told in lines `mini_fo: ...` before the `diff --git` of the entry,
//! which `git apply` and `patch` pass over.

mod binary;
pub mod body;
pub mod lines;
mod patch;

use mini_fo_core::{Change, ChangeKind, ChangesOptions, FoundChange, Overlay};

use super::ask::ask;
use super::out::Out;
use super::place::{self, Where};
use super::quote::quoted;
use super::status::{attributes, letter, type_of};
use crate::cli::args::DiffArgs;
use crate::control::wire::{DiffForm, PathBytes, Request, Seen};
use crate::exit::Failure;
use body::Body;
use lines::Lines;

pub fn run(args: &DiffArgs) -> Result<Seen, Failure> {
    let place = Where::find(&args.path)?;
    let mut out = Out::new(&args.show, args.z);
    let mut paths = place::inside(&args.paths);
    if let Where::Live(_, Some(within)) = &place {
        match paths.is_empty() {
            true => paths.push(within.clone()),
            false => paths.iter_mut().for_each(|path| *path = join(within, path)),
        }
    }
    let form = DiffForm {
        within: paths.into_iter().map(PathBytes).collect(),
        binary: args.binary,
        stat: args.stat,
        name_only: args.name_only,
        name_status: args.name_status,
        z: args.z,
        colored: out.is_colored(),
    };
    let request = Request::Diff(form.clone());
    let seen =
        ask(&place, &request, &args.place, &mut out, |overlay, out| show(overlay, &form, out))?;
    out.finish()?;
    Ok(seen)
}

/// Shows what has changed.
///
/// # Errors
/// The root cannot be read.
pub fn show(overlay: &Overlay, form: &DiffForm, out: &mut Out) -> rustix::io::Result<Seen> {
    let options = ChangesOptions {
        within: form.within.iter().map(|path| path.0.clone()).collect(),
        deleted_below: true,
        renamed_below: true,
        all_links: true,
        directory_times: false,
    };
    let mut diff = Diff::new(form, out);
    let totals = overlay.changes(&options, &mut |found| match found {
        FoundChange::Change(change) => diff.take(change),
        FoundChange::Unread(unread) => {
            tell(diff.out, unread.path, unread.errno);
            true
        }
    })?;
    diff.end();
    Ok(Seen { changes: totals.all() > 0, unread: totals.unread + diff.unread })
}

fn join(path: &[u8], below: &[u8]) -> Vec<u8> {
    let all = [path, below].into_iter().filter(|part| !part.is_empty());
    all.collect::<Vec<_>>().join(&b'/')
}

/// What cannot be read is told at once, where errors go.
fn tell(out: &mut Out, path: &[u8], errno: rustix::io::Errno) {
    let mut text = b"mini_fo: ".to_vec();
    text.extend(&*quoted(path));
    text.extend(format!(": {errno}\n").bytes());
    out.complain(&text);
}

/// What is shown of each change.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Patch { binary: bool },
    Stat,
    Names { status: bool, raw: bool },
}

struct Diff<'d, 'o> {
    form: Form,
    out: &'d mut Out<'o>,
    unread: u64,
    /// A directory that was added or deleted, if nothing in it was told.
    bare: Option<(Vec<u8>, String)>,
    /// Files, and lines added and deleted in them.
    counts: (u64, u64, u64),
}

impl<'d, 'o> Diff<'d, 'o> {
    fn new(form: &DiffForm, out: &'d mut Out<'o>) -> Diff<'d, 'o> {
        let form = match (form.stat, form.name_only || form.name_status) {
            (true, _) => Form::Stat,
            (_, true) => Form::Names { status: form.name_status, raw: form.z },
            _ => Form::Patch { binary: form.binary },
        };
        Diff { form, out, unread: 0, bare: None, counts: (0, 0, 0) }
    }

    /// Shows a change. `false`: nobody reads any more.
    fn take(&mut self, change: &Change<'_>) -> bool {
        if let Form::Names { status, raw } = self.form {
            return self.names(change, status, raw);
        }
        if !self.end_bare(Some(change.path)) {
            return false;
        }
        let shown = match self.form {
            Form::Stat => self.stat(change),
            _ => self.patch(change),
        };
        shown.unwrap_or_else(|errno| {
            self.unread += 1;
            tell(self.out, change.path, errno);
            true
        })
    }

    /// Tells of a directory in which nothing was told: git knows none without files.
    fn end_bare(&mut self, next: Option<&[u8]>) -> bool {
        let Some((path, told)) = self.bare.take() else { return true };
        let inside = next.and_then(|next| next.strip_prefix(&*path));
        if inside.is_some_and(|rest| rest.first() == Some(&b'/')) || self.form == Form::Stat {
            return true;
        }
        self.note(&path, &told)
    }

    /// Tells what git does not know.
    fn note(&mut self, path: &[u8], told: &str) -> bool {
        let text = [b"mini_fo: ", &*quoted(path), b": ", told.as_bytes(), b"\n"].concat();
        self.out.put(&text)
    }

    fn end(&mut self) {
        self.end_bare(None);
        if self.form == Form::Stat && self.counts.0 > 0 {
            let (files, added, deleted) = self.counts;
            let text =
                format!(" {files} files changed, {added} insertions(+), {deleted} deletions(-)\n");
            self.out.put(text.as_bytes());
        }
    }

    fn names(&mut self, change: &Change<'_>, status: bool, raw: bool) -> bool {
        let is_dir = change.is_dir();
        // As git does: a directory is what is in it.
        if is_dir
            && matches!(change.kind, ChangeKind::Added | ChangeKind::Deleted | ChangeKind::Renamed)
        {
            return true;
        }
        let (field, end): (&[u8], &[u8]) = if raw { (b"\0", b"\0") } else { (b"\t", b"\n") };
        let name = |path: &[u8]| if raw { path.to_vec() } else { quoted(path).into_owned() };
        let mut text = Vec::new();
        if status {
            text.push(letter(change.kind) as u8);
            text.extend(field);
            if let Some(from) = change.from.filter(|_| change.kind == ChangeKind::Renamed) {
                text.extend(name(from));
                text.extend(field);
            }
        }
        text.extend(name(old_path(change).unwrap_or(change.path)));
        text.extend(end);
        self.out.put(&text)
    }

    fn stat(&mut self, change: &Change<'_>) -> rustix::io::Result<bool> {
        let (before, after) = (Body::before(change)?, Body::after(change)?);
        if !before.is_git() && !after.is_git() {
            return Ok(true);
        }
        let mut path = quoted(old_path(change).unwrap_or(change.path)).into_owned();
        if let Some(from) = change.from.filter(|_| change.kind == ChangeKind::Renamed) {
            path = [&*quoted(from), b" => ", &*path].concat();
        }
        let told = match Lines::load(&before, &after)? {
            Some(texts) => {
                let lines = Lines::new(&texts);
                let (added, deleted) = lines.counts();
                self.counts.1 += u64::from(added);
                self.counts.2 += u64::from(deleted);
                // Forty signs at most.
                let all = u64::from(added) + u64::from(deleted);
                let signs = |count: u32| {
                    let count = u64::from(count);
                    let shown = if all <= 40 { count } else { (count * 40).div_ceil(all) };
                    usize::try_from(shown).unwrap_or(40)
                };
                format!("{all} {}{}", "+".repeat(signs(added)), "-".repeat(signs(deleted)))
            }
            None => format!("Bin {} -> {} bytes", before.size(), after.size()),
        };
        self.counts.0 += 1;
        Ok(self.out.put(&[b" ", &*path, b" | ", told.trim_end().as_bytes(), b"\n"].concat()))
    }

    fn patch(&mut self, change: &Change<'_>) -> rustix::io::Result<bool> {
        if !self.tell_unknown(change) {
            return Ok(false);
        }
        let (before, after) = (Body::before(change)?, Body::after(change)?);
        let binary = self.form == Form::Patch { binary: true };
        let paths = (change.from.unwrap_or(change.path), change.path);
        let renamed = change.kind == ChangeKind::Renamed;
        match (before.is_git(), after.is_git()) {
            (false, false) => Ok(true),
            // git has no way to say that a file became a link but these two.
            (true, true) if before.kind() != after.kind() => {
                let gone = patch::Entry { paths, before, after: Body::None, renamed: false };
                let new = patch::Entry { paths, before: Body::None, after, renamed: false };
                Ok(patch::write(&gone, binary, self.out)? && patch::write(&new, binary, self.out)?)
            }
            _ => {
                let entry = patch::Entry { paths, before, after, renamed };
                patch::write(&entry, binary, self.out)
            }
        }
    }

    /// Tells what the patch does not.
    fn tell_unknown(&mut self, change: &Change<'_>) -> bool {
        let git = |mode: u32| matches!(mode & libc::S_IFMT, libc::S_IFREG | libc::S_IFLNK);
        let attr = change.after.or(change.before);
        let kind = attr.map_or("nothing", |attr| type_of(attr.mode));
        let path = old_path(change).unwrap_or(change.path).to_vec();
        let mode = attr.map_or(0, |attr| attr.mode & 0o7777);
        let one_sided = change.before.is_none() || change.after.is_none();
        if change.is_dir() && one_sided {
            let what = if change.after.is_some() { "added" } else { "deleted" };
            self.bare = Some((path, format!("directory {what}, mode {mode:04o}")));
            return true;
        }
        if one_sided && attr.is_some_and(|attr| !git(attr.mode)) {
            let what = if change.after.is_some() { "added" } else { "deleted" };
            return self.note(&path, &format!("{kind} {what}, mode {mode:04o}"));
        }
        let mut told = attributes(change);
        told.retain(|word| word != "time");
        if change.kind == ChangeKind::TypeChanged {
            let was = change.before.map_or("nothing", |attr| type_of(attr.mode));
            told.push(format!("{was} -> {kind}"));
        } else if change.content && attr.is_some_and(|attr| !git(attr.mode)) {
            told.push("another device".to_owned());
        }
        if let Some(only) = executable_only(change)
            && told.first().is_some_and(|word| word.starts_with("mode"))
            && only
        {
            told.remove(0);
        }
        told.is_empty() || self.note(&path, &told.join(", "))
    }
}

/// All that differs in the mode is what git knows.
fn executable_only(change: &Change<'_>) -> Option<bool> {
    let (before, after) = (change.before?.mode, change.after?.mode);
    let usual = |mode: u32| matches!(mode & 0o7777, 0o644 | 0o755);
    Some(before & libc::S_IFMT == libc::S_IFREG && usual(before) && usual(after))
}

/// The path of what is gone: git knows it by the one that it had.
fn old_path<'c>(change: &Change<'c>) -> Option<&'c [u8]> {
    change.from.filter(|_| change.kind == ChangeKind::Deleted)
}
