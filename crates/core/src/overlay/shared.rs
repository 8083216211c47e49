//! Base objects with several names (hard links).
//!
//! They are *shared*: all names lead to one node, also after a copy-up, whose
//! result lies in an index directory under the object's number
//! (docs/FORMAT.md, section 6). A name has a storage entry of its own only
//! where that was needed: the name by which it was copied up, and those that
//! were made or moved.

use std::sync::Arc;

use hashbrown::HashMap;
use parking_lot::{Mutex, RwLock};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, Mode, Statx};
use rustix::io::Errno;

use super::copy_up::Source;
use super::partial::Need;
use super::{Overlay, find};
use crate::check::{FEATURE_INDEX, FEATURE_REALMS};
use crate::dirs::Dir;
use crate::durability::Durability;
use crate::identity::{BaseId, Realm};
use crate::meta::{AccessTable, Kept, Loss, RealmRecord, Record, SharedRecord};
use crate::name::INDEX_NAME;
use crate::node::{Held, Node, Place};
use crate::sys::{self, Result, Spot, StoredDir, Within, Written};
use crate::trust;
use crate::types::{NodeId, SetTime, Timestamp};

/// The index of copied-up shared objects, with a META of its own.
///
/// Its `mutate` comes after every `place` in the order of locks.
pub(super) struct SharedIndex {
    dir: Mutex<Option<Arc<Dir>>>,
    /// Times of access, whether there is an index already or not.
    accesses: Arc<AccessTable>,
    /// It was made before there were realms, and may call objects by numbers
    /// that they showed then.
    old: bool,
    /// Shared nodes whose number does not say which base object they are; kept
    /// as long as the mount.
    told: RwLock<HashMap<NodeId, BaseId>>,
    /// What the objects in the index are, by `st_ino` there; made when it is first
    /// asked for.
    stored: RwLock<Option<HashMap<u64, BaseId>>>,
}

/// What the index has of a base object with several names.
pub(super) enum Indexed {
    /// Nothing.
    No,
    /// It was copied up to this.
    As(Box<Statx>),
    /// An object that the base had under its number before it was made anew:
    /// the names of this one go their own ways.
    Another,
}

