//! What whoever serves the tree must tell the kernel.

use crate::interface::types::NodeId;

/// What the kernel has to be told once something was discarded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Discarded {
    /// Names, each with its directory, that stand for something else now, or for nothing.
    pub names: Vec<(NodeId, Box<[u8]>)>,
    /// Directories that are the same, with other attributes and another listing.
    pub nodes: Vec<NodeId>,
}

impl Discarded {
    pub(super) fn forgotten(&mut self, parent: NodeId, name: &[u8]) {
        self.names.push((parent, name.into()));
    }
}
