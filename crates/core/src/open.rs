//! From options to a mount: what is opened and verified, what is written first, and how
//! a read-only mount begins to write.
#![forbid(unsafe_code)]

pub mod assemble;
pub mod check;
mod lent;
mod writing;
