//! Reads base and storage by the rules of `docs/FORMAT.md` alone, without any
//! of the product's code, and tells which tree they show together.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

#[path = "prints.rs"]
mod prints;

thread_local! {
    /// What META is called where this thread reads.
    static RESERVED: std::cell::Cell<&'static str> = const { std::cell::Cell::new("") };
    /// The storage was full at times, or a mount was killed: then nothing may be known of
    /// what a change was made from.
    pub static MAY_LACK: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

fn reserved() -> &'static [u8] {
    RESERVED.get().as_bytes()
}

/// The attribute that marks a partial file.
fn mark_name() -> &'static str {
    let root = rustix::process::geteuid().is_root();
    if root { "trusted.mini_fo.partial" } else { "user.mini_fo.partial" }
}
const CREATED: u64 = 1 << 62;

/// What is shown at one path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Type and permission bits.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub rdev: u64,
    pub ino: u64,
    pub mtime: (i64, u32),
    /// Of a file its bytes, of a symlink its target.
    pub content: Vec<u8>,
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// What a META file says about names, later lines having replaced earlier ones.
#[derive(Default)]
struct Meta {
    hidden: BTreeSet<Vec<u8>>,
    far: BTreeMap<Vec<u8>, Far>,
    redirects: BTreeMap<Vec<u8>, PathBuf>,
    numbers: BTreeMap<Vec<u8>, (u64, u64)>,
    /// What changes were made from: the fields of the record.
    prints: BTreeMap<Vec<u8>, Vec<String>>,
    /// Lines that hold under a condition: sign, number, line.
    pending: Vec<(bool, u64, Vec<u8>)>,
}

/// What the root says of a directory.
#[derive(Default)]
struct Far {
    hidden: BTreeSet<Vec<u8>>,
    mtime: (i64, u32),
}

/// The tree shown: paths below the root, joined by slashes.
pub fn read(base: &Path, storage: &Path, meta: &'static str) -> BTreeMap<Vec<u8>, Object> {
    RESERVED.set(meta);
    let mut found = BTreeMap::new();
    let index = storage.join(format!("{meta}_index"));
    let roots = Dirs {
        top: base,
        index: &index,
        base: Some(base.to_owned()),
        storage: Some(storage.to_owned()),
        escaped: is_escaped(storage),
        told_by_root: has_feature(storage, b"far"),
        far: &read_meta(storage).far,
        own_place: Some(Vec::new()),
    };
    read_dir(&roots, b"", &mut found);
    found
}

/// The two parts of a directory.
struct Dirs<'a> {
    top: &'a Path,
    /// Where base objects with several names are copied up to.
    index: &'a Path,
    base: Option<PathBuf>,
    storage: Option<PathBuf>,
    /// Names in the storage are escaped.
    escaped: bool,
    /// The root tells of deletions, or has done so.
    told_by_root: bool,
    /// What the root tells of directories that the storage may lack.
    far: &'a BTreeMap<Vec<u8>, Far>,
    /// The path of the base directory, if it shows at its own place.
    own_place: Option<Vec<u8>>,
}

fn is_escaped(storage: &Path) -> bool {
    has_feature(storage, b"escaped")
}

fn has_feature(storage: &Path, feature: &[u8]) -> bool {
    let meta = std::fs::read(storage.join(OsStr::from_bytes(reserved()))).unwrap_or_default();
    let features = meta.split(|byte| *byte == b'\n').rfind(|line| line.starts_with(b"f "));
    features.is_some_and(|line| line.split(|byte| *byte == b' ').any(|word| word == feature))
}

/// The name of a storage entry (section 11 of the format).
fn unescaped(stored: &[u8]) -> Vec<u8> {
    let (mut name, mut rest) = (Vec::new(), stored);
    while let [first, behind @ ..] = rest {
        (rest, _) = match (first, behind) {
            (b'^', [letter, behind @ ..]) => (behind, name.push(letter.to_ascii_uppercase())),
            (b'%', [high, low, behind @ ..]) => {
                let digits = String::from_utf8(vec![*high, *low]).unwrap();
                (behind, name.push(u8::from_str_radix(&digits, 16).unwrap()))
            }
            _ => (behind, name.push(*first)),
        };
    }
    name
}

