//! The merged tree.
#![forbid(unsafe_code)]

mod access;
mod adopt;
#[cfg(test)]
mod alike;
mod attr;
mod copy_attributes;
mod copy_up;
mod create;
mod data;
#[cfg(test)]
mod evicted;
mod exchange;
mod export;
mod far;
mod file;
mod find;
mod flags;
mod kept;
mod lacks;
mod leases;
mod leaving;
mod link;
mod linked;
#[cfg(test)]
mod linked_tests;
mod listing;
mod live;
#[cfg(test)]
mod mounted;
mod partial;
mod reach;
mod refs;
mod remove;
mod rename;
mod reserve;
mod shared;
mod squash;
#[cfg(test)]
mod unseen;
mod volatile;
mod writing;
mod xattr;

use std::any::Any;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::check::{self, Holds, Layers, Untouched};
use crate::descriptors::Shares;
use crate::dirs::{Dir, DirCache};
use crate::durability::{Durability, WriteOut};
use crate::error::{OpenError, Warning};
use crate::layers::Stack;
use crate::magic::{EXT4, F2FS, UBIFS};
use crate::name::{MetaName, NAME_MAX};
use crate::node::{BaseRef, Names, Node, Place};
use crate::numbers::Freed;
use crate::options::OpenOptions;
use crate::own::OwnAttributes;
use crate::shared_index::SharedIndex;
use crate::sys::{self, Result, Spot};
use crate::table::Table;
use crate::types::{NodeId, SpaceInfo, Squash};

pub(crate) use listing::LastListing;

pub use file::OpenFile;
pub use flags::FSXATTR_LEN;
pub use listing::{ListFor, OpenDir};
pub use live::Version;

/// Called before work that takes long; what it returns is dropped afterwards.
pub type SlowHook = Box<dyn Fn() -> Box<dyn Any> + Send + Sync>;

/// How long META is collected before it is handed to the device. Disk file
/// systems write what they keep back themselves after 5 s.
const WRITE_BACK_AFTER: Duration = Duration::from_secs(2);

/// How long the end waits for closed files to be settled.
const SETTLE_AT_THE_END: Duration = Duration::from_secs(2);

/// Bytes from which a copy counts as slow.
const SLOW_BYTES: u64 = 256 * 1024;

/// Base and storage, opened and verified; the storage is locked. Nothing is
/// written yet: a mount that fails has changed nothing.
pub struct Opened {
    layers: Layers,
    options: OpenOptions,
}

impl Opened {
    /// Opens base and storage and checks both.
    ///
    /// # Errors
    /// As [`Overlay::assemble`].
    pub fn open(options: &OpenOptions) -> std::result::Result<Opened, OpenError> {
        let layers = check::open_layers(options)?;
        Ok(Opened { layers, options: options.clone() })
    }

    /// The tree will not be changeable: asked for, or forced by what was found.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.layers.read_only
    }

    /// Writes what a mount needs to the storage: from here on it belongs to its
    /// base. No path is used.
    ///
    /// # Errors
    /// As [`Overlay::assemble`]. A storage that was new is as it was before.
    pub fn begin(self) -> std::result::Result<Overlay, OpenError> {
        let Opened { mut layers, options } = self;
        let untouched = Untouched::of(&layers);
        let begun = layers.begin(&options).and_then(|()| {
            Overlay::build(layers, &options).map_err(|errno| OpenError::Io {
                path: options.base.clone(),
                what: "cannot set up the merged tree",
                errno,
            })
        });
        if let (Err(_), Some(untouched)) = (&begun, untouched) {
            untouched.restore();
        }
        begun
    }
}

/// A base and a storage, merged into one tree.
///
/// `Send + Sync`: every operation may run on any thread. Operations return
/// errno values as the system calls of the same name do.
pub struct Overlay {
    /// The trees that are only read.
    stack: Arc<Stack>,
    /// There is no storage: only the layers show.
    bare: bool,
    storage: OwnedFd,
    /// Holds the lock on the storage.
    lock: OwnedFd,
    /// How mini_fo's own attributes in the storage are named.
    own: OwnAttributes,
    /// What META is called.
    meta: MetaName,
    /// What its file system can hold; found out before anything is written.
    holds: OnceLock<Holds>,
    table: Table,
    dirs: DirCache,
    listings: listing::Listings,
    reserve: reserve::Reserve,
    leaving: leaving::Leaving,
    trail: export::Trail,
    shared: SharedIndex,
    linked: linked::Linked,
    partials: partial::Partials,
    accesses: access::Accesses,
    freed: Freed,
    lacks: lacks::Lacks,
    /// Mounts below the base are shown.
    submounts: bool,
    /// Others change the base.
    live: Option<live::Live>,
    root: Arc<Node>,
    root_dir: Arc<Dir>,
    root_owner: Mutex<attr::RootOwner>,
    /// Serialises renames that move a directory to another one.
    rename_lock: Mutex<()>,
    read_only: AtomicBool,
    /// How a read-only mount can begin to write; `None`: never.
    later: Option<Mutex<writing::Later>>,
    ordering: WriteOut,
    durability: Arc<Durability>,
    /// This mount has marked the storage as unclean.
    volatile: AtomicBool,
    /// The storage gives changes that follow each other different ctimes.
    fine_clock: AtomicBool,
    /// Deletions take no copies of directories, as if there were no room for them.
    far_first: bool,
    squash: Squash,
    warnings: Vec<Warning>,
    slow: OnceLock<SlowHook>,
    lease_waiters: leases::Waiters,
    opened: AtomicU64,
}

