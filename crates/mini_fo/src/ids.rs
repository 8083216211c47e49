//! Owners as programs see them, and as base and storage hold them.
//!
//! A pure translation at the border between kernel and overlay: the overlay
//! itself knows only the ids of its layers (*outside*), the kernel only those
//! of the mount (*inside*). It follows the kernel's idmapped mounts
//! (Documentation/filesystems/idmappings.rst) where both can do the same.
#![forbid(unsafe_code)]

mod acl;
mod options;

use rustix::io::Errno;

use mini_fo_core::{Caller, SetAttr, Squash};

pub use options::IdOptions;

/// What the kernel is told of an owner that has no id inside. It takes this
/// for no id at all: it shows the overflow id (65534), and lets nobody who
/// has that id pass for the owner.
const NOBODY_AT_ALL: u32 = u32::MAX;

/// One run of ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Range {
    inside: u32,
    outside: u32,
    /// At least 1; neither side goes beyond `u32::MAX - 1`.
    count: u32,
}

/// How ids of one kind are translated.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Side {
    /// Not at all.
    #[default]
    Same,
    /// By ranges that overlap on neither side.
    Map(Vec<Range>),
    /// All objects belong to one owner.
    Squash(u32),
}

impl Side {
    /// The id inside of an owner outside.
    fn shown(&self, outside: u32) -> Option<u32> {
        let Side::Map(ranges) = self else {
            return Some(outside);
        };
        let within = |range: &Range| {
            let offset = outside.checked_sub(range.outside)?;
            (offset < range.count).then(|| range.inside + offset)
        };
        ranges.iter().find_map(within)
    }

    /// The id outside of an id inside.
    fn stored(&self, inside: u32) -> Option<u32> {
        let Side::Map(ranges) = self else {
            return Some(inside);
        };
        let within = |range: &Range| {
            let offset = inside.checked_sub(range.inside)?;
            (offset < range.count).then(|| range.outside + offset)
        };
        ranges.iter().find_map(within)
    }

    /// The owner that an object shows.
    fn owner(&self, outside: u32) -> u32 {
        match self {
            Side::Squash(all) => *all,
            _ => self.shown(outside).unwrap_or(NOBODY_AT_ALL),
        }
    }

    /// The owner that a new object gets.
    fn created(&self, caller: u32) -> Result<u32, Errno> {
        match self {
            Side::Squash(all) => Ok(*all),
            _ => self.stored(caller).ok_or(Errno::OVERFLOW),
        }
    }

    /// The owner to be set; `None`: it is shown already, whatever is stored.
    fn set(&self, wanted: Option<u32>) -> Result<Option<u32>, Errno> {
        match (self, wanted) {
            (Side::Squash(all), Some(id)) if id == *all => Ok(None),
            (Side::Squash(_), Some(_)) => Err(Errno::PERM),
            (_, Some(id)) => self.stored(id).map(Some).ok_or(Errno::OVERFLOW),
            (_, None) => Ok(None),
        }
    }
}

/// The translation of a mount.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ids {
    uid: Side,
    gid: Side,
}

impl Ids {
    /// All objects show one owner and one group.
    pub fn are_one_owner(&self) -> bool {
        matches!((&self.uid, &self.gid), (Side::Squash(_), Side::Squash(_)))
    }

    /// The owners, user and group, that an object of these owners shows.
    pub fn owners(&self, uid: u32, gid: u32) -> (u32, u32) {
        (self.uid.owner(uid), self.gid.owner(gid))
    }

    /// Who makes an object, in ids outside.
    ///
    /// # Errors
    /// EOVERFLOW: the caller has no id outside.
    pub fn caller(&self, caller: Caller) -> Result<Caller, Errno> {
        let (uid, gid) = (self.uid.created(caller.uid)?, self.gid.created(caller.gid)?);
        Ok(Caller { uid, gid, ..caller })
    }

    /// A change of attributes, with its owners in ids outside.
    ///
    /// # Errors
    /// EOVERFLOW: the new owner has no id outside; EPERM: all objects belong
    /// to one owner, who is another.
    pub fn set_attr(&self, set: SetAttr) -> Result<SetAttr, Errno> {
        let (uid, gid) = (self.uid.set(set.uid)?, self.gid.set(set.gid)?);
        Ok(SetAttr { uid, gid, ..set })
    }

    /// The owners that all objects show.
    pub fn squash(&self) -> Squash {
        let one = |side: &Side| if let Side::Squash(all) = side { Some(*all) } else { None };
        Squash { uid: one(&self.uid), gid: one(&self.gid) }
    }

    /// Whether there are such.
    pub fn is_squashed(&self) -> bool {
        self.squash() != Squash::default()
    }

    /// Whether the value of an extended attribute has to be translated.
    pub fn concern(&self, name: &[u8]) -> bool {
        let maps = |side: &Side| matches!(side, Side::Map(_));
        (maps(&self.uid) || maps(&self.gid)) && acl::NAMES.contains(&name)
    }

    /// An access control list as it is shown. Entries for users and groups
    /// that have no id inside are left out: they give and take nothing there.
    ///
    /// # Errors
    /// EIO: it is malformed.
    pub fn acl_shown(&self, stored: &[u8]) -> Result<Vec<u8>, Errno> {
        let translated = acl::translate(stored, |who, id| {
            let side = self.side(who);
            Ok(side.shown(id))
        });
        translated.map_err(|_| Errno::IO)
    }

    /// An access control list as it is stored.
    ///
    /// # Errors
    /// EINVAL: an entry's user or group has no id outside, or it is malformed.
    pub fn acl_stored(&self, shown: &[u8]) -> Result<Vec<u8>, Errno> {
        acl::translate(shown, |who, id| self.side(who).stored(id).map(Some).ok_or(Errno::INVAL))
    }

    fn side(&self, who: acl::Who) -> &Side {
        match who {
            acl::Who::User => &self.uid,
            acl::Who::Group => &self.gid,
        }
    }
}

#[cfg(test)]
mod tests;
