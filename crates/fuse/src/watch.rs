//! The watch: notices that a request takes long.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};

/// A request that takes longer than this is not waited for.
const TICK: Duration = Duration::from_millis(5);

/// After so many ticks without a request the watch sleeps.
const QUIET: u32 = 20;

/// After so long without one more, nobody is expected soon.
const REST: Duration = Duration::from_secs(2);

/// How often what only some requests need is given back while they come without end. What
/// is needed again costs less than a thousandth of that.
const WORK: Duration = Duration::from_secs(1);

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
    /// milliseconds, and tells whether requests came since, or take long; `give_back` what
    /// is to be done once when none have come for seconds, and now and then while they come.
    pub(crate) fn run(&self, mut look: impl FnMut() -> bool, give_back: impl Fn()) {
        let mut quiet = 0;
        let mut given_back = Instant::now();
        let mut ended = self.ended.lock();
        while !*ended {
            if quiet < QUIET {
                self.changed.wait_for(&mut ended, TICK);
            } else {
                if self.sleep(&mut ended, &give_back) {
                    given_back = Instant::now();
                }
                quiet = 0;
            }
            let busy = MutexGuard::unlocked(&mut ended, &mut look);
            quiet = if busy { 0 } else { quiet + 1 };
            if busy && given_back.elapsed() >= WORK {
                MutexGuard::unlocked(&mut ended, &give_back);
                given_back = Instant::now();
            }
        }
    }

    /// Waits for a request. Whether there was time to give back what is not needed.
    fn sleep(&self, ended: &mut MutexGuard<'_, bool>, give_back: &impl Fn()) -> bool {
        self.asleep.store(true, Ordering::Release);
        let rests = self.changed.wait_for(ended, REST).timed_out() && !**ended;
        if rests {
            MutexGuard::unlocked(ended, give_back);
        }
        // It may have been woken meanwhile, when it was not waiting.
        while self.asleep.load(Ordering::Acquire) && !**ended {
            self.changed.wait(ended);
        }
        rests
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;

    use super::*;

    /// Runs a watch, whose rest is `rest`, beside `work`, which gets the number of looks.
    /// `busy`: requests come without end.
    fn beside(busy: bool, rest: impl Fn(&Watch) + Sync, work: impl FnOnce(&Watch, &AtomicU32)) {
        let (watch, looks) = (&Watch::default(), &AtomicU32::new(0));
        let look = || {
            looks.fetch_add(1, Ordering::Relaxed);
            busy
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
        beside(false, count, |watch, looks| {
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
        beside(false, one_comes, |_, _| wait_until(|| rests.load(Ordering::Relaxed) == 2));
    }

    /// Work without end does not hold for ever what only its beginning needed; nor does a
    /// request now and then, after which there is no time to rest.
    #[test]
    fn it_gives_back_while_there_is_work() {
        let given_back = AtomicU32::new(0);
        let count = |_: &Watch| {
            given_back.fetch_add(1, Ordering::Relaxed);
        };
        let begun = Instant::now();
        beside(true, count, |_, _| {
            wait_until(|| given_back.load(Ordering::Relaxed) == 1);
            assert!(begun.elapsed() >= WORK, "at once");
            wait_until(|| given_back.load(Ordering::Relaxed) == 2);
            assert!(begun.elapsed() >= 2 * WORK, "all the time");
        });
    }

    #[test]
    fn it_gives_back_between_requests_that_come_now_and_then() {
        let (given_back, requests) = (AtomicU32::new(0), AtomicU32::new(0));
        let watch = &Watch::default();
        let mut before = 0;
        let look = || {
            let now = requests.load(Ordering::Relaxed);
            std::mem::replace(&mut before, now) != now
        };
        std::thread::scope(|scope| {
            scope.spawn(|| watch.run(look, || _ = given_back.fetch_add(1, Ordering::Relaxed)));
            let begun = Instant::now();
            while given_back.load(Ordering::Relaxed) == 0 && begun.elapsed() < 20 * WORK {
                requests.fetch_add(1, Ordering::Relaxed);
                watch.wake();
                std::thread::sleep(REST / 4);
            }
            watch.end();
        });
        assert_eq!(given_back.load(Ordering::Relaxed), 1);
    }
}
