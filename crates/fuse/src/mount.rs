//! Mounting and unmounting: by mount(2) as root or inside a user namespace,
//! by the setuid helper `fusermount3` for ordinary users.

mod fusermount;
mod namespace;
mod point;
mod table;

use std::ffi::{CString, OsStr, OsString};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rustix::io::Errno;
pub use rustix::mount::MountFlags;
use rustix::mount::UnmountFlags;

use crate::device::Device;
use crate::error::MountError;
pub use namespace::Namespace;
pub(crate) use point::MountPoint;

/// How to mount.
#[derive(Clone, Debug)]
pub struct MountOptions {
    /// Shown as the source of the mount (`df`, `/proc/mounts`).
    pub source: OsString,
    /// The type is shown as `fuse.` and this; without, as `fuse`.
    pub subtype: Option<String>,
    /// Generic flags. By mount(2) they are taken as they are, so root's mount
    /// has devices and setuid programs unless told otherwise; `fusermount3`
    /// always adds nodev and nosuid and leaves the rest out where it cannot.
    pub flags: MountFlags,
    /// Lets users in who do not own the mount.
    pub allow_other: bool,
    /// The kernel checks permissions by owner, mode and ACL.
    pub default_permissions: bool,
    /// The label of all objects, where the kernel has labels (SELinux). Not by
    /// `fusermount3`.
    pub context: Option<OsString>,
    /// Upper bound of READ in bytes.
    pub max_read: Option<u32>,
    /// Falls back to `fusermount3` where mount(2) is not permitted.
    pub helper: bool,
    /// A descriptor of `/proc`, for a process whose root may move into the mount.
    pub proc: Option<Arc<OwnedFd>>,
}

impl Default for MountOptions {
    fn default() -> MountOptions {
        MountOptions {
            source: OsString::from("fuse"),
            subtype: None,
            flags: MountFlags::empty(),
            allow_other: false,
            default_permissions: true,
            context: None,
            max_read: None,
            helper: true,
            proc: None,
        }
    }
}

/// A mounted, not yet served file system. Dropping it unmounts.
#[derive(Debug)]
pub struct Mount {
    device: Arc<Device>,
    point: Arc<MountPoint>,
}

impl Mount {
    /// Mounts on a directory.
    ///
    /// The file system answers nothing before [`Session::new`] is through:
    /// whoever touches the mount point until then waits, so the calling
    /// process must not.
    ///
    /// [`Session::new`]: crate::Session::new
    pub fn new(point: &Path, options: &MountOptions) -> Result<Mount, MountError> {
        let point = resolve(point)?;
        match direct(&point, options) {
            Err(MountError::NotPermitted(_) | MountError::DeviceDenied) if options.helper => {
                let device = fusermount::mount(&point, options)?;
                Ok(Mount::known(device, &point, options.proc.clone()))
            }
            done => done,
        }
    }

    /// Takes over a device that somebody else has mounted on `point`, an
    /// absolute path without symbolic links.
    pub fn adopt(device: Device, point: &Path) -> Mount {
        Mount::known(device, point, None)
    }

    /// Takes over a device that [`Mount::hand_over`] has given away, in a process that is not
    /// where it was mounted. `number`: what [`Mount::device_number`] was there. It goes with
    /// the mount namespace in which it is: from here nobody unmounts it.
    pub fn handed_over(device: OwnedFd, number: Option<(u32, u32)>) -> Mount {
        let device = Arc::new(Device::from_fd(device));
        let point = Arc::new(MountPoint::elsewhere(Arc::clone(&device), number));
        Mount { device, point }
    }

    /// Gives the device to somebody else, who serves it: dropped, this does not unmount any
    /// more.
    ///
    /// # Errors
    /// As dup(2).
    pub fn hand_over(self) -> std::io::Result<OwnedFd> {
        let device = self.device.as_fd().try_clone_to_owned()?;
        self.let_go();
        Ok(device)
    }

