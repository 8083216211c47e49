//! Back to what is below the storage: for one name, a tree or everything.
//!
//! A rename is one change, and an object with several names is one: so what a discard
//! comes to may lie all over the tree (`plan.rs`). That is written down first, as paths in
//! META of the root (`run.rs`), then each of them goes for itself (`entry.rs`), and what a
//! crash has left is gone through again. Each entry shows what it was or what is below.
#![forbid(unsafe_code)]

mod entry;
mod nodes;
mod plan;
mod run;
mod scan;
mod shared;
mod skeleton;
mod ties;
mod told;

pub(crate) use ties::Bonds;
pub use ties::DiscardTie;
pub use told::Discarded;
