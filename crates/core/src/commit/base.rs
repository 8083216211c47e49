//! The base, opened to be written: the only place where that happens.

use std::cell::RefCell;
use std::rc::Rc;

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use crate::discard::path::{is_within, split};
use crate::format::commit::Path;
use crate::format::time::Timestamp;
use crate::interface::types::SetTime;
use crate::reach::overlay::Overlay;
use crate::sys::{self, Result, Spot};

/// Longest piece of a path that is resolved by one call, in bytes.
const PIECE: usize = 4000;

/// The root of a base.
pub(super) struct Base {
    root: OwnedFd,
    /// The directory that was asked for last.
    near: RefCell<Option<(Path, Rc<OwnedFd>)>>,
}

impl Base {
    /// The tree with this path. EBUSY: another commit goes on in it.
    pub fn open(path: &std::path::Path) -> Result<Base> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Base::of(rustix::fs::open(path, flags, Mode::empty())?)
    }

    /// That of an overlay, by the mount that it was opened by: what that does not let be
    /// written, is not. EBUSY: another commit goes on in it.
    pub fn of_overlay(overlay: &Overlay) -> Result<Base> {
        let layer = overlay.stack.layers().first().ok_or(Errno::NOENT)?;
        let root: &OwnedFd = layer.mount.as_ref().unwrap_or(&layer.root);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        Base::of(sys::open(Spot::at(root.as_fd(), b"."), flags)?)
    }

    fn of(root: OwnedFd) -> Result<Base> {
        // One commit at a time. Where there are no locks, the stage is one.
        if let Err(Errno::WOULDBLOCK) =
            rustix::fs::flock(&root, FlockOperation::NonBlockingLockExclusive)
        {
            return Err(Errno::BUSY);
        }
        Ok(Base { root, near: RefCell::new(None) })
    }

    /// Its root.
    pub fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// A directory by its path, reached by no link and no mount.
    pub fn dir(&self, path: &[u8]) -> Result<Rc<OwnedFd>> {
        if let Some((known, dir)) = &*self.near.borrow()
            && **known == *path
        {
            return Ok(Rc::clone(dir));
        }
        let dir = open_below(self.root(), path)?;
        let dir = Rc::new(dir);
        *self.near.borrow_mut() = Some((path.into(), Rc::clone(&dir)));
        Ok(dir)
    }

    /// Runs `f` with the directory of a path and the name in it.
    pub fn at<T>(
        &self,
        path: &[u8],
        f: impl FnOnce(BorrowedFd<'_>, &[u8]) -> Result<T>,
    ) -> Result<T> {
        let (dir, name) = split(path);
        // The root has no name, and is never moved.
        if name.is_empty() {
            return Err(Errno::BUSY);
        }
        f((*self.dir(dir)?).as_fd(), name)
    }

    /// Something else may be at this path, and below it, than before.
    pub fn moved(&self, path: &[u8]) {
        let mut near = self.near.borrow_mut();
        if near.as_ref().is_some_and(|(known, _)| is_within(known, path)) {
            *near = None;
        }
    }

    /// Sets the time of modification of its root.
    pub fn set_root_time(&self, time: Timestamp) {
        set_time(self.root(), time);
    }

    /// Hands everything to the device.
    pub fn sync(&self) -> Result<()> {
        rustix::fs::syncfs(&self.root)
    }
}

/// Sets the time of modification of a directory. Somebody else's has the time of its last
/// change, as after any change by who does not own it.
pub(super) fn set_time(dir: BorrowedFd<'_>, time: Timestamp) {
    if let Err(errno) = sys::set_times(Spot::Fd(dir), None, Some(SetTime::At(time))) {
        tracing::debug!("a directory of the base does not get its time: {errno}");
    }
}

/// A directory by its path in another one, reached by no link and no mount.
pub(super) fn open_below(top: BorrowedFd<'_>, path: &[u8]) -> Result<OwnedFd> {
    let mut dir = sys::open_dir(top, b".")?;
    let mut rest = path;
    while !rest.is_empty() {
        let (piece, left) = cut(rest)?;
        dir = sys::open_dir(dir.as_fd(), piece)?;
        rest = left;
    }
    Ok(dir)
}

/// The first names of a path, as many as one call takes, and the rest.
fn cut(path: &[u8]) -> Result<(&[u8], &[u8])> {
    if path.len() <= PIECE {
        return Ok((path, &[]));
    }
    let head = path.get(..PIECE).unwrap_or_default();
    let end = head.iter().rposition(|byte| *byte == b'/').ok_or(Errno::NAMETOOLONG)?;
    let (piece, rest) = path.split_at(end);
    Ok((piece, rest.strip_prefix(b"/").unwrap_or(rest)))
}
