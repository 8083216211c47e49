//! Names in a storage whose file system does not take every name, or takes two for one.
//!
//! There every name is written so that no such file system has anything to say about it
//! (docs/FORMAT.md, section 11): capitals, `~` and whatever some refuse are escaped. No
//! two names are written the same, and none like a reserved one.
#![forbid(unsafe_code)]

use std::borrow::Cow;
use std::sync::OnceLock;

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{self, AtFlags, FileType, Mode, RenameFlags};
use rustix::io::Errno;

use super::failure::noted;
use super::{Result, Spot};
use crate::format::name::{MetaName, NAME_MAX};

/// How names are written in a storage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Written {
    /// As they are.
    #[default]
    Plain,
    /// As they are, beside what a client of NFS makes of files that were removed while
    /// somebody has them open.
    OnNfs,
    /// Escaped, but for what belongs to mini_fo.
    Escaped(MetaName),
}

/// A directory whose entries have names that are written so.
#[derive(Clone, Copy)]
pub(crate) struct Within<'a> {
    fd: BorrowedFd<'a>,
    written: Written,
}

/// A descriptor of such a directory.
pub(crate) struct StoredDir {
    fd: OwnedFd,
    written: Written,
    /// They are written otherwise from some moment on.
    changed: OnceLock<Written>,
}

impl StoredDir {
    pub fn new(fd: OwnedFd, written: Written) -> Self {
        StoredDir { fd, written, changed: OnceLock::new() }
    }

    /// A directory in a directory, for use as a directory descriptor.
    pub fn open(dir: Within<'_>, name: &[u8]) -> Result<Self> {
        Ok(StoredDir::new(super::open_dir(dir, name)?, dir.written))
    }

    pub fn within(&self) -> Within<'_> {
        let written = self.changed.get().copied().unwrap_or(self.written);
        Within { fd: self.fd.as_fd(), written }
    }

    /// Names are written so from here on. Counts once; it has no entries.
    pub fn write_names(&self, written: Written) {
        if written != self.written {
            // What its file system needs does not change.
            let _ = self.changed.set(written);
        }
    }
}

/// A directory of a layer that takes every name, or a reserved name is meant.
impl<'a> From<BorrowedFd<'a>> for Within<'a> {
    fn from(fd: BorrowedFd<'a>) -> Self {
        Within { fd, written: Written::Plain }
    }
}

impl<'a> From<&'a OwnedFd> for Within<'a> {
    fn from(fd: &'a OwnedFd) -> Self {
        fd.as_fd().into()
    }
}

impl<'a> Within<'a> {
    pub fn new(fd: BorrowedFd<'a>, written: Written) -> Self {
        Within { fd, written }
    }

    /// The directory itself.
    pub fn fd(self) -> BorrowedFd<'a> {
        self.fd
    }

    pub fn written(self) -> Written {
        self.written
    }

    /// A name as it must be written here if there is such an entry. ENOENT: nothing
    /// can have that name.
    pub fn existing(self, name: &[u8]) -> Result<Cow<'_, [u8]>> {
        self.written.stored(name).map_err(|_| Errno::NOENT)
    }
}

impl Written {
    /// A name as the storage has it. ENAMETOOLONG: it is longer than names can be.
    /// EPERM: it is not for users.
    pub fn stored(self, name: &[u8]) -> Result<Cow<'_, [u8]>> {
        match self {
            Written::OnNfs if is_silly(name) => Err(Errno::PERM),
            Written::Escaped(meta) if !is_own(meta, name) => {
                let name = escape(Some(meta), name);
                if name.len() > NAME_MAX { Err(Errno::NAMETOOLONG) } else { Ok(name) }
            }
            _ => Ok(Cow::Borrowed(name)),
        }
    }

    /// The name that a stored one stands for. `None`: none of ours is written so.
    pub fn shown(self, stored: &[u8]) -> Option<Cow<'_, [u8]>> {
        match self {
            Written::OnNfs if is_silly(stored) => None,
            Written::Escaped(meta) if !is_own(meta, stored) => {
                let name = unescape(stored)?;
                (*escape(Some(meta), &name) == *stored).then_some(name)
            }
            _ => Some(Cow::Borrowed(stored)),
        }
    }
}

/// The dots, and what is mini_fo's own: they are not escaped.
fn is_own(meta: MetaName, name: &[u8]) -> bool {
    matches!(name, b"." | b"..") || meta.reserves(name)
}

/// `.nfs`, the number of the file, and a counter (Linux, `nfs_sillyrename`).
fn is_silly(name: &[u8]) -> bool {
    let digits = name.strip_prefix(b".nfs").filter(|digits| digits.len() == 24);
    digits.is_some_and(|digits| digits.iter().all(|d| matches!(d, b'0'..=b'9' | b'a'..=b'f')))
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-+,=@ ".contains(&byte)
}

