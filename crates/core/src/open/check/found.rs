//! Layers and storage, opened, and the lock on the storage.
#![forbid(unsafe_code)]

use std::path::Path;
use std::sync::Arc;

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{Access, AtFlags, FlockOperation, IFlags, Mode, OFlags};
use rustix::io::Errno;

use super::{Result, io, layers, nesting, storage};
use crate::interface::error::{OpenError, Warning};
use crate::interface::options::OpenOptions;
use crate::layers::Stack;
use crate::state::later::Paths;
use crate::store::meta;
use crate::store::server_lock::ServerLock;
use crate::sys::own::OwnAttributes;
use crate::sys::{self, Spot};

/// Base and storage. Nothing of what is in them was looked at.
pub(crate) struct Found {
    /// The trees that are only read.
    pub stack: Arc<Stack>,
    /// The storage; holds the lock.
    pub storage: OwnedFd,
    /// The storage, by a private clone of its mount where the process may make one.
    pub reached: OwnedFd,
    pub own: OwnAttributes,
    pub paths: Paths,
    /// Its lock for other machines.
    pub server_lock: ServerLock,
}

impl Found {
    /// Opens both, and locks the storage.
    pub fn open(options: &OpenOptions, warnings: &mut Vec<Warning>) -> Result<Found> {
        let opened = layers::open(options, options.submounts)?;
        let storage = open_storage(&options.storage)?;
        let paths = full_paths(layers::first(&opened)?, &options.storage)?;
        let storage_path = &*paths.storage;
        let mut hidden = None;
        for layer in &opened {
            let base = (&*layer.path, &layer.mount);
            hidden = nesting::check(base, (storage_path, &storage), options.submounts)?.or(hidden);
            nesting::check_mountpoint(options, &layer.path, storage_path, layer.is_sealed())?;
        }
        if !options.read_only {
            check_writable(&options.storage, &storage)?;
        }
        storage::check(&options.storage, &storage, options.meta_name)?;
        let server_lock = lock(options, &storage, warnings)?;
        let recorded =
            layers::recorded_realms(&storage, meta::session(storage.as_fd(), options.meta_name));
        let known = (recorded, hidden);
        let stack = layers::stack(opened, options, options.submounts, known, warnings)?;
        let stack = Arc::new(stack);
        let own = OwnAttributes::of_process(&storage);
        let reached = with_access_times(&storage, options)?;
        Ok(Found { stack, storage, reached, own, paths, server_lock })
    }
}

/// Full paths. `first`: the uppermost of the trees that are only read.
pub(super) fn full_paths(first: &layers::Opened, storage: &Path) -> Result<Paths> {
    let errno = |error| Errno::from_io_error(&error).unwrap_or(Errno::IO);
    let full = storage.canonicalize();
    let storage = full.map_err(|error| unreachable(storage, errno(error)))?;
    Ok(Paths { base: first.path.clone(), storage })
}

fn unreachable(storage: &Path, errno: Errno) -> OpenError {
    OpenError::StorageUnreachable { path: storage.to_path_buf(), errno }
}

pub(super) fn open_base(path: &Path) -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let path_buf = path.to_path_buf();
    let fd = rustix::fs::open(path, flags, Mode::empty()).map_err(|errno| match errno {
        Errno::NOENT => OpenError::BaseMissing { path: path_buf.clone() },
        Errno::NOTDIR => OpenError::BaseNotDirectory { path: path_buf.clone() },
        errno => unreadable(&path_buf, errno),
    })?;
    sys::open_untraced(Spot::at(fd.as_fd(), b"."), OFlags::RDONLY | OFlags::DIRECTORY)
        .map_err(|errno| unreadable(path, errno))?;
    Ok(fd)
}

pub(super) fn unreadable(path: &Path, errno: Errno) -> OpenError {
    if !matches!(errno, Errno::ACCESS | Errno::PERM) {
        return OpenError::BaseUnreachable { path: path.to_path_buf(), errno };
    }
    let uid = rustix::process::geteuid().as_raw();
    OpenError::BaseUnreadable { path: path.to_path_buf(), uid, errno }
}

