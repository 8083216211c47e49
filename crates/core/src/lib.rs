//! The overlay of mini_fo: a base tree that is never written and a storage
//! directory that receives every change, merged into one read-write tree.
//!
//! Knows nothing of FUSE and nothing of a terminal. `docs/FORMAT.md` specifies
//! what lies in the storage, `docs/ARCHITECTURE.md` how the parts fit.

mod acl;
mod check;
mod descriptors;
mod dirs;
mod durability;
mod error;
mod identity;
mod layers;
mod magic;
mod meta;
mod name;
mod node;
mod numbers;
mod options;
mod overlay;
mod own;
mod partial;
pub mod procfs;
mod realms;
mod shared_index;
mod sys;
mod table;
mod trust;
mod types;

pub use check::examine;
pub use error::{ErrorClass, OpenError, Warning};
pub use name::{BadMetaName, META_NAME, MetaName, NAME_MAX, Name};
pub use options::{AccessTimes, DialectName, LayerOptions, OpenOptions};
pub use overlay::{FSXATTR_LEN, ListFor, OpenDir, OpenFile, Opened, Overlay, SlowHook, Version};
pub use sys::{Rights, SystemFailure, as_them, is_trouble, take_failure, with_rights};
pub use trust::Foreign;
pub use types::*;
