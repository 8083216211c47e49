//! Extended attributes; the ids in access control lists are translated.
#![forbid(unsafe_code)]

use fuse_server::{Request, Result, SetXattrArgs};
use mini_fo_core::{self as core, NodeId};
use rustix::io::Errno;

use super::Adapter;

impl Adapter {
    pub(super) fn set_attribute(&self, req: &Request, args: &SetXattrArgs<'_>) -> Result<()> {
        let node = NodeId(req.node);
        let stored;
        let value = if self.ids.concern(args.name) {
            stored = self.ids.acl_stored(args.value)?;
            &stored
        } else {
            args.value
        };
        self.judge.run(req, || self.overlay.setxattr(node, args.name, value, args.flags))?;
        if args.acl_kill_sgid {
            let mode = self.overlay.getattr(node)?.mode & 0o5777;
            let set = core::SetAttr { mode: Some(mode), ..core::SetAttr::default() };
            self.overlay.setattr(node, &set, None)?;
        }
        Ok(())
    }

    pub(super) fn get_attribute(&self, node: NodeId, name: &[u8], out: &mut [u8]) -> Result<usize> {
        if self.ids.concern(name) {
            return self.mapped_acl(node, name, out);
        }
        self.overlay.getxattr(node, name, out)
    }

    /// An access control list with translated ids; an empty buffer asks for
    /// the size.
    fn mapped_acl(&self, node: NodeId, name: &[u8], out: &mut [u8]) -> Result<usize> {
        // The largest value that the kernel takes.
        let mut stored = vec![0; 65536];
        let len = self.overlay.getxattr(node, name, &mut stored)?;
        let shown = self.ids.acl_shown(stored.get(..len).ok_or(Errno::IO)?)?;
        if !out.is_empty() {
            out.get_mut(..shown.len()).ok_or(Errno::RANGE)?.copy_from_slice(&shown);
        }
        Ok(shown.len())
    }
}
