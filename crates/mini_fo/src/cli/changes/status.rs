//! `mini_fo status`.

use std::fmt::Write as _;
use std::path::Path;

use mini_fo_core::{
    Attr, Change, ChangeKind, ChangeTotals, ChangesOptions, FoundChange, Overlay, UnreadChange,
};

use super::ask::ask;
use super::base;
use super::out::{Color, Out, size};
use super::place::Where;
use super::quote::quoted;
use crate::cli::args::{StatusArgs, WhereArgs};
use crate::cli::json;
use crate::control::wire::{PathBytes, Request, Seen, StatusForm};
use crate::exit::Failure;

pub fn run(args: &StatusArgs) -> Result<Seen, Failure> {
    let place = Where::find(&args.path)?;
    let mut out = Out::new(&args.show, args.json || args.z);
    let mut form = StatusForm {
        within: Vec::new(),
        all: args.all,
        links: args.links,
        json: args.json,
        z: args.z,
        colored: out.is_colored(),
    };
    if let Where::Live(_, Some(inside)) = &place {
        form.within.push(PathBytes(inside.clone()));
    }
    let request = Request::Status(form.clone());
    let seen =
        ask(&place, &request, &args.place, &mut out, |overlay, out| show(overlay, &form, out))?;
    out.finish()?;
    Ok(seen)
}

/// Writes JSON of what has changed, as [`show`] does.
///
/// # Errors
/// It cannot be read.
pub fn put(path: &Path, out: &mut Out<'_>) -> Result<Seen, Failure> {
    let form = StatusForm { json: true, ..StatusForm::default() };
    let request = Request::Status(form.clone());
    let show = |overlay: &Overlay, out: &mut Out<'_>| show(overlay, &form, out);
    ask(&Where::find(path)?, &request, &WhereArgs::default(), out, show)
}

/// Shows what has changed.
///
/// # Errors
/// The root cannot be read.
pub fn show(overlay: &Overlay, form: &StatusForm, out: &mut Out) -> rustix::io::Result<Seen> {
    let options = ChangesOptions {
        within: form.within.iter().map(|path| path.0.clone()).collect(),
        deleted_below: form.all,
        renamed_below: form.all,
        all_links: form.links,
        directory_times: false,
    };
    let mut base_changed = 0_u64;
    let totals = overlay.changes(&options, &mut |found| {
        base_changed += u64::from(!form.z && base::is_changed(&found));
        match found {
            _ if form.json => out.put(object(&found).as_bytes()),
            _ if form.z => record(&found, out),
            FoundChange::Change(change) => line(change, out),
            FoundChange::Unread(unread) => unread_line(unread, out),
        }
    })?;
    if form.json {
        out.put(totals_object(&totals, base_changed).as_bytes());
    } else if !form.z {
        out.put(summary(&totals, base_changed).as_bytes());
    }
    Ok(Seen { changes: totals.all() > 0, unread: totals.unread })
}

/// What a kind is called.
pub fn word(kind: ChangeKind) -> &'static str {
    match kind {
        ChangeKind::Added => "added",
        ChangeKind::Modified => "modified",
        ChangeKind::Attributes => "attributes",
        ChangeKind::Deleted => "deleted",
        ChangeKind::Renamed => "renamed",
        ChangeKind::TypeChanged => "type",
    }
}

/// The same in one letter.
pub fn letter(kind: ChangeKind) -> char {
    match kind {
        ChangeKind::Added => 'A',
        ChangeKind::Modified => 'M',
        ChangeKind::Attributes => 'P',
        ChangeKind::Deleted => 'D',
        ChangeKind::Renamed => 'R',
        ChangeKind::TypeChanged => 'T',
    }
}

/// What type an object is of.
pub fn type_of(mode: u32) -> &'static str {
    match mode & libc::S_IFMT {
        libc::S_IFREG => "file",
        libc::S_IFDIR => "directory",
        libc::S_IFLNK => "symlink",
        libc::S_IFCHR => "char",
        libc::S_IFBLK => "block",
        libc::S_IFIFO => "fifo",
        libc::S_IFSOCK => "socket",
        _ => "unknown",
    }
}

fn line(change: &Change<'_>, out: &mut Out) -> bool {
    let (color, kind, text) = line_of(change);
    out.put_colored(color, kind.as_bytes()) && out.put(&text)
}

