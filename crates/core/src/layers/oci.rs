//! The dialect of container images: an unpacked layer (OCI image specification,
//! "Whiteouts"), and what fuse-overlayfs writes.
//!
//! - `.wh.NAME` hides NAME of the layers below; `.wh..wh..opq` all that they have in its
//!   directory. So do a character device 0:0 and the attributes that fuse-overlayfs gives.
//! - Owner and mode of an object may stand in an attribute, where the root of the layer
//!   has it: `UID:GID:MODE`, then the type where the object itself is a file that stands
//!   for another one. Whoever owns a file may give it that attribute, so it counts only
//!   where all is the user's own: not for a process that may use `trusted.` attributes.

use std::path::{Path, PathBuf};

use rustix::fd::BorrowedFd;
use rustix::fs::Statx;
use rustix::io::Errno;

use super::entry::Rest;
use crate::sys::{self, Result, Spot};

/// What all marks begin with.
const PREFIX: &[u8] = b".wh.";

/// Hides all that the layers below have in its directory.
const OPAQUE: &[u8] = b".wh..wh..opq";

/// Attributes that say the same of a directory, where their value is `y`.
const OPAQUE_ATTRIBUTES: [&[u8]; 3] =
    [b"user.fuseoverlayfs.opaque", b"trusted.overlay.opaque", b"user.overlay.opaque"];

/// Attributes by which an object shows other owners and another mode. The first is given
/// by who may do anything.
const OVERRIDES: [&[u8]; 3] = [
    b"security.fuseoverlayfs.override_stat",
    b"user.fuseoverlayfs.override_stat",
    b"user.containers.override_stat",
];

/// What attributes of this dialect begin with.
const ATTRIBUTES: [&[u8]; 4] =
    [b"user.fuseoverlayfs.", b"security.fuseoverlayfs.", b"trusted.overlay.", b"user.overlay."];

/// What is said in this dialect.
pub(crate) struct Marks {
    /// The layer, for messages.
    layer: PathBuf,
    /// The attribute that tells owners and modes, if the layer has it.
    overrides: Option<&'static [u8]>,
}

impl Marks {
    /// Those of a layer with this root. `privileged`: the process may use `trusted.`
    /// attributes.
    pub fn of(layer: &Path, root: BorrowedFd<'_>, privileged: bool) -> Marks {
        let believed = |name: &[u8]| name.starts_with(b"security.") || !privileged;
        let has = |name: &&&[u8]| sys::get_xattr(Spot::Fd(root), name, &mut []).is_ok();
        let overrides = OVERRIDES.iter().filter(|name| believed(name)).find(has).copied();
        Marks { layer: layer.to_path_buf(), overrides }
    }

    /// The name is a mark, and no object.
    pub fn is_mark(&self, name: &[u8]) -> bool {
        name.starts_with(PREFIX)
    }

