//! META: what the files of a storage directory cannot say, line by line, and what the
//! lines say together.
//!
//! `docs/FORMAT.md`, section 2, specifies every byte.
#![forbid(unsafe_code)]

mod far;
mod index;
mod kept;
mod line;
mod parse;
mod print;
mod record;
#[cfg(test)]
pub(crate) mod tests;

pub use index::{AccessTable, Index, MOST_ACCESSES, NameSnapshot};
pub use kept::Kept;
pub(in crate::format) use line::escape;
pub use line::time_text;
pub use parse::{Line, parse_line, parse_time};
pub(in crate::format) use parse::{Parsed, narrow, number, timestamp, unescape};
pub(in crate::format) use print::{parse as parse_print, text as print_text};
pub use record::{Loss, RealmRecord, Record, SharedRecord};
