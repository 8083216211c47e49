//! Partial files: storage files whose data is, as a whole or in part, still in
//! the base (docs/FORMAT.md, section 7).
//!
//! A copy-up for new attributes or a new name copies no data, one for a write
//! to a large file only the blocks that are written. A mark on the storage file
//! itself says where the rest is: it comes and goes with the inode, so renames
//! and hard links need not know of it.

#[cfg(test)]
mod ending;
mod kept;
mod present;
mod whole;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{OFlags, StatFs, Statx};
use rustix::io::Errno;

use super::Overlay;
use super::file::OpenFile;
use super::refs::Parked;
use crate::check::{self, FEATURE_PARTIAL};
use crate::descriptors::Shares;
use crate::durability::WriteOut;
use crate::layers::Object;
use crate::magic::{BTRFS, EXT4, TMPFS, XFS};
use crate::meta::{Index, Record};
use crate::node::{Contents, Node};
use crate::options::OpenOptions;
use crate::own::{Own, OwnAttributes};
use crate::partial::{BLOCK_MIN, MARK_MAX, Mark, PartialFile, read_mark};
use crate::sys::{self, Result, Spot, Within};
use crate::types::{Attr, NodeId};

/// The capabilities that a file gives to who executes it.
pub(super) const CAPABILITY: &[u8] = b"security.capability";

/// Size in bytes from which a file that is opened for writing is copied block
/// by block, unless the user says otherwise. Below, copying it at once costs
/// less than serving its writes through the daemon (docs/ARCHITECTURE.md,
/// "Partial files").
const BLOCKS_FROM: u64 = 128 << 20;

/// Up to so many bytes a file is copied whatever it is copied up for: that costs
/// little more than a mark, and the copy does not need its base file any more
/// (docs/ARCHITECTURE.md, "Partial files").
const COPIED_AT_ONCE: u64 = 64 << 10;

/// Up to so many bytes a rest is fetched without recording each piece.
const SMALL_REST: u64 = 128 << 20;

/// So many missing bytes are fetched once nobody writes the file any more.
const WORTH_FETCHING: u64 = 1 << 20;

/// What a copy-up is for, which decides what of the data is copied.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Need {
    /// All of the data, because it could not be found from now on.
    Data,
    /// The data is about to be cut to nothing.
    NoData,
    /// Only attributes or names change.
    Attributes,
    /// Something is written to the end of the file.
    Appending,
    /// Something is written. `little`: hardly.
    Writing { little: bool },
}

/// What happens to the data of one object in a copy-up.
pub(super) enum Plan {
    /// It is copied.
    Copy,
    /// There will be none.
    Empty,
    /// It stays in the base.
    Leave(Mark),
}

/// Partial files of an overlay.
pub(super) struct Partials {
    /// New ones may be made: the storage's file system and the user allow it.
    allowed: bool,
    /// Permission bits without which this process cannot read and change the
    /// mark of a file of its own.
    needed_mode: u32,
    /// The storage's file system shares data between files (reflinks).
    clones: bool,
    /// See [`BLOCKS_FROM`].
    blocks_from: u64,
    /// How data reaches the device before what tells that the base's does not count
    /// any more. Also in a volatile mount: there it would be zeros that count.
    order: WriteOut,
    /// There may be some. What is made first is this feature in META.
    exist: AtomicBool,
    /// Those that are open.
    open: Mutex<HashMap<NodeId, Weak<PartialFile>>>,
    closed: Mutex<Closed>,
    /// So many closed files may wait to be settled.
    closed_most: usize,
    /// Held while a mark and its file follow a new base file; a leaf but for the
    /// node's `place`.
    following: Mutex<()>,
    /// Held by who settles closed files; comes first of all locks.
    pub settling: Mutex<()>,
    /// The end has begun: what is not settled yet stays as it is.
    ending: AtomicBool,
}

/// Files that were written and closed, and are to be settled.
#[derive(Default)]
struct Closed {
    files: Vec<(Parked, Arc<OpenFile>)>,
    /// A thread is at it.
    served: bool,
}

