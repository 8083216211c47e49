//! The watch: notices that a request takes long.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard};

/// A request that takes longer than this is not waited for.
const TICK: Duration = Duration::from_millis(5);

/// After so many ticks without a request the watch sleeps.
const QUIET: u32 = 20;

/// Looks at those who serve every few milliseconds while there are requests,
/// and sleeps while there are none.
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

    /// Watches until [`end`](Self::end). `look` does what is to be done every few
    /// milliseconds, and tells whether requests came since, or take long.
    pub(crate) fn run(&self, mut look: impl FnMut() -> bool) {
        let mut quiet = 0;
        let mut ended = self.ended.lock();
        while !*ended {
            if quiet < QUIET {
                self.changed.wait_for(&mut ended, TICK);
            } else {
                self.asleep.store(true, Ordering::Release);
                self.changed.wait(&mut ended);
                quiet = 0;
            }
            let busy = MutexGuard::unlocked(&mut ended, &mut look);
            quiet = if busy { 0 } else { quiet + 1 };
        }
    }
}
