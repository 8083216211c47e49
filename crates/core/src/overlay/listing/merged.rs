//! Listings of directories that have a part in both layers: 30 bytes and the
//! name for each entry, see [`super::held`] for how long.

use std::collections::HashMap;
use std::sync::Arc;

use rustix::fd::AsFd;
use rustix::fs::OFlags;

use super::{Number, parent_ino};
use crate::dirs::Dir;
use crate::layers::{LowerDir, LowerNumber};
use crate::name::is_dot;
use crate::node::Node;
use crate::overlay::Overlay;
use crate::sys::{self, Result, Spot, Within, read_entries};

/// All entries, in the order of the hashes of their names.
///
/// The offset of an entry is the hash of the one before it: it means the same
/// in every listing of the directory, whatever comes and goes meanwhile.
pub(crate) struct Packed {
    /// Hash of the name, and where in `bytes` the entry begins.
    order: Vec<(u64, usize)>,
    /// Entries one after the other: number, type, whether the number is the
    /// one to show, length of the name, name.
    bytes: Vec<u8>,
}

/// An entry of a [`Packed`] listing.
pub(crate) struct Listed<'a> {
    pub name: &'a [u8],
    pub(super) number: Number,
    pub kind: u32,
    pub next: u64,
}

/// Offsets that follow the dots come before all hashes.
const DOTS: [(&[u8], u64); 2] = [(b".", 1), (b"..", 2)];

/// The place of a name among all that there can be: FNV-1a, spread once more.
fn place(name: &[u8]) -> u64 {
    if let Some((_, place)) = DOTS.iter().find(|(dot, _)| *dot == name) {
        return *place;
    }
    let hash = name.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let spread = (hash ^ (hash >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    // An offset is a signed number; room for those that follow the last one.
    ((spread >> 2) + 3).min(i64::MAX as u64 / 2)
}

impl Packed {
    fn push(&mut self, name: &[u8], number: Number, kind: u32) {
        let (ino, shown) = match number {
            Number::Shown(ino) => (ino, 1),
            Number::Stored(ino) => (ino, 0),
            Number::Unknown => (0, 2),
        };
        self.order.push((place(name), self.bytes.len()));
        // Names have at most 255 bytes.
        let length = name.len() as u8;
        self.bytes.extend_from_slice(&ino.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(&[shown, length]);
        self.bytes.extend_from_slice(name);
    }

    fn sort(&mut self) {
        self.bytes.shrink_to_fit();
        self.order.shrink_to_fit();
        let bytes = &self.bytes;
        self.order.sort_unstable_by_key(|(place, at)| (*place, entry(bytes, *at).map(|e| e.name)));
        // Names of one hash, if there ever are, follow each other.
        let mut last = 0;
        for (place, _) in &mut self.order {
            *place = (*place).max(last + 1);
            last = *place;
        }
    }

    /// What it takes of memory.
    pub fn bytes(&self) -> usize {
        self.bytes.capacity() + self.order.capacity() * size_of::<(u64, usize)>()
    }

    /// The entries from an offset on that is 0 or came with an entry.
    pub fn from(&self, offset: u64) -> impl Iterator<Item = Listed<'_>> {
        let start = self.order.partition_point(|(place, _)| *place <= offset);
        let rest = self.order.get(start..).unwrap_or_default();
        rest.iter().filter_map(|(place, at)| {
            entry(&self.bytes, *at).map(|listed| Listed { next: *place, ..listed })
        })
    }
}

/// Reads the entry at a position.
fn entry(bytes: &[u8], at: usize) -> Option<Listed<'_>> {
    let rest = bytes.get(at..)?;
    let (ino, rest) = rest.split_first_chunk::<8>()?;
    let (kind, rest) = rest.split_first_chunk::<4>()?;
    let ([shown, length], rest) = rest.split_first_chunk::<2>()?;
    let name = rest.get(..usize::from(*length))?;
    let ino = u64::from_ne_bytes(*ino);
    let number = match *shown {
        0 => Number::Stored(ino),
        1 => Number::Shown(ino),
        _ => Number::Unknown,
    };
    Some(Listed { name, number, kind: u32::from_ne_bytes(*kind), next: 0 })
}

/// Names of a storage directory, with number and type there.
type Stored = HashMap<Box<[u8]>, (u64, u32)>;

impl Overlay {
    /// Lists both layers.
    pub(super) fn merge(
        &self,
        node: &Arc<Node>,
        dir: &Dir,
        base: Option<&LowerDir>,
    ) -> Result<Packed> {
        let mut entries = Packed { order: Vec::new(), bytes: Vec::new() };
        entries.push(b".", Number::Shown(node.ino), libc::S_IFDIR);
        entries.push(b"..", Number::Shown(parent_ino(node)), libc::S_IFDIR);
        let mut stored = Stored::new();
        // Reading the storage's part moves the time of access, as it should.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        if let Some(storage) = dir.storage() {
            let listed = sys::open(Spot::At(storage, b"."), flags)?;
            read_entries(Within::new(listed.as_fd(), storage.written()), |entry| {
                if !is_dot(entry.name) && !self.meta.reserves(entry.name) {
                    let kind = dir.shown_kind(entry.name, entry.kind);
                    stored.insert(entry.name.into(), (entry.ino, kind));
                }
                true
            })?;
        }
        let redirected = self.add_redirects(dir, &stored, &mut entries)?;
        if let Some(base) = base {
            self.add_base(dir, base, &redirected, &mut stored, &mut entries)?;
        }
        for (name, (ino, kind)) in &stored {
            entries.push(name, Number::Stored(*ino), *kind);
        }
        entries.sort();
        Ok(entries)
    }

    /// Entries of the base. Those that it shares with the storage are taken
    /// out of `stored` if they show the base's number.
    fn add_base(
        &self,
        dir: &Dir,
        base: &LowerDir,
        listed: &[Box<[u8]>],
        stored: &mut Stored,
        entries: &mut Packed,
    ) -> Result<()> {
        self.stack.list(base, &mut |entry| {
            let name = entry.name;
            if dir.hides(name) {
                return true;
            }
            match stored.get(name) {
                None if listed.iter().any(|listed| **listed == *name) => return true,
                None => {}
                Some((_, kind)) if *kind == entry.kind => {
                    let meta = dir.meta.read();
                    if meta.has_identity(name) || meta.redirect(name).is_some() {
                        return true;
                    }
                    drop(meta);
                    stored.remove(name);
                }
                Some(_) => return true,
            }
            let number = match entry.number {
                LowerNumber::Shown(number) => Number::Shown(number),
                LowerNumber::Unknown => Number::Unknown,
            };
            entries.push(name, number, entry.kind);
            true
        })
    }

    /// Redirected directories whose skeleton a crash prevented; the result are
    /// their names.
    fn add_redirects(
        &self,
        dir: &Dir,
        stored: &Stored,
        entries: &mut Packed,
    ) -> Result<Vec<Box<[u8]>>> {
        let missing: Vec<[Box<[u8]>; 2]> = dir
            .meta
            .read()
            .redirects()
            .filter(|(name, _)| !stored.contains_key(*name))
            .map(|(name, path)| [name.into(), path.into()])
            .collect();
        let mut listed = Vec::new();
        for [name, path] in missing {
            if let Some(below) = self.look_path(&path)? {
                entries.push(&name, Number::Shown(below.number), libc::S_IFDIR);
                listed.push(name);
            }
        }
        Ok(listed)
    }
}
