//! Waiting for what others hold: leases on files (fcntl(2), `F_SETLEASE`), and
//! locks over long work.
#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};
use rustix::io::Errno;

use super::{Overlay, Result};

/// Requests that may wait for leases at a time. Whoever owns a file of a layer
/// may hold a lease on it, so what he keeps waiting must not be all there is.
const WAITERS: usize = 16;

/// The kernel ends a lease after `fs.lease-break-time`, 45 s if nobody has
/// changed that.
const PATIENCE: Duration = Duration::from_secs(60);

/// Between two attempts.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// Requests that wait for leases.
#[derive(Debug, Default)]
pub(super) struct Waiters(AtomicUsize);

/// One of them.
struct Waiter<'a>(&'a Waiters);

impl Waiters {
    fn enter(&self) -> Option<Waiter<'_>> {
        let waiter = Waiter(self);
        (self.0.fetch_add(1, Ordering::AcqRel) < WAITERS).then_some(waiter)
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Overlay {
    /// Runs `open` until no lease is in its way, as open(2) without `O_NONBLOCK`
    /// does. That must fail with EAGAIN meanwhile, without effect; the first
    /// attempt tells the holder. No lock may be held.
    ///
    /// # Errors
    /// Those of `open`. EAGAIN: too many wait already, or for too long.
    pub(super) fn past_leases<T>(&self, mut open: impl FnMut() -> Result<T>) -> Result<T> {
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

    /// Takes a lock that another request may hold for long.
    pub(super) fn lock_slow<'a>(&self, lock: &'a Mutex<()>) -> MutexGuard<'a, ()> {
        lock.try_lock().unwrap_or_else(|| {
            let _slow = self.slow_section();
            lock.lock()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiters_are_counted() {
        let waiters = Waiters::default();
        let all: Vec<_> = (0..WAITERS).map(|_| waiters.enter().unwrap()).collect();
        assert!(waiters.enter().is_none());
        drop(all);
        assert!(waiters.enter().is_some());
    }
}
