//! The index of base objects with several names (docs/FORMAT.md, section 6): what it
//! says. Which objects get there, `copy_up/shared.rs` decides.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hashbrown::HashMap;
use rustix::fd::{BorrowedFd, OwnedFd};
use rustix::fs::Statx;
use rustix::io::Errno;

use crate::format::identity::{BaseId, Realm};
use crate::format::meta::{AccessTable, RealmRecord, Record, SharedRecord};
use crate::format::print::Print;
use crate::interface::types::NodeId;
use crate::locks::{Mutex, Rank, RwLock};
use crate::store::durability::Durability;
use crate::store::meta_dir::{INDEX, MetaDir};
use crate::store::realms::Realms;
use crate::sys::{self, Result, Spot, StoredDir, Within, Written, trust};

/// The index of copied-up shared objects, with a META of its own.
pub(crate) struct SharedIndex {
    /// The storage, for messages.
    path: PathBuf,
    dir: Mutex<Option<Arc<MetaDir>>, { Rank::IndexDir as u8 }>,
    /// Times of access, whether there is an index already or not.
    accesses: Arc<AccessTable>,
    /// It was made before there were realms, and may call objects by numbers
    /// that they showed then.
    old: bool,
    /// Shared nodes whose number does not say which base object they are; kept
    /// as long as the mount.
    told: RwLock<HashMap<NodeId, BaseId>, { Rank::IndexTold as u8 }>,
    /// What the objects in the index are, by `st_ino` there; made when it is first
    /// asked for.
    stored: RwLock<Option<HashMap<u64, BaseId>>, { Rank::IndexStored as u8 }>,
    /// How many objects were copied up since it was opened.
    copies: AtomicU64,
}

/// What the index has of a base object with several names.
pub(crate) enum Indexed {
    /// Nothing.
    No,
    /// It was copied up to this.
    As(Box<Statx>),
    /// An object that the base had under its number before it was made anew:
    /// the names of this one go their own ways.
    Another,
}

/// What is recorded of a base object before any of its names is lost.
pub(crate) fn whole(base: &Statx) -> SharedRecord {
    SharedRecord {
        left: base.stx_nlink,
        nlink: base.stx_nlink,
        size: base.stx_size,
        mtime: base.stx_mtime.into(),
        ctime: base.stx_ctime.into(),
    }
}

/// A record is of this base object, and not of another one that had its number.
fn is_of(record: &SharedRecord, base: &Statx) -> bool {
    let SharedRecord { left, ctime, .. } = *record;
    *record == SharedRecord { left, ctime, ..whole(base) }
}

/// The base object has names that are not these alone.
pub(crate) fn is_shared(base: &Statx) -> bool {
    base.stx_nlink > 1 && sys::kind(base) != libc::S_IFDIR
}

impl SharedIndex {
    /// Opens the index, if there is one. `named`: the storage has the feature
    /// `realms`.
    pub fn open(
        path: &Path,
        storage: BorrowedFd<'_>,
        named: bool,
        durability: &Arc<Durability>,
    ) -> Result<SharedIndex> {
        let name = durability.terms().session.meta.index();
        let dir = match sys::absent(sys::open_dir(storage, name.as_bytes()))? {
            Some(fd) => Some(index_dir(fd, durability)?),
            None => None,
        };
        let accesses =
            dir.as_ref().map(|dir| dir.edit().index_mut().keep_accesses()).unwrap_or_default();
        let old = dir.is_some() && !named;
        let (told, stored) = (RwLock::default(), RwLock::default());
        let path = path.to_path_buf();
        let (dir, copies) = (Mutex::new(dir), AtomicU64::new(0));
        Ok(SharedIndex { path, dir, accesses, old, told, stored, copies })
    }

    /// Takes in what META of the index does not say yet.
    pub fn take(&self, records: &[Record]) {
        if let Ok(dir) = self.dir() {
            let edit = dir.edit();
            let mut meta = edit.index_mut();
            records.iter().for_each(|record| meta.apply(record));
        }
    }

    /// The path of the storage, as it was given.
    pub fn storage(&self) -> &Path {
        &self.path
    }

    /// The index; ENOENT: there is none.
    pub fn dir(&self) -> Result<Arc<MetaDir>> {
        self.dir.lock().clone().ok_or(Errno::NOENT)
    }

