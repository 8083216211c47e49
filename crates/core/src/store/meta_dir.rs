//! A directory of the storage, and what META says of it.
#![forbid(unsafe_code)]

mod access;
mod changes;
mod edit;
mod made;
mod mutate;
mod together;

use std::cell::Cell;
use std::sync::{Arc, OnceLock};

use rustix::io::Errno;

use crate::format::meta::{Index, Record};
use crate::format::time::Timestamp;
use crate::interface::types::NodeId;
use crate::locks::{Mutex, Rank, ReadGuard, ReentrantMutex, RwLock, is_held};
use crate::store::durability::Durability;
use crate::store::meta;
use crate::sys::{Result, StoredDir, Within, Written};

pub(crate) use access::with_access;
use changes::JournalState;
pub(crate) use changes::decide;
pub(crate) use edit::MetaEdit;
pub(crate) use made::{Attributes, Made};
use mutate::Mutate;
pub(crate) use together::{ANY, Step, together};

/// A directory as the storage holds it, and what META says of it. There is at most one
/// per node at any time, so that its lock and its index are the only ones.
pub(crate) struct MetaDir {
    /// The node it belongs to.
    pub node: NodeId,
    /// `O_PATH` descriptor in the storage, once it lies there.
    storage: OnceLock<StoredDir>,
    /// What META says. Written by [`MetaEdit`], read by everybody.
    meta: RwLock<Index, { Rank::Meta as u8 }>,
    /// Held by whoever changes entries.
    mutate: Mutate,
    /// The file of META.
    journal: Mutex<JournalState, { Rank::Journal as u8 }>,
    durability: Arc<Durability>,
    /// What META of the storage's root says is hidden in it, besides its own.
    far: Mutex<Vec<Box<[u8]>>, { Rank::Far as u8 }>,
    /// A recorded change time that the directory has left behind.
    left_behind: Mutex<Option<Timestamp>, { Rank::LeftBehind as u8 }>,
    /// Held where times, mode or flags of the storage directory are set, and while
    /// they are others than programs have made them: what is put back then must not
    /// undo what somebody has set meanwhile. In it: what new files get.
    attributes: ReentrantMutex<Cell<Option<Made>>, { Rank::Attributes as u8 }>,
}

/// In place of a node: the index has none.
pub(crate) const INDEX: NodeId = NodeId(0);

impl MetaDir {
    /// Opens META, if the storage has the directory.
    pub fn new(
        node: NodeId,
        storage: Option<StoredDir>,
        durability: &Arc<Durability>,
    ) -> Result<MetaDir> {
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
        Ok(MetaDir::with(node, storage, loaded.index, state, durability))
    }

    /// A storage directory that was made a moment ago. It has no META yet.
    pub fn made(node: NodeId, storage: StoredDir, durability: &Arc<Durability>) -> MetaDir {
        let state = JournalState::default();
        MetaDir::with(node, Some(storage), Index::default(), state, durability)
    }

    fn with(
        node: NodeId,
        storage: Option<StoredDir>,
        index: Index,
        state: JournalState,
        durability: &Arc<Durability>,
    ) -> MetaDir {
        MetaDir {
            node,
            storage: storage.map_or_else(OnceLock::new, OnceLock::from),
            meta: RwLock::new(index),
            mutate: Mutate::default(),
            journal: Mutex::new(state),
            durability: Arc::clone(durability),
            far: Mutex::default(),
            left_behind: Mutex::new(None),
            attributes: ReentrantMutex::default(),
        }
    }

    /// Reads META again: what is in it, or how it counts, was changed otherwise than
    /// by this directory.
    pub fn reload(&self) -> Result<()> {
        let Some(dir) = self.storage() else { return Ok(()) };
        let _edit = self.edit();
        let mut state = self.journal.lock();
        if let Some(file) = &mut state.file {
            file.write_waiting();
        }
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

    /// Such names, unless its own META says so, too.
    pub fn far_hidden(&self) -> Vec<Box<[u8]>> {
        self.far.lock().clone()
    }

    /// META of the storage's root alone says that this name is hidden.
    pub fn is_far_hidden(&self, name: &[u8]) -> bool {
        self.far.lock().iter().any(|far| **far == *name)
    }

    /// What META says.
    pub fn meta(&self) -> ReadGuard<'_, Index> {
        self.meta.read()
    }

    /// What is read between two calls that give the same is of one moment.
    /// `None`: somebody may be changing something.
    pub fn version(&self) -> Option<u64> {
        self.mutate.version()
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
        // So a second skeleton cannot be.
        debug_assert!(is_held(Rank::CopyUp, Some(self.node.0)));
        let _ = self.storage.set(dir);
    }

    /// Bytes of memory that its records take, about. `None` while they change: it is
    /// in use then.
    pub fn weight(&self) -> Option<usize> {
        self.meta.try_read().map(|meta| meta.weight())
    }

    /// A name of what is below is not to show.
    pub fn hides(&self, name: &[u8]) -> bool {
        self.meta.read().hides(name)
    }
}
