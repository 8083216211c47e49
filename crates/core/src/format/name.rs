//! Names: one validated component of a path, and those that belong to mini_fo.
#![forbid(unsafe_code)]

mod meta_name;

use rustix::io::Errno;

pub use meta_name::{BadMetaName, META_NAME, MetaName, STAGE_IN_A_MOUNT};

/// Longest name in bytes (`NAME_MAX`).
pub const NAME_MAX: usize = 255;

/// One component of a path: 1 to 255 bytes, no `/`, no NUL, not `.` or `..`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Name<'a>(&'a [u8]);

impl<'a> Name<'a> {
    /// Checks a name.
    ///
    /// # Errors
    /// ENAMETOOLONG over 255 bytes; ENOENT for an empty one; EINVAL for what
    /// cannot be a single component.
    pub fn new(name: &'a [u8]) -> Result<Name<'a>, Errno> {
        match name {
            [] => Err(Errno::NOENT),
            _ if name.len() > NAME_MAX => Err(Errno::NAMETOOLONG),
            b"." | b".." => Err(Errno::INVAL),
            _ if name.iter().any(|byte| matches!(byte, 0 | b'/')) => Err(Errno::INVAL),
            _ => Ok(Name(name)),
        }
    }

    /// The bytes of the name.
    #[must_use]
    pub fn as_bytes(&self) -> &'a [u8] {
        self.0
    }
}

/// The entry of a listing is the directory itself, or the one above.
pub(crate) fn is_dot(name: &[u8]) -> bool {
    name == b"." || name == b".."
}

/// The directory of a path without a leading slash; empty for the root.
pub(crate) fn parent(path: &[u8]) -> &[u8] {
    let slash = path.iter().rposition(|byte| *byte == b'/');
    slash.and_then(|slash| path.get(..slash)).unwrap_or_default()
}

/// The last component of a path.
pub(crate) fn file_name(path: &[u8]) -> &[u8] {
    path.rsplit(|byte| *byte == b'/').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_bytes_but_the_impossible_ones_are_names() {
        let longest = [b'n'; NAME_MAX];
        let good: [&[u8]; 8] =
            [b"a", b" ", b"...", b".a", b"a\nb", b"\\x41", b"\xff\xfe\x7f\x01", &longest];
        for name in good {
            assert_eq!(Name::new(name).map(|name| name.as_bytes()), Ok(name));
        }
        let bad: [(&[u8], Errno); 7] = [
            (b"", Errno::NOENT),
            (b".", Errno::INVAL),
            (b"..", Errno::INVAL),
            (b"a/b", Errno::INVAL),
            (b"/", Errno::INVAL),
            (b"a\0b", Errno::INVAL),
            (&[b'n'; NAME_MAX + 1], Errno::NAMETOOLONG),
        ];
        for (name, errno) in bad {
            assert_eq!(Name::new(name), Err(errno), "{name:?}");
        }
    }
}
