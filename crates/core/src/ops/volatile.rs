//! `-o volatile`: the storage says of itself that what was written last may not
//! be on the device, until a clean end has brought it there.

use std::sync::atomic::Ordering;

use rustix::fd::BorrowedFd;

use crate::reach::overlay::Overlay;
use crate::sys::own::Own;
use crate::sys::{Result, Spot};

impl Overlay {
    /// A volatile mount begins: the mark reaches the device before any change.
    pub(crate) fn begin_volatile(&self) -> Result<()> {
        let mark = |dir: BorrowedFd<'_>| self.own.set(Spot::Fd(dir), Own::Unclean, b"1");
        self.change_root_mark(mark)?;
        self.volatile.store(true, Ordering::Release);
        Ok(())
    }

    /// A volatile mount ends: everything reaches the device, and then the mark
    /// goes.
    pub(crate) fn end_volatile(&self) {
        if !self.volatile.swap(false, Ordering::AcqRel) {
            return;
        }
        // A thread may be about to fill a file.
        let _settling = self.partials.settling.lock();
        if let Err(errno) = self.take_as_clean() {
            tracing::error!("the storage stays marked as mounted with -o volatile: {errno}");
        }
    }

    /// Brings everything to the device; from then on the storage counts as
    /// clean.
    pub(crate) fn take_as_clean(&self) -> Result<()> {
        rustix::fs::syncfs(self.storage_opened()?)?;
        self.change_root_mark(|dir| self.own.remove(Spot::Fd(dir), Own::Unclean))
    }

    fn change_root_mark(&self, change: impl Fn(BorrowedFd<'_>) -> Result<()>) -> Result<()> {
        {
            self.root_dir.edit().unseen(|dir| change(dir.fd()), |()| Vec::new())?;
        }
        rustix::fs::fsync(self.storage_opened()?)
    }
}