    /// What a mark hides in its directory.
    pub fn hidden_by<'n>(&self, mark: &'n [u8]) -> Option<&'n [u8]> {
        mark.strip_prefix(PREFIX).filter(|_| mark != OPAQUE)
    }

    /// What the layers below have under a name is hidden by a mark beside it.
    pub fn hides(&self, dir: BorrowedFd<'_>, name: &[u8]) -> Result<bool> {
        let mark = [PREFIX, name].concat();
        match sys::stat(Spot::at(dir, &mark)) {
            Ok(_) => Ok(true),
            Err(Errno::NOENT | Errno::NAMETOOLONG) => Ok(false),
            Err(errno) => Err(errno),
        }
    }

    /// Nothing of the layers below shows in a directory.
    pub fn is_opaque(&self, dir: BorrowedFd<'_>) -> Result<bool> {
        if sys::absent(sys::stat(Spot::at(dir, OPAQUE)))?.is_some() {
            return Ok(true);
        }
        let mut names = vec![0; 64 * 1024];
        let len = match sys::list_xattrs(Spot::Fd(dir), &mut names) {
            Err(Errno::OPNOTSUPP) => 0,
            other => other?,
        };
        let listed = names.get(..len).unwrap_or_default();
        for name in listed.split(|byte| *byte == 0).filter(|name| OPAQUE_ATTRIBUTES.contains(name))
        {
            let mut value = [0; 8];
            let len = sys::get_xattr(Spot::Fd(dir), name, &mut value).unwrap_or(0);
            if value.get(..len) == Some(b"y") {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// What a directory shows of the layers below.
    pub(super) fn rest(&self, dir: BorrowedFd<'_>, name: &[u8]) -> Result<Rest> {
        let opaque = self.hides(dir, name)? || {
            let own = sys::open_dir(dir, name);
            match own {
                Ok(own) => self.is_opaque(rustix::fd::AsFd::as_fd(&own))?,
                // What is mounted there.
                Err(Errno::XDEV) => false,
                Err(errno) => return Err(errno),
            }
        };
        Ok(if opaque { Rest::Nothing } else { Rest::Same })
    }

    /// Lets an object show the owners, the mode and the type that stand in its attribute.
    pub fn show(&self, spot: Spot<'_>, stat: &mut Statx) -> Result<()> {
        let Some(name) = self.overrides else { return Ok(()) };
        let mut value = [0; 256];
        let len = match sys::get_xattr(spot, name, &mut value) {
            Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::RANGE) => return Ok(()),
            other => other?,
        };
        let told = std::str::from_utf8(value.get(..len).unwrap_or_default()).ok();
        match told.and_then(Override::parse) {
            Some(told) => told.show(stat),
            None => {
                let layer = self.layer.display();
                tracing::warn!("layer {layer}: an attribute of owners cannot be read");
            }
        }
        Ok(())
    }

    /// An attribute that belongs to this dialect.
    pub fn is_own(&self, name: &[u8]) -> bool {
        ATTRIBUTES.iter().any(|prefix| name.starts_with(prefix)) || OVERRIDES.contains(&name)
    }
}

/// Owners, mode and type of an object.
#[derive(Debug, PartialEq, Eq)]
struct Override {
    uid: u32,
    gid: u32,
    mode: u32,
    /// Type bits and device, where the type is told.
    kind: Option<(u32, u32, u32)>,
}

impl Override {
    fn parse(text: &str) -> Option<Override> {
        let text = text.trim_end_matches('\0');
        let mut fields = text.splitn(4, ':');
        let uid = fields.next()?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        let mode = u32::from_str_radix(fields.next()?, 8).ok()? & 0o7777;
        let kind = match fields.next() {
            None => None,
            Some(kind) => Some(Override::kind(kind)?),
        };
        Some(Override { uid, gid, mode, kind })
    }

    fn kind(text: &str) -> Option<(u32, u32, u32)> {
        let plain = match text {
            "file" => libc::S_IFREG,
            "dir" => libc::S_IFDIR,
            "symlink" => libc::S_IFLNK,
            "pipe" => libc::S_IFIFO,
            "socket" => libc::S_IFSOCK,
            _ => {
                let (kind, numbers) = text.split_once('-')?;
                let (major, minor) = numbers.split_once(':').or_else(|| numbers.split_once('-'))?;
                let bits = match kind {
                    "block" => libc::S_IFBLK,
                    "char" => libc::S_IFCHR,
                    _ => return None,
                };
                return Some((bits, major.parse().ok()?, minor.parse().ok()?));
            }
        };
        Some((plain, 0, 0))
    }

    fn show(&self, stat: &mut Statx) {
        let mut kind = sys::kind(stat);
        // A directory is one, whatever is said of it.
        if let Some((told, major, minor)) = self.kind
            && kind == libc::S_IFREG
            && told != libc::S_IFDIR
        {
            kind = told;
            (stat.stx_rdev_major, stat.stx_rdev_minor) = (major, minor);
        }
        stat.stx_mode = (kind | self.mode) as u16;
        (stat.stx_uid, stat.stx_gid) = (self.uid, self.gid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_and_types_as_containers_write_them() {
        let of = |uid, gid, mode, kind| Some(Override { uid, gid, mode, kind });
        assert_eq!(Override::parse("0:5:755"), of(0, 5, 0o755, None));
        assert_eq!(
            Override::parse("0:5:4755:file\0"),
            of(0, 5, 0o4755, Some((libc::S_IFREG, 0, 0)))
        );
        assert_eq!(
            Override::parse("1:2:600:char-5:1"),
            of(1, 2, 0o600, Some((libc::S_IFCHR, 5, 1)))
        );
        for bad in ["", "1", "1:2", "a:2:600", "1:2:999", "1:2:600:what", "1:2:600:char-5"] {
            assert_eq!(Override::parse(bad), None, "{bad}");
        }
    }
}
