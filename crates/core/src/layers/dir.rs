//! A directory as the layers show it together.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;

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
    /// `fd`: an `O_PATH` descriptor; `says`: what the layer says of it, and how names are
    /// written in it.
    pub(super) fn new(layer: u16, fd: Arc<OwnedFd>, realm: Realm, says: (Knows, Written)) -> Part {
        let (knows, written) = says;
        Part {
            layer,
            fd,
            realm: AtomicU32::new(realm.0),
            absent: AtomicBool::new(false),
            checked: AtomicU64::new(0),
            written,
            knows,
        }
    }

    /// One of a base that may change.
    pub fn live(fd: OwnedFd, realm: Realm) -> Part {
        Part::new(0, Arc::new(fd), realm, (Knows::Nothing, Written::Plain))
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
    pub(super) fn of(parts: Vec<Arc<Part>>, first: u16) -> Option<Arc<LowerDir>> {
        (!parts.is_empty()).then(|| Arc::new(LowerDir { parts, first }))
    }

    /// A directory of the only layer there is.
    pub fn one(part: Part) -> Arc<LowerDir> {
        Arc::new(LowerDir { parts: vec![Arc::new(part)], first: 0 })
    }

    /// It is on a file system that holds nothing, and tells what it makes up (`/proc`).
    pub fn is_made_up(&self) -> bool {
        self.parts.iter().any(|part| sys::is_generated(&part.fd))
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
