//! The overlay of mini_fo: a base tree that is never written and a storage
//! directory that receives every change, merged into one read-write tree.
//!
//! Knows nothing of FUSE and nothing of a terminal. `docs/FORMAT.md` specifies
//! what lies in the storage, `docs/ARCHITECTURE.md` how the parts fit.

mod sys;
mod types;

pub use types::*;
