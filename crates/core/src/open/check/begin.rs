//! What a mount for writing changes in its storage before it serves anything.
//! Until then nothing is written, so that a mount which fails has changed nothing.

use std::path::PathBuf;

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, Mode, Timespec, Timestamps};
use rustix::io::Errno;

use super::marks::{self, Marks};
use super::scan::{Scanned, Walk};
use super::{Layers, Result, io, record, storage};
use crate::format::meta::Record;
use crate::format::name::MetaName;
use crate::interface::options::OpenOptions;
use crate::store::server_lock::ServerLock;
use crate::sys::{self, Spot};

/// What is still to be done.
pub(super) struct Task {
    /// Full path of the storage, for messages: it may lead elsewhere by now.
    pub path: PathBuf,
    /// What the walk over the storage has found.
    pub scanned: Scanned,
    /// What the marks of partial files are.
    pub marks: Marks,
    /// What META of the root does not say yet.
    pub missing: Vec<Record>,
    /// The base is, as far as is known, that of the last mount.
    pub same: bool,
}

impl Layers {
    /// Takes the lock that other machines see, where nobody has made it yet. Before
    /// anything else is written: whoever was faster has all that lies there now, so that
    /// what fails here takes nothing back.
    pub(crate) fn lock_server(&mut self, options: &OpenOptions) -> Result<()> {
        if self.read_only || self.task.is_none() {
            return Ok(());
        }
        let storage = ServerLock::of((&options.storage, &self.lock), options.meta_name);
        self.server_lock.make(&storage, &mut self.warnings)
    }

    /// Closes the storage to others, ends what a crash has left, and records the base.
    /// Uses descriptors alone: paths may lead into the mount.
    pub(crate) fn begin(&mut self, options: &OpenOptions) -> Result<()> {
        let Some(task) = self.task.take() else { return Ok(()) };
        let (names, session) = (self.own, self.session);
        let (root, stack, path) = (&self.lock, &self.stack, &*task.path);
        let walk = Walk { root, stack, path, names, written: self.written, session };
        storage::close((&options.storage, root), session.meta, &mut self.warnings)?;
        if task.marks == Marks::Old {
            marks::take_over(&options.storage, root, |step| walk.take_over(step))?;
        }
        if self.read_only {
            return Ok(());
        }
        self.settled = !task.scanned.unread;
        if task.scanned.leftovers > 0 {
            self.settled &= walk.remove_leftovers(&task.scanned, &mut self.warnings);
        }
        if task.scanned.damaged && options.write_despite_damage {
            walk.drop_damage();
        }
        if !task.missing.is_empty() {
            match record(root, session, &task.missing) {
                Ok(()) => {}
                // A full storage that holds something must mount, or nobody could
                // delete it. The next mount records what is missing.
                Err(Errno::NOSPC | Errno::DQUOT) if task.same && !self.fresh => {}
                Err(errno) => return Err(io(&options.storage, "cannot write META", errno)),
            }
        }
        if session.is_open() {
            // The next session does not look at what this one has left.
            rustix::fs::syncfs(root).map_err(|e| io(&options.storage, "cannot sync", e))?;
        }
        Ok(())
    }
}

/// How a storage that was never mounted was found: what fails at its first mount
/// leaves it so.
pub(crate) struct Untouched {
    storage: OwnedFd,
    meta: MetaName,
    mode: Mode,
    times: Timestamps,
    attributes: Attributes,
}

/// Names and values.
type Attributes = Vec<(Vec<u8>, Vec<u8>)>;

impl Untouched {
    /// `None`: it is not new, or cannot be examined.
    pub fn of(layers: &Layers) -> Option<Untouched> {
        layers.task.as_ref().filter(|task| task.scanned.is_unused())?;
        let storage = rustix::io::fcntl_dupfd_cloexec(&layers.lock, 0).ok()?;
        let stat = sys::stat_fd(&storage).ok()?;
        let times = Timestamps {
            last_access: timespec(stat.stx_atime),
            last_modification: timespec(stat.stx_mtime),
        };
        let mode = Mode::from_raw_mode(u32::from(stat.stx_mode) & 0o7777);
        let attributes = attributes(storage.as_fd()).ok()?;
        Some(Untouched { storage, meta: layers.session.meta, mode, times, attributes })
    }

    /// Takes back what was begun.
    pub fn restore(self) {
        let undone = self.undo();
        if let Err(errno) = undone {
            tracing::warn!("the storage is not quite what it was before: {errno}");
        }
    }

    fn undo(&self) -> std::result::Result<(), Errno> {
        let storage = self.storage.as_fd();
        remove_own(self.meta, storage)?;
        let spot = Spot::Fd(storage);
        let now = attributes(storage)?;
        for (name, _) in now.iter().filter(|(name, _)| self.value(name).is_none()) {
            sys::remove_xattr(spot, name)?;
        }
        for (name, value) in self.attributes.iter().filter(|one| !now.contains(one)) {
            sys::set_xattr(spot, name, value, 0)?;
        }
        rustix::fs::fchmod(storage, self.mode)?;
        rustix::fs::futimens(storage, &self.times)
    }

    fn value(&self, name: &[u8]) -> Option<&[u8]> {
        self.attributes.iter().find(|(known, _)| known == name).map(|(_, value)| &**value)
    }
}

fn timespec(time: rustix::fs::StatxTimestamp) -> Timespec {
    Timespec { tv_sec: time.tv_sec, tv_nsec: time.tv_nsec.into() }
}

/// The extended attributes of a directory.
fn attributes(dir: BorrowedFd<'_>) -> std::result::Result<Attributes, Errno> {
    let spot = Spot::Fd(dir);
    let mut names = match sys::list_xattrs(spot, &mut []) {
        Ok(len) => vec![0; len],
        Err(Errno::OPNOTSUPP) => Vec::new(),
        Err(errno) => return Err(errno),
    };
    if !names.is_empty() {
        let len = sys::list_xattrs(spot, &mut names)?;
        names.truncate(len);
    }
    let mut found = Vec::new();
    for name in names.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let mut value = vec![0; sys::get_xattr(spot, name, &mut [])?];
        if !value.is_empty() {
            let len = sys::get_xattr(spot, name, &mut value)?;
            value.truncate(len);
        }
        found.push((name.to_vec(), value));
    }
    Ok(found)
}

/// Removes META and unfinished files of ours, and then the lock that closed them to
/// others.
fn remove_own(meta: MetaName, dir: BorrowedFd<'_>) -> std::result::Result<(), Errno> {
    let lock = meta.lock().as_bytes();
    let mut names = Vec::new();
    sys::each_entry(dir, |entry| {
        if entry.name == meta.as_bytes() || entry.name == lock || meta.is_leftover(entry.name) {
            names.push(entry.name.to_vec());
        }
        true
    })?;
    names.sort_by_key(|name| name == lock);
    names.iter().try_for_each(|name| rustix::fs::unlinkat(dir, &**name, AtFlags::empty()))
}