impl Partials {
    /// As the user wants it in a storage whose root META is `root`.
    pub fn new(
        storage: &OwnedFd,
        own: OwnAttributes,
        root: &Index,
        options: &OpenOptions,
    ) -> Partials {
        let stat = rustix::fs::fstatfs(storage);
        // A larger block may be there without all that the map says of it.
        let small = |stat: &StatFs| stat.f_type == TMPFS || stat.f_bsize as u64 <= BLOCK_MIN;
        let kind = stat.map(|stat| if small(&stat) { stat.f_type } else { 0 });
        // A power cut may have taken any of these, so each counts.
        let exist = root.features().any(|word| word == FEATURE_PARTIAL)
            || [Own::Storage, Own::Unclean]
                .iter()
                .any(|note| check::is_marked(storage, own, *note));
        Partials {
            // Those that keep extended attributes with the inode, know holes, and after a
            // power cut have an extent only where its data was written.
            allowed: !options.whole_copies && matches!(kind, Ok(TMPFS | EXT4 | XFS | BTRFS)),
            needed_mode: if rustix::process::geteuid().is_root() { 0 } else { 0o600 },
            clones: matches!(kind, Ok(XFS | BTRFS)),
            blocks_from: options.blocks_from.unwrap_or(BLOCKS_FROM),
            order: WriteOut::of(storage, false),
            exist: AtomicBool::new(exist),
            open: Mutex::default(),
            closed: Mutex::default(),
            closed_most: (Shares::by_limit().files / 9).clamp(1, 64),
            following: Mutex::default(),
            settling: Mutex::default(),
            ending: AtomicBool::new(false),
        }
    }

    /// A copy of a file's data may cost nothing at all.
    pub fn clones(&self) -> bool {
        self.clones
    }

    /// A partial file may have this mode.
    pub fn may_have(&self, mode: u32) -> bool {
        mode & self.needed_mode == self.needed_mode
    }

    /// Data of a file with this mode may be left in the base: fetching it later
    /// must not take set-ID bits away, as a write does.
    pub fn may_leave(&self, mode: u32) -> bool {
        self.may_have(mode) && mode & (libc::S_ISUID | libc::S_ISGID) == 0
    }

    fn exist(&self) -> bool {
        self.exist.load(Ordering::Acquire)
    }

    /// The one of a node, if somebody has it open.
    fn open(&self, node: NodeId) -> Option<Arc<PartialFile>> {
        self.open.lock().get(&node).and_then(Weak::upgrade)
    }
}

impl Overlay {
    /// What a copy-up of an object with these attributes does with its data.
    /// No `mutate` or `place` may be held.
    pub(super) fn plan(&self, node: &Arc<Node>, stat: &Statx, need: Need) -> Result<Plan> {
        if need == Need::NoData {
            return Ok(Plan::Empty);
        }
        let leave = !self.wants_all(need, stat.stx_size) && stat.stx_size > COPIED_AT_ONCE;
        let leave = leave && self.partials.may_leave(stat.stx_mode.into());
        if !leave || !self.partials.allowed || node.kind() != libc::S_IFREG || self.live.is_some() {
            return Ok(Plan::Copy);
        }
        if self.submounts && self.at(node, |object| Ok(self.is_made_up(object)))? {
            return Ok(Plan::Copy);
        }
        // As the set-ID bits.
        if self.at(node, |o| Ok(o.get_xattr(&self.stack, CAPABILITY, &mut []).is_ok()))? {
            return Ok(Plan::Copy);
        }
        let Some(path) = self.base_path(node) else { return Ok(Plan::Copy) };
        let mark = Mark {
            map: random(),
            size: stat.stx_size,
            mtime: stat.stx_mtime.into(),
            blocks: stat.stx_blocks,
            file: self.stack.evidence.file(stat),
            unfinished: None,
            path,
        };
        if mark.encode().len() > MARK_MAX {
            return Ok(Plan::Copy);
        }
        match self.announce_partials() {
            Ok(()) => Ok(Plan::Leave(mark)),
            Err(errno) => {
                tracing::debug!("no partial files: {errno}");
                Ok(Plan::Copy)
            }
        }
    }

    /// The content of a file is made up when it is read (proc, sysfs).
    fn is_made_up(&self, object: Object<'_>) -> bool {
        let opened = object.open_data(&self.stack, OFlags::empty());
        opened.is_ok_and(|data| data.file().is_some_and(sys::is_generated))
    }

    /// The data of a file of this size is worth having in the storage at once.
    fn wants_all(&self, need: Need, size: u64) -> bool {
        match need {
            Need::Data => true,
            Need::NoData | Need::Attributes | Need::Appending => false,
            Need::Writing { little } => !little && size < self.partials.blocks_from,
        }
    }

    /// Those who do not know partial files must not write from now on.
    fn announce_partials(&self) -> Result<()> {
        if self.partials.exist() {
            return Ok(());
        }
        let _lock = self.root_dir.mutate.lock();
        let mark = |dir: Within<'_>| self.own.set(Spot::Fd(dir.fd()), Own::Storage, b"1");
        self.root_dir.unseen(mark, |()| Vec::new())?;
        if self.ordering == WriteOut::Sync {
            // META must not be there without it: the storage would be refused.
            rustix::fs::fsync(sys::open_dir(self.storage.as_fd(), b".")?)?;
        }
        self.add_feature(FEATURE_PARTIAL)?;
        self.partials.exist.store(true, Ordering::Release);
        Ok(())
    }

