//! The rooms of the crate, by height: what is in one uses what is in those below it, and
//! never the other way round. Read from the sources, tests excepted.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The lowest first.
const ROOMS: [&str; 16] = [
    "locks",
    "format",
    "interface",
    "sys",
    "store",
    "layers",
    "tree",
    "state",
    "reach",
    "look",
    "copy_up",
    "ops",
    "discard",
    "open",
    "changes",
    "commit",
];

/// The one type whose methods lie in several rooms.
const OVERLAY: &str = "Overlay";

/// A file without comments and tests.
struct Source {
    /// From `src` on.
    name: String,
    /// Its path in the crate: the room first.
    path: Vec<String>,
    text: String,
}

/// One file uses another one, and by what.
type Uses = BTreeMap<(String, String), String>;

impl Source {
    fn room(&self) -> &str {
        &self.path[0]
    }

    /// A file with all below it counts as one; `None`: it is the room itself.
    fn file(&self) -> Option<&str> {
        self.path.get(1).map(String::as_str)
    }
}

fn sources(src: &Path) -> Vec<Source> {
    let (mut left, mut found) = (vec![src.to_path_buf()], Vec::new());
    while let Some(dir) = left.pop() {
        for entry in fs::read_dir(&dir).unwrap() {
            let path: PathBuf = entry.unwrap().path();
            if path.is_dir() {
                left.push(path);
                continue;
            }
            let name = path.strip_prefix(src).unwrap().to_str().unwrap().to_owned();
            let parts: Vec<String> =
                name.strip_suffix(".rs").unwrap().split('/').map(str::to_owned).collect();
            if name != "lib.rs" && !parts.iter().any(|part| part == "tests") {
                let text = without_tests(&fs::read_to_string(&path).unwrap());
                found.push(Source { name, path: parts, text });
            }
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found
}

/// Takes comments away, and what is for tests alone. The sources are formatted.
fn without_tests(text: &str) -> String {
    let mut kept = String::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line.trim_start() != "#[cfg(test)]" {
            kept.push_str(line.split("//").next().unwrap());
            kept.push('\n');
            continue;
        }
        let indent = line.len() - line.trim_start().len();
        let end = format!("{}}}", &line[..indent]);
        let first = lines.next().unwrap_or_default();
        if first.ends_with('{') {
            lines.by_ref().find(|line| *line == end);
        } else if !first.ends_with(';') && !first.ends_with('}') {
            lines.by_ref().find(|line| line.ends_with(';'));
        }
    }
    kept
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// The word that a text begins with.
fn word(text: &str) -> &str {
    let end = text.bytes().position(|byte| !is_word(byte)).unwrap_or(text.len());
    &text[..end]
}

/// Where a word stands in a text, and what follows it.
fn after<'a>(text: &'a str, wanted: &'a str) -> impl Iterator<Item = &'a str> + 'a {
    let whole = move |at: usize| at == 0 || !is_word(text.as_bytes()[at - 1]);
    text.match_indices(wanted)
        .filter(move |(at, _)| whole(*at))
        .map(move |(at, found)| &text[at + found.len()..])
}

/// The names that paths go on with: `a` of `a::b`, `a` and `b` of `{a::c, b}`.
fn heads(rest: &str) -> Vec<&str> {
    let Some(inner) = rest.strip_prefix('{') else { return vec![word(rest)] };
    let (mut depth, mut found, mut fresh) = (0, Vec::new(), true);
    for (at, byte) in inner.bytes().enumerate() {
        match byte {
            b'}' if depth == 0 => break,
            b'{' => depth += 1,
            b'}' => depth -= 1,
            b',' if depth == 0 => fresh = true,
            _ if fresh && is_word(byte) => {
                found.push(word(&inner[at..]));
                fresh = false;
            }
            _ => {}
        }
    }
    found
}

/// Rooms, and files in them, that the paths in a file name.
fn named(source: &Source) -> Vec<(String, Option<String>)> {
    let mut found = Vec::new();
    for rest in after(&source.text, "crate::") {
        for room in heads(rest) {
            let below = rest.strip_prefix(room).and_then(|rest| rest.strip_prefix("::"));
            match below {
                Some(below) => {
                    let files = heads(below).into_iter().map(|file| Some(file.to_owned()));
                    found.extend(files.map(|file| (room.to_owned(), file)));
                }
                None => found.push((room.to_owned(), None)),
            }
        }
    }
    for mut rest in after(&source.text, "super::") {
        let mut above = 1;
        while let Some(next) = rest.strip_prefix("super::") {
            (above, rest) = (above + 1, next);
        }
        // Within one file and those below it everything goes.
        if source.path.len() == above + 1 {
            let files = heads(rest).into_iter().map(|file| Some(file.to_owned()));
            found.extend(files.map(|file| (source.room().to_owned(), file)));
        }
    }
    found
}

/// The blocks in which the methods of a type are.
fn blocks<'a>(text: &'a str, begin: &'a str) -> impl Iterator<Item = &'a str> {
    text.match_indices(begin).map(move |(at, _)| {
        let rest = &text[at..];
        &rest[..rest.find("\n}").unwrap_or(rest.len())]
    })
}

fn overlay_blocks(source: &Source) -> impl Iterator<Item = &str> {
    let own = blocks(&source.text, "\nimpl Overlay {");
    own.chain(blocks(&source.text, "\nimpl Drop for Overlay {"))
}

/// The methods of the overlay, and where each is.
fn methods(all: &[Source]) -> BTreeMap<&str, &Source> {
    let mut found = BTreeMap::new();
    for source in all {
        for block in blocks(&source.text, "\nimpl Overlay {") {
            for line in block.lines() {
                let at = line
                    .find("fn ")
                    .filter(|_| line.starts_with("    ") && !line.starts_with("     "));
                if let Some(at) = at {
                    found.insert(word(&line[at + 3..]), source);
                }
            }
        }
    }
    found
}

/// The method that is called, unless it is a field that is named.
fn method(rest: &str) -> Option<&str> {
    let name = word(rest);
    rest[name.len()..].starts_with(['(', ':']).then_some(name)
}

/// Methods of the overlay that a file calls.
fn called(source: &Source) -> BTreeSet<&str> {
    let mut found = BTreeSet::new();
    for block in overlay_blocks(source) {
        for rest in after(block, "self") {
            found.extend(rest.trim_start().strip_prefix('.').and_then(method));
        }
        found.extend(after(block, "Self::").map(word));
    }
    found.extend(after(&source.text, "overlay.").filter_map(method));
    found.extend(after(&source.text, "Overlay::").map(word));
    found
}

/// What lower rooms use of higher ones, and which files of one room use each other.
fn look(all: &[Source]) -> (Vec<String>, Uses) {
    let height = |room: &str| ROOMS.iter().position(|known| *known == room);
    let methods = methods(all);
    let files: BTreeSet<(&str, &str)> =
        all.iter().filter_map(|source| Some((source.room(), source.file()?))).collect();
    let (mut wrong, mut uses) = (Vec::new(), Uses::new());
    for source in all {
        let own = height(source.room());
        let mut used: Vec<(String, Option<String>, String)> = named(source)
            .into_iter()
            .map(|(room, file)| {
                let what = file.as_deref().map_or(room.clone(), |file| format!("{room}::{file}"));
                (room, file, what)
            })
            .collect();
        for method in called(source) {
            if let Some(at) = methods.get(method) {
                let file = at.file().map(str::to_owned);
                used.push((at.room().to_owned(), file, format!("{method}() of {}", at.name)));
            }
        }
        if own.is_none() {
            wrong.push(format!("{} is in no room", source.name));
        }
        for (room, file, what) in used {
            if height(&room) > own {
                wrong.push(format!("{} uses {what}, which is above it", source.name));
            }
            if room != source.room() {
                continue;
            }
            if let (Some(from), Some(to)) = (source.file(), file)
                && from != to
                && files.contains(&(&*room, &*to))
            {
                let edge = (format!("{room}/{from}"), format!("{room}/{to}"));
                uses.entry(edge).or_insert(what);
            }
        }
    }
    (wrong, uses)
}

/// Types that get methods of their own in another room than theirs.
fn strangers(all: &[Source]) -> Vec<String> {
    let mut homes: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for source in all {
        for line in source.text.lines() {
            let item = line.trim_start_matches("pub(crate) ").trim_start_matches("pub(super) ");
            let item = item.trim_start_matches("pub ");
            for kind in ["struct ", "enum "] {
                if let Some(rest) = item.strip_prefix(kind) {
                    homes.entry(word(rest)).or_default().insert(source.room());
                }
            }
        }
    }
    let mut wrong = Vec::new();
    for source in all {
        for line in source.text.lines().filter(|line| line.starts_with("impl")) {
            let rest = line.trim_start_matches("impl");
            let rest = if rest.starts_with('<') {
                rest.split_once("> ").map_or(rest, |(_, rest)| rest)
            } else {
                rest
            };
            let name = word(rest.trim_start());
            let home = homes.get(name).filter(|_| !line.contains(" for ") && name != OVERLAY);
            if home.is_some_and(|home| !home.contains(source.room())) {
                wrong.push(format!("{} has methods of {name}, whose room is another", source.name));
            }
        }
    }
    wrong
}

/// A circle of files, if there is one.
fn circle(uses: &Uses) -> Option<Vec<String>> {
    let mut below: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (from, to) in uses.keys() {
        below.entry(from).or_default().push(to);
    }
    let mut done = BTreeSet::new();
    let visit = |start| {
        let mut path: Vec<(&str, usize)> = vec![(start, 0)];
        while let Some((at, next)) = path.last().copied() {
            let to = below.get(at).and_then(|to| to.get(next));
            let Some(to) = to else {
                done.insert(at);
                path.pop();
                continue;
            };
            path.last_mut().unwrap().1 += 1;
            if let Some(begin) = path.iter().position(|(known, _)| known == to) {
                let files = path[begin..].iter().map(|(file, _)| *file).chain([*to]);
                let files: Vec<&str> = files.collect();
                let edge = |pair: &[&str]| {
                    let what = &uses[&(pair[0].to_owned(), pair[1].to_owned())];
                    format!("{} uses {what}", pair[0])
                };
                return Some(files.windows(2).map(edge).collect());
            }
            if !done.contains(to) {
                path.push((to, 0));
            }
        }
        None
    };
    below.keys().copied().collect::<Vec<_>>().into_iter().find_map(visit)
}

fn crate_sources() -> Vec<Source> {
    let all = sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    assert!(all.len() > 100, "{} files", all.len());
    all
}

#[test]
fn no_room_uses_a_higher_one() {
    let (wrong, _) = look(&crate_sources());
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn no_files_of_a_room_use_each_other_in_a_circle() {
    let (_, uses) = look(&crate_sources());
    assert!(uses.len() > 30, "{} uses", uses.len());
    if let Some(circle) = circle(&uses) {
        panic!("\n{}", circle.join(",\n"));
    }
}

#[test]
fn types_have_their_methods_where_they_are() {
    let wrong = strangers(&crate_sources());
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// What the tests above say to sources that break their rules.
#[test]
fn what_breaks_the_rules_is_found() {
    let file = |name: &str, text: &str| {
        let path = name.strip_suffix(".rs").unwrap().split('/').map(str::to_owned).collect();
        Source { name: name.to_owned(), path, text: without_tests(text) }
    };
    let block = |line: &str| {
        format!("\nimpl Overlay {{\n    fn high(&self) {{\n        {line}\n    }}\n}}\n")
    };
    let with = |more: Option<Source>| -> Vec<Source> {
        let test = "pub struct Node;\n#[cfg(test)]\nmod tests {\n    use crate::ops::a;\n}\n";
        let good = [
            file("tree/node.rs", test),
            file("reach/overlay.rs", "\nimpl Overlay {\n    fn low(&self) {}\n}\n"),
            file("ops/a.rs", &format!("use crate::tree::node::Node;\n{}", block("self.low();"))),
            file("ops/b.rs", "use super::{a};\n// crate::open::x\n"),
        ];
        good.into_iter().chain(more).collect()
    };
    let said = |more: Option<Source>| {
        let all = with(more);
        let (mut wrong, uses) = look(&all);
        wrong.extend(strangers(&all));
        wrong.extend(circle(&uses).map(|circle| circle.join(", ")));
        wrong.join("; ")
    };
    assert_eq!(said(None), "");
    for (name, text, expected) in [
        ("look/c.rs", "use crate::{ops::a, tree};\n", "look/c.rs uses ops, which is above it"),
        ("look/c.rs", "fn f(_: crate::ops::a::X) {}\n", "look/c.rs uses ops::a, which is above it"),
        (
            "look/c.rs",
            &*block("self\n            .high();").replace("fn high", "fn c"),
            "look/c.rs uses high() of ops/a.rs, which is above it",
        ),
        ("ops/c/d.rs", "use super::super::b;\n", ""),
        ("ops/a/d.rs", "use super::super::b;\n", "ops/a uses ops::b, ops/b uses ops::a"),
        (
            "ops/c.rs",
            "impl<'a> Node<'a> {\n}\n",
            "ops/c.rs has methods of Node, whose room is another",
        ),
        ("elsewhere.rs", "", "elsewhere.rs is in no room"),
    ] {
        assert_eq!(said(Some(file(name, text))), expected);
    }
}
