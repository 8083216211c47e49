//! The merged tree.
#![forbid(unsafe_code)]

use std::any::Any;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::format::identity::BaseId;
use crate::format::name::MetaName;
use crate::interface::error::Warning;
use crate::interface::options::OpenOptions;
use crate::interface::types::{NodeId, Squash};
use crate::layers::Stack;
use crate::locks::{Mutex, Rank, RwLock};
use crate::state::access::Accesses;
use crate::state::freed::Freed;
use crate::state::gate::Gate;
use crate::state::holds::Holds;
use crate::state::lacks::Lacks;
use crate::state::later::{Later, Paths};
use crate::state::leaving::Leaving;
use crate::state::linked::Linked;
use crate::state::live::Live;
use crate::state::partials::Partials;
use crate::state::reserve::Reserve;
use crate::state::root_owner::RootOwner;
use crate::state::trail::Trail;
use crate::state::waiters::Waiters;
use crate::state::written::Written;
use crate::store::durability::{Durability, WriteOut};
use crate::store::server_lock::ServerLock;
use crate::store::shared_index::SharedIndex;
use crate::sys::own::OwnAttributes;
use crate::sys::{self, Result, Spot};
use crate::tree::cache::DirCache;
use crate::tree::dir::{AnyDir, Dir};
use crate::tree::listed::Listings;
use crate::tree::node::Node;
use crate::tree::table::Table;

/// Called before work that takes long; what it returns is dropped afterwards.
pub type SlowHook = Box<dyn Fn() -> Box<dyn Any> + Send + Sync>;

/// Bytes from which a copy counts as slow.
const SLOW_BYTES: u64 = 256 * 1024;

/// A base and a storage, merged into one tree.
///
/// `Send + Sync`: every operation may run on any thread. Operations return
/// errno values as the system calls of the same name do.
pub struct Overlay {
    /// The trees that are only read.
    pub(crate) stack: Arc<Stack>,
    /// There is no storage: only the layers show.
    pub(crate) bare: bool,
    pub(crate) storage: OwnedFd,
    /// Holds the lock on the storage.
    pub(crate) lock: OwnedFd,
    /// The same for other machines.
    pub(crate) server_lock: Mutex<ServerLock, { Rank::ServerLock as u8 }>,
    /// How mini_fo's own attributes in the storage are named.
    pub(crate) own: OwnAttributes,
    /// What META is called.
    pub(crate) meta: MetaName,
    /// What its file system can hold; found out before anything is written.
    pub(crate) holds: OnceLock<Holds>,
    pub(crate) table: Table,
    pub(crate) dirs: DirCache,
    pub(crate) listings: Listings,
    pub(crate) reserve: Reserve,
    pub(crate) leaving: Leaving,
    pub(crate) trail: Trail,
    pub(crate) shared: SharedIndex,
    pub(crate) linked: Linked,
    pub(crate) partials: Partials,
    pub(crate) accesses: Accesses,
    pub(crate) freed: Freed,
    pub(crate) lacks: Lacks,
    pub(crate) written: Written,
    /// Mounts below the base are shown.
    pub(crate) submounts: bool,
    /// Others change the base.
    pub(crate) live: Option<Live>,
    pub(crate) root: Arc<Node>,
    pub(crate) root_dir: Arc<Dir>,
    pub(crate) root_owner: Mutex<RootOwner, { Rank::RootOwner as u8 }>,
    /// Held for writing where changes are discarded, for reading by whoever gives an
    /// object another name or one more: what has gone from one place to another is
    /// looked for first, and must be all.
    pub(crate) discarding: RwLock<(), { Rank::Discarding as u8 }>,
    /// Serialises renames that move a directory to another one.
    pub(crate) rename_lock: Mutex<(), { Rank::Topology as u8 }>,
    pub(crate) read_only: AtomicBool,
    /// How a read-only mount can begin to write; `None`: never.
    pub(crate) later: Option<Mutex<Later, { Rank::Later as u8 }>>,
    pub(crate) ordering: WriteOut,
    pub(crate) durability: Arc<Durability>,
    /// This mount has marked the storage as unclean.
    pub(crate) volatile: AtomicBool,
    /// The storage gives changes that follow each other different ctimes.
    pub(crate) fine_clock: AtomicBool,
    /// Deletions take no copies of directories, as if there were no room for them.
    pub(crate) far_first: bool,
    pub(crate) squash: Squash,
    /// Owners are not compared.
    pub(crate) one_owner: bool,
    pub(crate) warnings: Vec<Warning>,
    pub(crate) slow: OnceLock<SlowHook>,
    pub(crate) lease_waiters: Waiters,
    pub(crate) opened: AtomicU64,
    pub(crate) gate: Gate,
    /// By which it was opened: base and storage may not be reached by paths any more.
    pub(crate) options: OpenOptions,
    /// Full paths of both.
    pub(crate) paths: Paths,
}

impl Overlay {
    /// What was found odd when the layers were opened.
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// Changes are in a storage, and not in what is only a layer.
    pub fn has_storage(&self) -> bool {
        !self.bare
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
    pub(crate) fn holds(&self) -> &Holds {
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

    /// The storage, opened for more than reaching what lies in it.
    pub(crate) fn storage_opened(&self) -> Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        sys::open(Spot::at(self.storage.as_fd(), b"."), flags)
    }

    /// The directories whose META may be open.
    pub(crate) fn known_dirs(&self) -> Vec<AnyDir> {
        let mut dirs: Vec<AnyDir> = self.dirs.all().into_iter().map(AnyDir::Shown).collect();
        dirs.push(AnyDir::Shown(Arc::clone(&self.root_dir)));
        dirs.extend(self.shared.dir().map(AnyDir::Index));
        dirs
    }

    pub(crate) fn slow_section(&self) -> Option<Box<dyn Any>> {
        self.slow.get().map(|hook| hook())
    }

    pub(crate) fn slow_if(&self, bytes: u64) -> Option<Box<dyn Any>> {
        (bytes >= SLOW_BYTES).then(|| self.slow_section()).flatten()
    }

    pub(crate) fn check_writable(&self) -> Result<()> {
        if self.is_read_only() { Err(Errno::ROFS) } else { Ok(()) }
    }

    pub(crate) fn next_handle(&self) -> u64 {
        self.opened.fetch_add(1, Ordering::Relaxed)
    }

    /// Descriptor of the merged tree's storage root, for the few calls that
    /// need any place in the storage.
    pub(crate) fn anywhere(&self) -> rustix::fd::BorrowedFd<'_> {
        self.storage.as_fd()
    }

    /// What a shared node is in the base.
    pub(crate) fn base_id(&self, node: &Node) -> BaseId {
        self.shared.base_id(node.id, node.ino())
    }
}
