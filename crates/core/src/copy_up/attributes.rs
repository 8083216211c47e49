//! What a copy-up copies beside the data. Nobody gains a right by it.

use rustix::fs::Statx;
use rustix::io::Errno;

use crate::copy_up::kept::{can_be_kept, cannot_hold};
use crate::format::acl;
use crate::format::meta::Kept;
use crate::layers::{Object, Stack};
use crate::store::meta_dir::Made;
use crate::sys::own::is_reserved_xattr;
use crate::sys::{self, Result, Spot};

/// What an object has already that gets the attributes of another.
#[derive(Clone, Copy)]
pub(crate) struct Fresh {
    pub made: Made,
    /// With what mode it was made.
    pub mode: u32,
}

/// What became of the attributes of a copy.
#[derive(Default)]
pub(crate) struct Copied {
    /// What the storage does not hold or refused.
    pub kept: Kept,
    /// The mode is less than asked for: a list was lost.
    pub narrowed: bool,
}

/// Owner, mode, extended attributes and times, in the order in which one does
/// not undo the other. `modes`: the storage holds them. `fresh`: what is known of the
/// copy, and need not be set again.
pub(crate) fn copy_attributes(
    (stack, from): (&Stack, Object<'_>),
    to: Spot<'_>,
    stat: &Statx,
    modes: bool,
    fresh: Option<Fresh>,
) -> Result<Copied> {
    let mut kept = Kept::default();
    let asked = u32::from(stat.stx_mode) & 0o7777;
    let (mut mode, mut own) = (asked, asked);
    let owned = |fresh: &Fresh| (fresh.made.uid, fresh.made.gid) == (stat.stx_uid, stat.stx_gid);
    let owner = match fresh.as_ref().is_some_and(owned) {
        true => Ok(()),
        false => sys::set_owner(to, Some(stat.stx_uid), Some(stat.stx_gid)),
    };
    match owner {
        // A user cannot give files away: META keeps the owner, and a program
        // that acted for its owner must not act for this user.
        Err(errno) if cannot_hold(errno) => {
            kept.owner = Some((mode, stat.stx_uid, stat.stx_gid));
            if sys::kind(stat) == libc::S_IFREG {
                own &= !(libc::S_ISUID | libc::S_ISGID);
            }
        }
        other => other?,
    }
    if !modes {
        kept.owner = Some((mode, stat.stx_uid, stat.stx_gid));
    }
    let plain = fresh.filter(|fresh| fresh.made.plain);
    if plain.is_none() {
        drop_lists(to, &[acl::ACCESS, acl::DEFAULT])?;
    }
    // Before the mode: a user cannot give attributes to what is write-protected.
    let names = match from.list_xattrs(stack) {
        Err(Errno::PERM | Errno::ACCESS) => Vec::new(),
        other => other?,
    };
    let get = |name: &[u8], buf: &mut [u8]| from.get_xattr(stack, name, buf);
    sys::copy_xattrs(&names, get, to, is_reserved_xattr, |name, value| {
        if can_be_kept(name) {
            kept.xattrs.insert(name.into(), value.into());
        } else if name == acl::ACCESS {
            mode = acl::mode_without(value, mode);
        }
    })?;
    if let Some((shown, _, _)) = &mut kept.owner {
        *shown = mode;
    }
    // With a list comes a mode.
    let has_list = names.split(|byte| *byte == 0).any(|name| name == acl::ACCESS);
    let has_mode = !has_list && plain.is_some_and(|fresh| fresh.mode == own & mode);
    if sys::kind(stat) != libc::S_IFLNK && !has_mode {
        match sys::set_mode(to, own & mode) {
            Err(errno) if !modes && cannot_hold(errno) => {}
            other => other?,
        }
    }
    sys::copy_times(stat, to)?;
    Ok(Copied { kept, narrowed: mode != asked })
}

/// Takes the access control lists away that a new object has got from the
/// directory it was made in (acl(5)): the copy's own are all that it has.
pub(crate) fn drop_lists(to: Spot<'_>, lists: &[&[u8]]) -> Result<()> {
    let mut names = [0; 256];
    let listed = match sys::list_xattrs(to, &mut names) {
        Ok(len) => names.get(..len),
        Err(Errno::OPNOTSUPP) => return Ok(()),
        // More than fit: they may be among them.
        Err(Errno::RANGE) => None,
        Err(errno) => return Err(errno),
    };
    for &name in lists {
        let has = |listed: &[u8]| listed.split(|byte| *byte == 0).any(|listed| listed == name);
        if !listed.is_none_or(has) {
            continue;
        }
        match sys::remove_xattr(to, name) {
            Ok(()) | Err(Errno::NODATA | Errno::OPNOTSUPP) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}
