//! Base and storage, opened, and the lock on the storage.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{Access, AtFlags, FlockOperation, IFlags, Mode, OFlags};
use rustix::io::Errno;

use super::{Result, io, nesting, storage};
use crate::error::{OpenError, Warning};
use crate::options::OpenOptions;
use crate::own::OwnAttributes;
use crate::sys::{self, Spot};

/// Base and storage. Nothing of what is in them was looked at.
pub(crate) struct Found {
    /// See [`super::Layers`].
    pub base: OwnedFd,
    pub base_mount: Option<OwnedFd>,
    /// The storage; holds the lock.
    pub storage: OwnedFd,
    /// The storage, by a private clone of its mount where the process may make one.
    pub reached: OwnedFd,
    pub own: OwnAttributes,
    pub hidden: Option<(u64, u64)>,
    pub paths: Paths,
}

impl Found {
    /// Opens both, and locks the storage.
    pub fn open(options: &OpenOptions, warnings: &mut Vec<Warning>) -> Result<Found> {
        let base_mount = open_base(&options.base)?;
        let storage = open_storage(&options.storage)?;
        let paths = Paths::of(options)?;
        let (base_path, storage_path) = (&*paths.base, &*paths.storage);
        let hidden =
            nesting::check((base_path, &base_mount), (storage_path, &storage), options.submounts)?;
        let sealed = sys::seal_tree(base_mount.as_fd(), options.submounts);
        nesting::check_mountpoint(options, base_path, storage_path, sealed.is_ok())?;
        if !options.read_only {
            check_writable(&options.storage, &storage)?;
        }
        storage::check(&options.storage, &storage)?;
        lock(options, &storage, warnings)?;
        let (base, base_mount) = match sealed {
            Ok(sealed) => (sealed, Some(base_mount)),
            Err(_) => (base_mount, None),
        };
        let own = OwnAttributes::of_process(&storage);
        let reached = with_access_times(&storage, options)?;
        Ok(Found { base, base_mount, storage, reached, own, hidden, paths })
    }
}

/// Full paths of base and storage.
#[derive(Clone)]
pub(crate) struct Paths {
    pub base: PathBuf,
    pub storage: PathBuf,
}

impl Paths {
    pub fn of(options: &OpenOptions) -> Result<Paths> {
        let errno = |error| Errno::from_io_error(&error).unwrap_or(Errno::IO);
        let (base, storage) = (&options.base, &options.storage);
        Ok(Paths {
            base: base.canonicalize().map_err(|error| unreadable(base, errno(error)))?,
            storage: storage.canonicalize().map_err(|error| unreachable(storage, errno(error)))?,
        })
    }
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

fn unreadable(path: &Path, errno: Errno) -> OpenError {
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

/// Locks the storage (docs/FORMAT.md, section 7).
pub(super) fn lock(
    options: &OpenOptions,
    storage: &OwnedFd,
    warnings: &mut Vec<Warning>,
) -> Result<()> {
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
    if let Ok(vfs) = rustix::fs::fstatvfs(storage)
        && !options.read_only
        && (vfs.f_bavail == 0 && vfs.f_blocks > 0 || vfs.f_ffree == 0 && vfs.f_files > 0)
    {
        warnings.push(Warning::StorageFull { path });
    }
    Ok(())
}

/// The storage, by a private clone of its mount where the process may make one.
fn with_access_times(storage: &OwnedFd, options: &OpenOptions) -> Result<OwnedFd> {
    sys::clone_with_access_times(storage.as_fd(), options.access_times)
        .or_else(|_| rustix::io::fcntl_dupfd_cloexec(storage, 0))
        .map_err(|errno| io(&options.storage, "cannot be opened again", errno))
}