    fn known(device: Device, point: &Path, proc: Option<Arc<OwnedFd>>) -> Mount {
        let device = Arc::new(device);
        let point = Arc::new(MountPoint::new(point, Arc::clone(&device), proc));
        Mount { device, point }
    }

    /// The process has left the mount namespace in which it has mounted, or the
    /// root: unmounting is done there from now on.
    pub fn has_left(&self, namespace: Namespace) {
        // There is one namespace in which it was mounted.
        let _ = self.point.left.set(namespace);
    }

    /// It goes with the mount namespace in which it is: at the end nobody unmounts it.
    pub fn let_go(&self) {
        self.point.is_let_go.store(true, Ordering::Relaxed);
    }

    /// The mount point, absolute and without symbolic links.
    pub fn point(&self) -> &Path {
        &self.point.path
    }

    /// Major and minor device number that `stat` shows as `st_dev` of files
    /// on this mount; the minor number also names the connection in
    /// `/sys/fs/fuse/connections`.
    pub fn device_number(&self) -> Option<(u32, u32)> {
        self.point.number()
    }

    /// Sets how far the kernel reads ahead, in KiB (128 at first). Needs
    /// write permission in `/sys`.
    pub fn set_read_ahead(&self, kib: u32) -> std::io::Result<()> {
        let Some((major, minor)) = self.point.number() else {
            return Err(Errno::NODEV.into());
        };
        let path = format!("/sys/class/bdi/{major}:{minor}/read_ahead_kb");
        std::fs::write(path, kib.to_string())
    }

    pub(crate) fn device(&self) -> &Arc<Device> {
        &self.device
    }

    pub(crate) fn point_arc(&self) -> &Arc<MountPoint> {
        &self.point
    }

    /// Unmounts if it is still mounted.
    pub(crate) fn undo(&self) {
        if self.point.is_let_go.load(Ordering::Relaxed) {
            return;
        }
        match self.point.unmount(true) {
            Ok(()) | Err(MountError::NotMounted(_) | MountError::Root) => {}
            Err(error) => tracing::warn!(%error, "cannot unmount"),
        }
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        self.undo();
    }
}

/// Unmounts what is mounted on `point`, without touching it (its server may be
/// dead); with `lazy` although it is in use.
pub fn unmount(point: &Path, lazy: bool) -> Result<(), MountError> {
    unmount_at(&resolve_parent(point)?, lazy)
}

/// As [`unmount`], with the path as the table of mounts has it: nothing of it is
/// resolved once more.
pub fn unmount_at(point: &Path, lazy: bool) -> Result<(), MountError> {
    let flags = if lazy { UnmountFlags::DETACH } else { UnmountFlags::empty() };
    match rustix::mount::unmount(point, flags | UnmountFlags::NOFOLLOW) {
        Ok(()) => Ok(()),
        Err(Errno::PERM) => fusermount::unmount(point, lazy),
        Err(errno) => Err(unmount_error(point, errno)),
    }
}

/// Changes the generic flags of a mount (`mount -o remount`): all of them
/// become as in `flags`.
pub fn remount(point: &Path, flags: MountFlags) -> Result<(), MountError> {
    let point = resolve_parent(point)?;
    rustix::mount::mount_remount(&point, flags, c"").map_err(|errno| match errno {
        Errno::PERM => MountError::NotPermitted(point.clone()),
        errno => unmount_error(&point, errno),
    })
}

fn unmount_error(path: &Path, errno: Errno) -> MountError {
    let path = path.to_owned();
    match errno {
        Errno::BUSY => MountError::Busy(path),
        // umount2: not a mount point.
        Errno::INVAL => MountError::NotMounted(path),
        Errno::PERM => MountError::NotPermitted(path),
        errno => MountError::Failed { path, errno },
    }
}