fn read_dir(dirs: &Dirs<'_>, path: &[u8], found: &mut BTreeMap<Vec<u8>, Object>) {
    let meta = dirs.storage.as_deref().map(read_meta).unwrap_or_default();
    let mut names: BTreeSet<Vec<u8>> = meta.redirects.keys().cloned().collect();
    let list = |dir: &Path| -> Vec<Vec<u8>> {
        let entries = std::fs::read_dir(dir).unwrap();
        entries.map(|entry| entry.unwrap().file_name().as_bytes().to_vec()).collect()
    };
    names.extend(dirs.base.iter().flat_map(|dir| list(dir)));
    let shown = |stored: &Vec<u8>| {
        let plain = !dirs.escaped || stored.starts_with(reserved());
        if plain { stored.clone() } else { unescaped(stored) }
    };
    let stored: BTreeMap<Vec<u8>, Vec<u8>> = dirs
        .storage
        .iter()
        .flat_map(|dir| list(dir))
        .map(|stored| (shown(&stored), stored))
        .collect();
    names.extend(stored.keys().cloned());
    for name in names.iter().filter(|name| !name.starts_with(reserved())) {
        let at = |dir: &Option<PathBuf>, name: &[u8]| {
            let path = dir.as_ref()?.join(OsStr::from_bytes(name));
            path.symlink_metadata().ok().map(|stat| (path, stat))
        };
        let stored = stored.get(name).and_then(|stored| at(&dirs.storage, stored));
        let far = dirs.own_place.as_ref().and_then(|place| dirs.far.get(place));
        let hidden = meta.hidden.contains(name) || far.is_some_and(|far| far.hidden.contains(name));
        let own = at(&dirs.base, name);
        if let Some(own) = own.as_ref().filter(|_| stored.is_some() || meta.hidden.contains(name)) {
            // What the root told of may have come here, for something that was not made then.
            let may_lack = stored.is_none() && dirs.told_by_root;
            prints::check((&meta, may_lack), dirs, (path, name), own);
        }
        let own = own.filter(|_| !hidden);
        let redirected = meta.redirects.get(name).and_then(|target| {
            let path = dirs.top.join(target);
            path.symlink_metadata().ok().filter(|stat| stat.is_dir()).map(|stat| (path, stat))
        });
        let below = redirected.or(own);
        let indexed = below.as_ref().filter(|(_, stat)| stat.nlink() > 1 && !stat.is_dir());
        let indexed = indexed.and_then(|(_, stat)| {
            let path = dirs.index.join(format!("{:x}", stat.ino()));
            path.symlink_metadata().ok().map(|stat| (path, stat))
        });
        let shown = stored.as_ref().or(indexed.as_ref()).or(below.as_ref());
        let Some((place, stat)) = shown else { continue };
        let mut full = path.to_vec();
        full.extend_from_slice(name);
        let mut object = object(place, stat, dirs);
        let moved = meta.redirects.contains_key(name) || dirs.own_place.is_none();
        if let Some(far) = dirs.far.get(&full).filter(|_| !moved && stored.is_none()) {
            object.mtime = far.mtime;
        }
        object.ino = number(&meta, name, stored.as_ref(), below.as_ref());
        found.insert(full.clone(), object);
        if stat.is_dir() {
            full.push(b'/');
            let own_place = (!moved).then(|| full[..full.len() - 1].to_vec());
            let merged = below.filter(|(_, stat)| stat.is_dir()).map(|(path, _)| path);
            let storage = stored.map(|(path, _)| path);
            read_dir(&Dirs { base: merged, storage, own_place, ..*dirs }, &full, found);
        }
    }
}

type Part<'a> = Option<&'a (PathBuf, std::fs::Metadata)>;

/// The number shown (section 5 of the format).
fn number(meta: &Meta, name: &[u8], stored: Part<'_>, below: Part<'_>) -> u64 {
    if let (Some((_, stat)), Some((shown, own))) = (stored, meta.numbers.get(name))
        && stat.ino() == *own
        && *shown != 0
    {
        return *shown;
    }
    match (below, stored) {
        (Some((_, stat)), _) => stat.ino(),
        (None, Some((_, stat))) => created_number(stat),
        (None, None) => 0,
    }
}

