//! Base, storage and mount point must not lie in each other where that cannot work.
//! Paths do not tell all of it: a bind mount shows a directory at another one.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, StatxFlags};

use super::{Result, io};
use crate::interface::error::OpenError;
use crate::interface::options::OpenOptions;
use crate::sys::{self, procfs};

/// A directory, opened: its full path and its descriptor.
pub(super) type At<'a> = (&'a Path, &'a OwnedFd);

/// Where a directory is in its file system, whatever mount shows it.
#[derive(PartialEq, Eq)]
struct Origin {
    /// The device of the file system, as /proc/self/mountinfo has it.
    device: OsString,
    /// The path from its root.
    path: PathBuf,
}

/// A storage that must not show in the base.
#[derive(Clone, Copy)]
pub(super) struct Hidden {
    /// Device and number.
    pub id: (u64, u64),
    /// It lies there; else it may be mounted there.
    pub inside: bool,
}

/// Refuses what cannot work. The result is a storage that must be hidden in the base.
/// `submounts`: what is mounted in the base is a part of it, and may be the storage.
pub(super) fn check(base: At<'_>, storage: At<'_>, submounts: bool) -> Result<Option<Hidden>> {
    let ((base, base_fd), (storage, storage_fd)) = (base, storage);
    let examine =
        |(path, fd)| sys::stat_fd(fd).map_err(|errno| io(path, "cannot be examined", errno));
    let [of_base, of_storage] =
        [sys::dev_ino(&examine((base, base_fd))?), sys::dev_ino(&examine((storage, storage_fd))?)];
    let origins = origin(base, base_fd).zip(origin(storage, storage_fd));
    let origins = origins.filter(|(base, storage)| base.device == storage.device);
    let inside = |inner: &Path, outer: &Path, inner_origin: &Path, outer_origin: &Path| {
        inner.starts_with(outer) || inner_origin.starts_with(outer_origin)
    };
    let (base_origin, storage_origin) = match &origins {
        Some((base, storage)) => (&*base.path, &*storage.path),
        None => (base, storage),
    };
    // Where it is known, the path says more than the number: in snapshots of some
    // file systems (bcachefs) objects have the numbers of what they were made of.
    if base_origin == storage_origin || origins.is_none() && of_base == of_storage {
        return Err(OpenError::SameDirectory { path: base.to_path_buf() });
    }
    if inside(base, storage, base_origin, storage_origin) {
        let (base, storage) = (base.to_path_buf(), storage.to_path_buf());
        return Err(OpenError::BaseInsideStorage { base, storage });
    }
    let inside = inside(storage, base, storage_origin, base_origin);
    Ok((submounts || inside).then_some(Hidden { id: of_storage, inside }))
}

/// Refuses a mount point that would hide the storage or show itself. `sealed`: what
/// is mounted on the base is not seen.
pub(super) fn check_mountpoint(
    options: &OpenOptions,
    base: &Path,
    storage: &Path,
    sealed: bool,
) -> Result<()> {
    let Some(mountpoint) = &options.mountpoint else {
        return Ok(());
    };
    // One that is missing is the mount's to report.
    let Ok(mountpoint) = mountpoint.canonicalize() else {
        return Ok(());
    };
    if mountpoint.starts_with(storage) {
        let storage = storage.to_path_buf();
        return Err(OpenError::MountpointInsideStorage { mountpoint, storage });
    }
    check_seen(options, base, sealed)
}

/// Refuses a mount point that would show itself.
pub(super) fn check_seen(options: &OpenOptions, base: &Path, sealed: bool) -> Result<()> {
    let Some(Ok(mountpoint)) = options.mountpoint.as_ref().map(|path| path.canonicalize()) else {
        return Ok(());
    };
    // Mounted over the base itself, or over a directory above it, it is not
    // seen from inside; a private clone never sees it.
    if mountpoint != base && mountpoint.starts_with(base) && !sealed {
        let base = base.to_path_buf();
        return Err(OpenError::MountpointInsideBase { mountpoint, base });
    }
    Ok(())
}

/// `None`: it cannot be told (no /proc, a kernel before 5.8).
fn origin(path: &Path, fd: &OwnedFd) -> Option<Origin> {
    let stat = rustix::fs::statx(fd, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID).ok()?;
    if stat.stx_mask & StatxFlags::MNT_ID.bits() == 0 {
        return None;
    }
    let mounts = std::fs::read("/proc/thread-self/mountinfo").ok()?;
    let id = stat.stx_mnt_id.to_string();
    mounts.split(|byte| *byte == b'\n').find_map(|line| in_mount(line, id.as_bytes(), path))
}

/// By a line of mountinfo (proc_pid_mountinfo(5)), if it is of this mount.
fn in_mount(line: &[u8], id: &[u8], path: &Path) -> Option<Origin> {
    let mut fields = line.split(|byte| *byte == b' ');
    if fields.next()? != id {
        return None;
    }
    let device = OsStr::from_bytes(fields.nth(1)?).to_os_string();
    let mut next = || Some(PathBuf::from(procfs::unescape(fields.next()?)));
    let (root, point) = (next()?, next()?);
    Some(Origin { device, path: root.join(path.strip_prefix(point).ok()?) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_from_the_root_of_its_file_system() {
        let line = b"36 35 98:0 /data\\040x /mnt/a\\134b rw,noatime - ext4 /dev/sda rw";
        let path = Path::new("/mnt/a\\b/c");
        let origin = in_mount(line, b"36", path).unwrap();
        assert_eq!(origin.device, "98:0");
        assert_eq!(origin.path, Path::new("/data x/c"));
        assert!(in_mount(line, b"3", path).is_none());
        assert!(in_mount(b"36 35 98:0 /", b"36", path).is_none());
        assert_eq!(
            in_mount(line, b"36", Path::new("/mnt/a\\b")).unwrap().path,
            Path::new("/data x")
        );
    }
}
