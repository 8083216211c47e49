//! Files that the kernel reads and writes by itself (passthrough).

use std::cell::Cell;
use std::os::fd::AsFd;
use std::sync::Arc;

use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};

use crate::device::Device;
use crate::types::Result;

/// Registers backing files on one connection. Cheap to clone, usable on any
/// thread.
#[derive(Clone, Debug)]
pub struct BackingRegistry {
    device: Arc<Device>,
}

impl BackingRegistry {
    pub(crate) fn new(device: Arc<Device>) -> BackingRegistry {
        BackingRegistry { device }
    }

    /// Registers a regular file, which may be open with `O_PATH`, as target
    /// of passthrough.
    ///
    /// The kernel opens the file anew by its path for each user, with that
    /// user's open flags but with the credentials that the calling thread has
    /// *now*. With `CAP_FSETID` among them, a write by an unprivileged
    /// user would keep setuid and setgid; so the capability is put aside for
    /// the duration of this call. (Measured on 6.18.)
    ///
    /// Errors: EPERM (no `CAP_SYS_ADMIN`, or passthrough was not negotiated),
    /// ELOOP (the file lies on a stacked file system and
    /// [`Config::max_stack_depth`](crate::Config::max_stack_depth) does not
    /// allow that), EOPNOTSUPP (the file system cannot), EINVAL (not a
    /// regular file), ENOTTY (kernel before 6.9).
    pub fn open(&self, file: impl AsFd) -> Result<BackingId> {
        let _without = WithoutFsetid::enter()?;
        let id = self.device.backing_open(file.as_fd())?;
        Ok(BackingId { id, device: Arc::clone(&self.device) })
    }
}

/// A registered backing file; dropping it gives the registration up. Files
/// opened with it meanwhile keep working.
///
/// It may serve any number of opens, but all opens of one node that are alive
/// at a time must name the same one. It pins the file's inode, so it is not to
/// outlive the node.
#[derive(Debug)]
pub struct BackingId {
    id: i32,
    device: Arc<Device>,
}

impl BackingId {
    /// The number for [`OpenReply::backing_id`](crate::OpenReply::backing_id).
    pub fn raw(&self) -> i32 {
        self.id
    }
}

impl Drop for BackingId {
    fn drop(&mut self) {
        // Fails only when the connection is gone, and the id with it.
        if let Err(errno) = self.device.backing_close(self.id) {
            tracing::debug!(id = self.id, %errno, "closing a backing file");
        }
    }
}

thread_local! {
    /// The capabilities of this thread: asking each time would double the
    /// calls. Threads that serve requests keep theirs.
    static HELD: Cell<Option<CapabilitySets>> = const { Cell::new(None) };
}

/// While it lives, the calling thread lacks `CAP_FSETID`.
struct WithoutFsetid {
    restore: Option<CapabilitySets>,
}

impl WithoutFsetid {
    fn enter() -> Result<WithoutFsetid> {
        let held = match HELD.get() {
            Some(held) => held,
            None => capabilities(None)?,
        };
        HELD.set(Some(held));
        if !held.effective.contains(CapabilitySet::FSETID) {
            return Ok(WithoutFsetid { restore: None });
        }
        let mut without = held;
        without.effective.remove(CapabilitySet::FSETID);
        // Refused if the thread has less by now.
        set_capabilities(None, without).inspect_err(|_| HELD.set(None))?;
        Ok(WithoutFsetid { restore: Some(held) })
    }
}

impl Drop for WithoutFsetid {
    fn drop(&mut self) {
        if let Some(held) = self.restore
            && let Err(errno) = set_capabilities(None, held)
        {
            tracing::error!(%errno, "cannot take CAP_FSETID back");
        }
    }
}
