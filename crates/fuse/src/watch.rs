//! The watch: notices that no reader waits because a request takes long.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::spares::Spares;

/// A request that takes longer than this is not waited for.
const TICK: Duration = Duration::from_millis(5);

/// After so many ticks without a request the watch sleeps.
const QUIET: u32 = 20;

/// Looks at the readers every few milliseconds while there are requests, and
/// sleeps while there are none.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    asleep: AtomicBool,
    ended: Mutex<bool>,
    changed: Condvar,
}

impl Watch {
    /// There is a request. Costs one load while the watch is awake.
    pub(crate) fn wake(&self) {
        if self.asleep.load(Ordering::Relaxed) && self.asleep.swap(false, Ordering::AcqRel) {
            let _ended = self.ended.lock();
            self.changed.notify_one();
        }
    }

    /// Ends the watch.
    pub(crate) fn end(&self) {
        *self.ended.lock() = true;
        self.changed.notify_one();
    }

    /// Watches until [`end`](Self::end). `look` gives the number of requests
    /// so far and whether nobody waits for the next.
    pub(crate) fn run(&self, look: impl Fn() -> (u64, bool), readers: &dyn Spares) {
        let (mut before, mut quiet) = (0, 0);
        let mut ended = self.ended.lock();
        while !*ended {
            if quiet < QUIET {
                self.changed.wait_for(&mut ended, TICK);
            } else {
                self.asleep.store(true, Ordering::Release);
                self.changed.wait(&mut ended);
                quiet = 0;
            }
            let (received, stalled) = look();
            if received != before {
                quiet = 0;
            } else if stalled {
                parking_lot::MutexGuard::unlocked(&mut ended, || readers.announce());
            } else {
                quiet += 1;
            }
            before = received;
        }
    }
}
