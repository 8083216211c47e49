//! The watch: notices that a request takes long.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard};

/// A request that takes longer than this is not waited for.
const TICK: Duration = Duration::from_millis(5);

/// After so many ticks without a request the watch sleeps.
const QUIET: u32 = 20;

/// After so long without one more, nobody is expected soon.
const REST: Duration = Duration::from_secs(2);

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
    /// milliseconds, and tells whether requests came since, or take long; `rest` what is
    /// to be done once when none have come for seconds.
    pub(crate) fn run(&self, mut look: impl FnMut() -> bool, rest: impl Fn()) {
        let mut quiet = 0;
        let mut ended = self.ended.lock();
        while !*ended {
            if quiet < QUIET {
                self.changed.wait_for(&mut ended, TICK);
            } else {
                self.sleep(&mut ended, &rest);
                quiet = 0;
            }
            let busy = MutexGuard::unlocked(&mut ended, &mut look);
            quiet = if busy { 0 } else { quiet + 1 };
        }
    }

    /// Waits for a request.
    fn sleep(&self, ended: &mut MutexGuard<'_, bool>, rest: &impl Fn()) {
        self.asleep.store(true, Ordering::Release);
        if self.changed.wait_for(ended, REST).timed_out() && !**ended {
            MutexGuard::unlocked(ended, rest);
        }
        // It may have been woken meanwhile, when it was not waiting.
        while self.asleep.load(Ordering::Acquire) && !**ended {
            self.changed.wait(ended);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;

    use super::*;

    /// Runs a watch, whose rest is `rest`, beside `work`, which gets the number of looks.
    fn beside(rest: impl Fn(&Watch) + Sync, work: impl FnOnce(&Watch, &AtomicU32)) {
        let (watch, looks) = (&Watch::default(), &AtomicU32::new(0));
        let look = || {
            looks.fetch_add(1, Ordering::Relaxed);
            false
        };
        std::thread::scope(|scope| {
            scope.spawn(|| watch.run(look, || rest(watch)));
            work(watch, looks);
            watch.end();
        });
    }

    fn wait_until(what: impl Fn() -> bool) {
        let begun = std::time::Instant::now();
        while !what() {
            assert!(begun.elapsed() < Duration::from_secs(20), "it does not come");
            std::thread::sleep(TICK);
        }
    }

    #[test]
    fn it_rests_once_after_each_time_of_work() {
        let rests = AtomicU32::new(0);
        let count = |_: &Watch| {
            rests.fetch_add(1, Ordering::Relaxed);
        };
        beside(count, |watch, looks| {
            wait_until(|| rests.load(Ordering::Relaxed) == 1);
            let before = looks.load(Ordering::Relaxed);
            std::thread::sleep(REST + REST / 2);
            assert_eq!(rests.load(Ordering::Relaxed), 1);
            assert_eq!(looks.load(Ordering::Relaxed), before, "it does not sleep");
            watch.wake();
            wait_until(|| looks.load(Ordering::Relaxed) > before);
            assert_eq!(rests.load(Ordering::Relaxed), 1);
            wait_until(|| rests.load(Ordering::Relaxed) == 2);
        });
    }

    /// Nobody waits for being woken then.
    #[test]
    fn a_request_that_comes_while_it_begins_to_rest_wakes_it() {
        let rests = AtomicU32::new(0);
        let one_comes = |watch: &Watch| {
            if rests.fetch_add(1, Ordering::Relaxed) == 0 {
                watch.wake();
            }
        };
        beside(one_comes, |_, _| wait_until(|| rests.load(Ordering::Relaxed) == 2));
    }
}
