//! A root of the daemon's own.
//!
//! A daemon that serves the root of a system finds that root, after `pivot_root(2)` or
//! `mount --move`, to be its own: everything that it looks for by path it would ask
//! itself for. So before it serves, it leaves for a mount namespace that holds
//! nothing but a proc file system, which is also its root and working directory.
//! From then on paths lead nowhere but into that; what else is needed is reached by
//! descriptors, opened before. Nor does the daemon keep the namespace that its mount
//! is in, or anything else that is mounted there.
//!
//! What a script or an init that moves the mount onto `/` may rely on: the daemon
//! does not follow (`pivot_root` moves the roots of those that are in the namespace
//! only), `/proc`, `/dev` and the old root may be moved or unmounted, and its record
//! for `mini_fo list` stays in the directory in which it was made, `/run/mini_fo`, as
//! far as that is carried over.
#![forbid(unsafe_code)]

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use fuse_server::mount::Namespace;
use mini_fo_core::procfs;
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags,
    OpenTreeFlags, UnmountFlags, fsconfig_create, fsmount, fsopen, mount_change, move_mount,
    open_tree, unmount,
};
use rustix::process::{chroot, fchdir, pivot_root};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::sys;

/// The way to `/proc` for as long as the daemon lives.
pub struct OwnProc {
    dir: Arc<OwnedFd>,
    /// Mounted for us alone: it can be a root.
    is_own: bool,
}

impl OwnProc {
    /// Mounts a proc file system that nobody else sees. Where that is not allowed,
    /// a clone of `/proc` does; others than root keep a descriptor of `/proc`.
    ///
    /// `None`: there is no `/proc`.
    pub fn open() -> Option<OwnProc> {
        let own = mount_proc().or_else(|_| clone_proc());
        let is_own = own.is_ok();
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = own.or_else(|_| rustix::fs::open("/proc", flags, Mode::empty())).ok()?;
        let kept = dir.try_clone().map_err(|error| error.to_string());
        let kept = kept.and_then(|dir| procfs::keep(dir).map_err(|errno| errno.to_string()));
        if let Err(error) = kept {
            tracing::debug!("/proc: {error}");
            return None;
        }
        Some(OwnProc { dir: Arc::new(dir), is_own })
    }

    /// The descriptor.
    pub fn dir(&self) -> &Arc<OwnedFd> {
        &self.dir
    }

    /// Makes it the root and the working directory, in a mount namespace that holds
    /// nothing else. To be called before any thread is started, and when all that is
    /// reached by path has been opened. The result is where the process was.
    ///
    /// # Errors
    /// EPERM: only with `CAP_SYS_ADMIN`. The process is where it was.
    pub fn move_in(&self) -> Result<Namespace, Errno> {
        if !self.is_own {
            return Err(Errno::PERM);
        }
        let before = Namespace::current(Arc::clone(&self.dir))?;
        // Where the root cannot be put away (that of an initramfs, that of chroot(2)),
        // the namespace stays, but the root is left.
        if let Err(errno) = self.move_out_of_the_namespace() {
            tracing::debug!("no mount namespace of the daemon's own: {errno}");
        }
        fchdir(&*self.dir)?;
        chroot(".")?;
        procfs::is_root_now();
        Ok(before)
    }

    fn move_out_of_the_namespace(&self) -> Result<(), Errno> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let old = rustix::fs::openat(&*self.dir, "self/ns/mnt", flags, Mode::empty())?;
        sys::own_mount_namespace()?;
        self.put_root_away().inspect_err(|_| {
            // What was copied goes with the new namespace.
            let back = move_into_link_name_space(old.as_fd(), Some(LinkNameSpaceType::Mount));
            if let Err(errno) = back {
                tracing::warn!("the daemon keeps a copy of all mounts: {errno}");
            }
        })
    }

    /// Turns the namespace, a fresh copy, into one with our proc file system alone.
    fn put_root_away(&self) -> Result<(), Errno> {
        let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
        mount_change("/", private)?;
        move_mount(&*self.dir, "", CWD, "/", MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
        fchdir(&*self.dir)?;
        // The old root comes to lie on the new one.
        pivot_root(".", ".")?;
        unmount(".", UnmountFlags::DETACH)
    }
}

/// A descriptor of a directory for later use, by a private clone of its mount where
/// that may be made: so that the mount itself is not kept in use.
///
/// # Errors
/// As `open(2)`.
pub fn hold_directory(path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    open_tree(CWD, path, flags).or_else(|_| {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::open(path, flags, Mode::empty())
    })
}

fn mount_proc() -> Result<OwnedFd, Errno> {
    let context = fsopen("proc", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_create(&context)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

fn clone_proc() -> Result<OwnedFd, Errno> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_RECURSIVE;
    open_tree(CWD, "/proc", flags)
}