/// What is recorded of a base object before any of its names is lost.
fn whole(base: &Statx) -> SharedRecord {
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
pub(super) fn is_shared(base: &Statx) -> bool {
    base.stx_nlink > 1 && find::kind(base) != libc::S_IFDIR
}

impl SharedIndex {
    /// Opens the index, if there is one. `named`: the storage has the feature
    /// `realms`.
    pub fn open(
        storage: BorrowedFd<'_>,
        named: bool,
        durability: &Arc<Durability>,
    ) -> Result<SharedIndex> {
        let dir = match sys::absent(sys::open_dir(storage, INDEX_NAME.as_bytes()))? {
            Some(fd) => Some(index_dir(fd, durability)?),
            None => None,
        };
        let accesses = dir.as_ref().map(|dir| dir.meta.write().keep_accesses()).unwrap_or_default();
        let old = dir.is_some() && !named;
        let (told, stored) = (RwLock::default(), RwLock::default());
        Ok(SharedIndex { dir: Mutex::new(dir), accesses, old, told, stored })
    }

    /// Takes in what META of the index does not say yet.
    pub fn take(&self, records: &[Record]) {
        if let Some(dir) = &*self.dir.lock() {
            let mut meta = dir.meta.write();
            records.iter().for_each(|record| meta.apply(record));
        }
    }

    /// The index; ENOENT: there is none.
    pub fn dir(&self) -> Result<Arc<Dir>> {
        self.dir.lock().clone().ok_or(Errno::NOENT)
    }

    /// Times of access: recorded ones, and those that will be.
    pub fn accesses(&self) -> Arc<AccessTable> {
        Arc::clone(&self.accesses)
    }

    /// What a shared node is in the base.
    pub fn base_id(&self, node: &Node) -> BaseId {
        let number = BaseId { realm: Realm::ROOT, ino: node.ino };
        let told = self.told.read().get(&node.id).copied();
        told.or_else(|| BaseId::of_number(node.ino)).unwrap_or(number)
    }

    /// Remembers which base object a shared node is that is to have this id.
    /// `false`: the id is another one's.
    pub fn tell(&self, node: &Node, id: BaseId) -> bool {
        if !self.old && BaseId::of_number(node.ino) == Some(id) {
            return true;
        }
        *self.told.write().entry(node.id).or_insert(id) == id
    }

    /// What is recorded of an object.
    pub fn record(&self, id: BaseId) -> Option<SharedRecord> {
        self.dir.lock().as_ref()?.meta.read().shared(id)
    }

    /// File systems of the base as they were met by earlier mounts.
    pub fn recorded_realms(&self) -> Vec<RealmRecord> {
        let realms = |dir: &Arc<Dir>| dir.meta.read().realms().cloned().collect();
        self.dir.lock().as_ref().map(realms).unwrap_or_default()
    }
}

impl Overlay {
    /// Makes sure that there is an index, and that it says which file system of
    /// the base is which. No lock may be held.
    pub(super) fn prepare_index(&self) -> Result<Arc<Dir>> {
        let dir = self.make_index()?;
        let realms = self.realms.unsaved();
        if !realms.is_empty() {
            let _lock = dir.mutate.lock();
            dir.append(&realms.iter().cloned().map(Record::Realm).collect::<Vec<_>>())?;
            self.realms.saved(&realms);
        }
        Ok(dir)
    }

    /// Writes which file system of the base is which, so that numbers stay.
    pub(super) fn save_realms(&self) {
        if self.is_read_only() || self.realms.unsaved().is_empty() {
            return;
        }
        if let Err(errno) = self.prepare_index() {
            tracing::debug!("the file systems of the base are not recorded: {errno}");
        }
    }

    fn make_index(&self) -> Result<Arc<Dir>> {
        if let Ok(dir) = self.shared.dir() {
            return Ok(dir);
        }
        let _lock = self.root_dir.mutate.lock();
        if let Ok(dir) = self.shared.dir() {
            return Ok(dir);
        }
        let storage = self.storage.as_fd();
        // Those who do not know the index must not write from now on.
        // In this order: `index` alone means an earlier version.
        self.add_feature(FEATURE_REALMS)?;
        self.add_feature(FEATURE_INDEX)?;
        self.root_dir.unseen(
            |dir| match sys::mkdir(dir, INDEX_NAME.as_bytes(), Mode::RWXU) {
                Err(Errno::EXIST) => Ok(()),
                other => other,
            },
            |()| Vec::new(),
        )?;
        let fd = sys::open_dir(storage, INDEX_NAME.as_bytes())?;
        // The umask of this thread is that of some caller.
        sys::set_mode(Spot::Fd(fd.as_fd()), 0o700)?;
        let dir = index_dir(fd, &self.durability)?;
        dir.meta.write().set_accesses(self.shared.accesses());
        *self.shared.dir.lock() = Some(Arc::clone(&dir));
        Ok(dir)
    }

    /// What the index calls a base object with several names, and the number
    /// that it shows.
    pub(super) fn known_as(&self, base: &Statx, id: BaseId) -> (BaseId, u64) {
        if self.shared.old
            && self.shared.record(id).is_none()
            && let Some(number) = self.realms.old_number(base)
        {
            let old = BaseId { realm: Realm::ROOT, ino: number };
            if self.shared.record(old).is_some_and(|record| is_of(&record, base)) {
                return (old, number);
            }
        }
        (id, id.number())
    }

    /// The shared object of a number whose copy a storage entry is.
    pub(super) fn indexed_by_number(&self, number: u64, stored: &Statx) -> Result<Option<BaseId>> {
        let Ok(dir) = self.shared.dir() else { return Ok(None) };
        let ids: Vec<BaseId> = dir.meta.read().shared_by_number(number).collect();
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
    pub(super) fn indexed_object(&self, stored: &Statx) -> Result<Option<(BaseId, u64)>> {
        let Ok(dir) = self.shared.dir() else { return Ok(None) };
        let find = |ids: &HashMap<u64, BaseId>| ids.get(&stored.stx_ino).copied();
        let known = self.shared.stored.read().as_ref().map(find);
        let id = match known {
            Some(id) => id,
            None => {
                let mut ids = self.shared.stored.write();
                if ids.is_none() {
                    *ids = Some(ids_in(dir.writable()?)?);
                }
                ids.as_ref().and_then(find)
            }
        };
        let Some(id) = id.filter(|id| self.shared.record(*id).is_some()) else { return Ok(None) };
        if self.index_stat(id)?.is_none_or(|index| index.stx_ino != stored.stx_ino) {
            return Ok(None);
        }
        // In an old index ids of the first realm are numbers.
        let number = self.shared.old && id.realm == Realm::ROOT;
        Ok(Some((id, if number { id.ino } else { id.number() })))
    }

    /// Whether a base object with several names was copied up.
    pub(super) fn indexed(&self, base: &Statx, id: BaseId) -> Result<Indexed> {
        let Some(record) = self.shared.record(id) else {
            return Ok(Indexed::No);
        };
        if !is_of(&record, base) {
            let number = id.number();
            tracing::warn!(number, "the base has another object where one was copied up");
            return Ok(Indexed::Another);
        }
        Ok(self.index_stat(id)?.map_or(Indexed::No, |stat| Indexed::As(Box::new(stat))))
    }

    /// The type of device that META of the index calls an object.
    pub(super) fn index_device(&self, id: BaseId) -> Option<u32> {
        let dir = self.shared.dir().ok()?;
        let meta = dir.meta.read();
        meta.kept(id.index_name().as_bytes())?.device.map(|(kind, _)| kind)
    }

    /// Attributes of an object in the index.
    pub(super) fn index_stat(&self, id: BaseId) -> Result<Option<Statx>> {
        let Ok(dir) = self.shared.dir() else { return Ok(None) };
        sys::absent(sys::stat(Spot::at(dir.writable()?, id.index_name().as_bytes())))
    }

    /// The link count that a shared node shows.
    pub(super) fn shared_nlink(&self, node: &Node, stat: &Statx) -> u32 {
        let left = self.shared.record(self.shared.base_id(node)).map(|record| record.left);
        if !node.in_storage() {
            return left.unwrap_or(stat.stx_nlink);
        }
        let own = stat.stx_nlink.saturating_sub(u32::from(node.is_indexed()));
        own.saturating_add(left.unwrap_or(0))
    }

    /// Names of the base that nobody has looked up may show a node.
    pub(super) fn has_base_names(&self, node: &Node) -> bool {
        self.shared.record(self.shared.base_id(node)).is_none_or(|record| record.left > 0)
    }

    /// A name of the base is about to show a shared node no more: it will be
    /// hidden, or get a storage entry. `base`: the object there, if it still is
    /// the one that shows. `None`: nothing is known of its names.
    pub(super) fn losing(
        &self,
        node: &Node,
        base: Option<&Statx>,
        dir: &Dir,
        name: &[u8],
    ) -> Result<Option<Losing>> {
        let above = sys::stat_fd(dir.writable()?.fd())?.stx_ino;
        let (index, id) = (self.shared.dir()?, self.shared.base_id(node));
        let lock = index.mutate.lock();
        let first = match (self.shared.record(id), base) {
            (Some(_), _) => None,
            (None, Some(base)) => Some(Record::Shared { id, record: whole(base) }),
            (None, None) => return Ok(None),
        };
        let loss = Loss { id, dir: above, name: name.into(), decided: false };
        let records: Vec<Record> = first.into_iter().chain([Record::Loss(loss.clone())]).collect();
        index.append(&records)?;
        drop(lock);
        Ok(Some(Losing { index, loss: Some(loss) }))
    }

    /// Copies a shared object up into the index. Its `copy_up` lock is held.
    /// `unseen`: the ctime shown stays that of the base object.
    pub(super) fn copy_up_shared(&self, node: &Arc<Node>, need: Need, unseen: bool) -> Result<()> {
        let dir = self.prepare_index()?;
        let index = dir.writable()?;
        let source = self.at(node, |spot, _| sys::hold(spot))?;
        let from = Spot::Fd(source.as_fd());
        let stat = self.stat_for_copy(node, from)?;
        let shown = self.shared_ctime(node, stat.stx_ctime.into());
        // One that has lost its known names shows when that was.
        let since = node.place.read().held().map(|held| held.since);
        let shown = since.map_or(shown, |since| shown.max(since));
        let source = &Source { node, at: from, stat: &stat, plan: self.plan(node, &stat, need)? };
        let unnamed = match node.kind() {
            libc::S_IFREG => self.unnamed_copy(source, index)?,
            _ => None,
        };
        let (unnamed, kept) = unnamed.unzip();
        let name = self.shared.base_id(node).index_name();
        let mut place = node.place.write();
        {
            let _lock = dir.mutate.lock();
            if self.shared.record(self.shared.base_id(node)).is_none() {
                let record = whole(&stat);
                dir.append(&[Record::Shared { id: self.shared.base_id(node), record }])?;
            }
            self.drop_kept(&dir, name.as_bytes())?;
            let keep = |kept: &Kept| dir.append(&kept.records(name.as_bytes()));
            kept.as_ref().map_or(Ok(()), keep)?;
            match unnamed {
                Some(fd) => sys::link_fd(fd.as_fd(), index, name.as_bytes())?,
                None => {
                    self.named_copy(source, index, name.as_bytes(), &keep)?;
                }
            }
            if let Ok(Some(copy)) = self.index_stat(self.shared.base_id(node))
                && let Some(ids) = &mut *self.shared.stored.write()
            {
                ids.insert(copy.stx_ino, self.shared.base_id(node));
            }
            place.let_go();
            node.set_indexed(true);
            node.set_in_storage();
        }
        let link = place.names.first().cloned();
        drop(place);
        // By the old rules the change is seen under this name, at least.
        if let Some(link) = link
            && let Ok(parent) = self.dir(link.parent())
        {
            let _lock = parent.mutate.lock();
            let there = node.place.read().names.iter().any(|now| now.is_same(&link));
            if there && let Err(errno) = self.materialise(&parent, link.name(), node) {
                tracing::debug!("a shared object has no entry under its name: {errno}");
            }
        }
        if unseen && let Ok(stat) = self.at(node, |spot, _| sys::stat(spot)) {
            let (name, real) = (name.into_bytes().into(), stat.stx_ctime.into());
            let _lock = dir.mutate.lock();
            // The copy is there, whatever time it shows.
            log_failure(dir.append(&[Record::Ctime { name, shown, real }]));
        }
        Ok(())
    }

    /// Gives a shared node that lies in the index a storage entry under one of
    /// its names. `mutate` of the directory is held.
    pub(super) fn materialise(&self, dir: &Dir, name: &[u8], node: &Arc<Node>) -> Result<()> {
        if !node.is_indexed() {
            return Ok(());
        }
        let storage = dir.writable()?;
        if sys::absent(sys::stat(Spot::at(storage, name)))?.is_some() {
            return Ok(());
        }
        let held = self.at(node, |spot, _| sys::hold(spot))?;
        let losing = self.losing(node, None, dir, name)?;
        dir.unseen(|storage| sys::link_fd(held.as_fd(), storage, name), |()| Vec::new())?;
        self.durability.copied_up();
        self.durability.settle_copies(self.storage_opened()?)?;
        if let Some(losing) = losing {
            losing.happened(dir);
        }
        Ok(())
    }

    /// What is left to do when a name of a shared node is gone for good.
    /// Failures cost a wrong change time, or space.
    pub(super) fn shared_name_removed(&self, node: &Node, place: &mut Place, stored: bool) {
        if !stored && node.is_indexed() {
            log_failure(self.move_ctime(node));
        }
        log_failure(self.leave_index(node, place));
    }

    /// Moves the ctime of an object in the index: one of its names went, which
    /// the storage did not see. Its `place` is held for writing.
    fn move_ctime(&self, node: &Node) -> Result<()> {
        let dir = self.shared.dir()?;
        let name = self.shared.base_id(node).index_name();
        let spot = Spot::at(dir.writable()?, name.as_bytes());
        let mtime = SetTime::At(sys::stat(spot)?.stx_mtime.into());
        sys::set_times(spot, None, Some(mtime))
    }

    /// The ctime that a shared node shows while it lies in the base.
    pub(super) fn shared_ctime(&self, node: &Node, base: Timestamp) -> Timestamp {
        self.shared.record(self.shared.base_id(node)).map_or(base, |record| record.ctime)
    }

    /// Takes a shared node out of the index once it has no name left. Its
    /// `place` is held for writing.
    fn leave_index(&self, node: &Node, place: &mut Place) -> Result<()> {
        let left = self.shared.record(self.shared.base_id(node)).map_or(0, |record| record.left);
        // Through mounts the base may have more names than its link count says.
        if !node.is_indexed() || left > 0 || self.submounts {
            return Ok(());
        }
        let dir = self.shared.dir()?;
        let (index, name) = (dir.writable()?, self.shared.base_id(node).index_name());
        let _lock = dir.mutate.lock();
        let spot = Spot::at(index, name.as_bytes());
        if sys::stat(spot)?.stx_nlink > 1 {
            return Ok(());
        }
        place.hold(Held::new(sys::hold(spot)?));
        sys::unlink(index, name.as_bytes(), AtFlags::empty())?;
        node.set_indexed(false);
        Ok(())
    }
}

/// A name of a shared object that is about to be lost: META of the index says
/// so, and after a crash the next mount looks whether it has happened. Dropped
/// without [`Losing::happened`] it has not.
pub(super) struct Losing {
    index: Arc<Dir>,
    /// Until it is decided.
    loss: Option<Loss>,
}

impl Losing {
    /// The name is lost, as the directory says that had it.
    pub fn happened(mut self, dir: &Dir) {
        // Else it stays open, and the next mount decides.
        if let Err(errno) = dir.secure() {
            tracing::warn!("a lost name is counted at the next mount: {errno}");
            self.loss = None;
        }
        let Some(loss) = self.loss.take() else { return };
        let _lock = self.index.mutate.lock();
        let record = self.index.meta.read().shared(loss.id);
        let fewer = record.map(|record| Record::Shared {
            id: loss.id,
            record: SharedRecord {
                left: record.left.saturating_sub(1),
                ctime: Timestamp::now(),
                ..record
            },
        });
        let decided = Record::Loss(Loss { decided: true, ..loss });
        // In this order: a crash that takes the second leaves one name too many,
        // the other way round the name would be counted again.
        self.index.append_late([decided].into_iter().chain(fewer).collect());
    }
}

impl Drop for Losing {
    fn drop(&mut self) {
        if let Some(loss) = self.loss.take() {
            let _lock = self.index.mutate.lock();
            self.index.append_late(vec![Record::Loss(Loss { decided: true, ..loss })]);
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
fn index_dir(fd: OwnedFd, durability: &Arc<Durability>) -> Result<Arc<Dir>> {
    trust::check_opened(&fd, INDEX_NAME, false)?;
    // Its names are numbers.
    let dir = StoredDir::new(fd, Written::Plain);
    Ok(Arc::new(Dir::new(NodeId(0), None, Some(dir), durability)?))
}

fn log_failure(done: Result<()>) {
    if let Err(errno) = done {
        tracing::warn!("the index of objects with several names is not up to date: {errno}");
    }
}
