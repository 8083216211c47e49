//! What has to be mounted before anything can be done, and taking it back.
#![forbid(unsafe_code)]

use std::ffi::CStr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags};

/// Mounts that go again, the last first, unless they are kept: a root that is
/// left as it is, is left as it was.
#[derive(Default)]
pub struct Undo(Vec<PathBuf>);

impl Undo {
    /// Remembers a mount.
    pub fn add(&mut self, point: impl Into<PathBuf>) {
        self.0.push(point.into());
    }

    /// They stay.
    pub fn keep(mut self) {
        self.0.clear();
    }
}

impl Drop for Undo {
    fn drop(&mut self) {
        for point in self.0.iter().rev() {
            if rustix::mount::unmount(point, UnmountFlags::empty()).is_err() {
                // What cannot be taken away hides nothing that is needed.
                let _ = rustix::mount::unmount(point, UnmountFlags::DETACH);
            }
        }
    }
}

/// Mounts a file system of the kernel's own.
pub fn mount(
    kind: &str,
    point: &Path,
    flags: MountFlags,
    data: Option<&CStr>,
) -> Result<(), Errno> {
    rustix::mount::mount(kind, point, kind, flags, data)
}

/// Whether something is mounted on a directory; not whether it is a bind of
/// its own file system.
pub fn is_mounted(point: &Path) -> bool {
    let (Ok(there), Ok(above)) = (point.metadata(), point.join("..").metadata()) else {
        return false;
    };
    // The root of the tree is its own parent, and always mounted.
    there.dev() != above.dev() || there.ino() == above.ino()
}

/// What this process has mounted, and what goes again in any case: whatever runs
/// next expects to mount it by itself.
#[derive(Default)]
pub struct Early {
    /// Goes where the root is left as it is.
    pub undo: Undo,
    /// Goes where all is well, too.
    pub unneeded: Vec<PathBuf>,
}

/// Mounts `/proc`, `/dev` and `/sys` where they are not. What cannot be is told
/// by what needs it.
pub fn prepare() -> Early {
    let mut early = Early::default();
    let secure = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    for (kind, flags, stays) in [
        ("proc", secure, false),
        ("sysfs", secure, false),
        // Others may expect the devices that the kernel mounts by itself in
        // other configurations.
        ("devtmpfs", MountFlags::NOSUID, true),
    ] {
        let point = Path::new(match kind {
            "proc" => "/proc",
            "sysfs" => "/sys",
            _ => "/dev",
        });
        if is_mounted(point) || mount(kind, point, flags, None).is_err() {
            continue;
        }
        early.undo.add(point);
        if !stays {
            early.unneeded.push(point.to_owned());
        }
    }
    early
}

/// A directory in memory: `/run`, which comes along into the new root. Where the
/// root has none, another directory serves until then.
///
/// # Errors
/// None can be had.
pub fn memory(undo: &mut Undo) -> Result<PathBuf, String> {
    let run = PathBuf::from("/run");
    if is_mounted(&run) {
        return Ok(run);
    }
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    for name in ["/run", "/mnt", "/tmp", "/media", "/srv", "/opt", "/home", "/var"] {
        let point = PathBuf::from(name);
        if !is_mounted(&point) && mount("tmpfs", &point, flags, Some(c"mode=0755")).is_ok() {
            undo.add(&point);
            return Ok(point);
        }
    }
    Err("cannot mount a tmpfs on /run: the root has no such directory, or the kernel no tmpfs"
        .into())
}
