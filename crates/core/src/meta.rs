//! META: what the files of a storage directory cannot say.
//!
//! `docs/FORMAT.md`, section 2, specifies every byte.
#![forbid(unsafe_code)]

mod index;
mod journal;
mod kept;
mod parse;
mod record;
#[cfg(test)]
mod tests;

pub use index::{AccessTable, Index, MOST_ACCESSES, Said};
pub use journal::{Loaded, append_to, load, open_for_append, rewrite, sync};
pub use kept::Kept;
pub use parse::{Line, parse_line, parse_time};
pub use record::{RealmRecord, Record, SharedRecord, time_text};