impl Overlay {
    /// Opens base and storage, checks both and begins: [`Opened`] in one step.
    ///
    /// # Errors
    /// Everything that keeps the tree from being shown as asked; the message
    /// names the path and the way out.
    pub fn assemble(options: &OpenOptions) -> std::result::Result<Overlay, OpenError> {
        Opened::open(options)?.begin()
    }

    fn build(layers: Layers, options: &OpenOptions) -> Result<Overlay> {
        let (durability, root_dir) = writing::open_root(&layers, options)?;
        let start = writing::Start::of(&layers);
        let later = writing::Later::of(&layers, options).map(Mutex::new);
        let Layers { stack, storage, .. } = layers;
        let place = Place { names: Names::None, base: BaseRef::SameName };
        let ino = stack.root_number()?;
        let root = Arc::new(Node::new(NodeId::ROOT, ino, libc::S_IFDIR, !layers.bare, place));
        let named = root_dir.meta.read().features().any(|word| word == check::FEATURE_REALMS);
        let path = &*layers.paths.storage;
        let shared = SharedIndex::open(path, storage.as_fd(), named, &durability)?;
        shared.take(&layers.decided);
        let partials = {
            let meta = root_dir.meta.read();
            partial::Partials::new(&storage, layers.own, &meta, options)
        };
        let ordering = WriteOut::of(&storage, options.volatile);
        let fine_clock = layers.read_only || sys::has_fine_clock(storage.as_fd());
        let root_owner = attr::RootOwner::of(&root_dir, &stack)?;
        let mut overlay = Overlay {
            stack,
            bare: layers.bare,
            storage,
            lock: layers.lock,
            own: layers.own,
            meta: layers.session.meta,
            holds: if layers.read_only { OnceLock::new() } else { layers.holds.into() },
            table: Table::new(Arc::clone(&root)),
            dirs: DirCache::new(Shares::by_limit().dirs),
            listings: listing::Listings::default(),
            reserve: reserve::Reserve::default(),
            leaving: leaving::Leaving::default(),
            trail: export::Trail::new(),
            accesses: access::Accesses::new(options.access_times, shared.accesses()),
            shared,
            linked: linked::Linked::default(),
            partials,
            freed: Freed::default(),
            lacks: lacks::Lacks::new(),
            submounts: options.submounts,
            live: options.live_base.map(live::Live::new),
            root,
            root_owner: Mutex::new(root_owner),
            root_dir,
            rename_lock: Mutex::new(()),
            read_only: AtomicBool::new(layers.read_only),
            later,
            ordering,
            durability,
            volatile: AtomicBool::new(false),
            fine_clock: AtomicBool::new(fine_clock),
            far_first: options.far_first,
            squash: options.squash,
            warnings: layers.warnings,
            slow: OnceLock::new(),
            lease_waiters: leases::Waiters::default(),
            opened: AtomicU64::new(0),
        };
        if !layers.read_only {
            let told = overlay.start_writing(&start, options)?;
            overlay.warnings.extend(told);
        }
        Ok(overlay)
    }

    /// What was found odd when the layers were opened.
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// The tree cannot be changed: asked for, or forced by what was found.
    pub fn is_read_only(&self) -> bool {
        self.read_only.load(Ordering::Acquire)
    }

    /// So it will be as long as it is mounted.
    pub fn stays_read_only(&self) -> bool {
        self.later.is_none() && self.is_read_only()
    }

    /// What the file system of the storage can hold.
    fn holds(&self) -> &Holds {
        static ALL: Holds = Holds::ALL;
        self.holds.get().unwrap_or(&ALL)
    }

    /// Sets what is called before slow work (copying much data, syncing); only
    /// the first call counts. A server uses it to keep serving others.
    pub fn set_slow_hook(&self, hook: SlowHook) {
        // A second hook is ignored, as documented.
        let _ = self.slow.set(hook);
    }

    /// Number of known nodes, the root included.
    pub fn known_nodes(&self) -> usize {
        self.table.len()
    }

    /// Known nodes that could be forgotten as far as the overlay is concerned,
    /// part by part from 0 on; `None`: there is no such part.
    pub fn leaf_nodes(&self, part: usize) -> Option<Vec<NodeId>> {
        self.table.leaves(part)
    }

    /// Known directories, as [`Overlay::leaf_nodes`] tells others.
    pub fn known_directories(&self, part: usize) -> Option<Vec<NodeId>> {
        self.table.directories(part)
    }

