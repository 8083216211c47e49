//! One entry of a patch.

use std::borrow::Cow;

use rustix::io::Result;

use super::binary;
use super::body::Body;
use super::lines::Lines;
use crate::cli::changes::out::{Color, Out, size};
use crate::cli::changes::quote::quoted;

/// What is written of one path.
pub struct Entry<'p> {
    /// Where it was and where it is.
    pub paths: (&'p [u8], &'p [u8]),
    pub before: Body,
    pub after: Body,
    pub renamed: bool,
}

/// Writes an entry. `false`: nobody reads any more.
pub fn write(entry: &Entry<'_>, as_binary: bool, out: &mut Out) -> Result<bool> {
    let Entry { paths, before, after, renamed } = entry;
    let (old, new) = (name(b"a/", paths.0), name(b"b/", paths.1));
    // What is deleted has one name, and so has what is new.
    let (old, new) = match (before.mode(), after.mode()) {
        (None, _) => (name(b"a/", paths.1), new),
        (_, None) => (old, name(b"b/", paths.0)),
        _ => (old, new),
    };
    let texts = Lines::load(before, after)?;
    let lines = texts.as_ref().map(Lines::new);
    let same = match &texts {
        Some([before, after]) => before == after,
        None => before.size() == after.size() && binary::is_same(before, after)?,
    };
    let mut head = [b"diff --git ", &*whole(&old), b" ", &*whole(&new), b"\n"].concat();
    let mut say = |words: String| head.extend(words.bytes());
    match (before.mode(), after.mode()) {
        (Some(old), Some(new)) if old != new => say(format!("old mode {old}\nnew mode {new}\n")),
        (Some(old), None) => say(format!("deleted file mode {old}\n")),
        (None, Some(new)) => say(format!("new file mode {new}\n")),
        (Some(_), Some(_)) if same && !renamed => return Ok(true),
        _ => {}
    }
    if *renamed {
        let like = match (&lines, same) {
            (_, true) => 100,
            (Some(lines), _) => lines.similarity().min(99),
            (None, _) => 50,
        };
        say(format!("similarity index {like}%\n"));
        head.extend([b"rename from ", &*quoted(paths.0), b"\n"].concat());
        head.extend([b"rename to ", &*quoted(paths.1), b"\n"].concat());
    }
    let one_sided = before.mode().is_none() || after.mode().is_none();
    if !same || one_sided {
        // GNU patch learns from its mode what a link is.
        head.extend(binary::index_line(before, after)?.bytes());
    }
    if same {
        return Ok(out.put_colored(Color::Bold, &head));
    }
    let nothing = b"/dev/null".to_vec();
    let old = if before.is_git() { old } else { nothing.clone() };
    let new = if after.is_git() { new } else { nothing };
    match lines {
        Some(lines) => {
            head.extend([b"--- ", &*old, tab(&old), b"\n+++ ", &*new, tab(&new), b"\n"].concat());
            Ok(out.put_colored(Color::Bold, &head) && lines.write(out))
        }
        None if as_binary => {
            Ok(out.put_colored(Color::Bold, &head) && binary::write(before, after, out)?)
        }
        None => {
            let sizes = format!("{} -> {}", size(before.size()), size(after.size()));
            let note = [b"mini_fo: ", &*quoted(paths.1), b": ", sizes.as_bytes(), b"\n"].concat();
            let told = [b"Binary files ", &*old, b" and ", &*new, b" differ\n"].concat();
            Ok(out.put(&note) && out.put_colored(Color::Bold, &head) && out.put(&told))
        }
    }
}

/// A path with what stands before it, quoted as one.
fn name(before: &[u8], path: &[u8]) -> Vec<u8> {
    quoted(&[before, path].concat()).into_owned()
}

/// A name that ends where its quotes do: GNU patch takes it from that line where no other
/// tells it (an empty file, another mode, a rename), and ends it at the first blank.
fn whole(name: &[u8]) -> Cow<'_, [u8]> {
    if tab(name).is_empty() {
        return Cow::Borrowed(name);
    }
    Cow::Owned([b"\"", name, b"\""].concat())
}

/// What ends a name that has blanks, for readers that would end it there.
fn tab(name: &[u8]) -> &'static [u8] {
    if name.contains(&b' ') && !name.starts_with(b"\"") { b"\t" } else { b"" }
}
