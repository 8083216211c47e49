//! The options of fuse-overlayfs, in its grammar: commas separate options, colons the
//! directories, and a backslash makes either an ordinary character.
#![forbid(unsafe_code)]

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use crate::exit::{Failure, code};
use crate::options::{self, Flag, Ids, Item, Opt};

/// Options that need nothing done here: caches and threads are managed otherwise,
/// directories show one link in any case, the attributes of layers that tell owners are
/// read in any case, and what the storage cannot hold of owners is kept in META.
const NOTHING_TO_DO: [&str; 13] = [
    "static_nlink",
    "xattr_permissions",
    "redirect_dir",
    "metacopy",
    "index",
    "timeout",
    "threaded",
    "fast_ino",
    "writeback",
    "clone_fd",
    "max_threads",
    "max_idle_threads",
    "lazytime",
];

/// What was said.
#[derive(Debug, Default)]
pub struct Options {
    /// From the top down.
    pub lowers: Vec<PathBuf>,
    pub upper: Option<PathBuf>,
    pub work: Option<PathBuf>,
    /// Access control lists have no meaning.
    pub no_acl: bool,
    /// The label of all objects, for SELinux.
    pub context: Option<OsString>,
    /// What `mini_fo mount` would be told.
    pub items: Vec<Item>,
    /// Options that nobody knows.
    pub unknown: Vec<String>,
}

/// A list of options names layers.
pub fn names_layers(list: &OsStr) -> bool {
    pieces(list.as_bytes(), b',').iter().any(|piece| piece.starts_with(b"lowerdir="))
}

impl Options {
    /// Reads option lists; a later option wins.
    ///
    /// # Errors
    /// A value that cannot be read.
    pub fn read(lists: &[OsString]) -> Result<Options, Failure> {
        // As that program mounts.
        let mut out = Options { items: vec![flag(Flag::NoAtime)], ..Options::default() };
        let mut owners = Owners::default();
        for piece in lists.iter().flat_map(|list| pieces(list.as_bytes(), b',')) {
            if !piece.is_empty() && !owners.take(&piece)? {
                out.take(&piece)?;
            }
        }
        out.items.extend(owners.items());
        Ok(out)
    }

    fn take(&mut self, piece: &[u8]) -> Result<(), Failure> {
        let (name, value) = match piece.iter().position(|byte| *byte == b'=') {
            Some(at) => (piece.get(..at).unwrap_or_default(), piece.get(at + 1..)),
            None => (piece, None),
        };
        let name = String::from_utf8_lossy(name).into_owned();
        let path = || value.filter(|value| !value.is_empty()).map(unescaped).map(PathBuf::from);
        match &*name {
            "lowerdir" => {
                let lowers = pieces(value.unwrap_or_default(), b':');
                let lowers = lowers.iter().filter(|lower| !lower.is_empty());
                self.lowers = lowers.map(|lower| PathBuf::from(unescaped(lower))).collect();
            }
            "upperdir" => self.upper = path(),
            "workdir" => self.work = path(),
            "noacl" => self.no_acl = true,
            "context" => self.context = value.map(unescaped),
            // `fsync=0` says what `volatile` says.
            "fsync" if value == Some(b"0") => self.item(Opt::Volatile),
            "fsync" => {}
            "noxattrs" if value == Some(b"0") => {}
            "plugins" => {
                let text = "option 'plugins': there are none here; give directories";
                return Err(Failure::new(code::USAGE, text));
            }
            name if NOTHING_TO_DO.contains(&name) => {}
            _ => self.take_as_ours(piece, &name)?,
        }
        Ok(())
    }

    /// An option of `mini_fo mount`, or one that is not known.
    fn take_as_ours(&mut self, piece: &[u8], name: &str) -> Result<(), Failure> {
        let items = options::parse(OsStr::from_bytes(piece), true)?;
        if items.is_empty() {
            self.unknown.push(name.to_owned());
        }
        for item in items {
            match item.opt {
                Opt::Base | Opt::Storage | Opt::MetaName | Opt::Dialect | Opt::Remount => {
                    self.unknown.push(name.to_owned());
                }
                _ => self.items.push(item),
            }
        }
        Ok(())
    }

