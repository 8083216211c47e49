//! What callers give and get: options, errors, attributes, entries.
#![forbid(unsafe_code)]

pub mod error;
pub mod options;
pub mod types;
