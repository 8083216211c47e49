//! Waiting for what others hold: leases on files (fcntl(2), `F_SETLEASE`), and
//! locks over long work.
#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

use rustix::io::Errno;

use crate::locks::{Among, Mutex, MutexGuard, Rank, is_free};
use crate::reach::overlay::Overlay;
use crate::sys::Result;
use crate::tree::node::Node;

/// The kernel ends a lease after `fs.lease-break-time`, 45 s if nobody has
/// changed that.
const PATIENCE: Duration = Duration::from_secs(60);

/// Between two attempts.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

impl Overlay {
    /// Runs `open` until no lease is in its way, as open(2) without `O_NONBLOCK`
    /// does. That must fail with EAGAIN meanwhile, without effect; the first
    /// attempt tells the holder. No lock may be held that others wait for.
    ///
    /// # Errors
    /// Those of `open`. EAGAIN: too many wait already, or for too long.
    pub(crate) fn past_leases<T>(&self, mut open: impl FnMut() -> Result<T>) -> Result<T> {
        debug_assert!(is_free(Rank::CopyUp));
        match open() {
            Err(Errno::AGAIN) => {}
            other => return other,
        }
        let _waiter = self.lease_waiters.enter().ok_or(Errno::AGAIN)?;
        let _slow = self.slow_section();
        let (begun, mut pause) = (Instant::now(), FIRST_PAUSE);
        loop {
            std::thread::sleep(pause);
            pause = (pause * 2).min(LONGEST_PAUSE);
            match open() {
                Err(Errno::AGAIN) if begun.elapsed() < PATIENCE => {}
                other => return other,
            }
        }
    }

    /// Copies up a node, or brings data of its copy, with nobody else at it.
    pub(crate) fn lock_copy_up<'a>(&self, node: &'a Node) -> MutexGuard<'a, ()> {
        node.copy_up.lock_slow(Among::Alone(node.id.0), || self.slow_section())
    }

    /// Takes a lock that another request may hold for long.
    pub(crate) fn lock_slow<'a, const RANK: u8>(
        &self,
        lock: &'a Mutex<(), RANK>,
    ) -> MutexGuard<'a, ()> {
        lock.lock_slow(Among::Only, || self.slow_section())
    }
}