/// A change for people: the word for its kind, and the rest of the line.
pub fn line_of(change: &Change<'_>) -> (Color, String, Vec<u8>) {
    let color = match change.kind {
        ChangeKind::Added => Color::Green,
        ChangeKind::Deleted => Color::Red,
        ChangeKind::Modified | ChangeKind::TypeChanged => Color::Yellow,
        ChangeKind::Renamed | ChangeKind::Attributes => Color::Cyan,
    };
    let mut text = Vec::new();
    if let Some(from) = change.from.filter(|_| change.kind == ChangeKind::Renamed) {
        text.extend(shown(from, change.before));
        text.extend(b" -> ");
    }
    text.extend(shown(change.path, change.after.or(change.before)));
    let details = details(change);
    if !details.is_empty() {
        text.extend(format!("  ({})", details.join("; ")).bytes());
    }
    text.push(b'\n');
    (color, format!("{:<12}", word(change.kind)), text)
}

/// A path as text; that of a directory ends with a slash.
fn shown(path: &[u8], attr: Option<Attr>) -> Vec<u8> {
    if path.is_empty() {
        return b"./".to_vec();
    }
    let is_dir = attr.is_some_and(|attr| attr.mode & libc::S_IFMT == libc::S_IFDIR);
    let path = if is_dir { [path, b"/"].concat() } else { path.to_vec() };
    quoted(&path).into_owned()
}

fn details(change: &Change<'_>) -> Vec<String> {
    let file = |attr: &Attr| attr.mode & libc::S_IFMT == libc::S_IFREG;
    let bytes = |attr: Option<Attr>| attr.filter(file).map(|attr| size(attr.size));
    let mut all = Vec::new();
    match (change.kind, bytes(change.before), bytes(change.after)) {
        (ChangeKind::TypeChanged, ..) => {
            let kind = |attr: Option<Attr>| attr.map_or("nothing", |attr| type_of(attr.mode));
            all.push(format!("{} -> {}", kind(change.before), kind(change.after)));
        }
        (_, None, Some(size)) | (_, Some(size), None) => all.push(size),
        (_, Some(before), Some(after)) if change.content => {
            all.push(if before == after { after } else { format!("{before} -> {after}") });
        }
        _ => {}
    }
    if change.kind == ChangeKind::Renamed && change.content {
        all.push("modified".to_owned());
    }
    let attributes = attributes(change);
    if !attributes.is_empty() {
        all.push(attributes.join(", "));
    }
    match change.more_names {
        0 => {}
        1 => all.push("and 1 other name".to_owned()),
        more => all.push(format!("and {more} other names")),
    }
    all.extend(base::text(change));
    all
}

/// Which attributes differ, in words.
pub fn attributes(change: &Change<'_>) -> Vec<String> {
    let (Some(before), Some(after)) = (change.before, change.after) else { return Vec::new() };
    let differs = &change.differs;
    let mut all = Vec::new();
    if differs.mode {
        all.push(format!("mode {:04o} -> {:04o}", before.mode & 0o7777, after.mode & 0o7777));
    }
    if differs.owner {
        all.push(format!("owner {} -> {}", before.uid, after.uid));
    }
    if differs.group {
        all.push(format!("group {} -> {}", before.gid, after.gid));
    }
    if differs.flags {
        all.push("flags".to_owned());
    }
    for name in &differs.xattrs {
        all.push(match &**name {
            b"system.posix_acl_access" => "access list".to_owned(),
            b"system.posix_acl_default" => "default access list".to_owned(),
            name => format!("attribute {}", String::from_utf8_lossy(&quoted(name))),
        });
    }
    // It follows from what else has changed.
    let alone = all.is_empty() && !change.content && !change.is_dir();
    if differs.mtime && alone {
        all.push("time".to_owned());
    }
    all
}

fn unread_line(unread: UnreadChange<'_>, out: &mut Out) -> bool {
    let path = shown(unread.path, None);
    out.put_colored(Color::Red, b"unreadable  ")
        && out.put(&[&*path, format!("  ({})\n", unread.errno).as_bytes()].concat())
}

/// A letter, a blank and the path; of what was renamed, the old path after it.
fn record(found: &FoundChange<'_>, out: &mut Out) -> bool {
    let (letter, path, from) = match found {
        FoundChange::Change(change) => {
            let renamed = change.kind == ChangeKind::Renamed;
            (letter(change.kind), change.path, change.from.filter(|_| renamed))
        }
        FoundChange::Unread(unread) => ('!', unread.path, None),
    };
    let mut text = format!("{letter} ").into_bytes();
    text.extend(path);
    text.push(0);
    if let Some(from) = from {
        text.extend(from);
        text.push(0);
    }
    out.put(&text)
}

