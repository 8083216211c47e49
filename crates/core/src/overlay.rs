//! The merged tree.
#![forbid(unsafe_code)]

mod access;
mod attr;
mod copy_up;
mod create;
mod export;
mod file;
mod find;
mod flags;
mod link;
mod listing;
mod numbers;
mod remove;
mod rename;
mod shared;
mod xattr;

use std::any::Any;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::check::{self, Layers};
use crate::dirs::{BaseDir, Dir, DirCache};
use crate::error::{OpenError, Warning};
use crate::node::{BaseRef, Names, Node, Place};
use crate::options::OpenOptions;
use crate::sys::{self, Result, Spot};
use crate::table::Table;
use crate::types::{NodeId, SpaceInfo};

pub(crate) use numbers::Realm;

pub use file::OpenFile;
pub use flags::FSXATTR_LEN;
pub use listing::{ListFor, OpenDir};

/// Called before work that takes long; what it returns is dropped afterwards.
pub type SlowHook = Box<dyn Fn() -> Box<dyn Any> + Send + Sync>;

/// Bytes from which a copy counts as slow.
const SLOW_BYTES: u64 = 256 * 1024;

/// A base and a storage, merged into one tree.
///
/// `Send + Sync`: every operation may run on any thread. Operations return
/// errno values as the system calls of the same name do.
pub struct Overlay {
    base: OwnedFd,
    /// Keeps the base's mount in use when `base` is a private clone of it.
    _base_mount: Option<OwnedFd>,
    storage: OwnedFd,
    _lock: OwnedFd,
    /// A base directory that is not shown: the storage itself, (dev, ino).
    hidden: Option<(u64, u64)>,
    table: Table,
    dirs: DirCache,
    trail: export::Trail,
    shared: shared::SharedIndex,
    accesses: access::Accesses,
    realms: numbers::Realms,
    /// Mounts below the base are shown.
    submounts: bool,
    root: Arc<Node>,
    root_dir: Arc<Dir>,
    root_owner: Mutex<attr::RootOwner>,
    /// Serialises renames that move a directory to another one.
    rename_lock: Mutex<()>,
    read_only: bool,
    ordering: copy_up::Ordering,
    /// The storage gives changes that follow each other different ctimes.
    fine_clock: bool,
    warnings: Vec<Warning>,
    slow: OnceLock<SlowHook>,
    opened: AtomicU64,
}

impl Overlay {
    /// Opens base and storage and checks both.
    ///
    /// # Errors
    /// Everything that keeps the tree from being shown as asked; the message
    /// names the path and the way out.
    pub fn assemble(options: &OpenOptions) -> std::result::Result<Overlay, OpenError> {
        let layers = check::open_layers(options)?;
        Overlay::build(layers, options).map_err(|errno| OpenError::Io {
            path: options.base.clone(),
            what: "cannot set up the merged tree",
            errno,
        })
    }

    fn build(layers: Layers, options: &OpenOptions) -> Result<Overlay> {
        let Layers { base, base_mount, storage, .. } = layers;
        let root_stat = sys::stat_fd(&base)?;
        let place = Place { names: Names::None, base: BaseRef::SameName, held: None };
        let realms = numbers::Realms::new(&root_stat);
        let ino = Realm::default().number(root_stat.stx_ino);
        let root = Arc::new(Node::new(NodeId::ROOT, ino, libc::S_IFDIR, true, place));
        let root_dir = Arc::new(Dir::new(
            NodeId::ROOT,
            Some(BaseDir::new(rustix::io::fcntl_dupfd_cloexec(&base, 0)?, Realm::default())),
            Some(rustix::io::fcntl_dupfd_cloexec(&storage, 0)?),
        )?);
        let shared = shared::SharedIndex::open(storage.as_fd())?;
        let ordering = copy_up::Ordering::of(&storage, options.volatile);
        let fine_clock = layers.read_only || sys::has_fine_clock(storage.as_fd());
        let overlay = Overlay {
            base,
            _base_mount: base_mount,
            storage,
            _lock: layers.lock,
            hidden: layers.hidden,
            table: Table::new(Arc::clone(&root)),
            dirs: DirCache::new(dir_limit()),
            trail: export::Trail::new(),
            accesses: access::Accesses::new(options.access_times, &shared.accesses()),
            shared,
            realms,
            submounts: options.submounts,
            root,
            root_owner: Mutex::new(attr::RootOwner::of(&root_dir, &root_stat)),
            root_dir,
            rename_lock: Mutex::new(()),
            read_only: layers.read_only,
            ordering,
            fine_clock,
            warnings: layers.warnings,
            slow: OnceLock::new(),
            opened: AtomicU64::new(0),
        };
        if layers.fresh && !overlay.read_only {
            overlay.adopt_root(&root_stat)?;
        }
        Ok(overlay)
    }

