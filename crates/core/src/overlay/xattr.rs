//! Extended attributes, as the layers hold them.

use rustix::io::Errno;

use super::Overlay;
use crate::sys::{self, Result};
use crate::types::NodeId;

impl Overlay {
    /// Reads an attribute; an empty buffer asks for the size.
    ///
    /// # Errors
    /// ENODATA: there is none; ERANGE: the buffer is too small; EOPNOTSUPP.
    pub fn getxattr(&self, node: NodeId, name: &[u8], buf: &mut [u8]) -> Result<usize> {
        let node = self.node(node)?;
        if node.is_root() && name == b"system.posix_acl_access" {
            // It would speak of the storage directory's own mode.
            return Err(Errno::NODATA);
        }
        let buf = std::cell::RefCell::new(buf);
        match self.at(&node, |spot, _| sys::get_xattr(spot, name, *buf.borrow_mut())) {
            // A layer without ACLs has none; "not supported" would make the
            // kernel refuse what the mode allows.
            Err(Errno::OPNOTSUPP) if name.starts_with(b"system.posix_acl_") => Err(Errno::NODATA),
            other => other,
        }
    }

    /// Lists attribute names, each ended by NUL; an empty buffer asks for the
    /// size. `trusted`: also those that only privileged callers see (xattr(7)).
    ///
    /// # Errors
    /// ERANGE: the buffer is too small.
    pub fn listxattr(&self, node: NodeId, trusted: bool, buf: &mut [u8]) -> Result<usize> {
        if !trusted {
            return self.list_untrusted(node, buf);
        }
        let node = self.node(node)?;
        let buf = std::cell::RefCell::new(buf);
        match self.at(&node, |spot, _| sys::list_xattrs(spot, *buf.borrow_mut())) {
            Err(Errno::OPNOTSUPP) => Ok(0),
            other => other,
        }
    }

    fn list_untrusted(&self, node: NodeId, buf: &mut [u8]) -> Result<usize> {
        // More cannot be listed (xattr(7), XATTR_LIST_MAX).
        let mut all = vec![0; 64 * 1024];
        let len = self.listxattr(node, true, &mut all)?;
        let names = all.get(..len).unwrap_or_default().split_inclusive(|byte| *byte == 0);
        let names = names.filter(|name| !name.starts_with(b"trusted.")).collect::<Vec<_>>();
        let names = names.concat();
        if !buf.is_empty() {
            buf.get_mut(..names.len()).ok_or(Errno::RANGE)?.copy_from_slice(&names);
        }
        Ok(names.len())
    }

    /// Sets an attribute; a base object is copied up first. `flags`:
    /// `XATTR_CREATE`, `XATTR_REPLACE`.
    ///
    /// # Errors
    /// EOPNOTSUPP for the access ACL of the root; as `setxattr(2)`.
    pub fn setxattr(&self, node: NodeId, name: &[u8], value: &[u8], flags: u32) -> Result<()> {
        self.check_writable()?;
        let node = self.node(node)?;
        if node.is_root() && name == b"system.posix_acl_access" {
            // It would open or close the storage directory itself.
            return Err(Errno::OPNOTSUPP);
        }
        self.copy_up(&node, false)?;
        self.at(&node, |spot, _| sys::set_xattr(spot, name, value, flags))
    }

    /// Removes an attribute; a base object is copied up first.
    ///
    /// # Errors
    /// ENODATA: there is none; as `removexattr(2)`.
    pub fn removexattr(&self, node: NodeId, name: &[u8]) -> Result<()> {
        self.check_writable()?;
        let node = self.node(node)?;
        if !node.in_storage() {
            // What is not there need not be copied up to stay away.
            self.at(&node, |spot, _| sys::get_xattr(spot, name, &mut []))?;
        }
        self.copy_up(&node, false)?;
        self.at(&node, |spot, _| sys::remove_xattr(spot, name))
    }
}
