//! From names to nodes: lookup, forget and the numbers objects show.

use std::sync::Arc;

use rustix::fs::Statx;
use rustix::io::Errno;

use crate::format::name::Name;
use crate::interface::types::{Entry, NodeId};
use crate::reach::overlay::Overlay;
use crate::reach::refs::NodeRef;
use crate::sys::Result;
use crate::tree::dir::Dir;
use crate::tree::node::Node;

impl Overlay {
    /// Finds a name; the entry holds one reference more on its node.
    /// `None`: there is no such name.
    ///
    /// # Errors
    /// ENOTDIR, ENAMETOOLONG, and what reading the layers gives.
    pub fn lookup(&self, parent: NodeId, name: &[u8]) -> Result<Option<Entry>> {
        let parent = self.dir_node(parent)?;
        let name = Name::new(name)?;
        if self.meta.reserves(name.as_bytes()) {
            return Ok(None);
        }
        let dir = match self.dir(&parent) {
            Err(Errno::NOENT) => return Ok(None),
            other => other?,
        };
        let Some((node, stat)) = self.find(&parent, &dir, name.as_bytes())? else {
            return Ok(None);
        };
        let attr = self.show(&node, &stat, &dir, name.as_bytes())?;
        Ok(Some(Entry { node: node.into_kernel(), attr }))
    }

    /// The node of a name, made if need be, and the attributes of its object
    /// as the layer has them.
    pub(crate) fn find(
        &self,
        parent: &Arc<Node>,
        dir: &Dir,
        name: &[u8],
    ) -> Result<Option<(NodeRef<'_>, Statx)>> {
        if let Some(node) = self.table.child(parent.id, name) {
            let node = self.reference(node);
            if self.live.is_none() {
                let stat = self.stat(&node)?;
                return Ok(Some((node, stat)));
            }
            if let Some(found) = self.find_again(parent, dir, name, node)? {
                return Ok(Some(found));
            }
        }
        let Some(found) = self.resolve(dir, name)? else {
            return Ok(None);
        };
        let stat = found.stat;
        Ok(Some((self.adopt(parent, name, found), stat)))
    }

    /// As [`Overlay::find`], without attributes of what lies in the storage
    /// and is known.
    pub(crate) fn find_node(
        &self,
        parent: &Arc<Node>,
        dir: &Dir,
        name: &[u8],
    ) -> Result<Option<(NodeRef<'_>, Option<Statx>)>> {
        if self.live.is_none()
            && let Some(node) = self.table.child(parent.id, name)
        {
            let node = self.reference(node);
            if node.in_storage() {
                return Ok(Some((node, None)));
            }
        }
        Ok(self.find(parent, dir, name)?.map(|(node, stat)| (node, Some(stat))))
    }
}
