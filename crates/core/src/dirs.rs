//! Directories in use: their descriptors and META, in a bounded cache.
#![forbid(unsafe_code)]

mod cache;
mod changes;
mod mutate;
mod together;

use std::sync::{Arc, OnceLock};

use parking_lot::{Mutex, ReentrantMutex, ReentrantMutexGuard, RwLock};
use rustix::fd::BorrowedFd;
use rustix::fs::{IFlags, OFlags};
use rustix::io::Errno;

use crate::durability::Durability;
use crate::layers::LowerDir;
use crate::meta::{self, Index, Record};
use crate::overlay::LastListing;
use crate::sys::{self, Result, Spot, StoredDir, Within, Written};
use crate::types::{NodeId, Timestamp};

pub(crate) use cache::DirCache;
use changes::JournalState;
pub(crate) use changes::decide;
pub(crate) use mutate::{Mutate, Mutating};
pub(crate) use together::{ANY, Step, together};

/// A directory as its layers hold it. There is at most one per node at any
/// time, so that its lock and its index are the only ones.
pub(crate) struct Dir {
    /// The node it belongs to.
    pub node: NodeId,
    /// What it shows of the layers below, if anything.
    base: Option<Arc<LowerDir>>,
    /// `O_PATH` descriptor in the storage, once it lies there.
    storage: OnceLock<StoredDir>,
    /// What META says. Written under `mutate`, read by everybody.
    pub meta: RwLock<Index>,
    /// Held by whoever changes entries.
    pub mutate: Mutate,
    /// What was listed last, if anybody still reads it. Comes before `mutate`.
    pub listed: LastListing,
    /// The file of META. A leaf in the order of locks.
    journal: Mutex<JournalState>,
    durability: Arc<Durability>,
    /// What META of the storage's root says is hidden in it, besides its own.
    far: Mutex<Vec<Box<[u8]>>>,
    /// A recorded change time that the directory has left behind.
    left_behind: Mutex<Option<Timestamp>>,
    /// Held where times, mode or flags of the storage directory are set, and while
    /// they are others than programs have made them: what is put back then must not
    /// undo what somebody has set meanwhile. After `mutate` and `place`; whoever takes
    /// it together with the journal's lock has `mutate`.
    attributes: ReentrantMutex<()>,
}

impl Dir {
    /// Opens META, if the storage has the directory. `far`: what META of the storage's
    /// root says is hidden in it.
    pub fn new(
        node: NodeId,
        base: Option<Arc<LowerDir>>,
        storage: Option<StoredDir>,
        far: Vec<Box<[u8]>>,
        durability: &Arc<Durability>,
    ) -> Result<Dir> {
        let mut loaded = match &storage {
            Some(dir) => {
                let fd = dir.within().fd();
                with_access(fd, || meta::load(fd, durability.terms().session))?
            }
            None => meta::Loaded::default(),
        };
        let owed = match &storage {
            Some(dir) => changes::decide(dir.within(), &mut loaded.index)?,
            None => Vec::new(),
        };
        for damage in &loaded.damage {
            // Whoever mounted was told by the check of the storage.
            tracing::debug!(node = node.0, "damaged META: {damage}");
        }
        let state = JournalState::loaded(loaded.torn_at, owed);
        let dir = Dir::with(node, base, storage, loaded.index, state, durability);
        far.iter().for_each(|name| dir.hide_far(name));
        Ok(dir)
    }

    /// Reads META again: what is in it, or how it counts, was changed otherwise than
    /// by this directory.
    pub fn reload(&self) -> Result<()> {
        let Some(dir) = self.storage() else { return Ok(()) };
        let _lock = self.mutate.lock();
        let mut state = self.journal.lock();
        let session = self.durability.terms().session;
        let mut loaded = with_access(dir.fd(), || meta::load(dir.fd(), session))?;
        let owed = changes::decide(dir, &mut loaded.index)?;
        state.loaded_again(loaded.torn_at, owed);
        drop(state);
        let mut meta = self.meta.write();
        loaded.index.go_on_with_accesses(&meta);
        for name in self.far.lock().iter() {
            loaded.index.apply(&Record::Hide { name: name.clone() });
        }
        *meta = loaded.index;
        Ok(())
    }

    /// META of the storage's root says from now on that a name is hidden here.
    pub fn hide_far(&self, name: &[u8]) {
        self.meta.write().apply(&Record::Hide { name: name.into() });
        self.far.lock().push(name.into());
    }

    /// Such names.
    pub fn far_hidden(&self) -> Vec<Box<[u8]>> {
        self.far.lock().clone()
    }

    /// A storage directory that was made a moment ago, below no base. It has
    /// no META yet.
    pub fn made(node: NodeId, storage: StoredDir, durability: &Arc<Durability>) -> Dir {
        let state = JournalState::default();
        Dir::with(node, None, Some(storage), Index::default(), state, durability)
    }

