//! Listing directories.

mod merged;

use std::sync::Arc;

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{OFlags, SeekFrom};
use rustix::io::Errno;

use crate::format::identity::Realm;
use crate::format::name::is_dot;
use crate::format::numbers::storage_ino;
use crate::interface::types::{DirEntry, NodeId};
use crate::layers::Part;
use crate::locks::{Mutex, Rank};
use crate::reach::overlay::Overlay;
use crate::store::meta_dir::with_access;
use crate::sys::descriptors::Ticket;
use crate::sys::{self, RawEntry, Result, Spot, Within, Written, read_entries};
use crate::tree::dir::Dir;
use crate::tree::listed::{self, HeldListing};
use crate::tree::node::Node;
use crate::tree::packed::{Listed, Number, Packed};

/// An open directory: a position in its listing.
pub struct OpenDir {
    node: Arc<Node>,
    listing: Mutex<Listing, { Rank::Reading as u8 }>,
}

impl OpenDir {
    /// The node it was opened by.
    pub fn node(&self) -> NodeId {
        self.node.id
    }
}

enum Listing {
    /// Nothing read yet.
    New,
    /// The directory has one layer: entries as that one gives them, with its
    /// offsets.
    Single { fd: OwnedFd, in_storage: bool, _ticket: Ticket },
    /// Base and storage: all entries, as they were at offset 0, or at some later
    /// moment if that listing was given up. An entry that was there all the time
    /// comes once in any case, for the order is that of the names' hashes.
    Merged(Arc<HeldListing>),
    /// What the storage had, read by its offsets before the directory left it.
    Kept(Vec<KeptEntry>),
    /// The directory was removed.
    Gone,
}

/// An entry of a listing that is kept.
struct KeptEntry {
    name: Box<[u8]>,
    kind: u32,
    next: u64,
}

/// What a listing is wanted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListFor {
    /// Names, types and numbers.
    Entries,
    /// Names: the caller looks them up, and has the numbers from there.
    Lookups,
}

impl Overlay {
    /// Opens a directory for listing.
    ///
    /// # Errors
    /// ENOTDIR.
    pub fn open_dir(&self, node: NodeId) -> Result<Arc<OpenDir>> {
        let node = self.dir_node(node)?;
        Ok(Arc::new(OpenDir { node, listing: Mutex::new(Listing::New) }))
    }

