//! What a storage holds that is not mounted.

use std::path::Path;

use rustix::fd::AsFd;

use super::{Result, found, io, storage, written};
use crate::format::name::MetaName;
use crate::interface::error::OpenError;
use crate::ops::usage::{Used, Walk};
use crate::store::meta;

/// As [`Overlay::usage`](crate::Overlay::usage), of a storage by its path. No base is
/// needed, and it may be mounted.
///
/// # Errors
/// It is no storage, belongs to somebody else, or cannot be read.
pub fn usage_at_rest(
    path: &Path,
    meta: MetaName,
    each: &mut dyn FnMut(&Used<'_>) -> bool,
) -> Result<()> {
    let root = found::open_storage(path)?;
    storage::check_owner(path, &root)?;
    let session = meta::session(root.as_fd(), meta);
    let loaded = storage::load_root(path, &root, session)?;
    if loaded.index.origin().is_none() && !storage::is_empty((path, &root), meta)? {
        return Err(OpenError::StorageUnknown { path: path.to_path_buf() });
    }
    let written = written(meta, &root, &loaded.index);
    Walk::new(&root, meta, written).run(each).map_err(|errno| io(path, "cannot be read", errno))
}