    /// What was found odd when the layers were opened.
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// The tree cannot be changed: asked for, or forced by what was found.
    pub fn is_read_only(&self) -> bool {
        self.read_only
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

    /// Space and limits of the storage.
    ///
    /// # Errors
    /// As `fstatvfs(3)`.
    pub fn space(&self) -> Result<SpaceInfo> {
        let vfs = rustix::fs::fstatvfs(&self.storage)?;
        let narrow = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
        Ok(SpaceInfo {
            blocks: vfs.f_blocks,
            bfree: vfs.f_bfree,
            bavail: vfs.f_bavail,
            files: vfs.f_files,
            ffree: vfs.f_ffree,
            bsize: narrow(vfs.f_bsize),
            frsize: narrow(vfs.f_frsize),
            namelen: narrow(vfs.f_namemax),
        })
    }

    /// Hands everything to the device.
    ///
    /// # Errors
    /// As `syncfs(2)`.
    pub fn sync(&self) -> Result<()> {
        let _slow = self.slow_section();
        self.save_accesses();
        rustix::fs::syncfs(&self.storage)
    }

    fn slow_section(&self) -> Option<Box<dyn Any>> {
        self.slow.get().map(|hook| hook())
    }

    fn slow_if(&self, bytes: u64) -> Option<Box<dyn Any>> {
        (bytes >= SLOW_BYTES).then(|| self.slow_section()).flatten()
    }

    fn check_writable(&self) -> Result<()> {
        if self.read_only { Err(Errno::ROFS) } else { Ok(()) }
    }

    /// Entries of a directory were changed. Its `mutate` is held.
    fn dir_changed(&self, dir: &Dir) {
        if !self.fine_clock {
            dir.seen();
        }
    }

    /// The node of a number the kernel was told. ESTALE: it is not known.
    fn node(&self, id: NodeId) -> Result<Arc<Node>> {
        if id == NodeId::ROOT {
            return Ok(Arc::clone(&self.root));
        }
        self.table.get(id).ok_or(Errno::STALE)
    }

    /// The node of a directory. ENOTDIR: it is something else.
    fn dir_node(&self, id: NodeId) -> Result<Arc<Node>> {
        let node = self.node(id)?;
        if node.is_dir() { Ok(node) } else { Err(Errno::NOTDIR) }
    }

    /// Descriptors and META of a directory. ENOENT: it was removed.
    fn dir(&self, node: &Arc<Node>) -> Result<Arc<Dir>> {
        loop {
            if let Some(dir) = self.try_dir(node)? {
                return Ok(dir);
            }
        }
    }

    /// As [`Overlay::dir`]; `None`: something on the way was moved meanwhile.
    fn try_dir(&self, node: &Arc<Node>) -> Result<Option<Arc<Dir>>> {
        if node.is_root() {
            return Ok(Some(Arc::clone(&self.root_dir)));
        }
        if let Some(dir) = self.dirs.get(node.id) {
            return Ok(Some(dir));
        }
        let mut chain = vec![Arc::clone(node)];
        let mut at = loop {
            let parent = chain.last().and_then(|node| node.parent()).ok_or(Errno::NOENT)?;
            if parent.is_root() {
                break Arc::clone(&self.root_dir);
            }
            if let Some(dir) = self.dirs.get(parent.id) {
                break dir;
            }
            chain.push(parent);
        };
        while let Some(node) = chain.pop() {
            match self.open_dir_below(&at, &node)? {
                Some(dir) => at = dir,
                None => return Ok(None),
            }
        }
        Ok(Some(at))
    }

    /// Opens the directory of a node in its parent's. `None`: it was moved.
    fn open_dir_below(&self, parent: &Dir, node: &Arc<Node>) -> Result<Option<Arc<Dir>>> {
        let place = node.place.read();
        let Some(link) = place.names.first().filter(|link| link.parent.id == parent.node) else {
            return Ok(None);
        };
        let storage = match parent.storage() {
            Some(dir) if node.in_storage() => Some(sys::open_dir(dir, &link.name)?),
            _ => None,
        };
        let base = match &place.base {
            BaseRef::None => None,
            BaseRef::SameName => match &parent.base {
                Some(base) => submount_as_empty(self.open_base_dir(base.as_fd(), &link.name))?,
                None => None,
            },
            BaseRef::Path(path) => self.open_base_path(path)?,
        };
        let base = match base {
            Some(fd) => {
                let realm = self.realms.of(&sys::stat_fd(&fd)?, Spot::Fd(fd.as_fd()))?;
                Some(BaseDir::new(fd, realm))
            }
            None => None,
        };
        Ok(Some(self.dirs.insert(Dir::new(node.id, base, storage)?)))
    }

    /// Opens a base directory by the path of a redirect, name by name.
    /// `None`: it is not there (any more).
    fn open_base_path(&self, path: &[u8]) -> Result<Option<OwnedFd>> {
        let mut at = rustix::io::fcntl_dupfd_cloexec(&self.base, 0)?;
        for name in path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
            at = match submount_as_empty(self.open_base_dir(at.as_fd(), name)) {
                Ok(Some(next)) => next,
                Ok(None) | Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(None),
                Err(errno) => return Err(errno),
            };
        }
        Ok(Some(at))
    }