/// Mounts by mount(2).
fn direct(point: &Path, options: &MountOptions) -> Result<Mount, MountError> {
    let device = Device::open().map_err(|errno| match errno {
        Errno::NOENT => MountError::NoDevice,
        Errno::NODEV | Errno::NXIO => MountError::NoKernelSupport,
        Errno::ACCESS | Errno::PERM => MountError::DeviceDenied,
        errno => MountError::Device(errno),
    })?;
    let kind = match &options.subtype {
        Some(subtype) => format!("fuse.{subtype}"),
        None => "fuse".to_owned(),
    };
    let data = kernel_options(&device, options);
    let mounted =
        rustix::mount::mount(&options.source, point, kind, options.flags, data.as_c_str());
    mounted.map_err(|errno| match errno {
        Errno::PERM => MountError::NotPermitted(point.to_owned()),
        Errno::NODEV => MountError::NoKernelSupport,
        Errno::BUSY => MountError::Busy(point.to_owned()),
        errno => MountError::Failed { path: point.to_owned(), errno },
    })?;
    Ok(Mount::known(device, point, options.proc.clone()))
}

/// The data argument of mount(2).
fn kernel_options(device: &Device, options: &MountOptions) -> CString {
    let mut data = format!(
        "fd={},rootmode=40000,user_id={},group_id={}",
        device.as_fd().as_raw_fd(),
        rustix::process::getuid().as_raw(),
        rustix::process::getgid().as_raw(),
    );
    if options.allow_other {
        data.push_str(",allow_other");
    }
    if options.default_permissions {
        data.push_str(",default_permissions");
    }
    if let Some(max) = options.max_read {
        data.push_str(&format!(",max_read={max}"));
    }
    let mut data = data.into_bytes();
    if let Some(context) = &options.context {
        // A label may have commas.
        data.extend_from_slice(b",context=\"");
        data.extend(context.as_bytes().iter().filter(|byte| !matches!(byte, 0 | b'"')));
        data.push(b'"');
    }
    // There is no NUL to make this fail.
    CString::new(data).unwrap_or_default()
}

/// The mount point without symbolic links; must be a directory.
fn resolve(point: &Path) -> Result<PathBuf, MountError> {
    let failed = |error: std::io::Error| match Errno::from_io_error(&error) {
        Some(Errno::NOTCONN) => MountError::DeadMount(point.to_owned()),
        errno => MountError::Point { path: point.to_owned(), errno: errno.unwrap_or(Errno::IO) },
    };
    let path = point.canonicalize().map_err(failed)?;
    if !path.metadata().map_err(failed)?.is_dir() {
        return Err(MountError::NotADirectory(point.to_owned()));
    }
    Ok(path)
}

/// The same without looking at the last component.
fn resolve_parent(point: &Path) -> Result<PathBuf, MountError> {
    let Some(name) = point.file_name() else {
        return Ok(point.to_owned());
    };
    let parent = match point.parent() {
        Some(parent) if parent != OsStr::from_bytes(b"") => parent,
        _ => Path::new("."),
    };
    match parent.canonicalize() {
        Ok(parent) => Ok(parent.join(name)),
        Err(error) => Err(MountError::Point {
            path: point.to_owned(),
            errno: Errno::from_io_error(&error).unwrap_or(Errno::IO),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_and_wrong_mount_points_are_named() {
        let options = MountOptions::default();
        let missing = Mount::new(Path::new("/nonexistent/x"), &options).unwrap_err();
        assert!(matches!(missing, MountError::Point { errno: Errno::NOENT, .. }), "{missing}");
        let file = Mount::new(Path::new("/proc/self/status"), &options).unwrap_err();
        assert!(matches!(file, MountError::NotADirectory(_)), "{file}");
    }

    #[test]
    fn parents_are_resolved_and_names_kept() {
        let dir = tempfile::tempdir().unwrap();
        let real = dir.path().canonicalize().unwrap();
        std::os::unix::fs::symlink(&real, real.join("link")).unwrap();
        assert_eq!(resolve_parent(&real.join("link/gone")).unwrap(), real.join("gone"));
        assert_eq!(resolve_parent(&real.join("link")).unwrap(), real.join("link"));
    }
}
