//! Names: one validated component of a path.
#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::io::Errno;

/// Name of the META file of a storage directory. Every name that begins with
/// it is reserved.
pub const META_NAME: &str = "META_dAfFgHE39ktF3HD2sr";

/// Name of the directory in a storage that holds copied-up base objects with
/// several names.
pub const INDEX_NAME: &str = "META_dAfFgHE39ktF3HD2sr_index";

/// Name of the directory in a storage that holds space back for deletions.
pub const RESERVE_NAME: &str = "META_dAfFgHE39ktF3HD2sr_reserve";

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

    /// The name belongs to mini_fo and is never shown.
    #[must_use]
    pub fn is_reserved(&self) -> bool {
        is_reserved(self.0)
    }

    /// The bytes of the name.
    #[must_use]
    pub fn as_bytes(&self) -> &'a [u8] {
        self.0
    }
}

/// The name belongs to mini_fo: META itself and unfinished work.
#[must_use]
pub fn is_reserved(name: &[u8]) -> bool {
    name.starts_with(META_NAME.as_bytes())
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

/// A reserved name that nothing else uses: process, time and a counter.
#[must_use]
pub fn temp_name() -> Vec<u8> {
    static COUNTER: AtomicU32 = AtomicU32::new(0);
    let count = COUNTER.fetch_add(1, Ordering::Relaxed);
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_nanos());
    format!("{META_NAME}.{:x}-{nanos:x}-{count:x}", std::process::id()).into_bytes()
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

    #[test]
    fn reserved_is_what_begins_with_the_name_of_meta() {
        assert!(is_reserved(META_NAME.as_bytes()));
        assert!(is_reserved(format!("{META_NAME}.x").as_bytes()));
        assert!(is_reserved(format!("{META_NAME}x").as_bytes()));
        let shorter = META_NAME.get(..META_NAME.len() - 1).unwrap();
        assert!(!is_reserved(shorter.as_bytes()));
        assert!(!is_reserved(format!("x{META_NAME}").as_bytes()));
        assert!(!is_reserved(META_NAME.to_lowercase().as_bytes()));
    }

    #[test]
    fn temporary_names_are_reserved_valid_and_differ() {
        let names: std::collections::HashSet<_> = (0..1000).map(|_| temp_name()).collect();
        assert_eq!(names.len(), 1000);
        for name in &names {
            assert!(Name::new(name).unwrap().is_reserved());
            assert_ne!(name, META_NAME.as_bytes());
        }
    }
}
