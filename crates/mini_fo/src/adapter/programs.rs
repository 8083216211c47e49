//! Programs and libraries of the base, read past the daemon: in a run each mount is a new one,
//! so that the kernel has none of their pages yet, and they are the bulk of what is read.
//!
//! The kernel wants one backing file for a node as long as anybody has it open, so nobody may
//! write meanwhile what is read in the base. Who is to write such a file, which hardly happens
//! while it is in use, gets a node of its own: the one that is being read loses its name.
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use fuse_server::BackingId;
use mini_fo_core::{NodeId, OpenFile, Overlay};
use rustix::fd::OwnedFd;
use rustix::io::Errno;

use super::data::Files;

/// RELEASE comes later than close(2): how often it is waited for, and how long.
const TRIES: usize = 5;
const A_MOMENT: Duration = Duration::from_millis(2);

impl Files {
    pub(super) fn has_programs(&self) -> bool {
        self.connection().is_some_and(|connection| connection.programs.load(Ordering::Relaxed))
    }

    /// A file of the base, if it may be read past the daemon.
    pub(super) fn program(&self, overlay: &Overlay, file: &OpenFile) -> Option<OwnedFd> {
        if self.has_programs() { overlay.program(file) } else { None }
    }

    pub(super) fn register_program(&self, program: &OwnedFd) -> Option<Arc<BackingId>> {
        let connection = self.connection()?;
        let registry = connection.backing.as_ref()?;
        match self.judge().for_anybody(|| registry.open(program)) {
            Ok(id) => Some(Arc::new(id)),
            Err(errno) => {
                tracing::debug!("a program is read through the daemon: {errno}");
                if matches!(errno, Errno::PERM | Errno::NOTTY) {
                    connection.programs.store(false, Ordering::Relaxed);
                }
                None
            }
        }
    }

    /// Runs `change`, after which the data of a node may be another file's.
    ///
    /// # Errors
    /// Those of `change`. ESTALE: the name leads to another node now, and the kernel is to look
    /// it up again. ETXTBSY: it is being read, and there is no other node.
    pub fn about_to_write<T>(
        &self,
        overlay: &Overlay,
        node: u64,
        change: impl FnOnce() -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        if !self.has_programs() {
            return change();
        }
        for _ in 0..TRIES {
            let (may, unused) = self.modes(node).lock().start_writing(node);
            drop(unused);
            if may {
                let changed = change();
                self.modes(node).lock().end_writing(node);
                return changed;
            }
            let _slow = fuse_server::blocking_section();
            std::thread::sleep(A_MOMENT);
        }
        Err(if overlay.leave_name(NodeId(node)) { Errno::STALE } else { Errno::TXTBSY })
    }
}
