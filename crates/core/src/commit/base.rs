//! The base, opened to be written: the only place where that happens.

use std::ops::Deref;

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use crate::format::commit::StagePlace;
use crate::format::name::parent;
use crate::format::time::Timestamp;
use crate::interface::types::SetTime;
use crate::reach::overlay::Overlay;
use crate::store::dirs::Dirs;
use crate::sys::{self, Result, Spot};

/// A base, and that nobody else commits to it at the same places.
pub(super) struct Base {
    dirs: Dirs,
    locked: Vec<OwnedFd>,
}

impl Deref for Base {
    type Target = Dirs;

    fn deref(&self) -> &Dirs {
        &self.dirs
    }
}

impl Base {
    /// The tree with this path.
    pub fn open(path: &std::path::Path) -> Result<Base> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Base::of(rustix::fs::open(path, flags, Mode::empty())?))
    }

    /// That of an overlay, by the mount that it was opened by: what that does not let be
    /// written, is not.
    pub fn of_overlay(overlay: &Overlay) -> Result<Base> {
        Ok(Base::of(root_of(overlay)?))
    }

    fn of(root: OwnedFd) -> Base {
        Base { dirs: Dirs::of(root), locked: Vec::new() }
    }

    /// Keeps others from committing with a stage at one of these places, as long as it lives:
    /// not from all of the base, which may be that of all users of the system.
    /// EBUSY: another commit goes on there.
    pub fn lock(&mut self, stages: &[StagePlace]) -> Result<()> {
        for place in stages {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY;
            // What has gone since nobody can lock.
            let Some(dir) = sys::absent(self.dir(&place.dir))? else { continue };
            let dir = sys::open(Spot::at((*dir).as_fd(), b"."), flags)?;
            // One commit at a time. Where there are no locks, the stage is one.
            if let Err(Errno::WOULDBLOCK) =
                rustix::fs::flock(&dir, FlockOperation::NonBlockingLockExclusive)
            {
                return Err(Errno::BUSY);
            }
            self.locked.push(dir);
        }
        Ok(())
    }

    /// Sets the time of modification of a directory in it, if that is still there.
    pub fn set_time_of(&self, dir: &[u8], time: Timestamp) {
        match self.dir(dir) {
            Ok(dir) => set_time((*dir).as_fd(), time),
            Err(errno) => tracing::debug!("a directory of the base has gone: {errno}"),
        }
    }

    /// What is mounted in it is part of it, or not.
    pub fn across(self, across: bool) -> Base {
        Base { dirs: self.dirs.across(across), ..self }
    }

    /// Hands everything to the devices, of all mounts that have a stage.
    pub fn sync(&self, stages: &[StagePlace]) -> Result<()> {
        stages.iter().try_for_each(|place| {
            let dir = self.dir(&place.dir)?;
            let flags = OFlags::RDONLY | OFlags::DIRECTORY;
            rustix::fs::syncfs(sys::open(Spot::at((*dir).as_fd(), b"."), flags)?)
        })
    }
}

/// Where files without names are made, which come into the base later, or are gone.
pub(super) struct Unnamed(Dirs);

impl Unnamed {
    /// In the base of an overlay, by the mount that it was opened by.
    pub fn of_overlay(overlay: &Overlay) -> Result<Unnamed> {
        root_of(overlay).map(|root| Unnamed(Dirs::of(root).across(overlay.submounts)))
    }

    /// One on the file system that a path lies on, or would. Errors as
    /// [`sys::create_private_unnamed`].
    pub fn make(&self, path: &[u8]) -> Result<OwnedFd> {
        let mut above = parent(path);
        loop {
            match self.0.dir(above) {
                Err(Errno::NOENT | Errno::NOTDIR) if !above.is_empty() => above = parent(above),
                dir => return unlisted(sys::create_private_unnamed((*dir?).as_fd())?),
            }
        }
    }

    /// Hands everything to the device.
    pub fn sync(&self) -> Result<()> {
        rustix::fs::syncfs(self.0.root())
    }
}

/// Takes away the access list that a file has inherited: nothing of that is in the tree.
fn unlisted(file: OwnedFd) -> Result<OwnedFd> {
    match sys::remove_xattr(Spot::Fd(file.as_fd()), b"system.posix_acl_access") {
        Ok(()) | Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(file),
        Err(errno) => Err(errno),
    }
}

/// The root of the base of an overlay, by the mount that it was opened by.
pub(super) fn root_of(overlay: &Overlay) -> Result<OwnedFd> {
    let layer = overlay.stack.layers().first().ok_or(Errno::NOENT)?;
    let root: &OwnedFd = layer.mount.as_ref().unwrap_or(&layer.root);
    sys::open(Spot::at(root.as_fd(), b"."), OFlags::RDONLY | OFlags::DIRECTORY)
}

/// Sets the time of modification of a directory. Somebody else's has the time of its last
/// change, as after any change by who does not own it.
pub(super) fn set_time(dir: BorrowedFd<'_>, time: Timestamp) {
    if let Err(errno) = sys::set_times(Spot::Fd(dir), None, Some(SetTime::At(time))) {
        tracing::debug!("a directory of the base does not get its time: {errno}");
    }
}
