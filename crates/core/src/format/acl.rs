//! POSIX access control lists, as extended attributes hold them: a version
//! (u32, 2), then entries of tag (u16), permissions (u16) and id (u32), all
//! little-endian (`linux/posix_acl_xattr.h`).
#![forbid(unsafe_code)]

/// The list that decides who may do what.
pub(crate) const ACCESS: &[u8] = b"system.posix_acl_access";

/// The list that what is made in a directory begins with.
pub(crate) const DEFAULT: &[u8] = b"system.posix_acl_default";

/// The longest value of an attribute (xattr(7), `XATTR_SIZE_MAX`).
pub(crate) const MOST_BYTES: usize = 65536;

const VERSION: u32 = 2;
const USER: u16 = 0x02;
const GROUP_OBJ: u16 = 0x04;
const GROUP: u16 = 0x08;
const MASK: u16 = 0x10;

/// The permission bits with which an object whose access list is lost gives
/// nobody more than it gave with the list.
///
/// With a list the group's bits of `mode` are its mask: what users and groups
/// that are named have at most. And who was named with less than others have
/// is one of these, or of the group, without it.
pub(crate) fn mode_without(list: &[u8], mode: u32) -> u32 {
    let (mut mask, mut group, mut users, mut groups) = (7, 7, None, None);
    let known = list.split_first_chunk().is_some_and(|(version, entries)| {
        let (entries, rest) = entries.as_chunks::<8>();
        for &[t0, t1, p0, p1, ..] in entries {
            let permissions = u32::from(u16::from_le_bytes([p0, p1]));
            match u16::from_le_bytes([t0, t1]) {
                USER => users = Some(users.unwrap_or(7) & permissions),
                GROUP_OBJ => group &= permissions,
                GROUP => groups = Some(groups.unwrap_or(7) & permissions),
                MASK => mask &= permissions,
                _ => {}
            }
        }
        u32::from_le_bytes(*version) == VERSION && rest.is_empty()
    });
    if !known {
        return mode & 0o7700;
    }
    let [users, groups] = [users, groups].map(|named| named.map_or(7, |all| all & mask));
    mode & 0o7700 | (group & mask & users & 7) << 3 | mode & users & groups & 7
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(entries: &[(u16, u16)]) -> Vec<u8> {
        let mut out = VERSION.to_le_bytes().to_vec();
        for (tag, permissions) in entries {
            out.extend(tag.to_le_bytes());
            out.extend(permissions.to_le_bytes());
            out.extend(7u32.to_le_bytes());
        }
        out
    }

    #[test]
    fn nobody_gains_by_the_loss_of_a_list() {
        let of = |entries: &[(u16, u16)], mode| mode_without(&list(entries), mode);
        // The mask showed where the group has less.
        assert_eq!(of(&[(USER, 7), (GROUP_OBJ, 4), (MASK, 7)], 0o2775), 0o2745);
        assert_eq!(of(&[(GROUP_OBJ, 6), (MASK, 4)], 0o644), 0o644);
        // Somebody had less than the others, or than the group.
        assert_eq!(of(&[(USER, 0), (GROUP_OBJ, 7), (MASK, 7)], 0o777), 0o700);
        assert_eq!(of(&[(GROUP, 4), (GROUP_OBJ, 7), (MASK, 7)], 0o777), 0o774);
        assert_eq!(of(&[(USER, 7), (GROUP_OBJ, 7), (MASK, 5)], 0o757), 0o755);
        // What cannot be read gives nothing to anybody but the owner.
        assert_eq!(mode_without(b"", 0o777), 0o700);
        assert_eq!(mode_without(&list(&[])[..3], 0o777), 0o700);
        assert_eq!(mode_without(b"\x03\0\0\0", 0o777), 0o700);
    }
}
