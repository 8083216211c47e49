//! Whether the storage has the marks that its partial files need, and taking
//! over those of the version that wrote `user.` ones also as root.

use std::path::Path;

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{IFlags, OFlags};
use rustix::io::Errno;

use super::{Result, io};
use crate::format::features::FEATURE_PARTIAL;
use crate::format::meta::Index;
use crate::interface::error::OpenError;
use crate::sys::own::{Own, OwnAttributes};
use crate::sys::{self, Spot, Within};

/// What the marks of a storage are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Marks {
    /// There are none, or they are as this process writes them.
    Own,
    /// They are `user.` ones, and this process believes `trusted.` ones alone.
    Old,
    /// There should be some.
    Lost,
}

impl Marks {
    /// Those of a storage whose root META is `root`.
    pub fn of(storage: &OwnedFd, names: OwnAttributes, root: &Index) -> Marks {
        if !root.features().any(|word| word == FEATURE_PARTIAL) {
            return Marks::Own;
        }
        let lacks = |names: OwnAttributes| {
            let got = names.get(Spot::Fd(storage.as_fd()), Own::Storage, &mut []);
            matches!(got, Err(Errno::NODATA | Errno::OPNOTSUPP))
        };
        match names {
            _ if !lacks(names) => Marks::Own,
            OwnAttributes::Trusted if !lacks(OwnAttributes::User) => Marks::Old,
            _ => Marks::Lost,
        }
    }
}

/// Partial files are told by extended attributes. What has lost them would show
/// as zeros. `mode`: permission bits of the storage's root.
pub(super) fn check(path: &Path, marks: Marks, mode: u32, may_write: bool) -> Result<()> {
    let path = path.to_path_buf();
    match marks {
        Marks::Own => Ok(()),
        Marks::Lost => Err(OpenError::AttributesLost { path }),
        Marks::Old if super::storage::is_open(mode) => Err(OpenError::OldMarksOpen { path, mode }),
        Marks::Old if !may_write => Err(OpenError::OldMarks { path }),
        Marks::Old => Ok(()),
    }
}

/// What a walk over the storage does with each file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// It gets the mark that it has by the old name, or none.
    Copy,
    /// It loses the one with the old name.
    Drop,
}

/// Takes the marks over. A crash in between leaves the old ones valid until
/// all new ones are on the device.
pub(super) fn take_over(
    path: &Path,
    storage: &OwnedFd,
    mut walk: impl FnMut(Step) -> std::result::Result<(), Errno>,
) -> Result<()> {
    let (old, new) = (OwnAttributes::User, OwnAttributes::Trusted);
    let root = Spot::Fd(storage.as_fd());
    let done = walk(Step::Copy)
        .and_then(|()| rustix::fs::syncfs(storage))
        .and_then(|()| new.set(root, Own::Storage, b"1"))
        .and_then(|()| rustix::fs::syncfs(storage))
        .and_then(|()| walk(Step::Drop))
        .and_then(|()| old.remove(root, Own::Storage));
    done.map_err(|errno| io(path, "cannot take over the marks of an earlier version", errno))?;
    tracing::info!("storage {}: marks of an earlier version are root's now", path.display());
    Ok(())
}

/// One file of the walk.
pub(super) fn take_over_one(
    dir: Within<'_>,
    name: &[u8],
    step: Step,
) -> std::result::Result<(), Errno> {
    let held = sys::hold(Spot::at(dir, name))?;
    let file = Spot::Fd(held.as_fd());
    let (old, new) = (OwnAttributes::User, OwnAttributes::Trusted);
    let mut value = [0; 4096];
    let mark = match old.get(file, Own::Partial, &mut value) {
        Ok(len) => value.get(..len),
        Err(Errno::NODATA | Errno::OPNOTSUPP) => None,
        Err(errno) => return Err(errno),
    };
    let change = || match (step, mark) {
        (Step::Copy, Some(mark)) => new.set(file, Own::Partial, mark),
        (Step::Copy, None) => gone(new.remove(file, Own::Partial)),
        (Step::Drop, _) => gone(old.remove(file, Own::Partial)),
    };
    match change() {
        Err(Errno::PERM) => unprotected(file, change),
        other => other,
    }
}

fn gone(removed: std::result::Result<(), Errno>) -> std::result::Result<(), Errno> {
    match removed {
        Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(()),
        other => other,
    }
}

/// Without the flags of `chattr +i` and `+a`, for a moment.
fn unprotected(
    file: Spot<'_>,
    change: impl FnOnce() -> std::result::Result<(), Errno>,
) -> std::result::Result<(), Errno> {
    let fd = sys::open_untraced(file, OFlags::RDONLY | OFlags::NONBLOCK)?;
    let flags = sys::get_flags(&fd)?;
    sys::set_flags(&fd, flags & !IFlags::IMMUTABLE.union(IFlags::APPEND).bits())?;
    let changed = change();
    sys::set_flags(&fd, flags)?;
    changed
}
