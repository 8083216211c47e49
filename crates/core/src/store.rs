//! What a storage keeps for itself, read and written: META, the index of objects with
//! several names, marks and maps of partial files, the file systems of the base.
#![forbid(unsafe_code)]

pub(crate) mod aside;
pub(crate) mod commit_journal;
pub(crate) mod commit_owner;
pub(crate) mod dirs;
pub(crate) mod durability;
pub(crate) mod itself;
pub(crate) mod meta;
pub(crate) mod meta_dir;
pub(crate) mod partial;
pub(crate) mod realms;
pub(crate) mod server_lock;
pub(crate) mod shared_index;
