//! From nodes to objects: where a node is, the directories on the way, and what keeps
//! it known.
#![forbid(unsafe_code)]

mod at;
pub(crate) mod far;
pub(crate) mod gate;
mod leases;
mod live;
mod maps;
pub mod overlay;
pub(crate) mod refs;
