//! How directories of the layers are reached: the roots, a name below, a path.

use std::sync::Arc;

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::OFlags;
use rustix::io::Errno;

use super::dir::Knows;
use super::entry::{Entry, Rest};
use super::met::Met;
use super::{Dialect, Layer, LowerDir, Part, Stack};
use crate::sys::{self, Result, Spot, Written};

impl Stack {
    /// The root of the view below `from` layers.
    pub fn root_below(&self, from: usize) -> Result<Option<Arc<LowerDir>>> {
        let mut parts = Vec::new();
        for (part, opaque) in self.roots.iter().skip(from) {
            parts.push(Arc::clone(part));
            if *opaque {
                break;
            }
        }
        Ok(LowerDir::of(parts, u16::try_from(from).map_err(|_| Errno::INVAL)?))
    }

    /// The roots of the layers, and whether nothing of those below shows in them.
    pub(super) fn open_roots(&self) -> Result<Vec<(Arc<Part>, bool)>> {
        let open = |(layer, number): (&Layer, u16)| {
            let part = self.part(number, Arc::clone(&layer.root))?;
            // A root of the kernel's is not, whatever it says of itself.
            let opaque = match &layer.dialect {
                Dialect::Oci(marks) if usize::from(number) + 1 < self.layers.len() => {
                    marks.is_opaque(part.as_fd())?
                }
                _ => false,
            };
            Ok((Arc::new(part), opaque))
        };
        self.layers.iter().zip(0..).map(open).collect()
    }

    /// The root of all layers together.
    pub fn root(&self) -> Result<Arc<LowerDir>> {
        self.root_below(0)?.ok_or(Errno::NOENT)
    }

    /// A directory of a layer, with what the layer says of it.
    fn part(&self, number: u16, fd: Arc<OwnedFd>) -> Result<Part> {
        let realm = self.realms.of(&sys::stat_fd(&fd)?, Spot::Fd(fd.as_fd()))?;
        let says = match &self.layer(number)?.dialect {
            Dialect::MiniFo(frozen) => {
                (Knows::Meta(Box::new(frozen.load(fd.as_fd())?)), frozen.written)
            }
            Dialect::Overlay(marks) if marks.may_hold_whiteouts(fd.as_fd())? => {
                (Knows::Whiteouts, Written::Plain)
            }
            Dialect::Plain | Dialect::Overlay(_) | Dialect::Oci(_) => {
                (Knows::Nothing, Written::Plain)
            }
        };
        Ok(Part::new(number, fd, realm, says))
    }

    fn open_dir_at(&self, part: &Part, name: &[u8]) -> Result<OwnedFd> {
        if self.submounts {
            let flags = OFlags::PATH | OFlags::DIRECTORY;
            return sys::open(part.spot(name), flags);
        }
        sys::open_dir(part.within(), name)
    }

    /// Opens the directory of a name. `None`: it has nothing to show (any more); a
    /// mount point shows as an empty directory.
    ///
    /// # Errors
    /// ENOENT, ENOTDIR, ELOOP: there is no such directory.
    pub fn open_below(&self, dir: &LowerDir, name: &[u8]) -> Result<Option<Arc<LowerDir>>> {
        self.open_below_with(&Met::default(), dir, name)
    }

    fn open_below_with(
        &self,
        met: &Met,
        dir: &LowerDir,
        name: &[u8],
    ) -> Result<Option<Arc<LowerDir>>> {
        if let Some(part) = dir.only_plain(self) {
            return match self.open_dir_at(part, name) {
                Ok(fd) => {
                    let part = Arc::new(self.part(part.layer, Arc::new(fd))?);
                    Ok(LowerDir::of(vec![part], dir.view().first))
                }
                Err(Errno::XDEV) => Ok(None),
                Err(errno) => Err(errno),
            };
        }
        let (mut parts, found) = (Vec::new(), self.collect(dir.parts(), name)?);
        let mut there = !found.is_empty();
        for one in found {
            match one {
                PartAt::Here(part, name) => match self.open_dir_at(part, &name) {
                    Ok(fd) => parts.push(Arc::new(self.part(part.layer, Arc::new(fd))?)),
                    Err(Errno::XDEV) => {}
                    Err(errno) => return Err(errno),
                },
                PartAt::Path(from, path) => match self.open_path_with(met, from, &path)? {
                    Some(more) => parts.extend(more.parts().iter().cloned()),
                    None => there &= !parts.is_empty(),
                },
            }
        }
        if there { Ok(LowerDir::of(parts, dir.view().first)) } else { Err(Errno::NOENT) }
    }

    /// Where the layers have the directory of a name, from the top down.
    fn collect<'p>(&self, parts: &'p [Arc<Part>], name: &[u8]) -> Result<Vec<PartAt<'p>>> {
        let mut name = name.to_vec();
        let mut found = Vec::new();
        for (at, part) in parts.iter().enumerate() {
            let entry = match self.entry(part, &name)? {
                Entry::Absent => continue,
                Entry::Hidden => break,
                Entry::Path(path) => {
                    found.push(PartAt::Path(usize::from(part.layer) + 1, path));
                    break;
                }
                Entry::There(there) => there,
            };
            if sys::kind(&entry.stat) != libc::S_IFDIR {
                break;
            }
            let last = at + 1 == parts.len() && !self.may_lead_away(part)?;
            let rest = if last { Rest::Nothing } else { self.rest(part, &name, &entry)? };
            found.push(PartAt::Here(part, name.clone()));
            match rest {
                Rest::Nothing => break,
                Rest::Same => {}
                Rest::Name(other) => name = other,
                Rest::Path(path) => {
                    found.push(PartAt::Path(usize::from(part.layer) + 1, path));
                    break;
                }
            }
        }
        Ok(found)
    }

    /// Opens a directory by its path in the view below `from` layers, name by name.
    /// `None`: it is not there (any more).
    pub fn open_path(&self, from: usize, path: &[u8]) -> Result<Option<Arc<LowerDir>>> {
        self.open_path_with(&Met::default(), from, path)
    }

    pub(super) fn open_path_with(
        &self,
        met: &Met,
        from: usize,
        path: &[u8],
    ) -> Result<Option<Arc<LowerDir>>> {
        met.dir(from, path, || self.walk(met, from, path))
    }

    fn walk(&self, met: &Met, from: usize, path: &[u8]) -> Result<Option<Arc<LowerDir>>> {
        let Some(mut at) = self.root_below(from)? else { return Ok(None) };
        for name in path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
            at = match self.open_below_with(met, &at, name) {
                Ok(Some(next)) => next,
                Ok(None) | Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(None),
                Err(errno) => return Err(errno),
            };
        }
        Ok(Some(at))
    }
}

/// Where a layer has a directory.
enum PartAt<'p> {
    /// Under this name in this directory.
    Here(&'p Part, Vec<u8>),
    /// At this path in the view below so many layers.
    Path(usize, Box<[u8]>),
}
