//! Counted references on nodes: what is referred to stays known.

use std::ops::Deref;
use std::sync::Arc;

use crate::interface::types::NodeId;
use crate::reach::overlay::Overlay;
use crate::state::parked::Parked;
use crate::tree::node::Node;

/// A reference on a node, given back when dropped.
pub(crate) struct NodeRef<'a> {
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
    pub(crate) fn reference_root(&self) -> NodeRef<'_> {
        NodeRef { overlay: self, node: None, root: &self.root }
    }

    /// One reference more on a node. `None`: the table does not know it (any
    /// more).
    pub(crate) fn refer(&self, node: &Arc<Node>) -> Option<NodeRef<'_>> {
        if node.is_root() {
            return Some(self.reference_root());
        }
        let known = self.reference(self.table.referenced(node.id)?);
        Arc::ptr_eq(&known, node).then_some(known)
    }

    /// Goes on with a node that was parked.
    pub(crate) fn resume(&self, parked: Parked) -> NodeRef<'_> {
        NodeRef { overlay: self, node: parked.0, root: &self.root }
    }

    pub(crate) fn reference(&self, node: Arc<Node>) -> NodeRef<'_> {
        NodeRef { overlay: self, node: Some(node), root: &self.root }
    }

    /// Gives `count` references of the kernel on a node back.
    pub fn forget(&self, node: NodeId, count: u64) {
        if let Some(node) = self.table.get(node) {
            self.release(&node, count);
        }
    }

    /// Whether the kernel, or an operation, still refers to a node.
    pub fn knows(&self, node: NodeId) -> bool {
        self.table.get(node).is_some()
    }

    pub(crate) fn release(&self, node: &Arc<Node>, count: u64) {
        for gone in self.table.forget(node, count) {
            self.trail.remember(&gone);
            self.linked.forget(&gone);
            if let Some(held) = gone.place().held() {
                self.forget_partial(&gone, &held.object.fd);
            }
            self.dirs.remove_unless(gone.id, || self.table.get(gone.id).is_some());
        }
    }
}
