//! Trees of the storage that were set aside: they have a name of unfinished work, and
//! nothing of them shows any more.
#![forbid(unsafe_code)]

use rustix::fd::{AsFd, BorrowedFd};
use rustix::fs::{AtFlags, RenameFlags, Statx, StatxAttributes};
use rustix::io::Errno;

use crate::format::name::{MetaName, is_dot};
use crate::format::path::{Path, join};
use crate::store::dirs::Dirs;
use crate::store::meta_dir::with_access;
use crate::sys::{self, Result, Spot, Within, each_entry};

/// Removes a directory of `dir` with all that is in it, however deep it is: what lies
/// deeper is brought up, under a name of the same kind. `file`: told of each file before
/// it goes.
pub(crate) fn remove_tree(
    meta: MetaName,
    dir: BorrowedFd<'_>,
    name: &[u8],
    file: &mut dyn FnMut(Spot<'_>),
) -> Result<()> {
    let mut left = vec![name.to_vec()];
    while let Some(name) = left.pop() {
        let inner = sys::open_dir(dir, &name)?;
        let mut below = Vec::new();
        with_access(inner.as_fd(), || {
            below.clear();
            sys::each_entry(inner.as_fd(), |entry| {
                if !is_dot(entry.name) {
                    below.push(entry.name.to_vec());
                }
                true
            })
        })?;
        for entry in &below {
            file(Spot::At(inner.as_fd().into(), entry));
            let gone =
                with_access(inner.as_fd(), || sys::unlink(inner.as_fd(), entry, AtFlags::empty()));
            match gone {
                Err(Errno::ISDIR | Errno::PERM) => {
                    left.extend(remove_below(meta, (dir, inner.as_fd()), entry)?);
                }
                Err(Errno::NOENT) => {}
                other => other?,
            }
        }
        sys::unlink(dir, &name, AtFlags::REMOVEDIR)?;
    }
    Ok(())
}

/// Nobody can remove or move it (`chattr +i`, `+a`).
pub(crate) fn is_fixed(stat: &Statx) -> bool {
    let fixed = StatxAttributes::IMMUTABLE | StatxAttributes::APPEND;
    stat.stx_attributes.intersects(fixed)
}

/// Something in a directory of `dir`, or the directory itself, cannot be removed or moved by
/// anybody (`chattr +i`, `+a`). However much is in it, few descriptors are needed.
pub(crate) fn has_fixed(dir: Within<'_>, name: &[u8]) -> Result<bool> {
    if is_fixed(&sys::stat(Spot::at(dir, name))?) {
        return Ok(true);
    }
    let dirs = Dirs::of(sys::open_dir(dir, name)?);
    let mut left = vec![Path::default()];
    while let Some(path) = left.pop() {
        let dir = dirs.dir(&path)?;
        let mut below = Vec::new();
        with_access((*dir).as_fd(), || {
            below.clear();
            each_entry(&*dir, |entry| {
                if !is_dot(entry.name) {
                    below.push(entry.name.to_vec());
                }
                true
            })
        })?;
        for entry in &below {
            let stat = sys::stat(Spot::at((*dir).as_fd(), entry))?;
            if is_fixed(&stat) {
                return Ok(true);
            }
            if sys::kind(&stat) == libc::S_IFDIR {
                left.push(join(&path, entry));
            }
        }
    }
    Ok(false)
}

/// Removes a directory of `inner` if it is empty, else brings it up to `dir`; the result
/// is its name there.
fn remove_below(
    meta: MetaName,
    (dir, inner): (BorrowedFd<'_>, BorrowedFd<'_>),
    name: &[u8],
) -> Result<Option<Vec<u8>>> {
    match with_access(inner, || sys::unlink(inner, name, AtFlags::REMOVEDIR)) {
        Err(Errno::NOTEMPTY | Errno::EXIST) => {}
        other => return other.map(|()| None),
    }
    let temp = meta.temp();
    let bring = || {
        let to = RenameFlags::empty();
        with_access(inner, || sys::rename((inner.into(), name), (dir.into(), &temp), to))
    };
    match bring() {
        // Who moves a directory to another one must be able to write in it.
        Err(Errno::ACCESS) => {
            sys::set_mode(Spot::At(inner.into(), name), 0o700)?;
            bring()?;
        }
        other => other?,
    }
    Ok(Some(temp))
}
