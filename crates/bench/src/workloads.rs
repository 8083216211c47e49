//! What programs do with a tree.

pub mod fio;
pub mod programs;
pub mod sources;
pub mod trees;
