//! The attributes of a directory of the base, which keeps its place.

use rustix::fd::BorrowedFd;
use rustix::io::Errno;

use crate::format::acl;
use crate::format::commit::Dress;
use crate::sys::{self, Result, Spot};

/// A directory has just these attributes.
pub(super) fn is_dressed(dir: BorrowedFd<'_>, dress: &Dress) -> Result<bool> {
    let stat = sys::stat_fd(dir)?;
    let same = u32::from(stat.stx_mode) & 0o7777 == dress.mode
        && (stat.stx_uid, stat.stx_gid) == (dress.uid, dress.gid);
    for (name, value) in dress.xattrs.iter().filter(|_| same) {
        if get_xattr(dir, name)? != *value {
            return Ok(false);
        }
    }
    Ok(same)
}

/// Nobody else has changed the attributes of a directory that are on the way from one to
/// the other.
pub(super) fn is_between(dir: BorrowedFd<'_>, before: &Dress, after: &Dress) -> Result<bool> {
    let stat = sys::stat_fd(dir)?;
    let mode = u32::from(stat.stx_mode) & 0o7777;
    let modes = [before.mode, after.mode, narrowed(before, after)];
    // An access list brings a mode of its own.
    let listed = after.xattrs.iter().any(|(name, _)| **name == *acl::ACCESS);
    let same = (listed || modes.contains(&mode))
        && [before.uid, after.uid].contains(&stat.stx_uid)
        && [before.gid, after.gid].contains(&stat.stx_gid);
    for ((name, old), (_, new)) in before.xattrs.iter().zip(&after.xattrs).filter(|_| same) {
        let now = get_xattr(dir, name)?;
        if now != *old && now != *new {
            return Ok(false);
        }
    }
    Ok(same)
}

/// The permissions while the owner changes: those that both allow. Who stays the owner keeps
/// his own right to go on.
fn narrowed(one: &Dress, other: &Dress) -> u32 {
    let own = if one.uid == other.uid { 0o700 } else { 0 };
    one.mode & other.mode & 0o777 | own
}

/// Gives a directory these attributes. Nobody gains by what lies between.
pub(super) fn put_on(dir: BorrowedFd<'_>, dress: &Dress) -> Result<()> {
    let spot = Spot::Fd(dir);
    let stat = sys::stat_fd(dir)?;
    let now = Dress {
        mode: u32::from(stat.stx_mode) & 0o7777,
        uid: stat.stx_uid,
        gid: stat.stx_gid,
        xattrs: Vec::new(),
    };
    let owner = (now.uid, now.gid) != (dress.uid, dress.gid);
    if owner || !dress.xattrs.is_empty() {
        sys::set_mode(spot, narrowed(&now, dress))?;
    }
    if owner {
        sys::set_owner(spot, Some(dress.uid), Some(dress.gid))?;
    }
    // What goes makes room for what comes.
    let (gone, new): (Vec<_>, Vec<_>) = dress.xattrs.iter().partition(|(_, value)| value.is_none());
    for (name, _) in gone {
        match sys::remove_xattr(spot, name) {
            Ok(()) | Err(Errno::NODATA | Errno::OPNOTSUPP) => {}
            Err(errno) => return Err(errno),
        }
    }
    for (name, value) in new {
        sys::set_xattr(spot, name, value.as_deref().unwrap_or_default(), 0)?;
    }
    match u32::from(sys::stat_fd(dir)?.stx_mode) & 0o7777 == dress.mode {
        true => Ok(()),
        false => sys::set_mode(spot, dress.mode),
    }
}

/// `None`: there is none of this name.
fn get_xattr(dir: BorrowedFd<'_>, name: &[u8]) -> Result<Option<Box<[u8]>>> {
    let spot = Spot::Fd(dir);
    let size = match sys::get_xattr(spot, name, &mut []) {
        Err(Errno::NODATA | Errno::OPNOTSUPP) => return Ok(None),
        other => other?,
    };
    let mut value = vec![0; size];
    let len = if size == 0 { 0 } else { sys::get_xattr(spot, name, &mut value)? };
    value.truncate(len);
    Ok(Some(value.into()))
}