fn created_number(stat: &std::fs::Metadata) -> u64 {
    let born = stat
        .created()
        .map_or(0, |time| time.duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u64);
    let mixed = (born ^ (stat.ino() >> 40)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 42;
    CREATED | mixed << 40 | stat.ino() & ((1 << 40) - 1)
}

fn object(path: &Path, stat: &std::fs::Metadata, dirs: &Dirs<'_>) -> Object {
    let content = if stat.is_file() {
        content(path, dirs)
    } else if stat.is_symlink() {
        std::fs::read_link(path).unwrap().as_os_str().as_bytes().to_vec()
    } else {
        Vec::new()
    };
    Object {
        mode: stat.mode(),
        uid: stat.uid(),
        gid: stat.gid(),
        rdev: stat.rdev(),
        ino: stat.ino(),
        mtime: (stat.mtime(), u32::try_from(stat.mtime_nsec()).unwrap()),
        content,
        xattrs: xattrs(path),
    }
}

/// The bytes of a file; of a partial one those that the base has, too.
fn content(path: &Path, dirs: &Dirs<'_>) -> Vec<u8> {
    let mut content = std::fs::read(path).unwrap();
    let mut mark = vec![0u8; 4096];
    let Ok(len) = rustix::fs::lgetxattr(path, mark_name(), &mut mark[..]) else { return content };
    let told = mark.starts_with(b"3");
    let count = if told { 9 } else { 6 };
    let fields: Vec<&[u8]> = mark[..len].splitn(count, |byte| *byte == b' ').collect();
    let (id, size, source) = match fields[..] {
        [b"1", id, size, _, _, source] | [b"3", id, size, _, _, _, _, _, source] => {
            (id, size, source)
        }
        _ => panic!("{path:?}: {mark:?}"),
    };
    let source = dirs.top.join(OsStr::from_bytes(source.strip_prefix(b"/").unwrap()));
    if told {
        assert_eq!(source.symlink_metadata().unwrap().ino(), decimal(fields[5]));
    }
    let base = std::fs::read(source).unwrap();
    assert_eq!(base.len() as u64, decimal(size));
    let (mut block, mut limit, mut states) = (4096, base.len(), Vec::new());
    let map = dirs.index.join(format!("p{}", std::str::from_utf8(id).unwrap()));
    let map = std::fs::read(map).unwrap_or_default();
    // One that is empty, or was never written, says nothing.
    if map.first().is_some_and(|byte| *byte != 0) {
        let line = map.split(|byte| *byte == b'\n').next().unwrap();
        let fields: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
        let [b"mini_fo", b"map", b"1", size, end] = fields[..] else { panic!("{line:?}") };
        block = decimal(size) as usize;
        limit = decimal(end) as usize;
        states = map[4096..].to_vec();
    }
    for at in (0..limit.min(content.len())).step_by(block) {
        let stored =
            states.get(at / block / 4).is_some_and(|byte| byte >> (at / block % 4 * 2) & 3 > 0);
        let end = (at + block).min(limit).min(content.len());
        if !stored {
            content[at..end].copy_from_slice(&base[at..end]);
        }
    }
    content
}

/// Extended attributes that the model knows of.
pub fn xattrs(path: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut list = vec![0u8; 4096];
    let len = rustix::fs::llistxattr(path, &mut list[..]).unwrap();
    list[..len]
        .split(|byte| *byte == 0)
        .filter(|name| *name != mark_name().as_bytes())
        .filter(|name| name.starts_with(b"user.") || name.starts_with(b"trusted."))
        .map(|name| {
            let mut value = vec![0u8; 4096];
            let len = rustix::fs::lgetxattr(path, name, &mut value[..]).unwrap();
            value.truncate(len);
            (name.to_vec(), value)
        })
        .collect()
}

fn read_meta(dir: &Path) -> Meta {
    let mut meta = Meta::default();
    let Ok(bytes) = std::fs::read(dir.join(OsStr::from_bytes(reserved()))) else { return meta };
    assert!(bytes.is_empty() || bytes.ends_with(b"\n"), "the last line of {dir:?} is unfinished");
    for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        assert_eq!(line.get(1), Some(&b' '), "{dir:?}: {:?}", String::from_utf8_lossy(line));
        take_line(&mut meta, dir, line);
    }
    for (arrived, number, line) in std::mem::take(&mut meta.pending) {
        let entry = dir.join(OsStr::from_bytes(&name_of(&line))).symlink_metadata();
        if entry.is_ok_and(|entry| entry.ino() == number) == arrived {
            take_line(&mut meta, dir, &line);
        }
    }
    meta
}

