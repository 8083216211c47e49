//! Requests that wait for leases.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Requests that may wait for leases at a time. Whoever owns a file of a layer
/// may hold a lease on it, so what he keeps waiting must not be all there is.
const WAITERS: usize = 16;

/// Requests that wait for leases.
#[derive(Debug, Default)]
pub(crate) struct Waiters(AtomicUsize);

/// One of them.
pub(crate) struct Waiter<'a>(&'a Waiters);

impl Waiters {
    /// One more; `None`: too many wait already.
    pub fn enter(&self) -> Option<Waiter<'_>> {
        let waiter = Waiter(self);
        (self.0.fetch_add(1, Ordering::AcqRel) < WAITERS).then_some(waiter)
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::AcqRel);
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