    /// Times of access: recorded ones, and those that will be.
    pub fn accesses(&self) -> Arc<AccessTable> {
        Arc::clone(&self.accesses)
    }

    /// What a shared node is in the base.
    pub fn base_id(&self, node: NodeId, ino: u64) -> BaseId {
        let number = BaseId { realm: Realm::ROOT, ino };
        let told = self.told.read().get(&node).copied();
        told.or_else(|| BaseId::of_number(ino)).unwrap_or(number)
    }

    /// Remembers which base object a shared node is that is to have this id.
    /// `false`: the id is another one's.
    pub fn tell(&self, (node, ino): (NodeId, u64), id: BaseId) -> bool {
        if !self.old && BaseId::of_number(ino) == Some(id) {
            return true;
        }
        *self.told.write().entry(node).or_insert(id) == id
    }

    /// The same of a node that was known before, as what it may be.
    pub fn tell_anew(&self, (node, ino): (NodeId, u64), id: Option<BaseId>) {
        let mut told = self.told.write();
        match id.filter(|id| self.old || BaseId::of_number(ino) != Some(*id)) {
            Some(id) => drop(told.insert(node, id)),
            None => drop(told.remove(&node)),
        }
    }

    /// Node ids that an object has besides those that its number says.
    pub fn told_ids(&self, id: BaseId) -> Vec<NodeId> {
        let told = self.told.read();
        told.iter().filter(|(_, known)| **known == id).map(|(node, _)| *node).collect()
    }

    /// What is recorded of an object.
    pub fn record(&self, id: BaseId) -> Option<SharedRecord> {
        self.dir().ok()?.meta().shared(id)
    }

    /// What is recorded is about this base object as it is.
    pub fn knows(&self, id: BaseId, base: &Statx) -> bool {
        self.record(id).is_some_and(|record| is_of(&record, base))
    }

    /// File systems of the base as they were met by earlier mounts.
    pub fn recorded_realms(&self) -> Vec<RealmRecord> {
        self.dir().map(|dir| dir.meta().realms().cloned().collect()).unwrap_or_default()
    }

    /// What the index calls a base object with several names, and the number
    /// that it shows.
    pub fn known_as(
        &self,
        realms: &Realms,
        base: &Statx,
        (id, number): (BaseId, u64),
    ) -> (BaseId, u64) {
        if self.old
            && self.record(id).is_none()
            && let Some(number) = realms.old_number(base)
        {
            let old = BaseId { realm: Realm::ROOT, ino: number };
            if self.record(old).is_some_and(|record| is_of(&record, base)) {
                return (old, number);
            }
        }
        (id, number)
    }

    /// The shared object of a number whose copy a storage entry is.
    pub fn indexed_by_number(&self, number: u64, stored: &Statx) -> Result<Option<BaseId>> {
        let Ok(dir) = self.dir() else { return Ok(None) };
        let ids: Vec<BaseId> = dir.meta().shared_by_number(number).collect();
        for id in ids {
            if self.index_stat(id)?.is_some_and(|index| index.stx_ino == stored.stx_ino) {
                return Ok(Some(id));
            }
        }
        Ok(None)
    }

    /// The shared object whose copy a storage object with several names is, and the
    /// number that it shows. Names do not tell it in a copy of the storage, nor
    /// where the base was made anew.
    pub fn indexed_object(&self, stored: &Statx) -> Result<Option<(BaseId, u64)>> {
        let Ok(dir) = self.dir() else { return Ok(None) };
        let find = |ids: &HashMap<u64, BaseId>| ids.get(&stored.stx_ino).copied();
        let known = self.stored.read().as_ref().map(find);
        let id = match known {
            Some(id) => id,
            None => {
                let mut ids = self.stored.write();
                if ids.is_none() {
                    *ids = Some(ids_in(dir.writable()?)?);
                }
                ids.as_ref().and_then(find)
            }
        };
        let Some(id) = id.filter(|id| self.record(*id).is_some()) else { return Ok(None) };
        if self.index_stat(id)?.is_none_or(|index| index.stx_ino != stored.stx_ino) {
            return Ok(None);
        }
        // In an old index ids of the first realm are numbers.
        let number = self.old && id.realm == Realm::ROOT;
        Ok(Some((id, if number { id.ino } else { id.number() })))
    }

