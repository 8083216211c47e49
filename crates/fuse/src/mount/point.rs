//! Knowing one's own mount again, and unmounting it and nothing else.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, StatxFlags};
use rustix::io::Errno;
use rustix::mount::UnmountFlags;

use super::table::Table;
use super::{Namespace, unmount_at, unmount_error};
use crate::device::Device;
use crate::error::MountError;

/// `STATX_MNT_ID_UNIQUE` (6.8): a number of a mount that is never given away again.
const MNT_ID_UNIQUE: StatxFlags = StatxFlags::from_bits_retain(0x4000);

/// What is mounted, and where it was.
///
/// The path says little: a directory above may have another name by now, the mount
/// may have been moved, and another one may be there. While the connection lives its
/// device number is nobody else's. Afterwards the kernel gives that away at once, so
/// the unique number of the mount counts, and where there is none, nothing is
/// unmounted.
#[derive(Debug)]
pub(crate) struct MountPoint {
    pub(super) path: PathBuf,
    /// Device number of the file system.
    number: Option<(u32, u32)>,
    /// Number of the mount, where the kernel has such.
    unique: Option<u64>,
    device: Arc<Device>,
    proc: Option<Arc<OwnedFd>>,
    /// Where it was mounted, if the process is not there any more.
    pub(super) left: OnceLock<Namespace>,
    /// It goes with its namespace, and nobody else unmounts it.
    pub(super) is_let_go: AtomicBool,
    /// This process never was where it is.
    is_elsewhere: bool,
}

impl MountPoint {
    /// Of what was just mounted on `path`.
    pub(super) fn new(path: &Path, device: Arc<Device>, proc: Option<Arc<OwnedFd>>) -> MountPoint {
        let table = Table::read(proc.as_deref().map(AsFd::as_fd));
        let number = table.and_then(|table| table.topmost(path));
        let (path, unique) = (path.to_owned(), unique_at(path));
        MountPoint {
            path,
            number,
            unique,
            device,
            proc,
            left: OnceLock::new(),
            is_let_go: false.into(),
            is_elsewhere: false,
        }
    }

    /// Of what is mounted where this process is not, as the root of others.
    pub(super) fn elsewhere(device: Arc<Device>, number: Option<(u32, u32)>) -> MountPoint {
        MountPoint {
            path: PathBuf::from("/"),
            number,
            unique: None,
            device,
            proc: None,
            left: OnceLock::new(),
            is_let_go: true.into(),
            is_elsewhere: true,
        }
    }

    pub(super) fn number(&self) -> Option<(u32, u32)> {
        self.number
    }

    /// Unmounts, wherever it is in the namespace in which it was mounted; with `lazy`
    /// although it is in use.
    pub(crate) fn unmount(&self, lazy: bool) -> Result<(), MountError> {
        if self.is_elsewhere {
            return Err(MountError::Root);
        }
        self.there(|| {
            let points = self.points();
            if points.is_empty() {
                return Err(MountError::NotMounted(self.path.clone()));
            }
            if points.iter().any(|point| point == Path::new("/")) {
                return Err(MountError::Root);
            }
            points.iter().try_for_each(|point| unmount_at(point, lazy))
        })
    }

    /// Runs something with a path that leads to the mount, on a thread for which it
    /// does. Somebody else has to serve the mount meanwhile.
    pub(crate) fn visit<T: Send>(
        &self,
        work: impl FnOnce(&Path) -> T + Send,
    ) -> Result<T, MountError> {
        self.there(|| match self.points().first() {
            Some(point) => Ok(work(point)),
            None => Err(MountError::NotMounted(self.path.clone())),
        })
    }

    /// Breaks the connection, and unmounts what is left. Needs root, and for the
    /// first either fusectl or the second.
    pub(crate) fn abort(&self) -> Result<(), MountError> {
        let cut = self.cut();
        let unmounted = self.there(|| {
            let flags = UnmountFlags::FORCE | UnmountFlags::DETACH | UnmountFlags::NOFOLLOW;
            let points = self.points();
            let mut points = points.iter().filter(|point| *point != Path::new("/"));
            points.try_for_each(|point| {
                rustix::mount::unmount(point, flags).map_err(|errno| unmount_error(point, errno))
            })
        });
        unmounted.or(cut)
    }

    /// Breaks the connection, as this user may where fusectl is mounted.
    fn cut(&self) -> Result<(), MountError> {
        let failed = |errno| MountError::Failed { path: self.path.clone(), errno };
        let (_, connection) = self.number.ok_or_else(|| failed(Errno::NODEV))?;
        let file = format!("/sys/fs/fuse/connections/{connection}/abort");
        std::fs::write(file, "1")
            .map_err(|error| failed(Errno::from_io_error(&error).unwrap_or(Errno::IO)))
    }

    /// Runs something in the namespace in which it was mounted.
    fn there<T: Send>(
        &self,
        work: impl FnOnce() -> Result<T, MountError> + Send,
    ) -> Result<T, MountError> {
        let Some(namespace) = self.left.get() else { return work() };
        match namespace.run(work) {
            Ok(done) => done,
            Err(Errno::SRCH) => Err(MountError::NotMounted(self.path.clone())),
            Err(errno) => Err(MountError::Failed { path: self.path.clone(), errno }),
        }
    }

    /// Where our file system is the topmost mount.
    fn points(&self) -> Vec<PathBuf> {
        if self.is_elsewhere {
            return Vec::new();
        }
        let connected = self.device.is_connected();
        let is_ours = |point: &PathBuf| match self.unique {
            Some(unique) => unique_at(point) == Some(unique),
            None => connected,
        };
        let proc: Option<BorrowedFd<'_>> = self.proc.as_deref().map(AsFd::as_fd);
        match (self.number, Table::read(proc)) {
            (Some(number), Some(table)) => {
                let points = table.points_of(number);
                points.into_iter().filter(|point| connected || is_ours(point)).collect()
            }
            _ => Some(self.path.clone()).filter(is_ours).into_iter().collect(),
        }
    }
}

/// The number of the topmost mount there. The file system is not asked anything: it
/// may be ours, and not served.
fn unique_at(point: &Path) -> Option<u64> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(CWD, point, flags, Mode::empty()).ok()?;
    let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC | AtFlags::NO_AUTOMOUNT;
    let stat = rustix::fs::statx(fd, "", flags, MNT_ID_UNIQUE).ok()?;
    (stat.stx_mask & MNT_ID_UNIQUE.bits() != 0).then_some(stat.stx_mnt_id)
}