    /// Gives the entries from `offset` on (0: from the start, as it is now) to
    /// `take`, until that returns `false`: then the entry was not taken.
    ///
    /// For [`ListFor::Lookups`] the numbers of entries other than the dots may
    /// be wrong.
    ///
    /// # Errors
    /// What reading the layers gives.
    pub fn read_dir(
        &self,
        open: &OpenDir,
        offset: u64,
        wanted: ListFor,
        take: &mut dyn FnMut(DirEntry<'_>) -> bool,
    ) -> Result<()> {
        let mut listing = open.listing.lock();
        if offset == 0 || matches!(*listing, Listing::New) {
            *listing = self.start_listing(&open.node)?;
        }
        if matches!(*listing, Listing::Gone) {
            return Ok(());
        }
        let Some(dir) = sys::absent(self.dir(&open.node))? else {
            return Ok(());
        };
        let shown = |name: &[u8], number| match number {
            // It may have been listed before the directory was moved.
            _ if name == b".." => parent_ino(&open.node),
            Number::Shown(ino) => ino,
            Number::Stored(ino) if wanted == ListFor::Lookups => ino,
            Number::Stored(ino) => self.stored_ino(&open.node, &dir, name, ino),
            Number::Unknown if wanted == ListFor::Lookups => 1,
            Number::Unknown => self.number_of(&open.node, &dir, name),
        };
        match &mut *listing {
            Listing::New | Listing::Gone => {}
            Listing::Kept(entries) => {
                let read = entries.iter().position(|entry| entry.next == offset);
                for KeptEntry { name, kind, next } in
                    entries.iter().skip(read.map_or(0, |at| at + 1))
                {
                    let number = if **name == *b"." {
                        Number::Shown(open.node.ino())
                    } else {
                        Number::Unknown
                    };
                    let ino = shown(name, number);
                    if !take(DirEntry { name, ino, kind: *kind, next: *next }) {
                        break;
                    }
                }
            }
            Listing::Single { fd, in_storage, .. } => {
                self.list_single(
                    &open.node,
                    &dir,
                    (&*fd, *in_storage),
                    offset,
                    |entry, number| {
                        let ino = shown(entry.name, number);
                        let kind = dir.shown_kind(entry.name, entry.kind);
                        take(DirEntry { name: entry.name, ino, kind, next: entry.next })
                    },
                )?;
            }
            Listing::Merged(held) => {
                let entries = match held.entries() {
                    Some(entries) => entries,
                    None => {
                        let made = self.merged(&open.node, &dir)?;
                        *held = made.0;
                        made.1
                    }
                };
                for entry in entries.from(offset) {
                    let ino = shown(entry.name, entry.number);
                    let Listed { name, kind, next, .. } = entry;
                    if !take(DirEntry { name, ino, kind, next }) {
                        break;
                    }
                }
            }
        }
        Ok(())
    }

    /// A listing that has begun to read a directory goes on, whatever becomes of that: what a
    /// commit exchanges in the base has another position then on some file systems (tmpfs).
    pub(crate) fn keep_listing(&self, open: &OpenDir) -> Result<()> {
        let mut listing = open.listing.lock();
        let Listing::Single { fd, in_storage, .. } = &*listing else { return Ok(()) };
        let Some(dir) = sys::absent(self.dir(&open.node))? else { return Ok(()) };
        let mut kept = Vec::new();
        self.list_single(&open.node, &dir, (fd, *in_storage), 0, |entry, _| {
            let kind = dir.shown_kind(entry.name, entry.kind);
            kept.push(KeptEntry { name: entry.name.into(), kind, next: entry.next });
            true
        })?;
        *listing = Listing::Kept(kept);
        Ok(())
    }

    fn start_listing(&self, node: &Arc<Node>) -> Result<Listing> {
        let dir = match self.dir(node) {
            Err(Errno::NOENT) => return Ok(Listing::Gone),
            other => other?,
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        if let Some(base) = dir.base().filter(|_| !node.in_storage()) {
            self.accessed(node, &sys::stat_fd(base.top()?)?);
        }
        let ticket = Ticket::other();
        match (dir.base(), dir.storage()) {
            (None, None) => Ok(Listing::Gone),
            (Some(base), None) => match base.only_plain(&self.stack) {
                Some(part) => {
                    let fd = sys::open_untraced(Spot::at(part.as_fd(), b"."), flags)?;
                    Ok(Listing::Single { fd, in_storage: false, _ticket: ticket? })
                }
                None => Ok(Listing::Merged(self.merged(node, &dir)?.0)),
            },
            // A redirect may show a directory whose skeleton a crash prevented.
            (None, Some(storage)) if dir.meta().redirects().next().is_none() => {
                // Reading it moves the time of access, as it should.
                let fd = sys::open(Spot::at(storage, b"."), flags)?;
                Ok(Listing::Single { fd, in_storage: true, _ticket: ticket? })
            }
            (_, Some(_)) => Ok(Listing::Merged(self.merged(node, &dir)?.0)),
        }
    }

    /// What both layers make of a directory: listed now, or by somebody else since
    /// the last change.
    fn merged(&self, node: &Arc<Node>, dir: &Dir) -> Result<(Arc<HeldListing>, Arc<Packed>)> {
        let mut last = dir.listed.lock();
        let version = dir.version().filter(|_| self.live.is_none());
        if let Some(shared) = listed::shared(&last, version) {
            if self.access_is_due(node.id) {
                // As if it had been listed anew.
                let flags = OFlags::RDONLY | OFlags::DIRECTORY;
                if let Some(storage) = dir.storage() {
                    let listed = sys::open(Spot::At(storage, b"."), flags)?;
                    read_entries(listed.as_fd(), |_| false)?;
                }
            }
            return Ok(shared);
        }
        let entries = Arc::new(self.merge(node, dir, dir.base().map(|base| &**base))?);
        let held = self.listings.keep(&entries, version.filter(|_| dir.version() == version));
        *last = Arc::downgrade(&held);
        Ok((held, entries))
    }

    fn list_single(
        &self,
        node: &Arc<Node>,
        dir: &Dir,
        (fd, in_storage): (&OwnedFd, bool),
        offset: u64,
        mut take: impl FnMut(&RawEntry<'_>, Number) -> bool,
    ) -> Result<()> {
        let part = dir.base().and_then(|base| base.only_plain(&self.stack));
        let realm = part.map_or(Realm::default(), Part::realm);
        let hidden = if in_storage { Vec::new() } else { self.stack.hidden_on(fd)? };
        let written = dir.storage().filter(|_| in_storage).map_or(Written::Plain, Within::written);
        let reserved = |name: &[u8]| {
            self.meta.reserves(name) || part.is_some_and(|part| self.stack.reserves(part, name))
        };
        rustix::fs::seek(fd, SeekFrom::Start(offset))?;
        read_entries(Within::new(fd.as_fd(), written), |entry| {
            let name = entry.name;
            let shown = is_dot(name)
                || !reserved(name)
                    && (in_storage || !dir.hides(name) && !hidden.contains(&entry.ino));
            if !shown {
                return true;
            }
            let number = match name {
                b"." => Number::Shown(node.ino()),
                b".." => Number::Shown(parent_ino(node)),
                _ if in_storage => Number::Stored(entry.ino),
                _ => Number::Shown(realm.number(entry.ino)),
            };
            take(&entry, number)
        })
    }

    /// The number of a storage entry that the base has not under this name.
    fn stored_ino(&self, node: &Node, dir: &Dir, name: &[u8], ino: u64) -> u64 {
        if let Some(known) = self.table.number(node.id, name) {
            return known;
        }
        let meta = dir.meta();
        let redirect = meta.redirect(name).map(<[u8]>::to_vec);
        let recorded = meta.identity(name, ino);
        drop(meta);
        if let Some(path) = redirect
            && let Ok(Some(below)) = self.look_path(&path)
        {
            return below.number;
        }
        let own = || {
            let stat = dir.storage().map(|dir| sys::stat(Spot::at(dir, name)));
            // An entry that goes away meanwhile has no number any more.
            stat.and_then(Result::ok).map_or(ino, |stat| storage_ino(&stat))
        };
        recorded.unwrap_or_else(own)
    }

    /// The number of an entry of the layers below the storage that another look tells.
    fn number_of(&self, node: &Node, dir: &Dir, name: &[u8]) -> u64 {
        let found = || self.resolve(dir, name).ok().flatten().map(|found| found.ino);
        // One that goes away meanwhile has none; 0 would end the listing.
        self.table.number(node.id, name).or_else(found).unwrap_or(1)
    }

    /// Hands a directory and its META to the device.
    ///
    /// # Errors
    /// As `fsync(2)`.
    pub fn fsync_dir(&self, node: NodeId) -> Result<()> {
        let node = self.dir_node(node)?;
        let Some(dir) = sys::absent(self.dir(&node))? else {
            return Ok(());
        };
        if !self.root_dir.meta().far().is_empty() {
            // It may say what is hidden here.
            let _slow = self.slow_section();
            self.root_dir.sync_meta()?;
        }
        let Some(storage) = dir.storage() else {
            return Ok(());
        };
        let _slow = self.slow_section();
        // First: to sync META may bring names of the directory there by themselves.
        let settled = self.durability.settle_names(self.storage_opened()?)?;
        dir.sync_meta()?;
        if settled {
            return Ok(());
        }
        let open = || sys::open(Spot::at(storage, b"."), OFlags::RDONLY | OFlags::DIRECTORY);
        rustix::fs::fsync(with_access(storage.fd(), open)?)
    }
}

fn parent_ino(node: &Arc<Node>) -> u64 {
    node.parent().map_or(node.ino(), |parent| parent.ino())
}