    /// Space and limits of the storage.
    ///
    /// # Errors
    /// As `fstatvfs(3)`.
    pub fn space(&self) -> Result<SpaceInfo> {
        self.await_leaving();
        let shown = if self.bare { self.stack.top()? } else { &self.storage };
        let vfs = rustix::fs::fstatvfs(shown)?;
        let narrow = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
        Ok(SpaceInfo {
            blocks: vfs.f_blocks,
            bfree: vfs.f_bfree,
            bavail: vfs.f_bavail,
            files: vfs.f_files,
            ffree: vfs.f_ffree,
            bsize: narrow(vfs.f_bsize),
            frsize: narrow(vfs.f_frsize),
            // FAT counts bytes that UTF-8 may take.
            namelen: narrow(vfs.f_namemax.min(NAME_MAX as u64)),
        })
    }

    /// The storage's file system keeps space back by the file-system user ID of
    /// who takes it: for root, or for whom its administrator has named.
    pub fn keeps_space_back(&self) -> bool {
        let kind = rustix::fs::fstatfs(&self.storage).map(|stat| stat.f_type);
        matches!(kind, Ok(EXT4 | F2FS | UBIFS))
    }

    /// Hands everything to the device.
    ///
    /// # Errors
    /// As `syncfs(2)`.
    pub fn sync(&self) -> Result<()> {
        let _slow = self.slow_section();
        self.save_accesses();
        self.save_realms();
        rustix::fs::syncfs(self.storage_opened()?)
    }

    /// The storage, opened for more than reaching what lies in it.
    fn storage_opened(&self) -> Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        sys::open(Spot::at(self.storage.as_fd(), b"."), flags)
    }

    /// Waits until META of some directory has what the device has not, at most
    /// so long, and begins to hand it over. To be called again and again.
    pub fn write_back(&self, most: Duration) {
        self.refill_reserve();
        if !self.durability.wait(most) {
            return;
        }
        std::thread::sleep(WRITE_BACK_AFTER);
        for dir in self.known_dirs() {
            if let Err(errno) = dir.write_back() {
                tracing::warn!("META of a directory is not written back: {errno}");
            }
        }
    }

    /// The directories whose META may be open.
    fn known_dirs(&self) -> Vec<Arc<Dir>> {
        let mut dirs = self.dirs.all();
        dirs.push(Arc::clone(&self.root_dir));
        dirs.extend(self.shared.dir().ok());
        dirs
    }

    /// Closes META of all directories, unless it was written since the last call: so
    /// that the storage's file system can become read-only when nothing writes. To be
    /// called again and again.
    pub fn close_if_idle(&self) {
        if self.durability.is_idle() {
            self.close_meta();
        }
    }

    fn close_meta(&self) {
        self.durability.open.store(false, Ordering::Release);
        // One that is in use leaves no other open.
        let in_use = self.known_dirs().iter().filter(|dir| !dir.close_journal()).count();
        if in_use > 0 {
            self.durability.open.store(true, Ordering::Release);
        }
    }

    /// Hands everything to the device and closes what is open for writing without
    /// need. Nothing ends by it: the next change opens it again.
    ///
    /// # Errors
    /// As `syncfs(2)`.
    pub fn rest(&self) -> Result<()> {
        self.sync()?;
        self.close_meta();
        Ok(())
    }

    /// Writes what is kept back for a better moment: times of access, and what
    /// is recorded of partial files. To be called at the end.
    pub fn finish(&self) {
        self.settle_at_the_end(SETTLE_AT_THE_END);
        self.save_accesses();
        self.save_realms();
        self.end_volatile();
        self.end_session();
    }

    /// Everything reaches the device, so that META alone counts from now on; but not
    /// where an earlier mount has left what could not be put in order.
    fn end_session(&self) {
        let terms = self.durability.terms();
        if self.is_read_only() || !terms.session.is_open() {
            return;
        }
        let ended = self.storage_opened().and_then(|storage| {
            rustix::fs::syncfs(&storage)?;
            if terms.goes_on { Ok(()) } else { self.root_dir.end_session() }
        });
        if let Err(errno) = ended {
            tracing::error!("the storage is not synced: {errno}");
        }
    }

    fn slow_section(&self) -> Option<Box<dyn Any>> {
        self.slow.get().map(|hook| hook())
    }

    fn slow_if(&self, bytes: u64) -> Option<Box<dyn Any>> {
        (bytes >= SLOW_BYTES).then(|| self.slow_section()).flatten()
    }

    fn check_writable(&self) -> Result<()> {
        if self.is_read_only() { Err(Errno::ROFS) } else { Ok(()) }
    }

    fn next_handle(&self) -> u64 {
        self.opened.fetch_add(1, Ordering::Relaxed)
    }
}

impl Drop for Overlay {
    fn drop(&mut self) {
        self.save_accesses();
        self.save_realms();
    }
}
