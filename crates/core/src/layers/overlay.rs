//! The dialect of the kernel's overlayfs: what it leaves in an upper directory
//! (Documentation/filesystems/overlayfs.rst).
//!
//! - A *whiteout* is a character device 0:0, or a file with the attribute `whiteout` in a
//!   directory whose attribute `opaque` is `x` (Linux 6.7).
//! - A directory whose attribute `opaque` is `y` shows nothing of the layers below.
//! - The attribute `redirect` tells which directory of the layers below a directory
//!   shows: a path from their root, or another name in the same directory.
//! - A file with the attribute `metacopy` has attributes only; its data is in the layers
//!   below, at its `redirect`, else under its own name.
//! - What was stored by an overlay inside another one has `overlay.` once more in the
//!   names of its attributes.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use rustix::fd::BorrowedFd;
use rustix::fs::Statx;
use rustix::io::Errno;

use super::Part;
use super::dir::Knows;
use super::entry::{Rest, is_device_whiteout};
use crate::sys::{self, Result, Spot};

/// How the attributes are named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Namespace {
    /// `trusted.overlay.*`: only who has `CAP_SYS_ADMIN` gives and sees them.
    Trusted,
    /// `user.overlay.*` (`-o userxattr`): whoever owns a file gives them to it.
    User,
}

/// What is said in this dialect.
pub(crate) struct Marks {
    /// The layer, for messages.
    layer: PathBuf,
    namespace: Namespace,
}

/// Longest redirect in bytes.
const PATH_MAX: usize = libc::PATH_MAX as usize;

impl Marks {
    pub fn new(layer: &Path, namespace: Namespace) -> Marks {
        Marks { layer: layer.to_path_buf(), namespace }
    }

    /// As the user calls the dialect.
    pub fn name(&self) -> &'static str {
        match self.namespace {
            Namespace::Trusted => "overlay",
            Namespace::User => "overlay-user",
        }
    }

    fn prefix(&self) -> &'static [u8] {
        match self.namespace {
            Namespace::Trusted => b"trusted.overlay.",
            Namespace::User => b"user.overlay.",
        }
    }

    /// An attribute of this dialect. `None`: there is none. One that is too long for any
    /// meaning is none of the known ones.
    fn get(&self, spot: Spot<'_>, mark: &[u8]) -> Result<Option<Vec<u8>>> {
        let name = [self.prefix(), mark].concat();
        // Not on the stack: looks go as deep as there are layers.
        let mut value = Vec::new();
        for most in [64, PATH_MAX] {
            value.resize(most, 0);
            match sys::get_xattr(spot, &name, &mut value) {
                Ok(len) => {
                    value.truncate(len);
                    return Ok(Some(value));
                }
                Err(Errno::NODATA | Errno::OPNOTSUPP) => return Ok(None),
                Err(Errno::RANGE) => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(Some(Vec::new()))
    }

    /// Files of the directory may be whiteouts by an attribute.
    pub fn may_hold_whiteouts(&self, dir: BorrowedFd<'_>) -> Result<bool> {
        Ok(self.get(Spot::Fd(dir), b"opaque")?.is_some_and(|value| value == b"x"))
    }

    /// Nothing of the layers below shows in a directory.
    pub fn is_opaque(&self, spot: Spot<'_>) -> Result<bool> {
        Ok(self.get(spot, b"opaque")?.is_some_and(|value| value == b"y"))
    }

    /// The object hides what the layers below have under its name.
    pub fn is_whiteout(&self, part: &Part, spot: Spot<'_>, stat: &Statx) -> Result<bool> {
        if is_device_whiteout(stat) {
            return Ok(true);
        }
        let may = matches!(part.knows, Knows::Whiteouts);
        let empty = sys::kind(stat) == libc::S_IFREG && stat.stx_size == 0;
        Ok(may && empty && self.get(spot, b"whiteout")?.is_some())
    }

    /// What a directory shows of the layers below.
    pub(super) fn rest(&self, spot: Spot<'_>) -> Result<Rest> {
        if self.is_opaque(spot)? {
            return Ok(Rest::Nothing);
        }
        Ok(self.redirect(spot)?.unwrap_or(Rest::Same))
    }

    fn redirect(&self, spot: Spot<'_>) -> Result<Option<Rest>> {
        let Some(value) = self.get(spot, b"redirect")? else { return Ok(None) };
        match value.strip_prefix(b"/") {
            Some(path) if path.split(|byte| *byte == b'/').all(is_name) => {
                Ok(Some(Rest::Path(path.into())))
            }
            None if is_name(&value) => Ok(Some(Rest::Name(value))),
            _ => {
                let layer = self.layer.display();
                tracing::error!("layer {layer}: a redirect leads nowhere");
                Err(Errno::IO)
            }
        }
    }

    /// Where the data of a file is; `None`: in itself.
    pub(super) fn data(&self, spot: Spot<'_>) -> Result<Option<Rest>> {
        if self.get(spot, b"metacopy")?.is_none() {
            return Ok(None);
        }
        Ok(Some(self.redirect(spot)?.unwrap_or(Rest::Same)))
    }

    /// The name under which an attribute is stored.
    pub fn stored<'n>(&self, name: &'n [u8]) -> Cow<'n, [u8]> {
        match name.strip_prefix(self.prefix()) {
            Some(rest) => Cow::Owned([self.prefix(), b"overlay.", rest].concat()),
            None => Cow::Borrowed(name),
        }
    }

    /// The name that a stored attribute shows; `None`: it is one of this dialect's.
    pub fn shown<'n>(&self, name: &'n [u8]) -> Option<Cow<'n, [u8]>> {
        match name.strip_prefix(self.prefix()) {
            Some(rest) => {
                let rest = rest.strip_prefix(b"overlay.")?;
                Some(Cow::Owned([self.prefix(), rest].concat()))
            }
            None => Some(Cow::Borrowed(name)),
        }
    }
}

/// A single component of a path.
fn is_name(name: &[u8]) -> bool {
    crate::format::name::Name::new(name).is_ok()
}
