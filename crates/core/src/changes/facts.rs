//! What else is known of a change, for who writes it into the base.

use std::sync::Arc;

use rustix::fs::Statx;

use super::change::Change;
use super::sides::Sides;
use crate::format::commit::Dress;
use crate::format::identity::BaseId;
use crate::format::print::Print;
use crate::reach::overlay::Overlay;
use crate::sys::Result;
use crate::tree::node::Node;

impl Change<'_> {
    /// What the lower view has, as it was found there.
    pub(crate) fn found_below(&self) -> Option<&Statx> {
        self.lower.map(|lower| &lower.stat)
    }

    /// Which object that is, if it has several names.
    pub(crate) fn shared_below(&self) -> Option<BaseId> {
        self.lower.and_then(|lower| self.sides.shared_as(lower))
    }

    /// The object of the upper view.
    pub(crate) fn node_above(&self) -> Option<&Arc<Node>> {
        self.upper
    }

    /// What the change was made from, if that was recorded.
    pub(crate) fn print(&self) -> Option<&Print> {
        self.print.as_ref()
    }

    /// The attributes that differ, as they are and as they are to be; those of two
    /// directories.
    ///
    /// # Errors
    /// As `getxattr(2)`.
    pub(crate) fn dress(&self) -> Result<Option<(Dress, Dress)>> {
        let (Some(lower), Some(node)) = (self.lower, self.upper) else { return Ok(None) };
        let (Some(before), Some(after)) = (self.before, self.after) else { return Ok(None) };
        let differs = &self.differs;
        if !(differs.mode || differs.owner || differs.group) && differs.xattrs.is_empty() {
            return Ok(None);
        }
        let (mut own, mut others) = (Vec::new(), Vec::new());
        for name in &differs.xattrs {
            let (above, below) = self.sides.both_values(node, lower, name)?;
            own.push((name.clone().into(), above));
            others.push((name.clone().into(), below));
        }
        let dress = |mode: u32, (uid, gid), xattrs| Dress { mode: mode & 0o7777, uid, gid, xattrs };
        Ok(Some((
            dress(before.mode, (before.uid, before.gid), others),
            dress(after.mode, (after.uid, after.gid), own),
        )))
    }
}

impl Overlay {
    /// What the tree shows at a path is what the lower view has at another one, in content
    /// and attributes.
    ///
    /// # Errors
    /// As `open(2)` and `read(2)`.
    pub(crate) fn is_unchanged(&self, path: &[u8], below: &[u8]) -> Result<bool> {
        let sides = Sides::of(self);
        let (Some(node), Some(lower)) = (self.reach(path)?, sides.look_path(below)?) else {
            return Ok(false);
        };
        if node.kind() != lower.kind() {
            return Ok(false);
        }
        let (content, differs) = sides.compare(&node, &self.attr_of(&node)?, &lower)?;
        Ok(!content && differs.is_empty())
    }
}
