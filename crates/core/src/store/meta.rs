//! The file of META: read, appended to, written anew.
//!
//! `docs/FORMAT.md`, sections 2 and 4.
#![forbid(unsafe_code)]

mod journal;
mod load;
mod tail;
#[cfg(test)]
mod tests;

pub use journal::{Firm, Journal, rewrite, sync};
pub use load::{Loaded, Tells, load, look, tells};
pub use tail::{Session, session};
