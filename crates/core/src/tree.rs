//! What is known of the merged tree: nodes, the table of them, directories in use and
//! what was listed of them.
#![forbid(unsafe_code)]

pub(crate) mod cache;
pub(crate) mod dir;
pub(crate) mod listed;
pub(crate) mod node;
pub(crate) mod packed;
pub(crate) mod path;
pub(crate) mod table;
