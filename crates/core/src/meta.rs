//! META: what the files of a storage directory cannot say.
//!
//! `docs/FORMAT.md`, section 2, specifies every byte.
#![forbid(unsafe_code)]

mod index;
mod journal;
mod record;
#[cfg(test)]
mod tests;

pub use index::{Index, Said};
pub use journal::{Loaded, append_to, load, open_for_append, rewrite, sync};
pub use record::{Line, Record, SharedRecord, parse_line};
