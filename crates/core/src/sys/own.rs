//! The extended attributes by which mini_fo keeps its own notes on objects of
//! a storage: how they are named, and which of them a process may believe.
#![forbid(unsafe_code)]

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::MemfdFlags;
use rustix::io::Errno;

use crate::sys::{self, Result, Spot};

/// What a note is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Own {
    /// On a storage file: where the data is that it lacks (the mark of a partial
    /// file).
    Partial,
    /// On the storage itself, where there are partial files: a copy of the
    /// storage without it has lost their marks.
    Storage,
    /// On the storage itself: it is, or was, mounted with `-o volatile`, and what
    /// was written then may not have reached the device.
    Unclean,
}

/// The names of the notes of one mount, decided once when the storage is opened.
///
/// Whoever owns a file, or may write it, may give it `user.` attributes; only
/// `CAP_SYS_ADMIN` in the initial user namespace gives and sees `trusted.` ones.
/// A process that has this right acts for everybody, so it believes no others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OwnAttributes {
    /// `trusted.mini_fo.*`
    Trusted,
    /// `user.mini_fo.*`
    User,
}

impl OwnAttributes {
    /// Those of this process.
    pub fn of_process(storage: &OwnedFd) -> OwnAttributes {
        if may_use_trusted(storage) { OwnAttributes::Trusted } else { OwnAttributes::User }
    }

    /// The full name of an attribute.
    pub const fn name(self, own: Own) -> &'static [u8] {
        match (self, own) {
            (OwnAttributes::Trusted, Own::Partial) => b"trusted.mini_fo.partial",
            (OwnAttributes::Trusted, Own::Storage) => b"trusted.mini_fo.storage",
            (OwnAttributes::Trusted, Own::Unclean) => b"trusted.mini_fo.unclean",
            (OwnAttributes::User, Own::Unclean) => b"user.mini_fo.unclean",
            (OwnAttributes::User, Own::Partial) => b"user.mini_fo.partial",
            (OwnAttributes::User, Own::Storage) => b"user.mini_fo.storage",
        }
    }

    /// Reads one. ENODATA, EOPNOTSUPP: there is none.
    pub fn get(self, spot: Spot<'_>, own: Own, buf: &mut [u8]) -> Result<usize> {
        sys::get_xattr(spot, self.name(own), buf)
    }

    /// Writes one.
    pub fn set(self, spot: Spot<'_>, own: Own, value: &[u8]) -> Result<()> {
        sys::set_xattr(spot, self.name(own), value, 0)
    }

    /// Takes one away. ENODATA: there is none.
    pub fn remove(self, spot: Spot<'_>, own: Own) -> Result<()> {
        sys::remove_xattr(spot, self.name(own))
    }
}

/// The storage has an attribute of ours.
pub(crate) fn is_marked(storage: &OwnedFd, names: OwnAttributes, own: Own) -> bool {
    names.get(Spot::Fd(storage.as_fd()), own, &mut []).is_ok()
}

/// An extended attribute that belongs to mini_fo: never shown, never set by
/// others, never copied from the base.
pub(crate) fn is_reserved_xattr(name: &[u8]) -> bool {
    name.starts_with(b"user.mini_fo.") || name.starts_with(b"trusted.mini_fo.")
}

/// Asked of the kernel rather than of capability sets, which say nothing of the
/// user namespace they hold in: removing what is not there is refused for the
/// lack of the right before it is found missing, and writes nothing.
fn may_use_trusted(storage: &OwnedFd) -> bool {
    const NOWHERE: &[u8] = b"trusted.mini_fo.nowhere";
    let tried = |fd: &OwnedFd| sys::remove_xattr(Spot::Fd(fd.as_fd()), NOWHERE);
    let elsewhere = || {
        let file = rustix::fs::memfd_create("mini_fo", MemfdFlags::CLOEXEC).ok()?;
        // The right is looked at before it is found that there are no attributes.
        Some(matches!(tried(&file), Ok(()) | Err(Errno::NODATA | Errno::OPNOTSUPP)))
    };
    match tried(storage) {
        Ok(()) | Err(Errno::NODATA) => true,
        // On a directory with the flag of `chattr +a` or `+i` EPERM says nothing.
        Err(Errno::ROFS | Errno::PERM) => elsewhere().unwrap_or(false),
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_them_are_reserved() {
        for names in [OwnAttributes::Trusted, OwnAttributes::User] {
            for own in [Own::Partial, Own::Storage, Own::Unclean] {
                assert!(is_reserved_xattr(names.name(own)));
            }
        }
        for other in [&b"user.mini_fox"[..], b"trusted.mini_f", b"security.mini_fo.partial"] {
            assert!(!is_reserved_xattr(other));
        }
    }

    #[test]
    fn trusted_ones_are_for_those_who_may_read_them() {
        let dir = tempfile::TempDir::new().unwrap();
        let fd = OwnedFd::from(std::fs::File::open(dir.path()).unwrap());
        let spot = Spot::Fd(fd.as_fd());
        let names = OwnAttributes::of_process(&fd);
        match names.set(spot, Own::Partial, b"1") {
            Ok(()) => assert_eq!(names.get(spot, Own::Partial, &mut [0; 9]), Ok(1)),
            Err(errno) => assert_eq!(errno, Errno::OPNOTSUPP, "{names:?}"),
        }
        let tried = sys::set_xattr(spot, b"trusted.mini_fo.partial", b"1", 0);
        assert_eq!(tried == Err(Errno::PERM), names == OwnAttributes::User);
    }
}
