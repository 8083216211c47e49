//! What a lookup finds again where others change the base (`-o live_base`).

use std::sync::Arc;
use std::time::Duration;

use rustix::fs::Statx;

use crate::interface::types::NodeId;
use crate::look::resolve::Resolved;
use crate::reach::overlay::Overlay;
use crate::reach::refs::NodeRef;
use crate::state::live::Version;
use crate::state::open_file::OpenFile;
use crate::sys::{self, Result};
use crate::tree::dir::Dir;
use crate::tree::node::Node;

impl Overlay {
    /// For how long a node's attributes and a name that leads to it may be
    /// believed; `None`: as long as nobody changes them through the mount.
    pub fn trust(&self, node: Option<NodeId>) -> Option<Duration> {
        let live = self.live.as_ref()?;
        let node = node.and_then(|id| self.node(id).ok());
        let settled = node.is_some_and(|node| node.in_storage() && !node.is_indexed());
        (!settled).then_some(live.trust)
    }

    /// The version of an open file that lies in a base which may change.
    pub fn version(&self, file: &OpenFile) -> Option<Version> {
        self.live.as_ref()?;
        let stat = sys::stat_fd(file.in_base()?.fd()).ok()?;
        let (mtime, ctime) = (stat.stx_mtime.into(), stat.stx_ctime.into());
        Some(Version { size: stat.stx_size, mtime, ctime })
    }

    /// Remembers a base file that was opened.
    pub(crate) fn note_opened(&self, file: &OpenFile) {
        if let Some(live) = &self.live
            && let Some(opened) = file.in_base()
        {
            live.note(file.node_id(), &opened);
        }
    }

    /// As `find`, of a name that the kernel knows: whether it still leads to
    /// this node. `None`: it does not, and the node has lost it.
    pub(crate) fn find_again<'a>(
        &'a self,
        parent: &Arc<Node>,
        dir: &Dir,
        name: &[u8],
        node: NodeRef<'a>,
    ) -> Result<Option<(NodeRef<'a>, Statx)>> {
        if node.in_storage() && !node.is_indexed() {
            let stat = self.stat(&node)?;
            return Ok(Some((node, stat)));
        }
        let found = self.resolve(dir, name)?;
        let same = |found: &Resolved| {
            let shared =
                found.shared.is_none_or(|id| !node.is_shared() || id == self.base_id(&node));
            shared && found.ino == node.ino() && sys::kind(&found.stat) == node.kind()
        };
        match found.filter(same) {
            Some(found) if found.in_storage == node.in_storage() => Ok(Some((node, found.stat))),
            // Copied up meanwhile; or the storage's object counts.
            Some(_) => {
                let stat = self.stat(&node)?;
                Ok(Some((node, stat)))
            }
            None => {
                let link = {
                    let place = node.place();
                    place.names.iter().find(|link| link.is(parent.id, name)).cloned()
                };
                if let Some(link) = link
                    && !self.lose_name(&node, &link)
                {
                    let stat = self.stat(&node)?;
                    return Ok(Some((node, stat)));
                }
                Ok(None)
            }
        }
    }
}
