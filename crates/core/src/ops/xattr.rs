//! Extended attributes, as the layers hold them.

use std::sync::Arc;

use rustix::io::Errno;

use crate::copy_up::kept::{can_be_kept, cannot_hold};
use crate::copy_up::partial::{CAPABILITY, Need};
use crate::format::acl;
use crate::format::meta::Record;
use crate::interface::types::NodeId;
use crate::reach::overlay::Overlay;
use crate::sys::own::is_reserved_xattr;
use crate::sys::{self, Result};
use crate::tree::node::Node;

impl Overlay {
    /// Reads an attribute; an empty buffer asks for the size.
    ///
    /// # Errors
    /// ENODATA: there is none; ERANGE: the buffer is too small; EOPNOTSUPP.
    pub fn getxattr(&self, node: NodeId, name: &[u8], buf: &mut [u8]) -> Result<usize> {
        if is_reserved_xattr(name) {
            return Err(Errno::NODATA);
        }
        let node = self.node(node)?;
        if node.is_root() && name == b"system.posix_acl_access" {
            // It would speak of the storage directory's own mode.
            return Err(Errno::NODATA);
        }
        if let Some(value) = self.kept(&node)?.xattrs.get(name) {
            return give(value, buf);
        }
        let buf = std::cell::RefCell::new(buf);
        match self.at(&node, |object| object.get_xattr(&self.stack, name, *buf.borrow_mut())) {
            // A layer without ACLs has none; "not supported" would make the
            // kernel refuse what the mode allows.
            Err(Errno::OPNOTSUPP) if name.starts_with(b"system.posix_acl_") => Err(Errno::NODATA),
            other => none_kept(name, other),
        }
    }

    /// Lists attribute names, each ended by NUL; an empty buffer asks for the
    /// size. `trusted`, asked where it matters, tells whether the caller sees
    /// those that only privileged ones see (xattr(7)).
    ///
    /// # Errors
    /// ERANGE: the buffer is too small.
    pub fn listxattr(
        &self,
        node: NodeId,
        trusted: &dyn Fn() -> bool,
        buf: &mut [u8],
    ) -> Result<usize> {
        let node = self.node(node)?;
        let kept = self.kept(&node)?.xattrs;
        let mut names = self.at(&node, |object| object.list_xattrs(&self.stack))?;
        for name in kept.keys() {
            names.extend_from_slice(name);
            names.push(0);
        }
        if names.is_empty() {
            return Ok(0);
        }
        // What is foreign cannot be set here, so nobody shall copy it.
        drop_names(&mut names, |name| is_reserved_xattr(name) || is_foreign(name), || true);
        drop_names(&mut names, |name| name.starts_with(b"trusted."), || !trusted());
        give(&names, buf)
    }

    /// Sets an attribute; a base object is copied up first. `flags`:
    /// `XATTR_CREATE`, `XATTR_REPLACE`.
    ///
    /// # Errors
    /// EOPNOTSUPP for the access ACL of the root, and for `system.*` but for
    /// ACLs; EPERM: the name is reserved;
    /// as `setxattr(2)`.
    pub fn setxattr(&self, node: NodeId, name: &[u8], value: &[u8], flags: u32) -> Result<()> {
        self.check_writable()?;
        if is_reserved_xattr(name) {
            return Err(Errno::PERM);
        }
        if is_foreign(name) {
            return Err(Errno::OPNOTSUPP);
        }
        let node = self.node(node)?;
        if node.is_root() && name == b"system.posix_acl_access" {
            // It would open or close the storage directory itself.
            return Err(Errno::OPNOTSUPP);
        }
        // An ACL changes the mode.
        let closes = name == b"system.posix_acl_access" && !self.partials.may_have(0);
        let whole = closes || name == CAPABILITY;
        self.copy_up(&node, if whole { Need::Data } else { Need::Attributes })?;
        if !self.kept(&node)?.xattrs.contains_key(name) {
            let dir = self.own_dir(&node).filter(|_| is_list(name));
            let set = self.change_at(&node, |spot| {
                let _held = dir.as_ref().map(|dir| dir.change_attributes());
                sys::taking_space(|| sys::set_xattr(spot, name, value, flags))
            });
            match set {
                Err(errno)
                    if cannot_hold(errno) && can_be_kept(name) && !self.is_protected(&node) => {}
                other => return other,
            }
            if flags & libc::XATTR_REPLACE as u32 != 0 {
                return Err(Errno::NODATA);
            }
        } else if flags & libc::XATTR_CREATE as u32 != 0 {
            return Err(Errno::EXIST);
        }
        self.keep(&node, |entry| Record::Xattr {
            attribute: name.into(),
            value: Some(value.into()),
            name: entry,
        })
    }