/// Names that DOS has for devices, with whatever comes after a dot.
fn is_device(name: &[u8]) -> bool {
    let stem = name.split(|byte| *byte == b'.').next().unwrap_or_default();
    match stem {
        b"con" | b"prn" | b"aux" | b"nul" => true,
        [b'c', b'o', b'm', digit] | [b'l', b'p', b't', digit] => digit.is_ascii_digit(),
        _ => false,
    }
}

/// META may be called so on a file system that does not take every name, and where names
/// are escaped no other name is written like it.
pub(crate) fn is_taken_everywhere(meta: MetaName) -> bool {
    let name = meta.as_bytes().to_ascii_lowercase();
    matches!(escape(None, &name), Cow::Borrowed(_))
}

fn escape(meta: Option<MetaName>, name: &[u8]) -> Cow<'_, [u8]> {
    let last = name.len().saturating_sub(1);
    let first_too = is_silly(name)
        || is_device(name)
        || meta.is_some_and(|meta| is_reserved_in_any_case(meta, name));
    // Some drop dots and blanks at the end.
    let plain = |(at, byte): (usize, u8)| {
        is_plain(byte)
            && !(at == 0 && (first_too || byte == b' '))
            && !(at == last && matches!(byte, b'.' | b' '))
    };
    if name.iter().copied().enumerate().all(plain) {
        return Cow::Borrowed(name);
    }
    let mut stored = Vec::with_capacity(name.len() * 2);
    for (at, byte) in name.iter().copied().enumerate() {
        if plain((at, byte)) {
            stored.push(byte);
        } else if byte.is_ascii_uppercase() {
            stored.extend([b'^', byte.to_ascii_lowercase()]);
        } else {
            stored.extend(format!("%{byte:02x}").into_bytes());
        }
    }
    Cow::Owned(stored)
}

fn is_reserved_in_any_case(meta: MetaName, name: &[u8]) -> bool {
    let prefix = name.get(..meta.as_bytes().len());
    prefix.is_some_and(|prefix| prefix.eq_ignore_ascii_case(meta.as_bytes()))
}

fn unescape(stored: &[u8]) -> Option<Cow<'_, [u8]>> {
    if !stored.iter().any(|byte| matches!(byte, b'^' | b'%')) {
        return Some(Cow::Borrowed(stored));
    }
    let mut name = Vec::with_capacity(stored.len());
    let mut rest = stored.iter().copied();
    while let Some(byte) = rest.next() {
        name.push(match byte {
            b'^' => rest.next().filter(u8::is_ascii_lowercase)?.to_ascii_uppercase(),
            b'%' => {
                let mut digit = || char::from(rest.next()?).to_digit(16);
                u8::try_from(digit()? << 4 | digit()?).ok()?
            }
            byte => byte,
        });
    }
    Some(Cow::Owned(name))
}

/// Runs a call with a name as it is written in a directory.
fn named<T>(
    what: &'static str,
    (dir, name): (Within<'_>, &[u8]),
    call: impl FnOnce(BorrowedFd<'_>, &[u8]) -> Result<T>,
) -> Result<T> {
    super::may_wait();
    let stored = dir.written.stored(name)?;
    noted(what, Spot::At(dir, &stored), call(dir.fd, &stored))
}

/// unlinkat(2); with `AtFlags::REMOVEDIR` rmdir.
pub(crate) fn unlink<'a>(dir: impl Into<Within<'a>>, name: &[u8], flags: AtFlags) -> Result<()> {
    named("unlink", (dir.into(), name), |dir, name| fs::unlinkat(dir, name, flags))
}

pub(crate) fn mkdir<'a>(dir: impl Into<Within<'a>>, name: &[u8], mode: Mode) -> Result<()> {
    named("mkdir", (dir.into(), name), |dir, name| fs::mkdirat(dir, name, mode))
}

pub(crate) fn mknod<'a>(
    dir: impl Into<Within<'a>>,
    name: &[u8],
    kind: FileType,
    mode: Mode,
    device: u64,
) -> Result<()> {
    named("mknod", (dir.into(), name), |dir, name| fs::mknodat(dir, name, kind, mode, device))
}

pub(crate) fn symlink<'a>(target: &[u8], dir: impl Into<Within<'a>>, name: &[u8]) -> Result<()> {
    named("symlink", (dir.into(), name), |dir, name| fs::symlinkat(target, dir, name))
}

/// A directory and a name in it.
type End<'a> = (Within<'a>, &'a [u8]);