    /// Adds a feature to the root META, unless it is there. `mutate` of the
    /// root is held.
    pub(super) fn add_feature(&self, word: &[u8]) -> Result<()> {
        let mut words: Vec<Box<[u8]>> =
            self.root_dir.meta.read().features().map(Into::into).collect();
        if words.iter().any(|known| **known == *word) {
            return Ok(());
        }
        words.push(word.into());
        self.root_dir.append(&[Record::Features { words }])
    }

    /// The base has data that the storage file of this node lacks.
    pub(super) fn is_partial(&self, node: &Arc<Node>) -> Result<bool> {
        if !node.in_storage() || node.kind() != libc::S_IFREG || !self.partials.exist() {
            return Ok(false);
        }
        match node.contents() {
            Contents::Whole => Ok(false),
            Contents::Partial => Ok(true),
            Contents::Stale if self.is_read_only() => Ok(true),
            Contents::Unknown | Contents::Stale => {
                let mark = self.change_at(node, |spot| match read_mark(self.own, spot) {
                    Err(Errno::ACCESS) if self.is_closed(spot) => Ok(None),
                    mark => mark,
                })?;
                let contents = mark.map_or(Contents::Whole, |mark| self.follow_base(node, &mark));
                node.set_contents(contents);
                Ok(contents != Contents::Whole)
            }
        }
    }

    /// Nobody has looked yet whether a storage object is partial. Now somebody
    /// has, and its attributes may be new ones.
    pub(super) fn is_first_look(&self, node: &Arc<Node>) -> bool {
        node.contents() == Contents::Unknown && self.is_partial(node) == Ok(true)
    }

    /// The file belongs to this user, who has closed it to himself: such ones
    /// are not left partial.
    fn is_closed(&self, spot: Spot<'_>) -> bool {
        let user = rustix::process::geteuid().as_raw();
        sys::stat(spot)
            .is_ok_and(|stat| stat.stx_uid == user && !self.partials.may_have(stat.stx_mode.into()))
    }

    /// Lets a partial file show the space that its base file occupies: programs
    /// take few blocks for holes; and what it has of a new base file. Where it
    /// cannot be told, its attributes count all the same.
    pub(super) fn show_partial(&self, node: &Arc<Node>, attr: &mut Attr) {
        if self.is_partial(node) == Ok(true)
            && let Ok(Some(mark)) = self.change_at(node, |spot| read_mark(self.own, spot))
        {
            let new = if node.contents() == Contents::Stale { self.new_mark(&mark) } else { None };
            if let Some(new) = &new {
                attr.size = new.size;
                attr.mtime = mark.shown(new, attr.mtime);
            }
            let mark = new.unwrap_or(mark);
            attr.blocks = attr.blocks.max(mark.blocks.min(attr.size.div_ceil(512)));
        }
    }

    /// The shared state of a partial file; `None`: it is whole. `storage`: its
    /// storage file, opened.
    ///
    /// # Errors
    /// EIO: the base does not have (this version of) the data any more, or the
    /// map is damaged.
    pub(super) fn partial_file(
        &self,
        node: &Arc<Node>,
        storage: &OwnedFd,
    ) -> Result<Option<Arc<PartialFile>>> {
        if !self.is_partial(node)? {
            return Ok(None);
        }
        if let Some(known) = self.partials.open(node.id) {
            if node.contents() == Contents::Partial {
                known.set_end(None);
            }
            return Ok(Some(known).filter(|known| !known.is_whole()));
        }
        let _lock = self.lock_slow(&node.copy_up);
        self.make_partial_file(node, storage)
    }

    /// Makes the shared state of a partial file, unless somebody has. The lock
    /// `copy_up` of the node is held: the mark goes away only by this state, or
    /// under the same lock where there is none.
    fn make_partial_file(
        &self,
        node: &Arc<Node>,
        storage: &OwnedFd,
    ) -> Result<Option<Arc<PartialFile>>> {
        if let Some(known) = self.partials.open(node.id) {
            return Ok(Some(known).filter(|known| !known.is_whole()));
        }
        let Some(mark) = read_mark(self.own, Spot::Fd(storage.as_fd()))? else {
            node.set_contents(Contents::Whole);
            return Ok(None);
        };
        let new = if node.contents() == Contents::Stale { self.new_mark(&mark) } else { None };
        let end = new.as_ref().map(|new| new.size);
        let mark = new.unwrap_or(mark);
        let (base, map) = (self.stack.open_marked(0, &mark)?, self.open_map(&mark)?);
        let fresh =
            Arc::new(PartialFile::new(mark, base, storage, (map, end), self.partials.order)?);
        let mut open = self.partials.open.lock();
        open.retain(|_, file| file.strong_count() > 0);
        open.insert(node.id, Arc::downgrade(&fresh));
        Ok(Some(fresh))
    }
}

/// A number that nobody else has.
fn random() -> u64 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    // Keyed anew from the system's randomness for each.
    RandomState::new().build_hasher().finish()
}
