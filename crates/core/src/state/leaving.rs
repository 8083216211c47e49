//! Files that were removed and not yet let go.

use std::collections::VecDeque;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use crate::interface::types::NodeId;
use crate::locks::{Mutex, Rank};

/// Removed files of the last moment.
#[derive(Default)]
pub(crate) struct Leaving {
    pub any: AtomicBool,
    /// In the order in which they were removed.
    pub nodes: Mutex<VecDeque<(NodeId, Instant)>, { Rank::Leaving as u8 }>,
}
