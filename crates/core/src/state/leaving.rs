//! Files that were removed and not yet let go.

use std::sync::atomic::AtomicBool;
use std::time::Instant;

use parking_lot::Mutex;

use crate::interface::types::NodeId;

/// Removed files of the last moment.
#[derive(Default)]
pub(crate) struct Leaving {
    pub any: AtomicBool,
    pub nodes: Mutex<Vec<(NodeId, Instant)>>,
}