/// The name that a line of a condition speaks of.
fn name_of(line: &[u8]) -> Vec<u8> {
    let rest = &line[2..];
    match line[0] {
        b'D' => rest.to_vec(),
        b'R' => rest[rest.iter().position(|byte| *byte == b' ').unwrap() + 1..].to_vec(),
        b'o' | b'i' | b'r' | b'n' => unescape(rest.rsplit(|byte| *byte == b' ').next().unwrap()),
        _ => unescape(rest.split(|byte| *byte == b' ').next().unwrap()),
    }
}

fn take_line(meta: &mut Meta, dir: &Path, line: &[u8]) {
    let rest = &line[2..];
    let fields: Vec<&[u8]> = rest.split(|byte| *byte == b' ').collect();
    match (line[0], &fields[..]) {
        (b'D', _) => drop(meta.hidden.insert(rest.to_vec())),
        (b'd', [name]) => drop(meta.hidden.insert(unescape(name))),
        (b'R', _) => {
            // The path ends at the first space; the name holds the others.
            let space = rest.iter().position(|byte| *byte == b' ').unwrap();
            redirect(meta, &rest[..space], rest[space + 1..].to_vec());
        }
        (b'r', [path, name]) => redirect(meta, &unescape(path), unescape(name)),
        (b'h', [time, path, name]) => {
            let path = unescape(path).strip_prefix(b"/").unwrap().to_vec();
            let far = meta.far.entry(path).or_default();
            far.hidden.insert(unescape(name));
            let (sec, nsec) = std::str::from_utf8(time).unwrap().split_once('.').unwrap();
            far.mtime = far.mtime.max((sec.parse().unwrap(), nsec.parse().unwrap()));
        }
        (b'v', [name]) => drop(meta.redirects.remove(&unescape(name))),
        (b'i', [shown, own, name]) => {
            meta.numbers.insert(unescape(name), (decimal(shown), decimal(own)));
        }
        (b'w', [sign, number, ..]) => {
            let start = 4 + sign.len() + number.len();
            let (arrived, number) = (*sign == b"+", decimal(number));
            meta.pending.push((arrived, number, line[start..].to_vec()));
        }
        (b's', [name]) => {
            let name = unescape(name);
            meta.pending.retain(|(_, _, line)| name_of(line) != name);
        }
        (b'p', [fields @ .., name]) if fields.len() == 7 => {
            let text = |field: &&[u8]| String::from_utf8(field.to_vec()).unwrap();
            meta.prints.insert(unescape(name), fields.iter().map(text).collect());
        }
        (b'y', [name]) => {
            let name = unescape(name);
            meta.hidden.remove(&name);
            meta.redirects.remove(&name);
            meta.numbers.remove(&name);
            meta.prints.remove(&name);
        }
        (b'l', [_, _, _, _, _, _])
        | (b'f', [_, ..])
        | (b'a' | b't', [_, _])
        | (b'c' | b'k' | b'q', [_, _, _])
        | (b'o', [_, _, _, _])
        | (b'b', [_, _, _]) => {}
        _ => panic!("{dir:?}: no such line: {:?}", String::from_utf8_lossy(line)),
    }
}

fn redirect(meta: &mut Meta, path: &[u8], name: Vec<u8>) {
    let path = path.strip_prefix(b"/").expect("a redirect starts with a slash");
    meta.redirects.insert(name, PathBuf::from(OsStr::from_bytes(path)));
}

fn decimal(field: &[u8]) -> u64 {
    std::str::from_utf8(field).unwrap().parse().unwrap()
}

fn unescape(field: &[u8]) -> Vec<u8> {
    let (mut out, mut left) = (Vec::new(), field);
    while let Some((byte, rest)) = left.split_first() {
        left = rest;
        if *byte != b'\\' {
            assert!(*byte > 0x20 && *byte != 0x7f, "a byte that should be escaped");
            out.push(*byte);
            continue;
        }
        let hex = std::str::from_utf8(rest[..3].strip_prefix(b"x").unwrap()).unwrap();
        out.push(u8::from_str_radix(hex, 16).unwrap());
        left = &rest[3..];
    }
    out
}
