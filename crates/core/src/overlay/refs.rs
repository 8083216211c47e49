//! Counted references on nodes: what is referred to stays known.

use std::ops::Deref;
use std::sync::Arc;

use super::Overlay;
use crate::node::Node;
use crate::types::NodeId;

/// A reference on a node, given back when dropped.
pub(super) struct NodeRef<'a> {
    overlay: &'a Overlay,
    node: Option<Arc<Node>>,
    root: &'a Arc<Node>,
}

impl NodeRef<'_> {
    /// Hands the reference to the kernel, which will forget it.
    pub fn into_kernel(mut self) -> NodeId {
        self.node.take().map_or(NodeId::ROOT, |node| node.id)
    }

    /// Keeps the reference for later; it is given back by [`Overlay::resume`].
    pub fn park(mut self) -> Parked {
        Parked(self.node.take())
    }
}

/// A reference on a node that work of the overlay's own waits with, after the
/// request that it came from. It keeps the node in the table, and with it the
/// directories above: so renames reach it, however long it waits.
///
/// A mere `Arc<Node>` says nothing of where the object is once the kernel has
/// forgotten the node.
pub(super) struct Parked(Option<Arc<Node>>);

impl Deref for NodeRef<'_> {
    type Target = Arc<Node>;

    fn deref(&self) -> &Arc<Node> {
        self.node.as_ref().unwrap_or(self.root)
    }
}

impl Drop for NodeRef<'_> {
    fn drop(&mut self) {
        if let Some(node) = self.node.take() {
            self.overlay.release(&node, 1);
        }
    }
}

impl Overlay {
    pub(super) fn reference_root(&self) -> NodeRef<'_> {
        NodeRef { overlay: self, node: None, root: &self.root }
    }

    /// One reference more on a node. `None`: the table does not know it (any
    /// more).
    pub(super) fn refer(&self, node: &Arc<Node>) -> Option<NodeRef<'_>> {
        if node.is_root() {
            return Some(self.reference_root());
        }
        let known = self.reference(self.table.referenced(node.id)?);
        Arc::ptr_eq(&known, node).then_some(known)
    }

    /// Goes on with a node that was parked.
    pub(super) fn resume(&self, parked: Parked) -> NodeRef<'_> {
        NodeRef { overlay: self, node: parked.0, root: &self.root }
    }

    pub(super) fn reference(&self, node: Arc<Node>) -> NodeRef<'_> {
        NodeRef { overlay: self, node: Some(node), root: &self.root }
    }
}