/// renameat2(2); without flags renameat, which all file systems know.
pub(crate) fn rename(from: End<'_>, to: End<'_>, flags: RenameFlags) -> Result<()> {
    named("rename", from, |old, name| {
        named("rename", to, |new, new_name| match flags.is_empty() {
            true => fs::renameat(old, name, new, new_name),
            false => fs::renameat_with(old, name, new, new_name, flags),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::name::META_NAME;

    fn written(name: &[u8]) -> Vec<u8> {
        Written::Escaped(MetaName::DEFAULT).stored(name).unwrap().into_owned()
    }

    #[test]
    fn no_name_is_written_like_a_chosen_one_of_meta() {
        let meta = MetaName::new("Meta_x").unwrap();
        let written = Written::Escaped(meta);
        assert!(is_taken_everywhere(meta) && is_taken_everywhere(MetaName::DEFAULT));
        for name in [&b"meta_x"[..], b"META_X", b"meta_xyz", b"Meta_", META_NAME.as_bytes()] {
            let stored = written.stored(name).unwrap();
            assert!(!stored.to_ascii_lowercase().starts_with(b"meta_x"), "{name:?}");
            assert_eq!(written.shown(&stored).as_deref(), Some(name));
        }
        assert_eq!(written.stored(b"Meta_x_index").as_deref(), Ok(&b"Meta_x_index"[..]));
        for unfit in ["a:b", "^a", "100%", "con", "nul.x", "a.", "\u{e4}", " a"] {
            assert!(!is_taken_everywhere(MetaName::new(unfit).unwrap()), "{unfit}");
        }
    }

    #[test]
    fn names_are_written_so_that_fat_takes_them() {
        for (name, stored) in [
            (&b"plain.name-1"[..], &b"plain.name-1"[..]),
            (b"README", b"^r^e^a^d^m^e"),
            (b"a:b", b"a%3ab"),
            (b"verylo~1.txt", b"verylo%7e1.txt"),
            (b"trailing. ", b"trailing.%20"),
            (b"...", b"..%2e"),
            (b" a", b"%20a"),
            (b"\xff%^", b"%ff%25%5e"),
            (b"con", b"%63on"),
            (b"lpt1.txt", b"%6cpt1.txt"),
            (b"console", b"console"),
            (b".", b"."),
            (b"..", b".."),
            (META_NAME.as_bytes(), META_NAME.as_bytes()),
        ] {
            assert_eq!(written(name), stored, "{name:?}");
            assert_eq!(Written::Escaped(MetaName::DEFAULT).shown(stored).as_deref(), Some(name));
        }
    }

    /// A file system that knows no case must not find META by a name of a user.
    #[test]
    fn nothing_is_written_like_meta() {
        let name = META_NAME.to_lowercase();
        assert_eq!(written(name.as_bytes()), format!("%6d{}", &name[1..]).into_bytes());
        let name = name.replacen('m', "M", 1);
        assert!(!written(name.as_bytes()).eq_ignore_ascii_case(META_NAME.as_bytes()));
    }

    #[test]
    fn every_name_of_two_bytes_is_written_in_a_way_of_its_own() {
        let mut seen = std::collections::HashSet::new();
        let bytes = || (1..=255_u8).filter(|byte| *byte != b'/');
        for name in bytes().flat_map(|a| bytes().map(move |b| [a, b])).filter(|n| n != b"..") {
            let stored = written(&name);
            assert!(!stored.iter().any(u8::is_ascii_uppercase));
            assert_eq!(
                Written::Escaped(MetaName::DEFAULT).shown(&stored).as_deref(),
                Some(&name[..])
            );
            assert!(seen.insert(stored));
        }
    }

    #[test]
    fn what_nobody_writes_so_is_nobody_s() {
        for stored in [&b"Upper"[..], b"%41", b"a%2", b"^", b"^1", b"%zz", b"%61", b"a."] {
            assert_eq!(Written::Escaped(MetaName::DEFAULT).shown(stored), None, "{stored:?}");
        }
    }

    #[test]
    fn what_an_nfs_client_leaves_is_not_shown() {
        let silly = b".nfs0123456789abcdef0000000a";
        for (written, stored) in [
            (Written::OnNfs, Err(Errno::PERM)),
            (Written::Escaped(MetaName::DEFAULT), Ok(&b"%2enfs0123456789abcdef0000000a"[..])),
        ] {
            assert_eq!(written.shown(silly), None);
            assert_eq!(written.stored(silly).as_deref(), stored.as_deref());
            assert!(written.shown(b".nfs").is_some());
        }
        assert!(Written::Plain.shown(silly).is_some());
    }

    #[test]
    fn long_names_are_refused() {
        assert_eq!(
            Written::Escaped(MetaName::DEFAULT).stored(&[b'N'; 128]),
            Err(Errno::NAMETOOLONG)
        );
        assert!(Written::Escaped(MetaName::DEFAULT).stored(&[b'N'; 127]).is_ok());
        assert!(Written::Escaped(MetaName::DEFAULT).stored(&[b'n'; 255]).is_ok());
    }
}