fn summary(totals: &ChangeTotals, base_changed: u64) -> String {
    let mut parts = Vec::new();
    for (kind, word) in [
        (ChangeKind::Added, "added"),
        (ChangeKind::Modified, "modified"),
        (ChangeKind::Attributes, "with other attributes"),
        (ChangeKind::Renamed, "renamed"),
        (ChangeKind::TypeChanged, "of another type"),
        (ChangeKind::Deleted, "deleted"),
    ] {
        match totals.of(kind) {
            0 => {}
            count => parts.push(format!("{count} {word}")),
        }
    }
    if totals.unread > 0 {
        parts.push(format!("{} unreadable", totals.unread));
    }
    if parts.is_empty() {
        return "nothing has changed\n".to_owned();
    }
    let (now, before) = (size(totals.bytes), size(totals.bytes_before));
    let since = base::summary(base_changed);
    format!("{}; {now} of changed content, {before} before{since}\n", parts.join(", "))
}

/// A change as JSON.
pub fn object(found: &FoundChange<'_>) -> String {
    let text = match found {
        FoundChange::Change(change) => object_with(change),
        FoundChange::Unread(unread) => format!(
            "{{{},\"kind\":\"unreadable\",\"errno\":{},\"error\":{}",
            json::bytes("path", unread.path),
            unread.errno.raw_os_error(),
            json::quoted(&unread.errno.to_string())
        ),
    };
    text + "}\n"
}

/// The same without its end, for further members.
pub fn object_with(change: &Change<'_>) -> String {
    let mut out = String::from("{");
    out += &json::bytes("path", change.path);
    // Writing to a string does not fail.
    let _ = write!(out, ",\"kind\":\"{}\"", word(change.kind));
    if let Some(from) = change.from {
        out += ",";
        out += &json::bytes("from", from);
    }
    let _ = write!(out, ",\"content\":{}", change.content);
    out += &differences(change);
    for (name, attr) in [("before", change.before), ("after", change.after)] {
        if let Some(attr) = attr {
            let _ = write!(out, ",\"{name}\":{}", facts(&attr));
        }
    }
    if change.more_names > 0 {
        let _ = write!(out, ",\"more_names\":{}", change.more_names);
    }
    out + &base::members(change)
}

fn differences(change: &Change<'_>) -> String {
    let differs = &change.differs;
    let words = [
        (differs.mode, "mode"),
        (differs.owner, "owner"),
        (differs.group, "group"),
        (differs.mtime, "mtime"),
        (differs.flags, "flags"),
        (!differs.xattrs.is_empty(), "xattrs"),
    ];
    let words: Vec<String> =
        words.iter().filter(|(set, _)| *set).map(|(_, word)| json::quoted(word)).collect();
    if words.is_empty() {
        return String::new();
    }
    let mut out = format!(",\"attributes\":[{}]", words.join(","));
    if !differs.xattrs.is_empty() {
        let names = differs.xattrs.iter().map(|name| json::quoted(&String::from_utf8_lossy(name)));
        let _ = write!(out, ",\"xattrs\":[{}]", names.collect::<Vec<_>>().join(","));
    }
    out
}

fn facts(attr: &Attr) -> String {
    let mut out = format!(
        "{{\"type\":\"{}\",\"mode\":\"{:04o}\",\"uid\":{},\"gid\":{},\"size\":{},\
         \"mtime\":\"{}.{:09}\",\"ino\":{},\"nlink\":{}",
        type_of(attr.mode),
        attr.mode & 0o7777,
        attr.uid,
        attr.gid,
        attr.size,
        attr.mtime.sec,
        attr.mtime.nsec,
        attr.ino,
        attr.nlink
    );
    if matches!(attr.mode & libc::S_IFMT, libc::S_IFCHR | libc::S_IFBLK) {
        let (major, minor) = (rustix::fs::major(attr.rdev), rustix::fs::minor(attr.rdev));
        let _ = write!(out, ",\"device\":\"{major}:{minor}\"");
    }
    out + "}"
}

fn totals_object(totals: &ChangeTotals, base_changed: u64) -> String {
    let mut out = String::from("{\"kind\":\"totals\"");
    for kind in ChangeKind::ALL {
        let _ = write!(out, ",\"{}\":{}", word(kind), totals.of(kind));
    }
    let _ = write!(
        out,
        ",\"unreadable\":{},\"bytes\":{},\"bytes_before\":{},\"base_changed\":{base_changed}}}",
        totals.unread, totals.bytes, totals.bytes_before
    );
    out + "\n"
}