    /// Whether a base object with several names was copied up.
    pub fn indexed(&self, base: &Statx, id: BaseId) -> Result<Indexed> {
        let Some(record) = self.record(id) else {
            return Ok(Indexed::No);
        };
        if !is_of(&record, base) {
            return Ok(Indexed::Another);
        }
        Ok(self.index_stat(id)?.map_or(Indexed::No, |stat| Indexed::As(Box::new(stat))))
    }

    /// Tells that a base object has the number of another one that was copied up.
    pub fn warn_of_another(&self, id: BaseId) {
        // Of one that only has lost names there is no copy: a commit takes some in the base.
        if !self.index_stat(id).is_ok_and(|copy| copy.is_some()) {
            return;
        }
        let (number, storage) = (id.number(), self.path.display());
        tracing::warn!(
            number,
            "storage {storage}: the base has another object where one was copied up"
        );
    }

    /// What the copy of an object was made from.
    pub fn print(&self, id: BaseId) -> Option<Print> {
        self.dir().ok()?.meta().print(id.index_name().as_bytes())
    }

    /// The type of device that META of the index calls an object.
    pub fn index_device(&self, id: BaseId) -> Option<u32> {
        let dir = self.dir().ok()?;
        let meta = dir.meta();
        meta.kept(id.index_name().as_bytes())?.device.map(|(kind, _)| kind)
    }

    /// Attributes of an object in the index.
    pub fn index_stat(&self, id: BaseId) -> Result<Option<Statx>> {
        let Ok(dir) = self.dir() else { return Ok(None) };
        sys::absent(sys::stat(Spot::At(dir.writable()?, id.index_name().as_bytes())))
    }

    /// It is there from now on.
    pub fn set_dir(&self, dir: &Arc<MetaDir>) {
        *self.dir.lock() = Some(Arc::clone(dir));
    }

    /// It has gone.
    pub fn forget_dir(&self) {
        *self.dir.lock() = None;
    }

    /// Nothing is known of it until it is opened again.
    pub fn close(&self) {
        *self.dir.lock() = None;
        *self.stored.write() = None;
    }

    /// Opens it again, if it is there: it may be another one.
    pub fn reopen(&self, storage: BorrowedFd<'_>, durability: &Arc<Durability>) -> Result<()> {
        let name = durability.terms().session.meta.index();
        let dir = match sys::absent(sys::open_dir(storage, name.as_bytes()))? {
            Some(fd) => Some(index_dir(fd, durability)?),
            None => None,
        };
        let mut times = HashMap::new();
        if let Some(dir) = &dir {
            let said = dir.edit().index_mut().keep_accesses();
            std::mem::swap(&mut times, &mut *said.write());
            dir.edit().index_mut().set_accesses(self.accesses());
        }
        *self.accesses.write() = times;
        *self.dir.lock() = dir;
        Ok(())
    }

    /// An object was copied up, whatever is known of the copy.
    pub fn note_copy(&self) {
        self.copies.fetch_add(1, Ordering::SeqCst);
    }

    /// A number that changes whenever an object was copied up.
    pub fn copies(&self) -> u64 {
        self.copies.load(Ordering::SeqCst)
    }

    /// An object was copied up to this.
    pub fn note_stored(&self, copy: &Statx, id: BaseId) {
        if let Some(ids) = &mut *self.stored.write() {
            ids.insert(copy.stx_ino, id);
        }
    }
}

/// The objects in the index, by their `st_ino`.
fn ids_in(index: Within<'_>) -> Result<HashMap<u64, BaseId>> {
    let mut ids = HashMap::new();
    sys::each_entry(index, |entry| {
        if let Some(id) = BaseId::of_index_name(entry.name) {
            ids.insert(entry.ino, id);
        }
        true
    })?;
    Ok(ids)
}

/// The index, opened. EIO: others may have changed what is in it.
pub(crate) fn index_dir(fd: OwnedFd, durability: &Arc<Durability>) -> Result<Arc<MetaDir>> {
    trust::check_opened(&fd, durability.terms().session.meta.index(), false)?;
    // Its names are numbers.
    let dir = StoredDir::new(fd, Written::Plain);
    Ok(Arc::new(MetaDir::new(INDEX, Some(dir), durability)?))
}
