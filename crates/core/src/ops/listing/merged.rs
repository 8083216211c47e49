//! Listings of directories that have a part in both layers.

use std::collections::HashMap;
use std::sync::Arc;

use rustix::fd::AsFd;
use rustix::fs::OFlags;

use super::parent_ino;
use crate::format::name::is_dot;
use crate::layers::{LowerDir, LowerNumber};
use crate::reach::overlay::Overlay;
use crate::sys::{self, Result, Spot, Within, read_entries};
use crate::tree::dir::Dir;
use crate::tree::node::Node;
use crate::tree::packed::{Number, Packed};

/// Names of a storage directory, with number and type there.
type Stored = HashMap<Box<[u8]>, (u64, u32)>;

impl Overlay {
    /// Lists both layers.
    pub(crate) fn merge(
        &self,
        node: &Arc<Node>,
        dir: &Dir,
        base: Option<&LowerDir>,
    ) -> Result<Packed> {
        let mut entries = Packed::new();
        entries.push(b".", Number::Shown(node.ino()), libc::S_IFDIR);
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
                    let meta = dir.meta();
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
            .meta()
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
