//! What is asked of a mount: one file for each group of operations.
#![forbid(unsafe_code)]

mod access;
mod attr;
mod create;
mod data;
mod ends;
mod exchange;
mod export;
pub(crate) mod far;
mod file;
pub mod flags;
pub(crate) mod gone;
mod leaving;
mod link;
pub mod listing;
mod needless;
pub(crate) mod remove;
mod rename;
mod reserve;
mod space;
mod sync;
pub mod usage;
mod volatile;
mod xattr;
