//! References on nodes that wait.

use std::sync::Arc;

use crate::tree::node::Node;

/// A reference on a node that work of the overlay's own waits with, after the
/// request that it came from. It keeps the node in the table, and with it the
/// directories above: so renames reach it, however long it waits.
///
/// A mere `Arc<Node>` says nothing of where the object is once the kernel has
/// forgotten the node.
pub(crate) struct Parked(pub Option<Arc<Node>>);
