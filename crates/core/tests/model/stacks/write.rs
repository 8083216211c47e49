//! Draws a layer, and writes it; its marks, as its document says (`marks.rs`).

#[path = "marks.rs"]
mod marks;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path as FsPath, PathBuf};
use std::rc::Rc;

use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps, XattrFlags};

use super::merge::{Facts, Leaf, Rest, Said, SaidDir, ShownDir};
use super::{Speech, joined};
use crate::naive::Kind;
use crate::ops::NAMES;
use crate::tree::Dice;

/// How deep a layer goes.
const DEPTH: u32 = 3;

pub struct Writer<'a> {
    speech: Speech,
    dice: &'a mut Dice,
    below: Option<&'a ShownDir>,
    /// Directories may show others than those of their names.
    redirects: bool,
    is_root: bool,
    /// What hard links can be made to.
    linkable: Vec<Rc<Leaf>>,
    /// Counts objects, for times that differ.
    made: i64,
    /// All that was made, for its time: what is in a directory comes before it.
    all: Vec<PathBuf>,
}

/// A directory that is being drawn.
struct At<'p> {
    path: &'p FsPath,
    /// What is below it, and its path there.
    below: Option<(&'p ShownDir, Vec<Vec<u8>>)>,
    depth: u32,
}

impl<'a> Writer<'a> {
    /// `below`: what the layers show on which it is put.
    pub fn new(
        speech: Speech,
        dice: &'a mut Dice,
        below: Option<&'a ShownDir>,
        redirects: bool,
    ) -> Writer<'a> {
        let is_root = rustix::process::geteuid().is_root();
        let (linkable, all, made) = (Vec::new(), Vec::new(), 0);
        Writer { speech, dice, below, redirects, is_root, linkable, made, all }
    }

    /// Writes the layer to a new directory.
    pub fn write(mut self, path: &FsPath) -> SaidDir {
        fs::create_dir(path).unwrap();
        let mode = if matches!(self.speech, Speech::MiniFo(_)) { 0o700 } else { 0o755 };
        fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
        let below = self.below.map(|below| (below, Vec::new()));
        let mut says = self.fill(&At { path, below, depth: 0 });
        let (uid, gid) = own_ids();
        says.facts = Facts { at: path.to_owned(), mode, uid, gid, xattrs: BTreeMap::new() };
        self.all.push(path.to_owned());
        for (age, path) in (0i64..).zip(&self.all) {
            let time = |sec: i64| Timespec { tv_sec: sec + age, tv_nsec: 1_000_001 * (age % 900) };
            let times = Timestamps {
                last_access: time(999_999_000),
                last_modification: time(1_000_000_000),
            };
            rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
        }
        says
    }

    /// Draws what is in a directory, and writes it.
    fn fill(&mut self, at: &At<'_>) -> SaidDir {
        let mut says = SaidDir::default();
        self.draw_hidden(at, &mut says);
        let moved = self.draw_moves(at, &mut says);
        let density = if self.below.is_none() { 3 } else { 6 };
        let names = NAMES.iter().take(if self.dice.below(3) == 0 { NAMES.len() } else { 6 });
        for name in names {
            if says.entries.contains_key(*name) || self.dice.below(density) > 1 {
                continue;
            }
            // Only `.wh.` can stand beside what it hides, and META.
            if says.hidden.contains(*name) && !self.hides_beside(name) {
                continue;
            }
            let said = self.draw(at, &mut says, name, &moved);
            says.entries.insert(name.to_vec(), said);
        }
        self.write_hidden(at, &says);
        if let Speech::MiniFo(meta) = self.speech {
            self.write_meta(at, &says, meta.as_str());
        }
        says
    }

    fn is_storage(&self) -> bool {
        matches!(self.speech, Speech::MiniFo(_))
    }

    fn hides_beside(&self, name: &[u8]) -> bool {
        match self.speech {
            Speech::MiniFo(_) => true,
            Speech::Oci => name.len() < 252,
            _ => false,
        }
    }

    fn draw_hidden(&mut self, at: &At<'_>, says: &mut SaidDir) {
        if self.speech == Speech::Plain || self.below.is_none() {
            return;
        }
        let below = at.below.iter().flat_map(|(below, _)| below.entries.keys().cloned());
        for name in below.collect::<Vec<_>>() {
            if self.dice.below(5) == 0 {
                says.hidden.insert(name);
            }
        }
        // What is not there can be hidden as well.
        if self.dice.below(4) == 0 {
            let name = self.dice.pick(NAMES);
            says.hidden.insert(name.to_vec());
        }
    }

    /// Directories of what is below that show here under another name: a name of this
    /// directory is hidden, and another one leads there.
    fn draw_moves(&mut self, at: &At<'_>, says: &mut SaidDir) -> BTreeMap<Vec<u8>, Vec<u8>> {
        let mut moves = BTreeMap::new();
        let can = matches!(self.speech, Speech::Overlay | Speech::OverlayUser | Speech::MiniFo(_));
        let Some((below, _)) = at.below.as_ref().filter(|_| can && self.redirects) else {
            return moves;
        };
        let dirs = below.paths().into_iter().filter(|path| path.len() == 1).flatten();
        for name in dirs.collect::<Vec<_>>() {
            let to = self.dice.pick(NAMES).to_vec();
            if self.dice.below(4) != 0 || moves.contains_key(&to) || says.hidden.contains(&name) {
                continue;
            }
            if to != name && !says.hidden.contains(&to) && !moves.values().any(|from| *from == to) {
                says.hidden.insert(name.clone());
                moves.insert(to, name);
            }
        }
        moves
    }

    /// Draws an object, or a directory with all that is in it.
    fn draw(
        &mut self,
        at: &At<'_>,
        says: &mut SaidDir,
        name: &[u8],
        moves: &BTreeMap<Vec<u8>, Vec<u8>>,
    ) -> Said {
        let path = joined(at.path, name);
        let has = at.below.as_ref().is_some_and(|(below, _)| below.entries.contains_key(name));
        let is_dir = moves.contains_key(name)
            || at.depth < DEPTH && self.dice.below(if has { 2 } else { 3 }) == 0;
        if !is_dir {
            return self.draw_leaf(&path, has);
        }
        if let (Speech::MiniFo(_), Some(from), true) =
            (self.speech, moves.get(name), self.dice.below(4) == 0)
        {
            let (_, above) = at.below.as_ref().unwrap();
            return Said::Lead([&above[..], std::slice::from_ref(from)].concat());
        }
        fs::create_dir(&path).unwrap();
        let rest = self.draw_rest(at, says, name, moves);
        let below = match (&rest, &at.below) {
            (Rest::Nothing, _) | (_, None) => None,
            (Rest::Same, Some(_)) if says.hidden.contains(name) => None,
            (Rest::Same, Some((below, to))) => {
                let to = [&to[..], &[name.to_vec()]].concat();
                below.dir(&[name.to_vec()]).map(|dir| (dir, to))
            }
            (Rest::Name(other), Some((below, to))) => {
                let to = [&to[..], std::slice::from_ref(other)].concat();
                below.dir(std::slice::from_ref(other)).map(|dir| (dir, to))
            }
            (Rest::Path(to), _) => {
                self.below.and_then(|root| root.dir(to)).map(|dir| (dir, to.clone()))
            }
        };
        let mut inner = self.fill(&At { path: &path, below, depth: at.depth + 1 });
        self.write_rest(&path, &rest);
        inner.facts = self.decorate(&path, libc::S_IFDIR);
        inner.rest = rest;
        self.all.push(path);
        Said::Dir(inner)
    }

    fn draw_rest(
        &mut self,
        at: &At<'_>,
        says: &SaidDir,
        name: &[u8],
        moves: &BTreeMap<Vec<u8>, Vec<u8>>,
    ) -> Rest {
        let own = at.below.as_ref().map(|(_, to)| to.clone()).unwrap_or_default();
        match (self.speech, moves.get(name)) {
            (Speech::MiniFo(_), Some(from)) => Rest::Path([own, vec![from.clone()]].concat()),
            (_, Some(from)) if self.dice.below(2) == 0 => Rest::Name(from.clone()),
            (_, Some(from)) => Rest::Path([own, vec![from.clone()]].concat()),
            // A redirect that leads nowhere, or to no directory.
            (Speech::Overlay | Speech::OverlayUser | Speech::MiniFo(_), None)
                if self.redirects && self.dice.below(12) == 0 =>
            {
                let other = self.dice.pick(NAMES).to_vec();
                Rest::Path(vec![other, b"nowhere".to_vec()])
            }
            (Speech::Overlay | Speech::OverlayUser | Speech::Oci, None)
                if self.dice.below(5) == 0 =>
            {
                Rest::Nothing
            }
            _ if self.speech == Speech::Oci && says.hidden.contains(name) => Rest::Same,
            _ => Rest::Same,
        }
    }

    fn draw_leaf(&mut self, path: &FsPath, has: bool) -> Said {
        if !self.linkable.is_empty() && self.dice.below(4) == 0 && !(has && self.is_storage()) {
            let which = self.dice.below(self.linkable.len() as u64) as usize;
            let leaf = Rc::clone(&self.linkable[which]);
            fs::hard_link(&leaf.facts.at, path).unwrap();
            return Said::Leaf(leaf);
        }
        self.made += 1;
        let kind = match self.dice.below(8) {
            0 => Kind::Symlink(format!("to {}", self.made).into_bytes()),
            1 => Kind::Special(libc::S_IFIFO, 0),
            2 if self.is_root => Kind::Special(libc::S_IFCHR, rustix::fs::makedev(1, 3)),
            2 => Kind::Special(libc::S_IFSOCK, 0),
            _ => {
                let len = self.dice.pick(&[0, 1, 100, 5000, 70_000]);
                Kind::File(vec![b'a' + (self.made % 26) as u8; len])
            }
        };
        match &kind {
            Kind::File(content) => fs::write(path, content).unwrap(),
            Kind::Symlink(target) => {
                use std::os::unix::ffi::OsStrExt;
                std::os::unix::fs::symlink(std::ffi::OsStr::from_bytes(target), path).unwrap();
            }
            Kind::Special(kind, device) => {
                let mode = Mode::from_raw_mode(0o600);
                let kind = FileType::from_raw_mode(*kind);
                rustix::fs::mknodat(CWD, path, kind, mode, *device).unwrap();
            }
            Kind::Dir(_) => {}
        }
        let facts = self.decorate(path, kind.bits());
        let numbered = !self.is_storage();
        let leaf = Rc::new(Leaf { facts, kind, numbered });
        // Of hard links that a storage of 2005 has made of an object of the base only the
        // name that the base has shows its number.
        if numbered || !has {
            self.linkable.push(Rc::clone(&leaf));
        }
        self.all.push(path.to_owned());
        Said::Leaf(leaf)
    }

    /// Owner, mode and extended attributes of an object.
    fn decorate(&mut self, path: &FsPath, kind: u32) -> Facts {
        let is_dir = kind == libc::S_IFDIR;
        let (mut uid, mut gid) = own_ids();
        if self.is_root && self.dice.below(3) == 0 {
            (uid, gid) = (self.dice.below(4) as u32, 1000 + self.dice.below(4) as u32);
        }
        std::os::unix::fs::lchown(path, Some(uid), Some(gid)).unwrap();
        let modes: &[u32] =
            if is_dir { &[0o755, 0o700, 0o1777, 0o2775] } else { &[0o644, 0o600, 0o640, 0o755] };
        let mut mode = 0o777;
        if kind != libc::S_IFLNK {
            mode = self.dice.pick(modes);
            fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
        }
        let mut xattrs = BTreeMap::new();
        for name in ["user.x0", "trusted.x"] {
            let can = match name {
                "trusted.x" => self.is_root,
                _ => [libc::S_IFREG, libc::S_IFDIR].contains(&kind),
            };
            if can && self.dice.below(5) == 0 {
                let value = vec![b'v'; self.dice.below(20) as usize];
                set_xattr(path, name, &value);
                xattrs.insert(name.as_bytes().to_vec(), value);
            }
        }
        Facts { at: path.to_owned(), mode, uid, gid, xattrs }
    }
}

fn own_ids() -> (u32, u32) {
    (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw())
}

pub(super) fn set_xattr(path: &FsPath, name: &str, value: &[u8]) {
    rustix::fs::lsetxattr(path, name, value, XattrFlags::empty()).unwrap();
}
