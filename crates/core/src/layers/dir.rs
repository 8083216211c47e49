//! A directory as the layers show it together.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::OFlags;
use rustix::io::Errno;

use super::look::{Entry, Rest};
use super::met::Met;
use super::{Dialect, Layer, Stack};
use crate::format::identity::Realm;
use crate::format::meta::Index;
use crate::sys::{self, Result, Spot, Within, Written};

/// The directories of the layers that are shown as one, from the top down. At least
/// one.
pub(crate) struct LowerDir {
    parts: Vec<Arc<Part>>,
    /// The first layer of the view that it belongs to.
    first: u16,
}

/// A directory in the view of some layer and those below it.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    pub parts: &'a [Arc<Part>],
    /// That layer. It need not have the directory.
    pub first: u16,
}

/// The directory of one layer.
pub(crate) struct Part {
    pub(super) layer: u16,
    /// `O_PATH` descriptor.
    fd: Arc<OwnedFd>,
    /// The file system it is on.
    realm: AtomicU32,
    /// It is not there (any more); only where the base may change.
    absent: AtomicBool,
    /// When it was seen to be the right one, as `state::live` counts time.
    pub checked: AtomicU64,
    /// How names are written in it.
    written: Written,
    pub(super) knows: Knows,
}

/// What a layer says of one of its directories.
pub(super) enum Knows {
    Nothing,
    /// META of a frozen storage.
    Meta(Box<Index>),
    /// Attributes may make files into whiteouts (overlayfs).
    Whiteouts,
}

impl Part {
    /// `fd`: an `O_PATH` descriptor.
    fn new(layer: u16, fd: Arc<OwnedFd>, realm: Realm, knows: Knows) -> Part {
        Part {
            layer,
            fd,
            realm: AtomicU32::new(realm.0),
            absent: AtomicBool::new(false),
            checked: AtomicU64::new(0),
            written: Written::Plain,
            knows,
        }
    }

    /// One of a base that may change.
    pub fn live(fd: OwnedFd, realm: Realm) -> Part {
        Part::new(0, Arc::new(fd), realm, Knows::Nothing)
    }

    /// One that is not there; `any`: some directory of the base.
    pub fn absent(any: &OwnedFd) -> Result<Part> {
        let part = Part::live(rustix::io::fcntl_dupfd_cloexec(any, 0)?, Realm::default());
        part.absent.store(true, Ordering::Release);
        Ok(part)
    }

    pub fn is_absent(&self) -> bool {
        self.absent.load(Ordering::Acquire)
    }

    /// The file system it is on.
    pub fn realm(&self) -> Realm {
        Realm(self.realm.load(Ordering::Relaxed))
    }

    /// Makes it another directory of the base, or none.
    pub fn replace(&self, now: Option<(&OwnedFd, Realm)>) -> Result<()> {
        if let Some((fd, realm)) = now {
            sys::replace_fd(self.fd.as_fd(), fd.as_fd())?;
            self.realm.store(realm.0, Ordering::Relaxed);
        }
        self.absent.store(now.is_none(), Ordering::Release);
        Ok(())
    }

    /// An entry of it. A mount there counts as the object (whether it is
    /// entered is another question): where the base could not be sealed,
    /// nothing else can be reached.
    pub fn spot<'a>(&'a self, name: &'a [u8]) -> Spot<'a> {
        match self.written {
            Written::Plain => Spot::Across(self.fd.as_fd(), name),
            _ => Spot::At(self.within(), name),
        }
    }

    /// The directory, and how names are written in it.
    pub fn within(&self) -> Within<'_> {
        Within::new(self.fd.as_fd(), self.written)
    }

    /// Attributes may make files of it into whiteouts.
    pub(super) fn may_hold_whiteouts(&self) -> bool {
        matches!(self.knows, Knows::Whiteouts)
    }

    /// What META of a frozen storage says of the directory.
    pub(super) fn meta(&self) -> Option<&Index> {
        match &self.knows {
            Knows::Meta(index) => Some(index),
            _ => None,
        }
    }
}

impl AsFd for Part {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl LowerDir {
    /// `first`: see there. `None`: no layer has it.
    fn of(parts: Vec<Arc<Part>>, first: u16) -> Option<Arc<LowerDir>> {
        (!parts.is_empty()).then(|| Arc::new(LowerDir { parts, first }))
    }

    /// A directory of the only layer there is.
    pub fn one(part: Part) -> Arc<LowerDir> {
        Arc::new(LowerDir { parts: vec![Arc::new(part)], first: 0 })
    }

    /// The directories of the layers, from the top down.
    pub fn parts(&self) -> &[Arc<Part>] {
        &self.parts
    }

    /// One of them, from the top down. ESTALE: there are not so many.
    pub(super) fn part(&self, at: usize) -> Result<&Part> {
        self.parts.get(at).map(|part| &**part).ok_or(Errno::STALE)
    }

    /// All of it.
    pub(super) fn view(&self) -> View<'_> {
        View { parts: &self.parts, first: self.first }
    }

    /// What the layer of one of its parts and those below show.
    pub(super) fn from(&self, at: usize) -> View<'_> {
        let parts = self.parts.get(at..).unwrap_or_default();
        View { parts, first: parts.first().map_or(self.first, |part| part.layer) }
    }

    /// The uppermost; ESTALE cannot be: there is one.
    pub fn top(&self) -> Result<&Part> {
        self.parts.first().map(|part| &**part).ok_or(Errno::STALE)
    }

    /// The only one, if it hides nothing and shows nothing else than it has.
    pub fn only_plain(&self, stack: &Stack) -> Option<&Part> {
        match &*self.parts {
            [part] => {
                let layer = stack.layer(part.layer).ok()?;
                layer.is_plain().then_some(&**part)
            }
            _ => None,
        }
    }

    /// It is not there at present; only where the base may change.
    pub fn is_absent(&self) -> bool {
        self.parts.iter().all(|part| part.is_absent())
    }

    /// It is not there from now on.
    pub fn leave(&self) {
        self.parts.iter().for_each(|part| part.absent.store(true, Ordering::Release));
    }

    /// Descriptors that it holds.
    pub fn descriptors(&self) -> usize {
        self.parts.len()
    }

    /// Bytes that what the layers say of it takes, about.
    pub fn weight(&self) -> usize {
        self.parts.iter().filter_map(|part| part.meta()).map(Index::weight).sum()
    }
}

impl Layer {
    /// It hides nothing of what is below, and all that it has shows as it is.
    pub fn is_plain(&self) -> bool {
        matches!(self.dialect, Dialect::Plain)
    }
}

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
        let (knows, written) = match &self.layer(number)?.dialect {
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
        Ok(Part { written, ..Part::new(number, fd, realm, knows) })
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
                    Ok(LowerDir::of(vec![part], dir.first))
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
                    Some(more) => parts.extend(more.parts.iter().cloned()),
                    None => there &= !parts.is_empty(),
                },
            }
        }
        if there { Ok(LowerDir::of(parts, dir.first)) } else { Err(Errno::NOENT) }
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
