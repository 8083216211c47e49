//! META: the file.

mod journal;
mod tail;
mod torn;
mod waiting;
