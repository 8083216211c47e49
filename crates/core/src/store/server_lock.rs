//! The lock that other clients of a file server see.
//!
//! On NFS the lock on a directory stays with the client (flock(2)): two machines could
//! write into one storage. So a mount for writing locks a file there besides, which its
//! client asks the server for (docs/FORMAT.md, section 8).

use std::path::Path;

use rustix::fd::OwnedFd;
use rustix::fs::{FileType, FlockOperation, Mode, OFlags, Timespec, Timestamps};
use rustix::io::Errno;

use crate::format::name::MetaName;
use crate::interface::error::{OpenError, Warning};
use crate::sys::magic::NFS;
use crate::sys::trust;

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
    Held { file: OwnedFd, alone: bool },
}

/// The storage that is to be locked.
pub(crate) struct Locked<'a> {
    path: &'a Path,
    root: &'a OwnedFd,
    meta: MetaName,
    shared: bool,
}

/// Why a lock that was shared is not held alone.
#[derive(Debug)]
pub(crate) enum TakeAlone {
    /// Another machine may have written meanwhile.
    Lost,
    /// Nobody has; the lock is what it was.
    Failed(OpenError),
}

impl ServerLock {
    /// The storage with this path and this META.
    pub fn of<'a>((path, root): (&'a Path, &'a OwnedFd), meta: MetaName) -> Locked<'a> {
        let shared = rustix::fs::fstatfs(root).map(|stat| stat.f_type) == Ok(NFS);
        Locked { path, root, meta, shared }
    }

    /// Takes it where there is one; nothing is written.
    ///
    /// # Errors
    /// Another client has the storage.
    pub fn take(
        storage: &Locked<'_>,
        read_only: bool,
        warnings: &mut Vec<Warning>,
    ) -> Result<ServerLock> {
        if !storage.shared {
            return Ok(ServerLock::Needless);
        }
        let access = if read_only { OFlags::RDONLY } else { OFlags::RDWR };
        match storage.open(access)? {
            Some(file) => storage.lock(file, !read_only, warnings),
            None => Ok(ServerLock::Absent),
        }
    }

    /// Makes it, for a mount for writing that nobody has to be asked about any more.
    ///
    /// # Errors
    /// As [`take`](Self::take): also where another client has had the storage since.
    /// Nothing was made then.
    pub fn make(&mut self, storage: &Locked<'_>, warnings: &mut Vec<Warning>) -> Result<()> {
        if !matches!(self, ServerLock::Absent) {
            return Ok(());
        }
        let file = match storage.make() {
            Ok(file) => file,
            Err(Errno::EXIST) => return Err(storage.in_use()),
            // As META that cannot be written where a full storage is to be emptied.
            Err(Errno::NOSPC | Errno::DQUOT) => {
                warnings.push(Warning::NoLock { path: storage.path.to_path_buf() });
                return Ok(());
            }
            Err(errno) => return Err(storage.failed("its lock cannot be made", errno)),
        };
        *self = storage.lock(file, true, warnings)?;
        Ok(())
    }

    /// From a lock that others may share to one that nobody else has.
    ///
    /// # Errors
    /// [`TakeAlone`].
    pub fn take_alone(&mut self, storage: &Locked<'_>) -> std::result::Result<(), TakeAlone> {
        let held = match self {
            ServerLock::Needless | ServerLock::Held { alone: true, .. } => return Ok(()),
            // Only who writes makes it.
            ServerLock::Absent => {
                let made = storage.open(OFlags::RDONLY).map_err(TakeAlone::Failed)?;
                return made.map_or(Ok(()), |_| Err(TakeAlone::Lost));
            }
            ServerLock::Held { file, alone: false } => file,
        };
        let file = storage.open(OFlags::RDWR).map_err(TakeAlone::Failed)?;
        let same = |one: &OwnedFd| crate::sys::stat_fd(one).map(|stat| stat.stx_ino).ok();
        let file = file.filter(|file| same(file) == same(held)).ok_or(TakeAlone::Lost)?;
        // One's own shared lock, which has another owner, would be in the way.
        *self = ServerLock::Absent;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => {}
            Ok(()) | Err(_) => {
                *self = ServerLock::Held { file, alone: true };
                return Ok(());
            }
        }
        // Who reads beside this mount has written nothing.
        rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared)
            .map_err(|_| TakeAlone::Lost)?;
        *self = ServerLock::Held { file, alone: false };
        Err(TakeAlone::Failed(storage.in_use()))
    }
}

