//! A gate through which all requests go.

use std::sync::atomic::AtomicBool;

use crate::locks::{Rank, RwLock};

/// The gate of an overlay.
#[derive(Default)]
pub(crate) struct Gate {
    pub lock: RwLock<(), { Rank::Gate as u8 }>,
    /// What the overlay shows is not the tree any more, so that nobody may see it.
    pub lost: AtomicBool,
}
