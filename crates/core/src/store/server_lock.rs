//! The lock that other clients of a file server see.
//!
//! On NFS the lock on a directory stays with the client (flock(2)): two machines could
//! write into one storage. So a mount for writing locks a file there besides, which its
//! client asks the server for (docs/FORMAT.md, section 8).

use std::path::Path;

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use crate::format::name::MetaName;
use crate::interface::error::{OpenError, Warning};
use crate::sys::magic::NFS;

type Result<T> = std::result::Result<T, OpenError>;

/// The lock, for as long as this is kept.
#[derive(Debug, Default)]
pub(crate) enum ServerLock {
    /// Nobody else could ask for it.
    #[default]
    Needless,
    /// No mount has written there yet.
    Absent,
    /// Whoever has the file open has its lock, but for a server without locks.
    Held { _file: OwnedFd },
}

impl ServerLock {
    /// Takes it where there is one; nothing is written.
    ///
    /// # Errors
    /// Another client has the storage.
    pub fn take(
        (path, storage): (&Path, &OwnedFd),
        meta: MetaName,
        read_only: bool,
        warnings: &mut Vec<Warning>,
    ) -> Result<ServerLock> {
        if rustix::fs::fstatfs(storage).map(|stat| stat.f_type) != Ok(NFS) {
            return Ok(ServerLock::Needless);
        }
        let access = if read_only { OFlags::RDONLY } else { OFlags::RDWR };
        match open(storage, meta, access) {
            Ok(file) => lock(path, file, read_only, warnings),
            Err(Errno::NOENT) => Ok(ServerLock::Absent),
            Err(errno) => Err(io(path, "its lock cannot be opened", errno)),
        }
    }

    /// Makes it, for a mount for writing that nobody has to be asked about any more.
    ///
    /// # Errors
    /// As [`take`](Self::take): also where another client has had the storage since.
    pub fn make(
        &mut self,
        (path, storage): (&Path, &OwnedFd),
        meta: MetaName,
        warnings: &mut Vec<Warning>,
    ) -> Result<()> {
        if !matches!(self, ServerLock::Absent) {
            return Ok(());
        }
        let file = match open(storage, meta, OFlags::RDWR | OFlags::CREATE | OFlags::EXCL) {
            Ok(file) => file,
            Err(Errno::EXIST) => return Err(in_use(path)),
            // As META that cannot be written where a full storage is to be emptied.
            Err(Errno::NOSPC | Errno::DQUOT) => {
                warnings.push(Warning::NoLock { path: path.to_path_buf() });
                return Ok(());
            }
            Err(errno) => return Err(io(path, "its lock cannot be made", errno)),
        };
        *self = lock(path, file, false, warnings)?;
        Ok(())
    }
}

fn open(storage: &OwnedFd, meta: MetaName, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let flags = flags | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    rustix::fs::openat(storage.as_fd(), meta.lock(), flags, Mode::RUSR | Mode::WUSR)
}

fn io(path: &Path, what: &'static str, errno: Errno) -> OpenError {
    OpenError::Io { path: path.to_path_buf(), what, errno }
}

fn in_use(path: &Path) -> OpenError {
    let by = Some("a mount on another machine".to_owned());
    OpenError::StorageInUse { path: path.to_path_buf(), by }
}

fn lock(
    path: &Path,
    file: OwnedFd,
    read_only: bool,
    warnings: &mut Vec<Warning>,
) -> Result<ServerLock> {
    let operation = match read_only {
        true => FlockOperation::NonBlockingLockShared,
        false => FlockOperation::NonBlockingLockExclusive,
    };
    match rustix::fs::flock(&file, operation) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => return Err(in_use(path)),
        Err(_) => warnings.push(Warning::NoLock { path: path.to_path_buf() }),
    }
    Ok(ServerLock::Held { _file: file })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As on a file server; how its clients ask it is tried where there is one
    /// (`scripts/boot.sh nfs_kinds`).
    #[test]
    fn one_has_it_and_others_are_told() {
        let dir = tempfile::TempDir::new().unwrap();
        let (path, storage) = (dir.path(), OwnedFd::from(std::fs::File::open(dir.path()).unwrap()));
        let (meta, mut warnings) = (MetaName::DEFAULT, Vec::new());
        assert!(matches!(
            ServerLock::take((path, &storage), meta, false, &mut warnings),
            Ok(ServerLock::Needless)
        ));
        let (mut first, mut second) = (ServerLock::Absent, ServerLock::Absent);
        first.make((path, &storage), meta, &mut warnings).unwrap();
        assert!(matches!(first, ServerLock::Held { .. }));
        // Who has not seen the file before has not seen what was written either.
        let refused = second.make((path, &storage), meta, &mut warnings);
        assert!(matches!(refused, Err(OpenError::StorageInUse { .. })));
        let again = |read_only| {
            let file = open(&storage, meta, OFlags::RDWR).unwrap();
            lock(path, file, read_only, &mut Vec::new())
        };
        assert!(matches!(again(false), Err(OpenError::StorageInUse { .. })));
        assert!(matches!(again(true), Err(OpenError::StorageInUse { .. })));
        drop(first);
        let reader = again(true).unwrap();
        assert!(matches!(again(false), Err(OpenError::StorageInUse { .. })));
        drop((again(true).unwrap(), reader));
        assert!(again(false).is_ok() && warnings.is_empty());
    }
}
