//! File descriptors of the process, and who gets how many: what programs make it
//! hold must leave some for looking things up, or one user's open files would
//! stop everybody.
#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};

use crate::sys::Result;

/// How the limit of the process is shared out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shares {
    /// Directories in use, each with up to three.
    pub dirs: usize,
    /// For open files.
    pub files: usize,
    /// The same, with open directories and objects that lost their names.
    pub held: usize,
}

/// Those in force. They are the process's, as the limit is.
static FILES: AtomicUsize = AtomicUsize::new(usize::MAX);
static HELD: AtomicUsize = AtomicUsize::new(usize::MAX);

/// Descriptors that programs make the process hold.
static TAKEN: AtomicUsize = AtomicUsize::new(0);

/// Descriptors of a layer: its root, and of a storage its lock.
pub(crate) const FOR_LAYER: usize = 2;

/// How many files the process may have open now.
pub(crate) fn limit() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

impl Shares {
    fn of(limit: usize) -> Shares {
        // The layers, the device, rings, and what requests open for a moment.
        let own = (limit / 5 * 2).min(192);
        let dirs = (limit / 9).clamp(4, 1024);
        let others = (limit / 12).min(1024);
        let held = limit.saturating_sub(own + 3 * dirs).max(8);
        Shares { dirs, files: held.saturating_sub(others), held }
    }

    /// By the limit of the process as it is now, from now on, when the layers of a stack
    /// are open.
    pub fn by_limit(layers: usize) -> Shares {
        let limit = usize::try_from(limit()).unwrap_or(usize::MAX);
        let more = layers.saturating_sub(1).saturating_mul(FOR_LAYER);
        let shares = Shares::of(limit.saturating_sub(more));
        FILES.store(shares.files, Ordering::Relaxed);
        HELD.store(shares.held, Ordering::Relaxed);
        shares
    }
}

/// Some descriptors that a program makes the process hold, until it is dropped.
#[derive(Debug)]
pub(crate) struct Ticket(usize);

impl Ticket {
    /// For an open file. ENFILE: there are too many.
    pub fn file(count: usize) -> Result<Ticket> {
        Ticket::up_to(&FILES, count)
    }

    /// For an open directory, or an object that loses its name. ENFILE: there are
    /// too many.
    pub fn other() -> Result<Ticket> {
        Ticket::up_to(&HELD, 1)
    }

    /// For what is held already.
    pub fn beyond(count: usize) -> Ticket {
        TAKEN.fetch_add(count, Ordering::Relaxed);
        Ticket(count)
    }

    /// For what can do without. ENFILE: half of what files may have is taken.
    pub fn spare() -> Result<Ticket> {
        let ticket = Ticket::beyond(1);
        if TAKEN.load(Ordering::Relaxed) > FILES.load(Ordering::Relaxed) / 2 {
            return Err(Errno::NFILE);
        }
        Ok(ticket)
    }

    fn up_to(most: &AtomicUsize, count: usize) -> Result<Ticket> {
        let ticket = Ticket::beyond(count);
        if TAKEN.load(Ordering::Relaxed) > most.load(Ordering::Relaxed) {
            return Err(Errno::NFILE);
        }
        Ok(ticket)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        TAKEN.fetch_sub(self.0, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_leave_something_to_all() {
        for limit in [32, 64, 128, 256, 1024, 4096, 20_000, 1 << 20, usize::MAX] {
            let Shares { dirs, files, held } = Shares::of(limit);
            assert!(dirs >= 4 && files >= 6 && held > files, "{limit}");
            // What is left is for the process itself.
            assert!(limit < 64 || held + 3 * dirs <= limit - (limit / 5 * 2).min(192), "{limit}");
        }
        assert!(Shares::of(1 << 20).files > 1_000_000);
    }
}
