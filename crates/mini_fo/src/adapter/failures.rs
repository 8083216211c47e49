//! Errors that no program expects, in the log: which operation on what, for which process,
//! and which system call of the daemon failed on which file.

use std::time::{Duration, Instant};

use fuse_server::Request;
use mini_fo_core::{self as core, NodeId, Overlay};
use parking_lot::Mutex;
use rustix::io::Errno;

/// So many are told in each [`WINDOW`]; the rest is counted.
const MOST: u32 = 10;

const WINDOW: Duration = Duration::from_secs(10);

/// How much was told lately.
#[derive(Default)]
pub(super) struct Failures(Mutex<Lately>);

#[derive(Default)]
struct Lately {
    since: Option<Instant>,
    told: u32,
    untold: u32,
}

impl Failures {
    /// Tells of a request that gets this error, if that is worth it.
    pub fn tell(&self, overlay: &Overlay, req: &Request, operation: &str, errno: Errno) {
        if !core::is_trouble(errno) {
            return;
        }
        let cause = core::take_failure(errno);
        let Some(untold) = self.may_tell() else { return };
        if untold > 0 {
            tracing::error!("{untold} more requests have failed that were not told of");
        }
        let path = overlay.shown_path(NodeId(req.node));
        let path = String::from_utf8_lossy(&path);
        let (path, pid) = (path.escape_debug(), req.pid);
        match cause {
            Some(cause) => {
                tracing::error!("{operation} at {path} for process {pid}: {errno} ({cause})");
            }
            None => tracing::error!("{operation} at {path} for process {pid}: {errno}"),
        }
    }

    /// `None`: enough was told. Else how many were not told of since.
    fn may_tell(&self) -> Option<u32> {
        let mut lately = self.0.lock();
        if lately.since.is_none_or(|since| since.elapsed() > WINDOW) {
            let untold = lately.untold;
            *lately = Lately { since: Some(Instant::now()), told: 1, untold: 0 };
            return Some(untold);
        }
        if lately.told < MOST {
            lately.told += 1;
            return Some(0);
        }
        lately.untold += 1;
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_storm_of_errors_does_not_fill_the_log() {
        let failures = Failures::default();
        let told = (0..1000).filter(|_| failures.may_tell().is_some()).count();
        assert_eq!(told, MOST as usize);
        failures.0.lock().since = Instant::now().checked_sub(2 * WINDOW);
        assert_eq!(failures.may_tell(), Some(990));
        assert_eq!(failures.may_tell(), Some(0));
    }
}
