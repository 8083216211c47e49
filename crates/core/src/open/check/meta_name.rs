//! What META is called, and what else is called so.
#![forbid(unsafe_code)]

use std::path::Path;

use rustix::fd::{AsFd, OwnedFd};

use super::{Result, io};
use crate::format::meta::Index;
use crate::format::name::MetaName;
use crate::interface::error::{OpenError, Warning};
use crate::interface::options::OpenOptions;
use crate::layers::{Layer, Stack};
use crate::sys::{self, Written, is_taken_everywhere};

/// Refuses a chosen name by which something would be hidden that is no storage's own.
/// `root`: what META of the storage's root says.
pub(super) fn check(
    options: &OpenOptions,
    (stack, storage): (&Stack, &OwnedFd),
    root: &Index,
) -> Result<()> {
    let meta = options.meta_name;
    if !meta.is_chosen() {
        return Ok(());
    }
    for layer in stack.layers() {
        let of_storage = |name: &[u8]| layer.meta_name().is_some_and(|own| own.reserves(name));
        let failed = |errno| io(&layer.path, "cannot be listed", errno);
        let hidden = stack.hidden_on(&layer.root).map_err(failed)?;
        let taken =
            first_taken(&layer.root, meta, |name, ino| of_storage(name) || hidden.contains(&ino));
        if let Some(entry) = taken.map_err(failed)? {
            return Err(taken_by(&layer.path, meta, &entry));
        }
    }
    // It was not mounted with that name yet.
    if root.origin().is_none() {
        let own = [meta.as_str(), meta.index(), meta.reserve(), meta.lock()].map(str::as_bytes);
        let is_own = |name: &[u8], _| own.contains(&name) || meta.is_leftover(name);
        let failed = |errno| io(&options.storage, "cannot be listed", errno);
        if let Some(entry) = first_taken(storage, meta, is_own).map_err(failed)? {
            return Err(taken_by(&options.storage, meta, &entry));
        }
    }
    Ok(())
}

fn taken_by(path: &Path, meta: MetaName, entry: &[u8]) -> OpenError {
    let entry = String::from_utf8_lossy(entry).escape_debug().to_string();
    OpenError::MetaNameTaken { path: path.to_path_buf(), name: meta.to_string(), entry }
}

/// A name in a directory that would be hidden.
fn first_taken(
    dir: &OwnedFd,
    meta: MetaName,
    own: impl Fn(&[u8], u64) -> bool,
) -> sys::Result<Option<Vec<u8>>> {
    let mut found = None;
    sys::each_entry(dir.as_fd(), |entry| {
        if meta.reserves(entry.name) && !own(entry.name, entry.ino) {
            found = Some(entry.name.to_vec());
        }
        found.is_none()
    })?;
    Ok(found)
}

/// Refuses a name that the file system of a storage may take for another one.
pub(super) fn check_written(path: &Path, written: Written) -> Result<()> {
    match written {
        Written::Escaped(meta) if !is_taken_everywhere(meta) => {
            Err(OpenError::MetaNameUnfit { path: path.to_path_buf(), name: meta.to_string() })
        }
        _ => Ok(()),
    }
}

/// Tells of names in a base's root that are not shown: such a base is most likely a
/// storage, given by mistake or on purpose.
pub(super) fn tell_of_others(options: &OpenOptions, stack: &Stack, warnings: &mut Vec<Warning>) {
    let meta = options.meta_name;
    let is_base = |layer: &&Layer| !meta.is_chosen() && !layer.is_storage();
    for layer in stack.layers().iter().filter(is_base) {
        let mut count = 0;
        let read = sys::each_entry(layer.root.as_fd(), |entry| {
            count += u64::from(meta.reserves(entry.name));
            true
        });
        // An unreadable base has been refused before; anything else shows when
        // the root is listed.
        if read.is_ok() && count > 0 {
            warnings.push(Warning::ReservedNames { path: layer.path.clone(), count });
        }
    }
}
