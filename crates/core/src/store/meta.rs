//! The file of META: read, appended to, written anew.
//!
//! `docs/FORMAT.md`, sections 2 and 4.
#![forbid(unsafe_code)]

mod file;
mod journal;
mod load;
mod rewrite;
mod tail;
#[cfg(test)]
mod tests;

pub use journal::{Firm, Journal};
pub use load::{Loaded, Tells, load, look, tells};
pub use rewrite::{rewrite, sync};
pub use tail::{Session, session};
