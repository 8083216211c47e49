//! The partial files of a mount.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use rustix::fd::OwnedFd;
use rustix::fs::StatFs;

use crate::format::features::FEATURE_PARTIAL;
use crate::format::meta::Index;
use crate::interface::options::OpenOptions;
use crate::interface::types::NodeId;
use crate::locks::{Mutex, Rank};
use crate::state::open_file::OpenFile;
use crate::state::parked::Parked;
use crate::store::durability::WriteOut;
use crate::store::partial::{BLOCK_MIN, PartialFile};
use crate::sys::magic::{BTRFS, EXT4, TMPFS, XFS};
use crate::sys::own::{Own, OwnAttributes, is_marked};

/// Size in bytes from which a file that is opened for writing is copied block
/// by block, unless the user says otherwise. Below, copying it at once costs
/// less than serving its writes through the daemon (docs/ARCHITECTURE.md,
/// "Partial files").
const BLOCKS_FROM: u64 = 128 << 20;

/// Partial files of an overlay.
pub(crate) struct Partials {
    /// New ones may be made: the storage's file system and the user allow it.
    pub allowed: bool,
    /// Permission bits without which this process cannot read and change the
    /// mark of a file of its own.
    needed_mode: u32,
    /// The storage's file system shares data between files (reflinks).
    clones: bool,
    /// See [`BLOCKS_FROM`].
    pub blocks_from: u64,
    /// How data reaches the device before what tells that the base's does not count
    /// any more. Also in a volatile mount: there it would be zeros that count.
    pub order: WriteOut,
    /// There may be some. What is made first is this feature in META.
    pub exist: AtomicBool,
    /// Those that are open.
    pub open: Mutex<HashMap<NodeId, Weak<PartialFile>>, { Rank::OpenPartials as u8 }>,
    pub closed: Mutex<Closed, { Rank::ClosedPartials as u8 }>,
    /// So many closed files may wait to be settled.
    pub closed_most: usize,
    /// Held while a mark and its file follow a new base file.
    pub following: Mutex<(), { Rank::Following as u8 }>,
    /// Held by who settles closed files.
    pub settling: Mutex<(), { Rank::Settling as u8 }>,
    /// The end has begun: what is not settled yet stays as it is.
    pub ending: AtomicBool,
}

/// Files that were written and closed, and are to be settled.
#[derive(Default)]
pub(crate) struct Closed {
    pub files: Vec<(Parked, Arc<OpenFile>)>,
    /// A thread is at it.
    pub served: bool,
}

impl Partials {
    /// As the user wants it in a storage whose root META is `root`. `files`: so many may be
    /// open.
    pub fn new(
        storage: &OwnedFd,
        own: OwnAttributes,
        root: &Index,
        options: &OpenOptions,
        files: usize,
    ) -> Partials {
        let stat = rustix::fs::fstatfs(storage);
        // A larger block may be there without all that the map says of it.
        let small = |stat: &StatFs| stat.f_type == TMPFS || stat.f_bsize as u64 <= BLOCK_MIN;
        let kind = stat.map(|stat| if small(&stat) { stat.f_type } else { 0 });
        let exist = is_told(root) || is_said_by_marks(storage, own);
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
            closed_most: (files / 9).clamp(1, 64),
            following: Mutex::default(),
            settling: Mutex::default(),
            ending: AtomicBool::new(false),
        }
    }

    /// The end was not one. `marked`: what marks say of whether there may be some, as it was
    /// before this mount has made any.
    pub fn go_on(&self, root: &Index, marked: bool) {
        self.exist.store(is_told(root) || marked, Ordering::Release);
        self.ending.store(false, Ordering::Relaxed);
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

    pub fn exist(&self) -> bool {
        self.exist.load(Ordering::Acquire)
    }

    /// The one of a node, if somebody has it open.
    pub fn open(&self, node: NodeId) -> Option<Arc<PartialFile>> {
        self.open.lock().get(&node).and_then(Weak::upgrade)
    }
}

/// META of the root says that there may be partial files. A power cut may have taken that, or
/// a mark, so each counts.
fn is_told(root: &Index) -> bool {
    root.features().any(|word| word == FEATURE_PARTIAL)
}

/// So does a mark of the storage.
pub(crate) fn is_said_by_marks(storage: &OwnedFd, own: OwnAttributes) -> bool {
    [Own::Storage, Own::Unclean].iter().any(|note| is_marked(storage, own, *note))
}