pub(super) fn open_storage(path: &Path) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let path = path.to_path_buf();
    rustix::fs::open(&path, flags, Mode::empty()).map_err(|errno| match errno {
        Errno::NOENT => OpenError::StorageMissing { path },
        Errno::NOTDIR => OpenError::StorageNotDirectory { path },
        Errno::ACCESS => not_writable(&path),
        errno => unreachable(&path, errno),
    })
}

fn not_writable(path: &Path) -> OpenError {
    let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
    match rustix::fs::stat(path) {
        Ok(stat) => OpenError::StorageNotWritable {
            path: path.to_path_buf(),
            uid: uid.as_raw(),
            gid: gid.as_raw(),
            owner: stat.st_uid,
            group: stat.st_gid,
            mode: stat.st_mode & 0o7777,
        },
        // Above it something is closed to this user.
        Err(errno) => unreachable(path, errno),
    }
}

fn is_immutable(dir: &OwnedFd) -> bool {
    sys::get_flags(dir).is_ok_and(|flags| flags & IFlags::IMMUTABLE.bits() != 0)
}

/// Whether the storage can be written.
pub(crate) fn check_writable(path: &Path, storage: &OwnedFd) -> Result<()> {
    let access = Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK;
    match rustix::fs::accessat(storage, ".", access, AtFlags::EACCESS) {
        Ok(()) => Ok(()),
        Err(Errno::ROFS) => Err(OpenError::StorageReadOnly { path: path.to_path_buf() }),
        // Who may all the same is not told by the permission bits.
        Err(Errno::PERM) if is_immutable(storage) => {
            Err(OpenError::StorageImmutable { path: path.to_path_buf() })
        }
        Err(Errno::ACCESS | Errno::PERM) => Err(not_writable(path)),
        Err(errno) => Err(io(path, "cannot find out whether the storage can be written", errno)),
    }
}

/// Keeps everybody from mounting a storage, as long as the result is kept: for who puts
/// it away. Nothing is written.
///
/// # Errors
/// It cannot be opened, or is mounted, also by another machine.
pub fn lock_storage(options: &OpenOptions) -> Result<impl Sized + use<>> {
    let storage = open_storage(&options.storage)?;
    let server_lock = lock(options, &storage, &mut Vec::new())?;
    Ok((storage, server_lock))
}

/// Locks the storage (docs/FORMAT.md, section 8).
pub(super) fn lock(
    options: &OpenOptions,
    storage: &OwnedFd,
    warnings: &mut Vec<Warning>,
) -> Result<ServerLock> {
    let path = options.storage.clone();
    let operation = if options.read_only {
        FlockOperation::NonBlockingLockShared
    } else {
        FlockOperation::NonBlockingLockExclusive
    };
    match rustix::fs::flock(storage, operation) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => return Err(OpenError::StorageInUse { path, by: None }),
        Err(_) => warnings.push(Warning::NoLock { path: path.clone() }),
    }
    let place = ServerLock::of((&path, storage), options.meta_name).shared_if(options.on_server);
    let server_lock = ServerLock::take(&place, options.read_only, warnings)?;
    if let Ok(vfs) = rustix::fs::fstatvfs(storage)
        && !options.read_only
        && (vfs.f_bavail == 0 && vfs.f_blocks > 0 || vfs.f_ffree == 0 && vfs.f_files > 0)
    {
        warnings.push(Warning::StorageFull { path });
    }
    Ok(server_lock)
}

/// The storage, by a private clone of its mount where the process may make one.
fn with_access_times(storage: &OwnedFd, options: &OpenOptions) -> Result<OwnedFd> {
    sys::clone_with_access_times(storage.as_fd(), options.access_times)
        .or_else(|_| rustix::io::fcntl_dupfd_cloexec(storage, 0))
        .map_err(|errno| io(&options.storage, "cannot be opened again", errno))
}
