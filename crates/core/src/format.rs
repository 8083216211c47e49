//! What is written in a storage, as bytes and as values: names, META, marks, numbers
//! (docs/FORMAT.md). Nothing here reads or writes anything.
#![forbid(unsafe_code)]

pub(crate) mod acl;
pub(crate) mod commit;
pub(crate) mod features;
pub(crate) mod identity;
pub(crate) mod mark;
pub(crate) mod meta;
pub(crate) mod name;
pub(crate) mod numbers;
pub(crate) mod path;
pub(crate) mod print;
pub(crate) mod time;
