//! Directories in use: their descriptors and META, in a bounded cache.
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use hashbrown::HashMap;
use parking_lot::{Mutex, RwLock};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::Statx;
use rustix::io::Errno;

use crate::meta::{self, Index, Record, Said};
use crate::name::META_NAME;
use crate::overlay::Realm;
use crate::sys::{self, Result, Spot};
use crate::types::{NodeId, SetTime, Timestamp};

/// A directory as its layers hold it. There is at most one per node at any
/// time, so that its lock and its index are the only ones.
pub(crate) struct Dir {
    /// The node it belongs to.
    pub node: NodeId,
    /// The base directory it shows, if any.
    pub base: Option<BaseDir>,
    /// `O_PATH` descriptor in the storage, once it lies there.
    storage: OnceLock<OwnedFd>,
    /// What META says. Written under `mutate`, read by everybody.
    pub meta: RwLock<Index>,
    /// Held by whoever changes entries.
    pub mutate: Mutex<()>,
    /// META opened for appending.
    journal: Mutex<Option<OwnedFd>>,
    /// META ends in half a line (a crash); the next append ends it.
    torn: AtomicBool,
    /// META has what the device may not have.
    unsynced: AtomicBool,
    /// How often META was written anew.
    rewrites: AtomicU64,
}

/// A base directory.
pub(crate) struct BaseDir {
    fd: OwnedFd,
    /// The file system it is on.
    pub realm: Realm,
    /// Mounts in it are shown.
    crosses: bool,
}

impl BaseDir {
    /// `fd`: an `O_PATH` descriptor.
    pub fn new(fd: OwnedFd, realm: Realm, crosses: bool) -> BaseDir {
        BaseDir { fd, realm, crosses }
    }

    /// An entry of it.
    pub fn spot<'a>(&'a self, name: &'a [u8]) -> Spot<'a> {
        match self.crosses {
            true => Spot::Across(self.fd.as_fd(), name),
            false => Spot::At(self.fd.as_fd(), name),
        }
    }
}

impl AsFd for BaseDir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// What META said at some point, of the names that are about to change.
pub(crate) struct Mark {
    /// Size of the file in bytes; 0 where there was none.
    size: u64,
    /// It ended in half a line.
    torn: bool,
    rewrites: u64,
    said: Vec<(Box<[u8]>, Said)>,
}

impl Dir {
    /// Opens META, if the storage has the directory.
    pub fn new(node: NodeId, base: Option<BaseDir>, storage: Option<OwnedFd>) -> Result<Dir> {
        let loaded = match &storage {
            Some(dir) => meta::load(dir.as_fd())?,
            None => meta::Loaded::default(),
        };
        for damage in &loaded.damage {
            tracing::warn!(node = node.0, "damaged META: {damage}");
        }
        let cell = OnceLock::new();
        if let Some(fd) = storage {
            // The cell is new, so this cannot fail.
            let _ = cell.set(fd);
        }
        Ok(Dir {
            node,
            base,
            storage: cell,
            meta: RwLock::new(loaded.index),
            mutate: Mutex::new(()),
            journal: Mutex::new(None),
            torn: AtomicBool::new(loaded.unfinished_tail),
            unsynced: AtomicBool::new(true),
            rewrites: AtomicU64::new(0),
        })
    }

