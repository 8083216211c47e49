//! What differs between an object of the upper view and one of the lower.

use std::collections::BTreeSet;
use std::sync::Arc;

use rustix::fs::StatxAttributes;
use rustix::io::Errno;

use super::change::Differences;
use super::sides::{Lower, Sides};
use crate::format::acl;
use crate::interface::types::Attr;
use crate::sys::Result;
use crate::sys::own::is_reserved_xattr;
use crate::tree::node::Node;

/// The value of an attribute, if there is one.
type Value = Option<Box<[u8]>>;

/// Most bytes of a list of attributes, and of a value (xattr(7)).
const XATTR_MOST: usize = 64 * 1024;

/// Attributes that users set by chattr(1) and that mean the same everywhere.
const FLAGS: StatxAttributes =
    StatxAttributes::IMMUTABLE.union(StatxAttributes::APPEND).union(StatxAttributes::NODUMP);

impl Sides<'_> {
    /// What differs between two objects of one type; the first tells whether their content
    /// does. Of a directory its entries do not count.
    pub fn compare(
        &self,
        node: &Arc<Node>,
        attr: &Attr,
        lower: &Lower,
    ) -> Result<(bool, Differences)> {
        let below = &lower.attr;
        let content = match lower.kind() {
            libc::S_IFREG => {
                attr.size != below.size || !self.is_same_content(node, lower, attr.size)?
            }
            libc::S_IFLNK => {
                let target = self.at(lower, |object| object.read_link())?;
                self.overlay.readlink(node.id)? != target
            }
            libc::S_IFCHR | libc::S_IFBLK => attr.rdev != below.rdev,
            _ => false,
        };
        let flags = FLAGS.bits() & lower.stat.stx_attributes_mask.bits();
        let differs = Differences {
            mode: attr.mode != below.mode,
            owner: attr.uid != below.uid && !self.overlay.one_owner,
            group: attr.gid != below.gid && !self.overlay.one_owner,
            mtime: attr.mtime != below.mtime,
            flags: attr.statx_attributes & flags != below.statx_attributes & flags,
            xattrs: self.compare_xattrs(node, lower)?,
        };
        Ok((content, differs))
    }

    fn list_xattrs(&self, node: &Arc<Node>) -> Result<Vec<u8>> {
        let mut list = vec![0; 1024];
        let len = match self.overlay.listxattr(node.id, &|| true, &mut list) {
            Err(Errno::RANGE) => {
                list.resize(XATTR_MOST, 0);
                self.overlay.listxattr(node.id, &|| true, &mut list)?
            }
            other => other?,
        };
        list.truncate(len);
        Ok(list)
    }

    fn compare_xattrs(&self, node: &Arc<Node>, lower: &Lower) -> Result<Vec<Vec<u8>>> {
        let list = self.list_xattrs(node)?;
        let stack = &self.overlay.stack;
        let below = self.at(lower, |object| object.list_xattrs(stack))?;
        if list.is_empty() && below.is_empty() {
            return Ok(Vec::new());
        }
        // That of the root speaks of the storage directory.
        let root = node.is_root();
        let counts = |name: &&[u8]| {
            let foreign = name.starts_with(b"system.") && !name.starts_with(b"system.posix_acl_");
            let hidden = root && *name == acl::ACCESS;
            !name.is_empty() && !is_reserved_xattr(name) && !foreign && !hidden
        };
        let names = list.split(|byte| *byte == 0).chain(below.split(|byte| *byte == 0));
        let names: BTreeSet<&[u8]> = names.filter(counts).collect();
        let (mut own, mut others) = (vec![0; XATTR_MOST], vec![0; XATTR_MOST]);
        let mut differ = Vec::new();
        for name in names {
            let own = value(self.overlay.getxattr(node.id, name, &mut own), &own)?;
            let got = self.at(lower, |object| object.get_xattr(stack, name, &mut others));
            if own != value(got, &others)? {
                differ.push(name.to_vec());
            }
        }
        Ok(differ)
    }

    /// An extended attribute of both; `None`: it does not have it.
    pub fn both_values(
        &self,
        node: &Arc<Node>,
        lower: &Lower,
        name: &[u8],
    ) -> Result<(Value, Value)> {
        let (stack, mut buf) = (&self.overlay.stack, vec![0; XATTR_MOST]);
        let own = self.overlay.getxattr(node.id, name, &mut buf);
        let own = value(own, &buf)?.map(Into::into);
        let others = self.at(lower, |object| object.get_xattr(stack, name, &mut buf));
        Ok((own, value(others, &buf)?.map(Into::into)))
    }
}

/// `None`: the object does not have the attribute.
fn value(got: Result<usize>, buf: &[u8]) -> Result<Option<&[u8]>> {
    match got {
        Ok(len) => Ok(buf.get(..len)),
        Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(None),
        Err(errno) => Err(errno),
    }
}
