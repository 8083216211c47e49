//! Whose the storage is, and closing it to everybody else.
//!
//! Who owns a directory of the tree owns its storage copy too. He must not get
//! there but through the mount: there he could replace mini_fo's own files, and
//! reach what directories above close to him (docs/FORMAT.md, section 9).

use std::path::Path;

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{Mode, StatVfsMountFlags, Statx};

use super::scan::Scanned;
use super::{Result, io};
use crate::format::meta::Record;
use crate::format::name::MetaName;
use crate::interface::error::{OpenError, Warning};
use crate::interface::options::OpenOptions;
use crate::layers::other_name;
use crate::store::meta::Session;
use crate::store::{commit_journal, itself, meta};
use crate::sys;
use crate::sys::trust;
use crate::sys::trust::Unusable;

/// What ext4 and others make in the root of a file system.
const LOST_FOUND: &[u8] = b"lost+found";

/// Whether others than its owner may enter a directory or see into it.
pub(super) fn is_open(mode: u32) -> bool {
    mode & 0o077 != 0
}

/// The permission bits of the storage's root.
pub(super) fn mode(path: &Path, storage: &OwnedFd) -> Result<u32> {
    Ok(u32::from(stat(path, storage)?.stx_mode) & 0o7777)
}

/// What tells the storage from a copy of it.
pub(super) fn itself(path: &Path, storage: &OwnedFd) -> Result<Record> {
    itself::of(storage).map_err(|errno| io(path, "cannot be examined", errno))
}

fn stat(path: &Path, storage: &OwnedFd) -> Result<Statx> {
    sys::stat_fd(storage).map_err(|errno| io(path, "cannot be examined", errno))
}

/// Refuses a storage of another user, and one into which others could have put
/// what it holds. Nothing is changed.
pub(crate) fn check(path: &Path, storage: &OwnedFd, meta: MetaName) -> Result<()> {
    check_owner(path, storage)?;
    let mode = mode(path, storage)?;
    if mode & 0o022 != 0 && !is_on_read_only(storage) && !is_empty((path, storage), meta)? {
        return Err(OpenError::StorageWritable { path: path.to_path_buf(), mode });
    }
    Ok(())
}

/// Tells of a storage that a mount for reading does not close.
pub(super) fn tell_if_open(path: &Path, storage: &OwnedFd, meta: MetaName) -> Result<()> {
    let mode = mode(path, storage)?;
    if is_open(mode) && !is_on_read_only(storage) && !is_empty((path, storage), meta)? {
        let path = path.display();
        tracing::warn!(
            "storage {path}: others can enter it (mode {mode:04o}); chmod 700 closes it"
        );
    }
    Ok(())
}

/// Refuses a storage that belongs to another user.
pub(super) fn check_owner(path: &Path, storage: &OwnedFd) -> Result<()> {
    let (owner, user) = (stat(path, storage)?.stx_uid, trust::user());
    if owner == user {
        return Ok(());
    }
    Err(OpenError::StorageForeign { path: path.to_path_buf(), owner, user })
}

/// Refuses a storage of which a commit was begun: what it shows is neither what was before
/// nor what is to be.
pub(super) fn check_commit(options: &OpenOptions, storage: &OwnedFd) -> Result<()> {
    if options.after_commit || !commit_journal::is_begun(storage.as_fd(), options.meta_name) {
        return Ok(());
    }
    Err(OpenError::CommitUnfinished { path: options.storage.clone() })
}

/// Refuses an index that others may have changed.
pub(super) fn check_index(path: &Path, storage: &OwnedFd, session: Session) -> Result<()> {
    let path = path.join(session.meta.index());
    let failed = |errno| io(&path, "cannot be opened", errno);
    let opened = sys::absent(sys::open_dir(storage.as_fd(), session.meta.index().as_bytes()));
    let Some(index) = opened.map_err(failed)? else {
        return Ok(());
    };
    trust::check(&sys::stat_fd(&index).map_err(failed)?, false)
        .map_err(|foreign| OpenError::Foreign { path: path.clone(), foreign })?;
    load_meta(&path, &index, session).map(drop)
}