    fn open_base_dir(&self, dir: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd> {
        if self.submounts {
            let flags = OFlags::PATH | OFlags::DIRECTORY;
            return sys::open(Spot::Across(dir, name), flags);
        }
        sys::open_dir(dir, name)
    }

    /// Path in the base of what a directory shows, without a leading slash.
    /// `None`: it shows nothing of the base.
    fn base_path(&self, node: &Arc<Node>) -> Option<Vec<u8>> {
        let mut names: Vec<Box<[u8]>> = Vec::new();
        let mut node = Arc::clone(node);
        while !node.is_root() {
            let place = node.place.read();
            match &place.base {
                BaseRef::None => return None,
                BaseRef::Path(path) => {
                    names.push(path.as_ref().into());
                    break;
                }
                BaseRef::SameName => {}
            }
            let link = Arc::clone(place.names.first()?);
            drop(place);
            names.push(link.name.clone());
            node = Arc::clone(&link.parent);
        }
        names.reverse();
        Some(names.join(&b'/'))
    }

    /// Runs `f` where the object of a node is; the second argument tells
    /// whether that is the storage.
    ///
    /// The node's `place` is held meanwhile: nobody renames it away.
    fn at<T>(&self, node: &Arc<Node>, f: impl Fn(Spot<'_>, bool) -> Result<T>) -> Result<T> {
        if node.is_root() {
            return f(Spot::Fd(self.storage.as_fd()), true);
        }
        loop {
            if node.is_indexed() {
                match self.at_index(node, &f)? {
                    Some(value) => return Ok(value),
                    None => continue,
                }
            }
            let (link, held) = {
                let place = node.place.read();
                (place.names.first().cloned(), place.held.clone())
            };
            let Some(link) = link else {
                let held = held.ok_or(Errno::STALE)?;
                return f(Spot::Fd(held.fd.as_fd()), node.in_storage());
            };
            let Some(dir) = self.try_dir(&link.parent)? else {
                continue;
            };
            let place = node.place.read();
            if node.is_indexed() || !place.names.first().is_some_and(|now| Arc::ptr_eq(now, &link))
            {
                continue;
            }
            if node.in_storage() {
                return f(Spot::At(dir.writable()?, &link.name), true);
            }
            if let BaseRef::Path(path) = &place.base {
                // Only after a crash: a redirect whose skeleton is missing.
                let fd = self.open_base_path(path)?.ok_or(Errno::NOENT)?;
                return f(Spot::Fd(fd.as_fd()), false);
            }
            let base = dir.base.as_ref().ok_or(Errno::STALE)?;
            return f(base.spot(&link.name), false);
        }
    }

    /// As [`Overlay::at`], for a node in the index. `None`: it left the index.
    fn at_index<T>(
        &self,
        node: &Arc<Node>,
        f: &impl Fn(Spot<'_>, bool) -> Result<T>,
    ) -> Result<Option<T>> {
        let dir = self.shared.dir()?;
        let (index, name) = (dir.writable()?, shared::index_name(node.ino));
        let _place = node.place.read();
        if node.is_indexed() {
            f(Spot::At(index, name.as_bytes()), true).map(Some)
        } else {
            Ok(None)
        }
    }

    fn next_handle(&self) -> u64 {
        self.opened.fetch_add(1, Ordering::Relaxed)
    }
}

impl Drop for Overlay {
    fn drop(&mut self) {
        self.save_accesses();
    }
}

/// A mount point in the base shows as an empty directory.
fn submount_as_empty(opened: Result<OwnedFd>) -> Result<Option<OwnedFd>> {
    match opened {
        Ok(fd) => Ok(Some(fd)),
        Err(Errno::XDEV) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// How many directories are kept open: three descriptors each, and no more
/// than a third of what the process may have is used for them.
fn dir_limit() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let limit = usize::try_from(limit.unwrap_or(4096)).unwrap_or(4096);
    (limit / 9).clamp(16, 1024)
}
