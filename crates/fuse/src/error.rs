//! Why a mount or a session cannot be, in words for its user.

use std::path::PathBuf;

use rustix::io::Errno;

use crate::transport::NoRing;

/// Why mounting or unmounting failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MountError {
    /// The mount point cannot be reached.
    #[error("mount point {}: {errno}", .path.display())]
    Point {
        /// As given by the caller.
        path: PathBuf,
        /// Why.
        errno: Errno,
    },
    /// The mount point is no directory.
    #[error("mount point {}: not a directory", .0.display())]
    NotADirectory(PathBuf),
    /// A file system whose server has ended is still mounted there.
    #[error(
        "mount point {}: holds a FUSE mount whose server has ended; unmount it first (`umount -l`)",
        .0.display()
    )]
    DeadMount(PathBuf),
    /// There is no device.
    #[error(
        "/dev/fuse does not exist: load the module (`modprobe fuse`), or give the container the \
         device (`--device /dev/fuse`)"
    )]
    NoDevice,
    /// The device may not be opened.
    #[error("no permission to open /dev/fuse for reading and writing")]
    DeviceDenied,
    /// The device cannot be opened for another reason.
    #[error("cannot open /dev/fuse: {0}")]
    Device(Errno),
    /// The kernel has no FUSE.
    #[error("the kernel does not support FUSE (`modprobe fuse`)")]
    NoKernelSupport,
    /// Neither capability nor helper.
    #[error(
        "no permission to mount on {}: that takes CAP_SYS_ADMIN (root, or a user namespace with \
         its own mount namespace)",
        .0.display()
    )]
    NotPermitted(PathBuf),
    /// The helper for ordinary users is not installed.
    #[error(
        "fusermount3, which mounts for ordinary users, was not found: install the package fuse3"
    )]
    NoHelper,
    /// `allow_other` is root's to allow.
    #[error(
        "other users may be let in (allow_other) only if /etc/fuse.conf has a line \
         `user_allow_other`"
    )]
    AllowOther,
    /// The helper refused.
    #[error("fusermount3: {0}")]
    Helper(String),
    /// The mount is in use.
    #[error("{}: in use", .0.display())]
    Busy(PathBuf),
    /// Nothing (of ours) is mounted there.
    #[error("{}: not mounted", .0.display())]
    NotMounted(PathBuf),
    /// Everything that is mounted would go with it.
    #[error("the mount is the root of its mount namespace, and is not unmounted")]
    Root,
    /// mount(2) or umount2(2) failed otherwise.
    #[error("{}: {errno}", .path.display())]
    Failed {
        /// The mount point.
        path: PathBuf,
        /// Why.
        errno: Errno,
    },
}

/// Why a session could not begin or go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// The kernel's protocol is not ours.
    #[error("the kernel speaks FUSE {major}.{minor}; 7.31 (Linux 5.4) or later is needed")]
    Version {
        /// Major version of the kernel.
        major: u32,
        /// Minor version of the kernel.
        minor: u32,
    },
    /// The first request was not INIT or made no sense.
    #[error("the kernel's first request is not a valid INIT")]
    NotInit,
    /// Reading or writing the device failed.
    #[error("/dev/fuse: {0}")]
    Device(Errno),
    /// [`FileSystem::init`](crate::FileSystem::init) failed.
    #[error("the file system refused to start: {0}")]
    Init(Errno),
    /// Rings were demanded.
    #[error("{0}")]
    NoRing(NoRing),
    /// No memory for buffers or no thread.
    #[error("cannot start a reader thread: {0}")]
    Thread(std::io::Error),
}
