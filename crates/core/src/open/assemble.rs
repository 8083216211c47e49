//! From options to a mount.

use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, OnceLock};

use rustix::fd::AsFd;
use rustix::io::Errno;

use crate::format::features::FEATURE_REALMS;
use crate::interface::error::OpenError;
use crate::interface::options::OpenOptions;
use crate::interface::types::NodeId;
use crate::locks::{Mutex, RwLock};
use crate::open::check::{self, Layers, Untouched};
use crate::open::writing;
use crate::reach::overlay::Overlay;
use crate::state::access::Accesses;
use crate::state::freed::Freed;
use crate::state::gate::Gate;
use crate::state::lacks::Lacks;
use crate::state::leaving::Leaving;
use crate::state::linked::Linked;
use crate::state::live::Live;
use crate::state::partials::Partials;
use crate::state::reserve::Reserve;
use crate::state::root_owner::RootOwner;
use crate::state::trail::Trail;
use crate::state::waiters::Waiters;
use crate::state::written::Written;
use crate::store::durability::WriteOut;
use crate::store::shared_index::SharedIndex;
use crate::sys::descriptors::Shares;
use crate::sys::{self, Result};
use crate::tree::cache::DirCache;
use crate::tree::listed::Listings;
use crate::tree::node::{BaseRef, Names, Node, Place};
use crate::tree::table::Table;

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
        let layers = check::open_layers(options).map_err(|error| explained(error, options))?;
        Ok(Opened { layers, options: options.clone() })
    }

    /// The tree will not be changeable: asked for, or forced by what was found.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.layers.read_only
    }

    /// The same, of what was opened otherwise.
    pub(super) fn of(layers: Layers, options: OpenOptions) -> Opened {
        Opened { layers, options }
    }

    /// As [`Opened::begin`], where an overlay that lends its storage has the locks on it.
    ///
    /// # Errors
    /// As there.
    pub(crate) fn begin_beside(self) -> std::result::Result<Overlay, OpenError> {
        let Opened { layers, options } = self;
        begin(layers, &options)
    }

    /// Writes what a mount needs to the storage: from here on it belongs to its
    /// base. No path is used.
    ///
    /// # Errors
    /// As [`Overlay::assemble`]. A storage that was new is as it was before.
    pub fn begin(self) -> std::result::Result<Overlay, OpenError> {
        let Opened { mut layers, options } = self;
        let untouched = Untouched::of(&layers);
        layers.lock_server(&options)?;
        let begun = begin(layers, &options);
        if let (Err(_), Some(untouched)) = (&begun, untouched) {
            untouched.restore();
        }
        begun.map_err(|error| explained(error, &options))
    }
}

fn begin(mut layers: Layers, options: &OpenOptions) -> std::result::Result<Overlay, OpenError> {
    layers.begin(options)?;
    Overlay::build(layers, options).map_err(|errno| OpenError::Io {
        path: options.base.clone(),
        what: "cannot set up the merged tree",
        errno,
    })
}

/// Descriptors that a layer may need, and what all else needs.
const FOR_LAYER: u64 = 4;
const FOR_ALL: u64 = 256;

/// Which of many layers met the limit of open files says nothing to anybody.
fn explained(error: OpenError, options: &OpenOptions) -> OpenError {
    let count = 1 + options.under.len();
    match error {
        OpenError::Io { errno: Errno::MFILE, .. }
        | OpenError::BaseUnreachable { errno: Errno::MFILE, .. }
        | OpenError::StorageUnreachable { errno: Errno::MFILE, .. } => OpenError::FewDescriptors {
            count,
            limit: sys::descriptors::limit(),
            wanted: FOR_LAYER * count as u64 + FOR_ALL,
        },
        error => error,
    }
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
        let later = writing::later(&layers, options).map(Mutex::new);
        let Layers { stack, storage, .. } = layers;
        let place = Place { names: Names::None, base: BaseRef::SameName };
        let ino = stack.root_number()?;
        let root = Arc::new(Node::new(NodeId::ROOT, ino, libc::S_IFDIR, !layers.bare, place));
        let named = root_dir.meta().features().any(|word| word == FEATURE_REALMS);
        let path = &*layers.paths.storage;
        let shared = SharedIndex::open(path, storage.as_fd(), named, &durability)?;
        shared.take(&layers.decided);
        let shares = Shares::by_limit(stack.layers().len());
        let partials = {
            let meta = root_dir.meta();
            Partials::new(&storage, layers.own, &meta, options, shares.files)
        };
        let ordering = WriteOut::of(&storage, options.volatile);
        let fine_clock = layers.read_only || sys::has_fine_clock(storage.as_fd());
        let root_owner = RootOwner::of(&root_dir, &stack)?;
        let mut overlay = Overlay {
            stack,
            bare: layers.bare,
            storage,
            lock: layers.lock,
            server_lock: Mutex::new(layers.server_lock),
            own: layers.own,
            meta: layers.session.meta,
            holds: if layers.read_only { OnceLock::new() } else { layers.holds.into() },
            table: Table::new(Arc::clone(&root)),
            dirs: DirCache::new(shares.dirs),
            listings: Listings::default(),
            reserve: Reserve::default(),
            leaving: Leaving::default(),
            trail: Trail::new(),
            accesses: Accesses::new(options.access_times, shared.accesses()),
            shared,
            linked: Linked::default(),
            partials,
            freed: Freed::default(),
            lacks: Lacks::new(),
            written: Written::default(),
            submounts: options.submounts,
            live: options.live_base.map(Live::new),
            root,
            root_owner: Mutex::new(root_owner),
            root_dir,
            discarding: RwLock::new(()),
            rename_lock: Mutex::new(()),
            read_only: AtomicBool::new(layers.read_only),
            later,
            ordering,
            durability,
            volatile: AtomicBool::new(false),
            fine_clock: AtomicBool::new(fine_clock),
            far_first: options.far_first,
            squash: options.squash,
            one_owner: options.one_owner,
            warnings: layers.warnings,
            slow: OnceLock::new(),
            lease_waiters: Waiters::default(),
            opened: AtomicU64::new(0),
            gate: Gate::default(),
            options: options.clone(),
            paths: layers.paths,
        };
        if !layers.read_only {
            let told = overlay.start_writing(&start, options)?;
            overlay.warnings.extend(told);
        }
        Ok(overlay)
    }
}