impl Locked<'_> {
    /// The same, but that others reach it if `also`.
    pub fn shared_if(self, also: bool) -> Self {
        Locked { shared: self.shared || also, ..self }
    }

    /// The file that is locked. Only what a mount of this user can have made is one.
    fn open(&self, access: OFlags) -> Result<Option<OwnedFd>> {
        // Not one that waits for somebody at the other end.
        let flags = access | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let failed = |errno| self.failed("its lock cannot be opened", errno);
        let file = match rustix::fs::openat(self.root, self.meta.lock(), flags, Mode::empty()) {
            Ok(file) => file,
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(failed(errno)),
        };
        let stat = crate::sys::stat_fd(&file).map_err(failed)?;
        if FileType::from_raw_mode(stat.stx_mode.into()) != FileType::RegularFile {
            return Err(self.failed("what should be its lock is no regular file", Errno::INVAL));
        }
        let path = self.path.join(self.meta.lock());
        trust::check(&stat, true).map_err(|foreign| OpenError::Foreign { path, foreign })?;
        Ok(Some(file))
    }

    /// The root's times stay what they are: programs see them.
    fn make(&self) -> rustix::io::Result<OwnedFd> {
        let before = crate::sys::stat_fd(self.root)?.stx_mtime;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
        let mode = Mode::RUSR | Mode::WUSR;
        let file = rustix::fs::openat(self.root, self.meta.lock(), flags | OFlags::CLOEXEC, mode)?;
        let omit = Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_OMIT };
        let last_modification = Timespec { tv_sec: before.tv_sec, tv_nsec: before.tv_nsec.into() };
        let times = Timestamps { last_access: omit, last_modification };
        if let Err(errno) = rustix::fs::futimens(self.root, &times) {
            tracing::warn!("{}: its time cannot be set back: {errno}", self.path.display());
        }
        Ok(file)
    }

    fn lock(&self, file: OwnedFd, alone: bool, warnings: &mut Vec<Warning>) -> Result<ServerLock> {
        let operation = match alone {
            true => FlockOperation::NonBlockingLockExclusive,
            false => FlockOperation::NonBlockingLockShared,
        };
        match rustix::fs::flock(&file, operation) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Err(self.in_use()),
            Err(_) => warnings.push(Warning::NoLock { path: self.path.to_path_buf() }),
        }
        Ok(ServerLock::Held { file, alone })
    }

    fn failed(&self, what: &'static str, errno: Errno) -> OpenError {
        OpenError::Io { path: self.path.to_path_buf(), what, errno }
    }

    fn in_use(&self) -> OpenError {
        let by = Some("a mount on another machine".to_owned());
        OpenError::StorageInUse { path: self.path.to_path_buf(), by }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::mounted::patiently;

    struct Server(tempfile::TempDir, OwnedFd);

    impl Server {
        fn new() -> Server {
            let dir = tempfile::TempDir::new().unwrap();
            let root = OwnedFd::from(std::fs::File::open(dir.path()).unwrap());
            Server(dir, root)
        }

        /// As one of its machines sees the storage; how they ask a real server is tried
        /// where there is one (`scripts/boot.sh nfs_kinds`).
        fn storage(&self) -> Locked<'_> {
            ServerLock::of((self.0.path(), &self.1), MetaName::DEFAULT).shared_if(true)
        }

        fn path(&self) -> std::path::PathBuf {
            self.0.path().join(MetaName::DEFAULT.lock())
        }

        fn take(&self, read_only: bool) -> Result<ServerLock> {
            ServerLock::take(&self.storage(), read_only, &mut Vec::new())
        }

        /// What another test's child holds a copy of is free soon.
        fn taken(&self, read_only: bool) -> ServerLock {
            patiently(|| self.take(read_only)).unwrap()
        }

        fn taken_alone(&self, lock: &mut ServerLock) {
            let take = || match lock.take_alone(&self.storage()) {
                Err(TakeAlone::Failed(error)) => Err(error),
                other => {
                    other.unwrap();
                    Ok(())
                }
            };
            patiently(take).unwrap();
        }

        fn made(&self) -> ServerLock {
            let mut made = self.take(false).unwrap();
            assert!(matches!(made, ServerLock::Absent));
            made.make(&self.storage(), &mut Vec::new()).unwrap();
            made
        }
    }

    fn is_in_use<T>(result: Result<T>) -> bool {
        matches!(result, Err(OpenError::StorageInUse { .. }))
    }

    #[test]
    fn one_has_it_and_others_are_told() {
        let server = Server::new();
        let local = ServerLock::of((server.0.path(), &server.1), MetaName::DEFAULT);
        let needless = ServerLock::take(&local, false, &mut Vec::new());
        assert!(matches!(needless, Ok(ServerLock::Needless)));
        let mut second = server.take(false).unwrap();
        let first = server.made();
        // Who has not seen the file before has not seen what was written either.
        assert!(is_in_use(second.make(&server.storage(), &mut Vec::new())));
        assert!(is_in_use(server.take(false)) && is_in_use(server.take(true)));
        drop(first);
        let readers = (server.taken(true), server.taken(true));
        assert!(is_in_use(server.take(false)));
        drop(readers);
        server.taken(false);
    }

    #[test]
    fn making_it_moves_no_time() {
        let server = Server::new();
        let long_ago = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1000);
        let root = std::fs::File::open(server.0.path()).unwrap();
        root.set_modified(long_ago).unwrap();
        server.made();
        assert_eq!(root.metadata().unwrap().modified().unwrap(), long_ago);
    }

    #[test]
    fn one_reader_becomes_the_writer_and_two_do_not() {
        let server = Server::new();
        drop(server.made());
        let (mut first, second) = (server.taken(true), server.taken(true));
        let refused = first.take_alone(&server.storage());
        assert!(matches!(refused, Err(TakeAlone::Failed(OpenError::StorageInUse { .. }))));
        // It still keeps writers out.
        drop(second);
        assert!(is_in_use(server.take(false)));
        server.taken_alone(&mut first);
        assert!(is_in_use(server.take(true)));
        server.taken_alone(&mut first);
    }

    #[test]
    fn a_lock_that_was_made_meanwhile_is_lost() {
        let server = Server::new();
        let mut reader = server.take(true).unwrap();
        reader.take_alone(&server.storage()).unwrap();
        drop(server.made());
        assert!(matches!(reader.take_alone(&server.storage()), Err(TakeAlone::Lost)));
        let mut reader = server.take(true).unwrap();
        std::fs::remove_file(server.path()).unwrap();
        drop(server.made());
        assert!(matches!(reader.take_alone(&server.storage()), Err(TakeAlone::Lost)));
    }

    #[test]
    fn only_a_file_that_a_mount_made_is_one() {
        let server = Server::new();
        let made = server.path();
        std::os::unix::net::UnixListener::bind(&made).unwrap();
        assert!(matches!(server.take(false), Err(OpenError::Io { .. })));
        std::fs::remove_file(&made).unwrap();
        rustix::fs::mknodat(&server.1, MetaName::DEFAULT.lock(), FileType::Fifo, Mode::RWXU, 0)
            .unwrap();
        assert!(matches!(server.take(false), Err(OpenError::Io { .. })));
        std::fs::remove_file(&made).unwrap();
        drop(server.made());
        std::fs::hard_link(&made, server.0.path().join("other")).unwrap();
        assert!(matches!(server.take(true), Err(OpenError::Foreign { .. })));
    }
}
