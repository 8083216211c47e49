//! Whose rights count where the storage's file system decides about space: those
//! of the caller, not the daemon's (docs/ARCHITECTURE.md, "Rights").
//!
//! Who asks is found out late. Requests that create something tell their user, others
//! do not (idmapped mounts), and a look into /proc costs more than most requests. So
//! everybody counts as an ordinary user at first, and only who is refused is looked at.
#![forbid(unsafe_code)]

use fuse_server::{Request, Result};
use mini_fo_core::{Overlay, Rights, as_them, with_rights};
use rustix::io::Errno;

use super::caller::{self, Capability};

/// A user whom no file system keeps space for.
const ANYBODY: u32 = 65_534;

/// Bytes below which the end of the space that everybody has is near.
const NEAR: u64 = 1 << 30;

/// The user of a request that tells none.
const UNTOLD: u32 = u32::MAX;

/// The judge of one mount.
pub struct Judge {
    /// Callers are told apart at all: the daemon is root, and can act as others.
    on: bool,
    /// By their user ID, too.
    by_user: bool,
}

impl Judge {
    /// `on`: the process has prepared for it.
    pub fn new(overlay: &Overlay, on: bool) -> Judge {
        // Where nothing is ever written, files of the base are handed to the kernel,
        // whose server may have an opinion about the user.
        let by_user = on && !overlay.stays_read_only() && overlay.keeps_space_back();
        Judge { on, by_user }
    }

    /// Runs an operation of the overlay for a caller. It may be run twice.
    ///
    /// The user that a creation tells is the owner of what is created: through an
    /// idmapped mount that may be root, for somebody who is not.
    pub fn run<T>(&self, req: &Request, op: impl Fn() -> Result<T>) -> Result<T> {
        self.run_by(false, req, op)
    }

    /// As [`Judge::run`], by way of a file that was opened by somebody who
    /// [goes on](Judge::goes_on), if so.
    pub fn run_by<T>(&self, goes_on: bool, req: &Request, op: impl Fn() -> Result<T>) -> Result<T> {
        let uid = match req.uid {
            // Written back by the kernel, for nobody in particular.
            _ if req.pid == 0 => ANYBODY,
            UNTOLD => ANYBODY,
            uid => uid,
        };
        let first =
            (self.by_user && !goes_on).then_some(Rights { uid: Some(uid), resources: false });
        let errno = match with_rights(first, &op) {
            Err(errno @ (Errno::NOSPC | Errno::DQUOT)) if self.on => errno,
            other => return other,
        };
        if errno == Errno::NOSPC && !self.by_user {
            return Err(errno);
        }
        match self.rights_of(req).filter(|rights| Some(*rights) != first) {
            Some(rights) => with_rights(Some(rights), &op).map_err(|_| errno),
            None => Err(errno),
        }
    }

    /// Runs what is done later, when nobody waits for it.
    pub fn later<T>(&self, op: impl FnOnce() -> T) -> T {
        let rights = Rights { uid: Some(ANYBODY), resources: false };
        with_rights(self.by_user.then_some(rights), op)
    }

    /// Runs what hands a file to the kernel, which from then on acts with the
    /// rights of this moment, for everybody who opens the file.
    pub fn for_anybody<T>(&self, register: impl FnOnce() -> T) -> T {
        match self.by_user {
            true => as_them(Rights { uid: Some(ANYBODY), resources: false }, register),
            false => register(),
        }
    }

    /// Whether somebody who opens a file for writing may go on where others find no
    /// space, and that is near: so his data must not go past the daemon.
    pub fn goes_on(&self, req: &Request, overlay: &Overlay, writes: bool) -> bool {
        if !self.by_user || !writes {
            return false;
        }
        let Ok(space) = overlay.space() else { return false };
        let kept_back = space.bfree.saturating_sub(space.bavail);
        let near = space.bavail.saturating_mul(space.frsize.into()) < NEAR;
        near && space.bavail < kept_back
            && (caller::fsuid(req) == Some(0) || caller::holds(req, Capability::SysResource))
    }

    /// What the caller is and may.
    fn rights_of(&self, req: &Request) -> Option<Rights> {
        let uid = caller::fsuid(req)?;
        let resources = caller::holds(req, Capability::SysResource);
        Some(Rights { uid: self.by_user.then_some(uid), resources })
    }
}