    /// The storage directory. `None`: the directory is unmodified.
    pub fn storage(&self) -> Option<BorrowedFd<'_>> {
        self.storage.get().map(AsFd::as_fd)
    }

    /// The storage directory, after it was made sure that there is one.
    pub fn writable(&self) -> Result<BorrowedFd<'_>> {
        self.storage().ok_or(Errno::STALE)
    }

    /// Tells that the directory lies in the storage now.
    pub fn set_storage(&self, fd: OwnedFd) {
        // A second skeleton cannot be: the node's copy_up lock is held.
        let _ = self.storage.set(fd);
    }

    pub fn hides(&self, name: &[u8]) -> bool {
        self.meta.read().hides(name)
    }

    /// The base entry of a name, unless hidden.
    pub fn base_spot<'a>(&'a self, name: &'a [u8]) -> Option<Spot<'a>> {
        let base = self.base.as_ref()?;
        (!self.hides(name)).then(|| base.spot(name))
    }

    /// Makes sure that META is there, so that appending changes no directory
    /// time. `mutate` is held.
    pub fn open_journal(&self) -> Result<()> {
        let mut journal = self.journal.lock();
        if journal.is_none() {
            *journal = Some(meta::open_for_append(self.writable()?)?);
        }
        Ok(())
    }

    /// Appends records to META and takes them into the index. `mutate` is held.
    pub fn append(&self, records: &[Record]) -> Result<()> {
        if records.is_empty() {
            return Ok(());
        }
        self.open_journal()?;
        let journal = self.journal.lock();
        let fd = journal.as_ref().ok_or(Errno::IO)?;
        self.unsynced.store(true, Ordering::Release);
        meta::append_to(fd.as_fd(), records, self.torn.load(Ordering::Acquire))?;
        self.torn.store(false, Ordering::Release);
        drop(journal);
        let mut index = self.meta.write();
        records.iter().for_each(|record| index.apply(record));
        if index.is_wasteful() {
            self.compact(&mut index);
        }
        Ok(())
    }

    /// Drops dead records. The directory's times stay; a failure costs nothing
    /// but space.
    fn compact(&self, index: &mut Index) {
        let compacted = self.writable().and_then(|dir| {
            let before = sys::stat_fd(dir)?;
            let shown = before.stx_ctime.into();
            let shown = index.ctime(b".", shown).unwrap_or(shown);
            self.rewrite(index)?;
            let keep = |time: rustix::fs::StatxTimestamp| Some(SetTime::At(time.into()));
            sys::set_times(Spot::Fd(dir), keep(before.stx_atime), keep(before.stx_mtime))?;
            let real = sys::stat_fd(dir)?.stx_ctime.into();
            let record = Record::Ctime { name: Box::from(&b"."[..]), shown, real };
            let fd = meta::open_for_append(dir)?;
            meta::append_to(fd.as_fd(), std::slice::from_ref(&record), false)?;
            index.apply(&record);
            Ok(())
        });
        if let Err(errno) = compacted {
            tracing::warn!("META is not compacted: {errno}");
        }
    }

    /// Takes the redirect of a name away, if there is one, by writing META
    /// anew. `mutate` is held.
    pub fn remove_redirect(&self, name: &[u8]) -> Result<()> {
        let mut index = self.meta.write();
        let Some(old) = index.redirect(name).map(<[u8]>::to_vec) else {
            return Ok(());
        };
        index.remove_redirect(name);
        self.rewrite(&mut index).inspect_err(|_| {
            index.apply(&Record::Redirect { path: old.into(), name: name.into() });
        })
    }

    /// Sets the redirect of a name. `mutate` is held.
    pub fn set_redirect(&self, path: &[u8], name: &[u8]) -> Result<()> {
        let record = Record::Redirect { path: path.into(), name: name.into() };
        let old = self.meta.read().redirect(name).map(<[u8]>::to_vec);
        match old {
            Some(old) if old == path => return Ok(()),
            None => {}
            // Readers of the old format may take the first line they find.
            Some(old) => {
                let mut index = self.meta.write();
                index.apply(&record);
                return self.rewrite(&mut index).inspect_err(|_| {
                    index.apply(&Record::Redirect { path: old.into(), name: name.into() });
                });
            }
        }
        self.append(&[record])
    }

    /// Marks what META says of some names, for [`Dir::roll_back`]. `mutate` is
    /// held.
    pub fn mark(&self, names: &[&[u8]]) -> Result<Mark> {
        let file = Spot::At(self.writable()?, META_NAME.as_bytes());
        let size = sys::absent(sys::stat(file))?.map_or(0, |stat| stat.stx_size);
        let meta = self.meta.read();
        let said = names.iter().map(|name| ((*name).into(), meta.said(name))).collect();
        let torn = self.torn.load(Ordering::Acquire);
        Ok(Mark { size, torn, rewrites: self.rewrites.load(Ordering::Relaxed), said })
    }

    /// Makes META say again what it said at a mark. Takes no space where only
    /// appending was done since. `mutate` has been held all the time.
    pub fn roll_back(&self, mark: Mark) {
        let mut index = self.meta.write();
        for (name, said) in mark.said {
            index.say(&name, said);
        }
        let appended = self.rewrites.load(Ordering::Relaxed) == mark.rewrites;
        let undone = match &*self.journal.lock() {
            None if appended => Ok(()),
            Some(fd) if appended => rustix::fs::ftruncate(fd, mark.size)
                .map(|()| self.torn.store(mark.torn, Ordering::Release)),
            _ => Err(Errno::STALE),
        };
        let undone = undone.or_else(|_| self.rewrite(&mut index));
        if let Err(errno) = undone {
            tracing::error!("META keeps records of a change that was taken back: {errno}");
        }
    }

    fn rewrite(&self, index: &mut Index) -> Result<()> {
        let mut journal = self.journal.lock();
        *journal = None;
        meta::rewrite(self.writable()?, index)?;
        self.rewrites.fetch_add(1, Ordering::Relaxed);
        self.torn.store(false, Ordering::Release);
        self.unsynced.store(true, Ordering::Release);
        Ok(())
    }

    /// Hands META to the device, if it may have anything new.
    pub fn sync_meta(&self) -> Result<()> {
        let Some(dir) = self.storage() else {
            return Ok(());
        };
        if self.unsynced.swap(false, Ordering::AcqRel) {
            meta::sync(dir).inspect_err(|_| self.unsynced.store(true, Ordering::Release))?;
        }
        Ok(())
    }

    /// Runs a change of the storage directory that programs must not see in
    /// its times, and puts them back.
    ///
    /// `records` are made after the change and go to META together with the
    /// one that keeps the shown ctime. `mutate` is held.
    pub fn unseen<T>(
        &self,
        change: impl FnOnce(BorrowedFd<'_>) -> Result<T>,
        records: impl FnOnce(&T) -> Vec<Record>,
    ) -> Result<T> {
        self.open_journal()?;
        let dir = self.writable()?;
        let before = sys::stat_fd(dir)?;
        let shown = self.shown_ctime(b".", before.stx_ctime.into());
        let value = with_access(dir, &before, || change(dir))?;
        let keep = |time: rustix::fs::StatxTimestamp| Some(SetTime::At(time.into()));
        let kept = sys::set_times(Spot::Fd(dir), keep(before.stx_atime), keep(before.stx_mtime))
            .and_then(|()| sys::stat_fd(dir))
            .and_then(|stat| {
                let real = stat.stx_ctime.into();
                let mut records = records(&value);
                records.push(Record::Ctime { name: Box::from(&b"."[..]), shown, real });
                self.append(&records)
            });
        if let Err(errno) = kept {
            // The change itself stands: a full device only costs the old times.
            tracing::warn!("a copy-up shows in the times of its directory: {errno}");
        }
        Ok(value)
    }

    /// The ctime to show for an entry whose own is `real`.
    pub fn shown_ctime(&self, name: &[u8], real: Timestamp) -> Timestamp {
        self.meta.read().ctime(name, real).unwrap_or(real)
    }
}

