//! What is known of one queue of the kernel.

#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicBool, AtomicIsize, AtomicU64, AtomicUsize, Ordering};

/// The requests of one CPU.
#[derive(Debug, Default)]
pub(super) struct Queue {
    /// Places that wait for a request, as far as is known here.
    idle: AtomicIsize,
    /// Places that it has, waiting or at work.
    places: AtomicUsize,
    /// Another thread was asked for.
    asked: AtomicBool,
    /// How often a place was handed over, mostly with an answer.
    handed: AtomicU64,
    /// Somebody looks whether answers come.
    tended: AtomicBool,
    /// No place waited at some time: requests may have had to since.
    behind: AtomicBool,
}

impl Queue {
    /// The kernel has taken a place.
    pub(super) fn gained(&self) {
        self.places.fetch_add(1, Ordering::AcqRel);
    }

    /// A place is gone although the connection lives. `true`: it was the last.
    pub(super) fn lost(&self) -> bool {
        self.places.fetch_sub(1, Ordering::AcqRel) <= 1
    }

    /// Nobody serves what comes here.
    pub(super) fn is_deserted(&self) -> bool {
        self.places.load(Ordering::Acquire) == 0
    }

    /// A place waits for a request.
    pub(super) fn waits(&self) {
        self.handed.fetch_add(1, Ordering::Relaxed);
        self.idle.fetch_add(1, Ordering::AcqRel);
    }

    /// One got a request, or is gone. Returns how many still wait.
    pub(super) fn taken(&self) -> isize {
        let idle = self.idle.fetch_sub(1, Ordering::AcqRel) - 1;
        if idle <= 0 {
            self.behind.store(true, Ordering::Release);
        }
        idle
    }

    /// Whether requests may have to wait in the kernel, even if places are
    /// free by now.
    pub(super) fn is_behind(&self) -> bool {
        self.behind.load(Ordering::Acquire)
    }

    /// An answer was handed over, and no request came out in exchange.
    pub(super) fn caught_up(&self) {
        self.behind.store(false, Ordering::Release);
    }

    /// Counts up with every answer.
    pub(super) fn handed(&self) -> u64 {
        self.handed.load(Ordering::Relaxed)
    }

    /// `true`: nobody looks after it yet.
    pub(super) fn tend(&self) -> bool {
        !self.tended.swap(true, Ordering::AcqRel)
    }

    /// Nobody does any more.
    pub(super) fn leave(&self) {
        self.tended.store(false, Ordering::Release);
    }

    /// How many wait.
    pub(super) fn idle(&self) -> isize {
        self.idle.load(Ordering::Acquire)
    }

    /// `true`: nobody has asked for another thread yet.
    pub(super) fn ask(&self) -> bool {
        !self.asked.swap(true, Ordering::AcqRel)
    }

    /// What was asked for is being done.
    pub(super) fn granted(&self) {
        self.asked.store(false, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_place_is_missed() {
        let queue = Queue::default();
        assert!(queue.is_deserted());
        queue.gained();
        queue.gained();
        assert!(!queue.lost());
        assert!(!queue.is_deserted());
        assert!(queue.lost());
        assert!(queue.is_deserted());
        queue.gained();
        assert!(!queue.is_deserted());
    }
}
