//! Listings of directories that have a part in both layers.

use std::collections::HashMap;
use std::sync::Arc;

use rustix::fd::{AsFd, BorrowedFd};

use super::{Listing, Number, is_dot, parent_ino};
use crate::dirs::{BaseDir, Dir};
use crate::name::is_reserved;
use crate::node::Node;
use crate::overlay::Overlay;
use crate::sys::{self, Result, Spot, each_entry};

/// Entries one after the other: number, type, whether the number is the one
/// to show, length of the name, name. The offset of the next entry is the
/// position where it begins. 14 bytes and the name for each.
pub(super) struct Packed(Vec<u8>);

/// Bytes of an entry before its name.
const HEAD: usize = 8 + 4 + 1 + 1;

/// An entry of a [`Packed`] listing.
pub(super) struct Listed<'a> {
    pub name: &'a [u8],
    pub number: Number,
    pub kind: u32,
    pub next: u64,
}

impl Packed {
    fn push(&mut self, name: &[u8], number: Number, kind: u32) {
        let (ino, shown) = match number {
            Number::Shown(ino) => (ino, 1),
            Number::Stored(ino) => (ino, 0),
        };
        // Names have at most 255 bytes.
        let length = name.len() as u8;
        self.0.extend_from_slice(&ino.to_ne_bytes());
        self.0.extend_from_slice(&kind.to_ne_bytes());
        self.0.extend_from_slice(&[shown, length]);
        self.0.extend_from_slice(name);
    }

    /// The entries from an offset on that is 0 or came with an entry.
    pub fn from(&self, offset: u64) -> impl Iterator<Item = Listed<'_>> {
        let mut at = usize::try_from(offset).unwrap_or(usize::MAX);
        std::iter::from_fn(move || {
            let rest = self.0.get(at..)?;
            let (ino, rest) = rest.split_first_chunk::<8>()?;
            let (kind, rest) = rest.split_first_chunk::<4>()?;
            let ([shown, length], rest) = rest.split_first_chunk::<2>()?;
            let name = rest.get(..usize::from(*length))?;
            at += HEAD + name.len();
            let ino = u64::from_ne_bytes(*ino);
            let number = if *shown == 1 { Number::Shown(ino) } else { Number::Stored(ino) };
            Some(Listed { name, number, kind: u32::from_ne_bytes(*kind), next: at as u64 })
        })
    }
}

/// Names of a storage directory, with number and type there.
type Stored = HashMap<Box<[u8]>, (u64, u32)>;

impl Overlay {
    /// Lists both layers: the entries of the base that show, then what only
    /// the storage has.
    pub(super) fn merge(
        &self,
        node: &Arc<Node>,
        dir: &Dir,
        base: Option<&BaseDir>,
        storage: BorrowedFd<'_>,
    ) -> Result<Listing> {
        let mut entries = Packed(Vec::new());
        entries.push(b".", Number::Shown(node.ino), libc::S_IFDIR);
        entries.push(b"..", Number::Shown(parent_ino(node)), libc::S_IFDIR);
        let mut stored = Stored::new();
        each_entry(storage, |entry| {
            if !is_dot(entry.name) && !is_reserved(entry.name) {
                stored.insert(entry.name.into(), (entry.ino, entry.kind));
            }
            true
        })?;
        let redirected = self.add_redirects(dir, &stored, &mut entries)?;
        if let Some(base) = base {
            self.add_base(dir, base, &redirected, &mut stored, &mut entries)?;
        }
        for (name, (ino, kind)) in &stored {
            entries.push(name, Number::Stored(*ino), *kind);
        }
        entries.0.shrink_to_fit();
        Ok(Listing::Merged(entries))
    }

    /// Entries of the base. Those that it shares with the storage are taken
    /// out of `stored` if they show the base's number.
    fn add_base(
        &self,
        dir: &Dir,
        base: &BaseDir,
        listed: &[Box<[u8]>],
        stored: &mut Stored,
        entries: &mut Packed,
    ) -> Result<()> {
        each_entry(base.as_fd(), |entry| {
            let name = entry.name;
            if is_dot(name) || is_reserved(name) || dir.hides(name) || self.is_hidden(&entry) {
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
            entries.push(name, Number::Shown(base.realm.number(entry.ino)), entry.kind);
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
            if let Some(fd) = self.open_base_path(&path)? {
                let ino = self.realms.number(&sys::stat_fd(&fd)?, Spot::Fd(fd.as_fd()))?;
                entries.push(&name, Number::Shown(ino), libc::S_IFDIR);
                listed.push(name);
            }
        }
        Ok(listed)
    }
}