    fn item(&mut self, opt: Opt) {
        self.items.push(Item { opt, value: None });
    }
}

fn flag(flag: Flag) -> Item {
    Item { opt: Opt::Flag(flag, true), value: None }
}

/// How owners are shown. One owner for all goes before translation, and a named one before
/// root.
#[derive(Debug, Default)]
struct Owners {
    root: bool,
    squash: [Option<OsString>; 2],
    map: [Option<OsString>; 2],
}

impl Owners {
    /// Takes an option, if it is one of these.
    fn take(&mut self, piece: &[u8]) -> Result<bool, Failure> {
        let [squash_uid, squash_gid] = &mut self.squash;
        let [map_uid, map_gid] = &mut self.map;
        let known: [(&str, &mut Option<OsString>, bool); 4] = [
            ("squash_to_uid=", squash_uid, false),
            ("squash_to_gid=", squash_gid, false),
            ("uidmapping=", map_uid, true),
            ("gidmapping=", map_gid, true),
        ];
        if piece == b"squash_to_root" {
            self.root = true;
            return Ok(true);
        }
        for (name, slot, map) in known {
            if let Some(value) = piece.strip_prefix(name.as_bytes()) {
                let text = String::from_utf8_lossy(value).into_owned();
                *slot = Some(if map { mapping(name, &text)? } else { text }.into());
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn items(self) -> Vec<Item> {
        let [squash_uid, squash_gid] = self.squash;
        let [map_uid, map_gid] = self.map;
        let root = || self.root.then(|| OsString::from("0"));
        let side = |squash: Option<OsString>, map: Option<OsString>, opts: [Ids; 2]| {
            let [squashing, mapping] = opts;
            match (squash.or_else(root), map) {
                (Some(id), _) => Some((squashing, id)),
                (None, Some(ranges)) => Some((mapping, ranges)),
                (None, None) => None,
            }
        };
        let both = [
            side(squash_uid, map_uid, [Ids::SquashUid, Ids::UidMap]),
            side(squash_gid, map_gid, [Ids::SquashGid, Ids::GidMap]),
        ];
        let both = both.into_iter().flatten();
        both.map(|(opt, value)| Item { opt: Opt::Ids(opt), value: Some(value) }).collect()
    }
}

/// `STORED:SHOWN:COUNT[:STORED:SHOWN:COUNT...]` as our own option writes it, with the
/// shown id first. Engines write a colon more at the beginning.
fn mapping(name: &str, text: &str) -> Result<String, Failure> {
    let words: Vec<&str> = text.split([':', ',']).filter(|word| !word.is_empty()).collect();
    if words.is_empty() || !words.len().is_multiple_of(3) {
        let text = format!("option '{name}{text}': ids are told as STORED:SHOWN:COUNT[:...]");
        return Err(Failure::new(code::USAGE, text));
    }
    let range = |range: &[&str]| match range {
        [stored, shown, count] => format!("{shown}:{stored}:{count}"),
        _ => String::new(),
    };
    Ok(words.chunks(3).map(range).collect::<Vec<_>>().join("/"))
}

/// Splits at a separator that has no backslash before it; escapes stay. What stands in
/// double quotes after `=`, as engines write a label, is one piece, without them.
fn pieces(list: &[u8], separator: u8) -> Vec<Vec<u8>> {
    let mut pieces = vec![Vec::new()];
    let mut bytes = list.iter().copied();
    let mut quoted = false;
    while let Some(byte) = bytes.next() {
        let Some(last) = pieces.last_mut() else { break };
        match byte {
            b'\\' => {
                last.push(byte);
                last.extend(bytes.next());
            }
            b'"' if separator == b',' && (quoted || last.last() == Some(&b'=')) => quoted = !quoted,
            byte if byte == separator && !quoted => pieces.push(Vec::new()),
            byte => last.push(byte),
        }
    }
    pieces
}

/// Without backslashes; three octal digits after one are a byte.
fn unescaped(text: &[u8]) -> OsString {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        match (byte, after) {
            (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', more @ ..]) => {
                out.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                rest = more;
            }
            (b'\\', [next, more @ ..]) => {
                out.push(*next);
                rest = more;
            }
            _ => out.push(*byte),
        }
    }
    OsString::from_vec(out)
}
