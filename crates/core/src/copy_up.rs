//! From the base to the storage: objects, their data, and what META has to know of them.
#![forbid(unsafe_code)]

pub(crate) mod ahead;
pub(crate) mod attributes;
mod chain;
mod current;
mod far;
mod index;
pub(crate) mod kept;
mod maps;
pub(crate) mod object;
pub(crate) mod partial;
pub(crate) mod protected;
pub(crate) mod shared;
mod squash;
mod whole;
