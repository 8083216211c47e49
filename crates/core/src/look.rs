//! From names to nodes: what a name stands for, which node that is, and what it shows.
#![forbid(unsafe_code)]

mod adopt;
mod find;
pub(crate) mod kept;
mod live;
mod partial;
mod present;
pub(crate) mod resolve;
mod show;
