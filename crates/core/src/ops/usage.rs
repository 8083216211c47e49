//! What the storage holds, and what takes the room.

use std::collections::HashSet;
use std::vec::IntoIter;

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{FileType, Statx};
use rustix::io::Errno;

use crate::format::name::{MetaName, is_dot};
use crate::reach::overlay::Overlay;
use crate::sys::{self, Result, Spot, StoredDir, Within, Written};

/// So many directories on the way of the walk are kept open.
const KEPT_OPEN: usize = 32;

/// Bytes of a block as `st_blocks` counts them, whatever the file system's are.
const BLOCK: u64 = 512;

/// What something in the storage is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UsedFor {
    /// An entry of the tree, or a part of one.
    Entry,
    /// Base objects with several names that were changed.
    HardLinks,
    /// META, and the directories that hold mini_fo's own files.
    Records,
    /// Room that is kept for deletions.
    Reserve,
    /// What was interrupted has left it; the next mount takes it away.
    Leftover,
    /// Deleted, and still open: it goes with the last descriptor. Only a mount knows of it.
    Deleted,
}

/// Something in the storage.
#[derive(Clone, Copy, Debug)]
pub struct Used<'a> {
    /// What it is there for.
    pub purpose: UsedFor,
    /// Its path in the storage, which is that in the tree for an entry; without a leading
    /// slash.
    pub path: &'a [u8],
    /// Bytes that it takes. Those of a file with several names count with the first.
    pub bytes: u64,
    /// Bytes that a file is long.
    pub size: u64,
    /// It is a directory.
    pub is_dir: bool,
}

/// A directory on the way.
struct Level {
    path: Vec<u8>,
    opened: Option<OwnedFd>,
    purpose: UsedFor,
    names: IntoIter<Box<[u8]>>,
}

/// A storage that is looked through.
pub(crate) struct Walk<'a> {
    root: &'a OwnedFd,
    meta: MetaName,
    written: Written,
    levels: Vec<Level>,
    /// Files with several names that have counted.
    counted: HashSet<(u64, u64)>,
}