/// Runs a change in a directory of ours that does not allow us to: a copy-up
/// needs no right to write the directory, and root would not be stopped.
fn with_access<T>(
    dir: BorrowedFd<'_>,
    stat: &Statx,
    change: impl FnOnce() -> Result<T>,
) -> Result<T> {
    let mode = u32::from(stat.stx_mode) & 0o7777;
    let user = rustix::process::geteuid();
    if user.is_root() || user.as_raw() != stat.stx_uid || mode & 0o300 == 0o300 {
        return change();
    }
    sys::set_mode(Spot::Fd(dir), mode | 0o300)?;
    let changed = change();
    let restored = sys::set_mode(Spot::Fd(dir), mode);
    let value = changed?;
    restored.map(|()| value)
}

/// Cache of [`Dir`]s, bounded in number: each holds up to three descriptors.
///
/// What somebody uses is never dropped, so the bound may be passed while many
/// operations run at once.
pub(crate) struct DirCache {
    inner: RwLock<Inner>,
    limit: usize,
}

#[derive(Default)]
struct Inner {
    slots: HashMap<u64, Slot>,
    /// Order in which slots are looked at for eviction (the clock algorithm).
    clock: VecDeque<u64>,
}

struct Slot {
    dir: Arc<Dir>,
    used: AtomicBool,
}

impl DirCache {
    pub fn new(limit: usize) -> DirCache {
        DirCache { inner: RwLock::default(), limit }
    }

    pub fn get(&self, id: NodeId) -> Option<Arc<Dir>> {
        let inner = self.inner.read();
        let slot = inner.slots.get(&id.0)?;
        slot.used.store(true, Ordering::Relaxed);
        Some(Arc::clone(&slot.dir))
    }

    /// Enters a directory. If another thread was faster, that one's comes back.
    pub fn insert(&self, dir: Dir) -> Arc<Dir> {
        let mut evicted = Vec::new();
        let mut inner = self.inner.write();
        let id = dir.node.0;
        if let Some(slot) = inner.slots.get(&id) {
            return Arc::clone(&slot.dir);
        }
        let dir = Arc::new(dir);
        let slot = Slot { dir: Arc::clone(&dir), used: AtomicBool::new(true) };
        inner.slots.insert(id, slot);
        inner.clock.push_back(id);
        inner.evict(self.limit, &mut evicted);
        drop(inner);
        // Closing descriptors is a system call: not under the lock.
        drop(evicted);
        dir
    }

    pub fn remove(&self, id: NodeId) {
        let gone = self.inner.write().slots.remove(&id.0);
        drop(gone);
    }

    /// As [`DirCache::remove`], unless `known`: the object may have got a node
    /// with the same id again, whose operations use what is cached.
    pub fn remove_unless(&self, id: NodeId, known: impl FnOnce() -> bool) {
        let mut inner = self.inner.write();
        let gone = if known() { None } else { inner.slots.remove(&id.0) };
        drop(inner);
        drop(gone);
    }
}

impl Inner {
    fn evict(&mut self, limit: usize, evicted: &mut Vec<Slot>) {
        let mut looks = 2 * self.clock.len();
        while self.slots.len() > limit && looks > 0 {
            looks -= 1;
            let Some(id) = self.clock.pop_front() else {
                return;
            };
            let Some(slot) = self.slots.get(&id) else {
                continue;
            };
            let busy = Arc::strong_count(&slot.dir) > 1;
            if slot.used.swap(false, Ordering::Relaxed) || busy {
                self.clock.push_back(id);
            } else if let Some(slot) = self.slots.remove(&id) {
                evicted.push(slot);
            }
        }
    }
}
