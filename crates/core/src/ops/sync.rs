//! To the device: when asked, now and then, and at the end.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::reach::overlay::Overlay;
use crate::sys::Result;

/// How long META is collected before it is handed to the device. Disk file
/// systems write what they keep back themselves after 5 s.
const WRITE_BACK_AFTER: Duration = Duration::from_secs(2);

/// How long the end waits for closed files to be settled.
const SETTLE_AT_THE_END: Duration = Duration::from_secs(2);

impl Overlay {
    /// Hands everything to the device.
    ///
    /// # Errors
    /// As `syncfs(2)`.
    pub fn sync(&self) -> Result<()> {
        let _slow = self.slow_section();
        self.save_accesses();
        self.save_realms();
        self.write_waiting();
        rustix::fs::syncfs(self.storage_opened()?)
    }

    fn write_waiting(&self) {
        self.known_dirs().iter().for_each(|dir| dir.write_waiting());
    }

    /// Waits until META of some directory has what the device has not, at most
    /// so long, and begins to hand it over. To be called again and again.
    pub fn write_back(&self, most: Duration) {
        if let Ok(_pass) = self.pass() {
            self.refill_reserve();
        }
        if !self.durability.wait(most) {
            return;
        }
        std::thread::sleep(WRITE_BACK_AFTER);
        let Ok(_pass) = self.pass() else { return };
        for dir in self.known_dirs() {
            if let Err(errno) = dir.write_back() {
                tracing::warn!("META of a directory is not written back: {errno}");
            }
        }
    }

    /// Closes META of all directories, unless it was written since the last call: so
    /// that the storage's file system can become read-only when nothing writes. To be
    /// called again and again.
    pub fn close_if_idle(&self) {
        if self.durability.is_idle() {
            self.close_meta();
        }
    }

    pub(crate) fn close_meta(&self) {
        self.durability.open.store(false, Ordering::Release);
        // One that is in use leaves no other open.
        let in_use = self.known_dirs().iter().filter(|dir| !dir.close_journal()).count();
        if in_use > 0 {
            self.durability.open.store(true, Ordering::Release);
        }
    }

    /// Hands everything to the device and closes what is open for writing without
    /// need. Nothing ends by it: the next change opens it again.
    ///
    /// # Errors
    /// As `syncfs(2)`.
    pub fn rest(&self) -> Result<()> {
        self.sync()?;
        self.close_meta();
        Ok(())
    }

    /// Writes what is kept back for a better moment: times of access, and what
    /// is recorded of partial files. To be called at the end.
    pub fn finish(&self) {
        self.settle_at_the_end(SETTLE_AT_THE_END);
        self.save_accesses();
        self.save_realms();
        self.drop_needless();
        self.write_waiting();
        self.end_volatile();
        self.end_session();
    }

    /// Everything reaches the device, so that META alone counts from now on; but not
    /// where an earlier mount has left what could not be put in order.
    fn end_session(&self) {
        let terms = self.durability.terms();
        if self.is_read_only() || !terms.session.is_open() {
            return;
        }
        let ended = self.storage_opened().and_then(|storage| {
            rustix::fs::syncfs(&storage)?;
            if terms.goes_on { Ok(()) } else { self.root_dir.end_session() }
        });
        if let Err(errno) = ended {
            tracing::error!("the storage is not synced: {errno}");
        }
    }
}

impl Drop for Overlay {
    fn drop(&mut self) {
        // What a commit has left is for who finishes it.
        if self.is_lost() {
            return;
        }
        self.save_accesses();
        self.save_realms();
    }
}