impl Overlay {
    /// Tells of everything in the storage, in the order of a walk: the entries of a
    /// directory by their bytes, each followed by what is below it. `each` ends the walk
    /// by `false`. Without a storage there is nothing to tell.
    ///
    /// Others may change the tree meanwhile; what goes away is left out.
    ///
    /// # Errors
    /// The storage's root cannot be read.
    pub fn usage(&self, each: &mut dyn FnMut(&Used<'_>) -> bool) -> Result<()> {
        if self.bare {
            return Ok(());
        }
        let written = self.root_dir.storage().map_or(Written::Plain, |dir| dir.written());
        Walk::new(&self.storage, self.meta, written).run(each)?;
        self.deleted(each);
        Ok(())
    }

    /// Tells of what has no name in the storage any more, and is reached by descriptors.
    fn deleted(&self, each: &mut dyn FnMut(&Used<'_>) -> bool) {
        let nodes = (0..).map_while(|part| self.table.leaves(part)).flatten();
        for node in nodes.filter_map(|id| self.table.get(id)) {
            let held = node.place().held().cloned();
            let object = held.as_ref().map(|held| held.object.object());
            let spot = object.and_then(|object| object.stored_at().ok());
            let Some(stat) = spot.and_then(|spot| sys::stat(spot).ok()) else { continue };
            if stat.stx_nlink == 0 && !tell_of(&stat, UsedFor::Deleted, b"", each) {
                return;
            }
        }
    }
}

/// `false`: nobody wants to know more.
fn tell_of(
    stat: &Statx,
    purpose: UsedFor,
    path: &[u8],
    each: &mut dyn FnMut(&Used<'_>) -> bool,
) -> bool {
    let is_dir = sys::kind(stat) == libc::S_IFDIR;
    let bytes = stat.stx_blocks.saturating_mul(BLOCK);
    let size = if is_dir { 0 } else { stat.stx_size };
    each(&Used { purpose, path, bytes, size, is_dir })
}

impl<'a> Walk<'a> {
    pub fn new(root: &'a OwnedFd, meta: MetaName, written: Written) -> Walk<'a> {
        Walk { root, meta, written, levels: Vec::new(), counted: HashSet::new() }
    }

    /// As [`Overlay::usage`].
    pub fn run(mut self, each: &mut dyn FnMut(&Used<'_>) -> bool) -> Result<()> {
        let root = rustix::io::fcntl_dupfd_cloexec(self.root, 0)?;
        let stat = sys::stat_fd(&root)?;
        self.enter(Vec::new(), root, UsedFor::Entry)?;
        if self.tell(&stat, UsedFor::Entry, b"", each) {
            self.walk(each);
        }
        Ok(())
    }

    fn walk(&mut self, each: &mut dyn FnMut(&Used<'_>) -> bool) {
        while let Some(level) = self.levels.last_mut() {
            let Some(name) = level.names.next() else {
                self.levels.pop();
                continue;
            };
            match self.entry(&name, each) {
                Ok(true) => {}
                Ok(false) => return,
                Err(errno) => {
                    tracing::debug!("{}: {errno}", String::from_utf8_lossy(&name).escape_debug())
                }
            }
        }
    }

    /// `false`: nobody wants to know more.
    fn entry(&mut self, name: &[u8], each: &mut dyn FnMut(&Used<'_>) -> bool) -> Result<bool> {
        self.reopen()?;
        let Some(level) = self.levels.last() else { return Ok(false) };
        let Some(dir) = &level.opened else { return Err(Errno::STALE) };
        let within = Within::new(dir.as_fd(), self.written);
        let purpose = self.purpose(level, name);
        let path = match &*level.path {
            b"" => name.to_vec(),
            above => [above, b"/", name].concat(),
        };
        let stat = sys::stat(Spot::At(within, name))?;
        let is_dir = FileType::from_raw_mode(stat.stx_mode.into()) == FileType::Directory;
        let opened = if is_dir { Some(sys::open_dir(within, name)?) } else { None };
        if !self.tell(&stat, purpose, &path, each) {
            return Ok(false);
        }
        match opened {
            Some(opened) => self.enter(path, opened, purpose).map(|()| true),
            None => Ok(true),
        }
    }

    fn purpose(&self, level: &Level, name: &[u8]) -> UsedFor {
        let meta = self.meta;
        if !meta.reserves(name) {
            return level.purpose;
        }
        let at_root = level.path.is_empty();
        match name {
            _ if name == meta.as_bytes() => UsedFor::Records,
            _ if at_root && name == meta.index().as_bytes() => UsedFor::HardLinks,
            _ if at_root && name == meta.reserve().as_bytes() => UsedFor::Reserve,
            _ if at_root && name == meta.lock().as_bytes() => UsedFor::Records,
            _ if at_root && name == meta.commit().as_bytes() => UsedFor::Records,
            _ if meta.is_leftover(name) => UsedFor::Leftover,
            _ => level.purpose,
        }
    }

    fn tell(
        &mut self,
        stat: &Statx,
        purpose: UsedFor,
        path: &[u8],
        each: &mut dyn FnMut(&Used<'_>) -> bool,
    ) -> bool {
        let is_dir = FileType::from_raw_mode(stat.stx_mode.into()) == FileType::Directory;
        let device = rustix::fs::makedev(stat.stx_dev_major, stat.stx_dev_minor);
        let again = !is_dir && stat.stx_nlink > 1 && !self.counted.insert((device, stat.stx_ino));
        let mut stat = *stat;
        if again {
            stat.stx_blocks = 0;
        }
        tell_of(&stat, purpose, path, each)
    }

    fn enter(&mut self, path: Vec<u8>, opened: OwnedFd, purpose: UsedFor) -> Result<()> {
        let mut names: Vec<Box<[u8]>> = Vec::new();
        sys::each_entry(Within::new(opened.as_fd(), self.written), |entry| {
            if !is_dot(entry.name) {
                names.push(entry.name.into());
            }
            true
        })?;
        names.sort_unstable();
        self.levels.push(Level { path, opened: Some(opened), purpose, names: names.into_iter() });
        let far = self.levels.len().checked_sub(KEPT_OPEN);
        if let Some(far) = far.and_then(|at| self.levels.get_mut(at)) {
            far.opened = None;
        }
        Ok(())
    }

    /// Opens the directory that is walked through again, if it was closed: level by level
    /// from the root, for a path may be too long for one call.
    fn reopen(&mut self) -> Result<()> {
        let Some(level) = self.levels.last_mut().filter(|level| level.opened.is_none()) else {
            return Ok(());
        };
        let root = rustix::io::fcntl_dupfd_cloexec(self.root, 0)?;
        let mut dir = StoredDir::new(root, self.written);
        for name in level.path.split(|byte| *byte == b'/') {
            dir = StoredDir::open(dir.within(), name)?;
        }
        level.opened = Some(rustix::io::fcntl_dupfd_cloexec(dir.within().fd(), 0)?);
        Ok(())
    }
}
