//! META: what the files of a storage directory cannot say.
//!
//! `docs/FORMAT.md`, section 2, specifies every byte.
#![forbid(unsafe_code)]

mod far;
mod index;
mod journal;
mod kept;
mod load;
mod parse;
mod record;
mod tail;
#[cfg(test)]
mod tests;

pub use index::{AccessTable, Index, MOST_ACCESSES, Said};
pub use journal::{Firm, Journal, rewrite, sync};
pub use kept::Kept;
pub use load::{Loaded, load, look, says_storage};
pub use parse::{Line, parse_line, parse_time};
pub use record::{Loss, RealmRecord, Record, SharedRecord, time_text};
pub use tail::{Session, session};