    /// Removes an attribute; a base object is copied up first.
    ///
    /// # Errors
    /// ENODATA: there is none, which for an access control list is no error; as
    /// `removexattr(2)`.
    pub fn removexattr(&self, node: NodeId, name: &[u8]) -> Result<()> {
        self.check_writable()?;
        if is_reserved_xattr(name) {
            return Err(Errno::NODATA);
        }
        if is_foreign(name) {
            return Err(Errno::OPNOTSUPP);
        }
        let node = self.node(node)?;
        match self.remove_attribute(&node, name) {
            Err(Errno::NODATA) if name.starts_with(b"system.posix_acl_") => Ok(()),
            other => other,
        }
    }

    fn remove_attribute(&self, node: &Arc<Node>, name: &[u8]) -> Result<()> {
        if !node.in_storage() {
            // What is not there need not be copied up to stay away.
            none_kept(name, self.at(node, |object| object.get_xattr(&self.stack, name, &mut [])))?;
        }
        self.copy_up(node, Need::Attributes)?;
        if self.kept(node)?.xattrs.contains_key(name) {
            let attribute = Box::<[u8]>::from(name);
            return self.keep(node, |name| {
                let attribute = attribute.clone();
                Record::Xattr { attribute, value: None, name }
            });
        }
        let dir = self.own_dir(node).filter(|_| is_list(name));
        let removed = self.change_at(node, |spot| {
            let _held = dir.as_ref().map(|dir| dir.change_attributes());
            sys::remove_xattr(spot, name)
        });
        none_kept(name, removed)
    }
}

/// An access control list: it changes a mode, or what new files get.
fn is_list(name: &[u8]) -> bool {
    name == acl::ACCESS || name == acl::DEFAULT
}

/// A layer that knows no attributes has none that META could keep: "not supported"
/// would say that none can be set.
fn none_kept<T>(name: &[u8], result: Result<T>) -> Result<T> {
    match result {
        Err(Errno::OPNOTSUPP) if can_be_kept(name) => Err(Errno::NODATA),
        other => other,
    }
}

/// An attribute whose meaning, and who may change it, is a matter of the
/// storage's file system (an NFSv4 ACL, say): the kernel leaves the judgement to
/// that, which would see the daemon.
fn is_foreign(name: &[u8]) -> bool {
    name.starts_with(b"system.") && !name.starts_with(b"system.posix_acl_")
}

/// Takes the names that match out of a list, if `wanted`, asked where there are
/// any, says so.
fn drop_names(names: &mut Vec<u8>, matches: impl Fn(&[u8]) -> bool, wanted: impl FnOnce() -> bool) {
    let split = || names.split_inclusive(|byte| *byte == 0);
    if split().any(&matches) && wanted() {
        *names = split().filter(|name| !matches(name)).collect::<Vec<_>>().concat();
    }
}

/// Fills a buffer, or with an empty one only tells the size.
fn give(value: &[u8], buf: &mut [u8]) -> Result<usize> {
    if !buf.is_empty() {
        buf.get_mut(..value.len()).ok_or(Errno::RANGE)?.copy_from_slice(value);
    }
    Ok(value.len())
}
