//! Ids inside of POSIX access control lists, as extended attributes hold them:
//! a version (u32, 2), then entries of tag (u16), permissions (u16) and id
//! (u32), all little-endian (`linux/posix_acl_xattr.h`).
#![forbid(unsafe_code)]

use rustix::io::Errno;

/// The attributes that hold such lists.
pub const NAMES: [&[u8]; 2] = [b"system.posix_acl_access", b"system.posix_acl_default"];

const VERSION: u32 = 2;
const USER: u16 = 0x02;
const GROUP: u16 = 0x08;

/// What an entry's id names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// A user.
    User,
    /// A group.
    Group,
}

/// The list with every id of a named user or group replaced by what `id`
/// makes of it; `None` leaves the entry out.
///
/// # Errors
/// EINVAL: malformed; those of `id`.
pub fn translate(
    list: &[u8],
    id: impl Fn(Who, u32) -> Result<Option<u32>, Errno>,
) -> Result<Vec<u8>, Errno> {
    let (version, entries) = list.split_first_chunk::<4>().ok_or(Errno::INVAL)?;
    let (entries, rest) = entries.as_chunks::<8>();
    if u32::from_le_bytes(*version) != VERSION || !rest.is_empty() {
        return Err(Errno::INVAL);
    }
    let mut out = Vec::with_capacity(list.len());
    out.extend(version);
    for &[t0, t1, p0, p1, i0, i1, i2, i3] in entries {
        let mut named = u32::from_le_bytes([i0, i1, i2, i3]);
        let who = match u16::from_le_bytes([t0, t1]) {
            USER => Some(Who::User),
            GROUP => Some(Who::Group),
            _ => None,
        };
        if let Some(who) = who {
            match id(who, named)? {
                Some(other) => named = other,
                None => continue,
            }
        }
        out.extend([t0, t1, p0, p1]);
        out.extend(named.to_le_bytes());
    }
    Ok(out)
}
