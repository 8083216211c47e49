//! Which base, and which layers below its uppermost, a storage was made for.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fd::OwnedFd;

use super::{Result, io};
use crate::format::meta::{Index, Record};
use crate::interface::error::{OpenError, Warning};
use crate::layers::Stack;
use crate::sys;

/// What tells the base from others.
pub(super) fn origin(base: &OwnedFd, path: &Path) -> Result<Record> {
    let examine = |errno| io(path, "cannot be examined", errno);
    let stat = sys::stat_fd(base).map_err(examine)?;
    let fsid = sys::fsid(base).map_err(examine)?;
    let path = path.as_os_str().as_bytes().into();
    Ok(Record::Origin { fsid, ino: stat.stx_ino, path })
}

/// Whether the storage was made for this base: `Ok(true)`, exactly; `Ok(false)`,
/// as far as can be told; else the path of the other one.
pub(super) fn same_base(index: &Index, now: &Record) -> std::result::Result<bool, PathBuf> {
    let Some(recorded) = index.origin() else {
        return Ok(false);
    };
    if recorded == now {
        return Ok(true);
    }
    match (recorded, now) {
        (
            Record::Origin { fsid, ino, path },
            Record::Origin { fsid: now_fsid, ino: now_ino, path: now_path },
        ) if path != now_path && !is_one((*fsid, *ino), (*now_fsid, *now_ino), false) => {
            Err(path_of(path))
        }
        _ => Ok(false),
    }
}

/// Another directory is where the recorded one was.
pub(super) fn is_replaced(index: &Index, now: &Record) -> bool {
    match (index.origin(), now) {
        (
            Some(Record::Origin { fsid, ino, path }),
            Record::Origin { fsid: now_fsid, ino: now_ino, path: now_path },
        ) => path == now_path && !is_one((*fsid, *ino), (*now_fsid, *now_ino), true),
        _ => false,
    }
}

/// A directory as META records it: `f_fsid`, `st_ino`, path.
pub(super) type Directory = (u64, u64, Box<[u8]>);

/// What a storage was made for, from the top down, as far as its META tells.
pub(super) fn made_for(index: &Index) -> Vec<Directory> {
    let first = match index.origin() {
        Some(Record::Origin { fsid, ino, path }) => Some((*fsid, *ino, path.clone())),
        _ => None,
    };
    first.into_iter().chain(below(index)).collect()
}

/// The same without the first.
pub(super) fn below(index: &Index) -> Vec<Directory> {
    match index.under() {
        Some(Record::Under { layers }) => layers.clone(),
        _ => Vec::new(),
    }
}

/// It is this very directory, as far as can be told. Whoever has not seen it cannot make
/// that up where its file system has a number that lasts.
pub(super) fn is_there(recorded: &Directory, now: &OwnedFd) -> Result<bool> {
    let (fsid, ino, path) = recorded;
    match origin(now, &path_of(path))? {
        Record::Origin { fsid: now_fsid, ino: now_ino, .. } => {
            Ok(*ino == now_ino && sys::lasting(*fsid) == sys::lasting(now_fsid))
        }
        _ => Ok(false),
    }
}

/// The path of a record.
pub(super) fn path_of(bytes: &[u8]) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(bytes))
}

/// Tells of layers where another directory is than a storage above was made for.
/// `first`: which layer the first of the recorded ones is.
pub(super) fn tell_replaced(
    stack: &Stack,
    first: usize,
    recorded: &[Directory],
    warnings: &mut Vec<Warning>,
) -> Result<()> {
    for (layer, (fsid, ino, path)) in stack.layers().iter().skip(first).zip(recorded) {
        if layer.full.as_os_str().as_bytes() != &**path {
            continue;
        }
        let Record::Origin { fsid: now_fsid, ino: now_ino, .. } = origin(&layer.root, &layer.full)?
        else {
            continue;
        };
        let told = Warning::LayerReplaced { path: layer.path.clone() };
        if !is_one((*fsid, *ino), (now_fsid, now_ino), true) && !warnings.contains(&told) {
            warnings.push(told);
        }
    }
    Ok(())
}

/// What tells the layers below the uppermost from others.
pub(super) fn under(stack: &Stack) -> Result<Record> {
    let below = stack.layers().iter().skip(1);
    let one = |layer: &crate::layers::Layer| match origin(&layer.root, &layer.full)? {
        Record::Origin { fsid, ino, path } => Ok((fsid, ino, path)),
        _ => Ok((0, 0, Box::default())),
    };
    Ok(Record::Under { layers: below.map(one).collect::<Result<_>>()? })
}

/// Refuses other layers than the storage was made for, or another order.
pub(super) fn check_under(storage: &Path, index: &Index, now: &Record) -> Result<()> {
    let known = match index.under() {
        Some(Record::Under { layers }) => layers.as_slice(),
        // It was not mounted before, or had one layer.
        _ if index.origin().is_none() => return Ok(()),
        _ => &[],
    };
    let Record::Under { layers } = now else { return Ok(()) };
    let same = known.len() == layers.len()
        && known.iter().zip(layers).all(|((fsid, ino, path), (now_fsid, now_ino, now_path))| {
            path == now_path || is_one((*fsid, *ino), (*now_fsid, *now_ino), false)
        });
    if same {
        return Ok(());
    }
    let text = |path: &[u8]| OsStr::from_bytes(path).display().to_string();
    let paths: Vec<String> = known.iter().map(|(_, _, path)| text(path)).collect();
    let recorded = if paths.is_empty() { "nothing".to_owned() } else { paths.join(", ") };
    Err(OpenError::OtherLayers { path: storage.to_path_buf(), recorded })
}

/// Tells of other layers than the storage was made for.
pub(super) fn tell_under(storage: &Path, index: &Index, now: &Record, warnings: &mut Vec<Warning>) {
    if let Err(OpenError::OtherLayers { path, recorded }) = check_under(storage, index, now) {
        warnings.push(Warning::OtherLayers { path, recorded });
    }
}

/// The record of the layers, unless META says it, or there is none to tell of.
pub(super) fn missing(index: &Index, now: Record) -> Option<Record> {
    let none = matches!(&now, Record::Under { layers } if layers.is_empty());
    (index.under() != Some(&now) && !(none && index.under().is_none())).then_some(now)
}

/// Whether `f_fsid` and `st_ino` are those of one directory; `unknown`: what
/// counts for file systems that have no `f_fsid` which lasts.
fn is_one((fsid, ino): (u64, u64), (now_fsid, now_ino): (u64, u64), unknown: bool) -> bool {
    let [fsid, now_fsid] = [fsid, now_fsid].map(sys::lasting);
    let known = fsid != 0 && now_fsid != 0;
    ino == now_ino && if known { fsid == now_fsid } else { unknown }
}
