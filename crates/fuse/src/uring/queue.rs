//! What is known of one queue of the kernel.

#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicBool, AtomicIsize, Ordering};

/// The requests of one CPU.
#[derive(Debug, Default)]
pub(super) struct Queue {
    /// Places that wait for a request, as far as is known here.
    idle: AtomicIsize,
    /// Another thread was asked for.
    asked: AtomicBool,
    /// No place waited at some time: requests may have had to.
    dry: AtomicBool,
    /// A request is being made to come.
    kicked: AtomicBool,
}

impl Queue {
    /// A place waits for a request.
    pub(super) fn waits(&self) {
        self.idle.fetch_add(1, Ordering::AcqRel);
    }

    /// One got a request, or is gone. Returns how many still wait.
    pub(super) fn taken(&self) -> isize {
        let idle = self.idle.fetch_sub(1, Ordering::AcqRel) - 1;
        if idle <= 0 {
            self.dry.store(true, Ordering::Release);
        }
        idle
    }

    /// Whether requests may wait although a place is free, which nobody deals
    /// with yet. To be followed by [`kicked`](Self::kicked).
    pub(super) fn kick(&self) -> bool {
        self.dry.swap(false, Ordering::AcqRel) && !self.kicked.swap(true, Ordering::AcqRel)
    }

    /// That has been dealt with.
    pub(super) fn kicked(&self) {
        self.kicked.store(false, Ordering::Release);
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
