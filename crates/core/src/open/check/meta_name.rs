//! What META is called, and what else is called so.
#![forbid(unsafe_code)]

use std::path::Path;

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::Statx;

use super::{Result, io};
use crate::format::features::{FEATURE_INDEX, FEATURE_PARTIAL};
use crate::format::meta::Index;
use crate::format::name::{MetaName, is_dot};
use crate::interface::error::{OpenError, Warning};
use crate::interface::options::OpenOptions;
use crate::layers::Stack;
use crate::state::reserve::{PAGE, PIECES};
use crate::sys::{self, Spot, Written, is_taken_everywhere};

/// Refuses a chosen name by which something would be hidden that is no storage's own. Once
/// the storage was mounted with it, nobody is to be locked out by a name that the base has
/// got since. `root`: what META of the storage's root says.
pub(super) fn check(
    options: &OpenOptions,
    (stack, storage): (&Stack, &OwnedFd),
    root: &Index,
) -> Result<()> {
    let meta = options.meta_name;
    if !meta.is_chosen() || root.origin().is_some() {
        return Ok(());
    }
    for layer in stack.layers() {
        let of_storage = |name: &[u8]| layer.meta_name().is_some_and(|own| own.reserves(name));
        let failed = |errno| io(&layer.path, "cannot be listed", errno);
        let hidden = stack.hidden_on(&layer.root).map_err(failed)?;
        let own = |name: &[u8], ino| of_storage(name) || hidden.contains(&ino);
        let taken = taken(&layer.root, meta, own).map_err(failed)?;
        if let Some(entry) = taken.first() {
            return Err(taken_by(&layer.path, meta, entry));
        }
    }
    let own = |name: &[u8], _| name == meta.as_bytes() || meta.is_leftover(name);
    let failed = |errno| io(&options.storage, "cannot be listed", errno);
    let others = taken(storage, meta, own).map_err(failed)?;
    match others.iter().find(|name| !is_ours(meta, storage, root, name)) {
        Some(entry) => Err(taken_by(&options.storage, meta, entry)),
        None => Ok(()),
    }
}

/// What a mount has left that could not write down what the storage was made for, by want
/// of room: mini_fo's own directories, and not ones of somebody else's that are called so.
fn is_ours(meta: MetaName, storage: &OwnedFd, root: &Index, name: &[u8]) -> bool {
    let Ok(stat) = sys::stat(Spot::at(storage, name)) else { return false };
    let private = sys::kind(&stat) == libc::S_IFDIR && stat.stx_mode & 0o7777 == 0o700;
    match name {
        _ if name == meta.index().as_bytes() => {
            private && root.features().any(|word| word == FEATURE_INDEX || word == FEATURE_PARTIAL)
        }
        _ if name == meta.reserve().as_bytes() => {
            private && sys::open_dir(storage.as_fd(), name).is_ok_and(|dir| is_reserve(&dir))
        }
        _ if name == meta.lock().as_bytes() => {
            sys::kind(&stat) == libc::S_IFREG && stat.stx_size == 0
        }
        _ => false,
    }
}

/// A directory holds nothing but files of a reserve.
fn is_reserve(dir: &OwnedFd) -> bool {
    let mut good = true;
    let listed = sys::each_entry(dir.as_fd(), |entry| {
        let number = std::str::from_utf8(entry.name).ok().and_then(|name| name.parse().ok());
        let is_piece =
            |stat: Statx| sys::kind(&stat) == libc::S_IFREG && stat.stx_size.is_multiple_of(PAGE);
        good = is_dot(entry.name)
            || number.is_some_and(|number: u64| number < PIECES)
                && sys::stat(Spot::at(dir, entry.name)).is_ok_and(is_piece);
        good
    });
    good && listed.is_ok()
}

fn taken_by(path: &Path, meta: MetaName, entry: &[u8]) -> OpenError {
    let entry = String::from_utf8_lossy(entry).escape_debug().to_string();
    OpenError::MetaNameTaken { path: path.to_path_buf(), name: meta.to_string(), entry }
}

/// The names in a directory that would be hidden.
fn taken(
    dir: &OwnedFd,
    meta: MetaName,
    own: impl Fn(&[u8], u64) -> bool,
) -> sys::Result<Vec<Vec<u8>>> {
    let mut found = Vec::new();
    sys::each_entry(dir.as_fd(), |entry| {
        if meta.reserves(entry.name) && !own(entry.name, entry.ino) {
            found.push(entry.name.to_vec());
        }
        true
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

/// Tells of names in the roots of layers that are not shown, because META of a storage is
/// called so: with the usual name, such a base is most likely a storage, given by mistake
/// or on purpose.
pub(super) fn tell_of_others(stack: &Stack, warnings: &mut Vec<Warning>) {
    for layer in stack.layers() {
        let Ok(hidden) = stack.hidden_on(&layer.root) else { continue };
        for meta in layer.reserved.iter().filter(|meta| layer.meta_name() != Some(**meta)) {
            let own = |name: &[u8], ino| {
                layer.meta_name().is_some_and(|own| own.reserves(name)) || hidden.contains(&ino)
            };
            // An unreadable base has been refused before; anything else shows when
            // the root is listed.
            if let Ok(names) = taken(&layer.root, *meta, own)
                && !names.is_empty()
            {
                let (path, name) = (layer.path.clone(), meta.to_string());
                warnings.push(Warning::ReservedNames { path, name, count: names.len() as u64 });
            }
        }
    }
}
