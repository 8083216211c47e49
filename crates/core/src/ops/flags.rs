//! Inode flags (`chattr(1)`, `FS_IOC_SETFLAGS`), as the storage keeps them.

use std::sync::Arc;

use rustix::fd::OwnedFd;
use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::interface::types::NodeId;
use crate::reach::overlay::Overlay;
use crate::sys::{self, Result};
use crate::tree::node::Node;

/// Bytes of a `struct fsxattr` (`FS_IOC_FSGETXATTR`, linux/fs.h).
pub const FSXATTR_LEN: usize = 28;

impl Overlay {
    /// The flags of a file or directory (`FS_IOC_GETFLAGS`, ioctl_iflags(2)).
    ///
    /// # Errors
    /// ENOTTY: the layer's file system, or an object of this type, has none.
    pub fn inode_flags(&self, node: NodeId) -> Result<u32> {
        let node = self.node(node)?;
        sys::get_flags(&self.for_flags(&node)?).map_err(unsupported)
    }

    /// Sets the flags; a base object is copied up first.
    ///
    /// # Errors
    /// EPERM; EOPNOTSUPP: a flag that the storage's file system does not know;
    /// ENOTTY: it has none; EROFS.
    pub fn set_inode_flags(&self, node: NodeId, flags: u32) -> Result<()> {
        let node = self.for_setting(node)?;
        let (file, dir) = (self.for_flags(&node)?, self.own_dir(&node));
        let _held = dir.as_ref().map(|dir| dir.change_attributes());
        sys::set_flags(&file, flags).map_err(unsupported)
    }

    /// Flags and project of a file or directory, as a `struct fsxattr`
    /// (`FS_IOC_FSGETXATTR`).
    ///
    /// # Errors
    /// As [`Overlay::inode_flags`].
    pub fn project_flags(&self, node: NodeId) -> Result<[u8; FSXATTR_LEN]> {
        let node = self.node(node)?;
        sys::get_fsxattr(&self.for_flags(&node)?).map_err(unsupported)
    }

    /// Sets them.
    ///
    /// # Errors
    /// As [`Overlay::set_inode_flags`].
    pub fn set_project_flags(&self, node: NodeId, flags: &[u8; FSXATTR_LEN]) -> Result<()> {
        let node = self.for_setting(node)?;
        let (file, dir) = (self.for_flags(&node)?, self.own_dir(&node));
        let _held = dir.as_ref().map(|dir| dir.change_attributes());
        sys::set_fsxattr(&file, flags).map_err(unsupported)
    }

    fn for_setting(&self, node: NodeId) -> Result<Arc<Node>> {
        self.check_writable()?;
        let node = self.node(node)?;
        if !node.is_root() {
            self.copy_up_protected(&node)?;
        }
        Ok(node)
    }

    fn for_flags(&self, node: &Arc<Node>) -> Result<OwnedFd> {
        if !matches!(node.kind(), libc::S_IFREG | libc::S_IFDIR) {
            return Err(Errno::NOTTY);
        }
        let mut flags = OFlags::RDONLY | OFlags::NONBLOCK;
        flags.set(OFlags::DIRECTORY, node.is_dir());
        self.past_leases(|| self.at(node, |object| object.open_as_it_is(flags)))
    }
}

/// A file system without flags says so in one of several ways.
fn unsupported(errno: Errno) -> Errno {
    if errno == Errno::NOSYS { Errno::NOTTY } else { errno }
}
