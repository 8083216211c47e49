//! Tests of the whole of an overlay that need to see inside.

mod alike;
mod ending;
pub(crate) mod evicted;
mod linked;
pub(crate) mod mounted;
mod unseen;