    fn with(
        node: NodeId,
        base: Option<Arc<LowerDir>>,
        storage: Option<StoredDir>,
        index: Index,
        state: JournalState,
        durability: &Arc<Durability>,
    ) -> Dir {
        Dir {
            node,
            base,
            storage: storage.map_or_else(OnceLock::new, OnceLock::from),
            meta: RwLock::new(index),
            mutate: Mutate::default(),
            listed: LastListing::default(),
            journal: Mutex::new(state),
            durability: Arc::clone(durability),
            far: Mutex::default(),
            left_behind: Mutex::new(None),
            attributes: ReentrantMutex::new(()),
        }
    }

    /// It shows nothing of the base from now on: the META of its parent says
    /// so, and its own has nothing to say any more. Both `mutate` are held.
    pub fn stand_alone(&self) {
        if let Some(base) = &self.base {
            base.leave();
        }
        self.meta.write().forget_hidden();
        self.journal.lock().removed();
    }

    /// Nothing of the base shows in it, nor at a redirect.
    pub fn shows_storage_only(&self) -> bool {
        self.base().is_none() && self.meta.read().redirects().next().is_none()
    }

    /// What it shows of the layers below, if anything.
    pub fn base(&self) -> Option<&Arc<LowerDir>> {
        self.base.as_ref().filter(|base| !base.is_absent())
    }

    /// The same, also where that is not there at present.
    pub fn any_base(&self) -> Option<&Arc<LowerDir>> {
        self.base.as_ref()
    }

    /// The storage directory. `None`: the directory is unmodified.
    pub fn storage(&self) -> Option<Within<'_>> {
        self.storage.get().map(StoredDir::within)
    }

    /// The storage directory, after it was made sure that there is one.
    pub fn writable(&self) -> Result<Within<'_>> {
        self.storage().ok_or(Errno::STALE)
    }

    /// Names are written so in it from here on: it has none yet.
    pub fn write_names(&self, written: Written) {
        if let Some(dir) = self.storage.get() {
            dir.write_names(written);
        }
    }

    /// Tells that the directory lies in the storage now.
    pub fn set_storage(&self, dir: StoredDir) {
        // A second skeleton cannot be: the node's copy_up lock is held.
        let _ = self.storage.set(dir);
    }

    /// Bytes of memory that its records take, about. 0 while they change: it is
    /// in use then.
    pub fn weight(&self) -> usize {
        let below = self.base.as_ref().map_or(0, |base| base.weight());
        self.meta.try_read().map_or(0, |meta| meta.weight() + below)
    }

    /// Keeps others from setting times, mode or flags of the storage directory.
    pub fn hold_attributes(&self) -> ReentrantMutexGuard<'_, ()> {
        self.attributes.lock()
    }

    pub fn hides(&self, name: &[u8]) -> bool {
        self.meta.read().hides(name)
    }

    /// Descriptors that it holds, about.
    pub fn descriptors(&self) -> usize {
        2 + self.base.as_ref().map_or(0, |base| base.descriptors())
    }
}

/// Runs something in a storage directory, and once more after making it
/// accessible for that long, if it was refused: whoever owns a directory may
/// have closed it to himself or made it immutable, and what we do there for
/// ourselves needs no right (a copy-up changes nothing that programs see).
pub(crate) fn with_access<T>(dir: BorrowedFd<'_>, mut run: impl FnMut() -> Result<T>) -> Result<T> {
    match run() {
        Err(Errno::ACCESS) => with_permission(dir, run),
        Err(Errno::PERM) => unprotected(dir, run),
        other => other,
    }
}

fn with_permission<T>(dir: BorrowedFd<'_>, mut run: impl FnMut() -> Result<T>) -> Result<T> {
    let mode = u32::from(sys::stat_fd(dir)?.stx_mode) & 0o7777;
    if mode & 0o700 == 0o700 {
        return Err(Errno::ACCESS);
    }
    sys::set_mode(Spot::Fd(dir), mode | 0o700).map_err(|_| Errno::ACCESS)?;
    let done = run();
    let now = sys::stat_fd(dir).map(|stat| u32::from(stat.stx_mode) & 0o7777);
    // Somebody may have set another one meanwhile.
    if now.is_ok_and(|now| now == mode | 0o700) {
        told(sys::set_mode(Spot::Fd(dir), mode));
    }
    done
}

/// What was done stands: that a directory could not be closed again is no
/// reason to call it a failure.
fn told(restored: Result<()>) {
    if let Err(errno) = restored {
        tracing::error!("a storage directory was opened for a moment and stays so: {errno}");
    }
}

/// Without the flags of `chattr +i` and `+a`.
fn unprotected<T>(dir: BorrowedFd<'_>, mut run: impl FnMut() -> Result<T>) -> Result<T> {
    let protecting = IFlags::IMMUTABLE.union(IFlags::APPEND).bits();
    let opened = sys::open(Spot::at(dir, b"."), OFlags::RDONLY | OFlags::DIRECTORY)
        .and_then(|fd| sys::get_flags(&fd).map(|flags| (fd, flags)));
    let Ok((fd, flags)) = opened else { return Err(Errno::PERM) };
    if flags & protecting == 0 {
        return Err(Errno::PERM);
    }
    sys::set_flags(&fd, flags & !protecting).map_err(|_| Errno::PERM)?;
    let done = run();
    if sys::get_flags(&fd).is_ok_and(|now| now & protecting == 0) {
        told(sys::set_flags(&fd, flags));
    }
    done
}
