//! Where tests take place: base, storage and mount point on file systems of
//! their own, in a mount namespace of their own, gone at the end.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_change, unmount,
};

use crate::mount::{self as program, Layers};
use crate::scenario;
use crate::snapshot::Tree;

/// Gives this process a mount namespace of its own: what it mounts ends with
/// it, however it ends. To be called while it has one thread.
///
/// # Errors
/// EPERM without root.
pub fn own_namespace() -> io::Result<()> {
    // SAFETY: takes flags only; it concerns the mount namespace alone.
    if unsafe { libc::unshare(libc::CLONE_NEWNS) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let flags = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change("/", flags)?;
    // To end connections that hang. Mounted already is as good.
    let _ = mount("none", program::CONNECTIONS, "fusectl", MountFlags::empty(), None);
    Ok(())
}

/// A base that is filled, a storage and a mount point.
pub struct Place {
    root: PathBuf,
    pub layers: Layers,
    /// What the base was.
    before: Tree,
    /// The storage is a directory of a file system of somebody else's.
    on_disk: bool,
}

impl Place {
    /// Makes one in the temporary directory, with the storage on tmpfs, or
    /// both in `on`.
    ///
    /// # Errors
    /// Those of making and mounting.
    pub fn new(on: Option<&Path>) -> io::Result<Place> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let parent = on.map_or_else(std::env::temp_dir, Path::to_path_buf);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("mini_fo-torture-{}-{number}", std::process::id());
        let root = fs::canonicalize(parent)?.join(name);
        let layers = Layers {
            base: root.join("base"),
            storage: root.join("storage"),
            mnt: root.join("mnt"),
        };
        fs::create_dir(&root)?;
        // From here on it is cleared away upon failure.
        let mut place = Place { root, layers, before: Tree::default(), on_disk: on.is_some() };
        for dir in [&place.layers.base, &place.layers.storage, &place.layers.mnt] {
            fs::create_dir(dir)?;
        }
        fs::create_dir(place.plain())?;
        for dir in [&place.layers.base, &place.plain()] {
            tmpfs(dir)?;
        }
        if !place.on_disk {
            tmpfs(&place.layers.storage)?;
        }
        scenario::fill(&place.layers.base)?;
        place.before = Tree::of(&place.layers.base);
        Ok(place)
    }

    /// An ordinary directory for the model.
    pub fn plain(&self) -> PathBuf {
        self.root.join("plain")
    }

    /// Empties the storage; a poor one has no extended attributes.
    ///
    /// # Errors
    /// It is in use.
    pub fn reset(&self, poor: bool) -> io::Result<()> {
        let storage = &self.layers.storage;
        if self.on_disk {
            fs::remove_dir_all(storage)?;
            return fs::create_dir(storage);
        }
        unmount(storage, UnmountFlags::empty())?;
        if poor {
            return Ok(mount("mini_fo_torture", storage, "ramfs", MountFlags::empty(), None)?);
        }
        tmpfs(storage)
    }

    /// What happened to the base; None if nothing, as it must be.
    pub fn base_changes(&self) -> Option<String> {
        let now = Tree::of(&self.layers.base);
        let same = now.is_untouched_since(&self.before);
        (!same).then(|| {
            let found = now.differences(&self.before, crate::snapshot::Times::Exact);
            format!("THE BASE WAS CHANGED: {}", found.join("; "))
        })
    }

    /// Copies base and storage to `target`.
    ///
    /// # Errors
    /// Those of cp(1).
    pub fn keep(&self, target: &Path) -> io::Result<()> {
        fs::create_dir_all(target)?;
        let mut copy = std::process::Command::new("cp");
        let status =
            copy.arg("-a").args([&self.layers.base, &self.layers.storage]).arg(target).status()?;
        if status.success() { Ok(()) } else { Err(io::Error::other(status.to_string())) }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let (layers, plain) = (&self.layers, self.plain());
        // Not mounted is as good.
        for point in [&layers.mnt, &layers.storage, &layers.base, &plain] {
            let _ = unmount(point, UnmountFlags::DETACH);
        }
        if let Err(error) = fs::remove_dir_all(&self.root) {
            eprintln!("cannot remove {}: {error}", self.root.display());
        }
    }
}

fn tmpfs(at: &Path) -> io::Result<()> {
    Ok(mount("mini_fo_torture", at, "tmpfs", MountFlags::empty(), Some(c"size=64m,mode=755"))?)
}