/// Reads META of the storage's root or of its index, without which nothing can
/// be shown.
pub(super) fn load_meta(path: &Path, dir: &OwnedFd, session: Session) -> Result<meta::Loaded> {
    let path = path.join(session.meta.as_str());
    meta::look(dir.as_fd(), session).map_err(|unusable| match unusable {
        Unusable::Foreign(foreign) => OpenError::Foreign { path, foreign },
        Unusable::Failed(errno) => io(&path, "cannot be read", errno),
    })
}

/// Reads META of the storage's root, and refuses a storage whose META is called otherwise.
pub(super) fn load_root(path: &Path, storage: &OwnedFd, session: Session) -> Result<meta::Loaded> {
    let loaded = load_meta(path, storage, session);
    let says = |loaded: &meta::Loaded| loaded.index.origin().or(loaded.index.storage()).is_some();
    if !loaded.as_ref().is_ok_and(says) {
        let found = other_name(storage, session.meta)
            .map_err(|errno| io(path, "cannot be looked through", errno))?;
        if let Some(found) = found {
            let (path, name) = (path.to_path_buf(), session.meta.to_string());
            return Err(OpenError::OtherMetaName { path, name, found: found.to_string() });
        }
    }
    loaded
}

/// Refuses what is most likely no storage (arguments that were swapped, say),
/// unless it was asked for.
pub(super) fn check_use(options: &OpenOptions, storage: &OwnedFd, scanned: &Scanned) -> Result<()> {
    let path = &options.storage;
    if options.accept_storage
        || scanned.is_storage()
        || is_empty((path, storage), options.meta_name)?
    {
        return Ok(());
    }
    Err(OpenError::StorageUnknown { path: path.clone() })
}

/// Closes the storage to all but its owner, once everything else has passed.
/// The mount's root goes on to show what META and the base say.
pub(super) fn close(
    (path, storage): (&Path, &OwnedFd),
    meta: MetaName,
    warnings: &mut Vec<Warning>,
) -> Result<()> {
    let before = mode(path, storage)?;
    if !is_open(before) {
        return Ok(());
    }
    let unused = is_empty((path, storage), meta)?;
    // A file system without permissions refuses, or does nothing.
    let _ = rustix::fs::fchmod(storage, Mode::from_raw_mode(before & 0o7700));
    let after = mode(path, storage)?;
    let refused = if after & 0o022 != 0 {
        Some(OpenError::StorageUnclosable { path: path.to_path_buf(), mode: after })
    } else if before & 0o022 != 0 && !is_empty((path, storage), meta)? {
        // It was empty a moment ago.
        Some(OpenError::StorageWritable { path: path.to_path_buf(), mode: before })
    } else {
        None
    };
    if let Some(refused) = refused {
        let _ = rustix::fs::fchmod(storage, Mode::from_raw_mode(before));
        return Err(refused);
    }
    // Before anything lies in it: an open one that holds something is refused.
    rustix::fs::fsync(storage).map_err(|errno| io(path, "cannot be synced", errno))?;
    let text = path.display();
    if is_open(after) {
        warnings.push(Warning::StorageReadable { path: path.to_path_buf(), mode: after });
    } else if unused {
        tracing::info!("storage {text}: closed to others (mode {before:04o} before)");
    } else {
        tracing::warn!(
            "storage {text}: others could enter it (mode {before:04o}); it is closed now, but \
             programs that are in it already stay there until they end"
        );
    }
    Ok(())
}

fn is_on_read_only(storage: &OwnedFd) -> bool {
    rustix::fs::fstatvfs(storage).is_ok_and(|vfs| vfs.f_flag.contains(StatVfsMountFlags::RDONLY))
}

/// Nobody has put anything there.
pub(super) fn is_empty((path, storage): (&Path, &OwnedFd), meta: MetaName) -> Result<bool> {
    let mut empty = true;
    sys::each_entry(storage.as_fd(), |entry| {
        // The lock for other machines comes before all else, and says nothing.
        empty =
            matches!(entry.name, b"." | b".." | LOST_FOUND) || entry.name == meta.lock().as_bytes();
        empty
    })
    .map_err(|errno| io(path, "cannot be listed", errno))?;
    Ok(empty)
}
