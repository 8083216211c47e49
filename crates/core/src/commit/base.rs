//! The base, opened to be written: the only place where that happens.

use std::ops::Deref;

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use crate::format::time::Timestamp;
use crate::interface::types::SetTime;
use crate::reach::overlay::Overlay;
use crate::store::dirs::Dirs;
use crate::sys::{self, Result, Spot};

/// A base, and that nobody else commits to it.
pub(super) struct Base(Dirs);

impl Deref for Base {
    type Target = Dirs;

    fn deref(&self) -> &Dirs {
        &self.0
    }
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
        Ok(Base(Dirs::of(root)))
    }

    /// Sets the time of modification of its root.
    pub fn set_root_time(&self, time: Timestamp) {
        set_time(self.root(), time);
    }

    /// Hands everything to the device.
    pub fn sync(&self) -> Result<()> {
        rustix::fs::syncfs(self.root())
    }
}

/// Sets the time of modification of a directory. Somebody else's has the time of its last
/// change, as after any change by who does not own it.
pub(super) fn set_time(dir: BorrowedFd<'_>, time: Timestamp) {
    if let Err(errno) = sys::set_times(Spot::Fd(dir), None, Some(SetTime::At(time))) {
        tracing::debug!("a directory of the base does not get its time: {errno}");
    }
}
