//! The lock of who changes entries of a directory, which counts the changes.

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, MutexGuard};

use crate::locks::{Among, Held, Rank};

/// Held by whoever changes entries of a directory, or what META says of them.
#[derive(Default)]
pub(crate) struct Mutate {
    lock: Mutex<()>,
    /// Odd while somebody holds the lock.
    version: AtomicU64,
}

/// The lock is held.
pub(crate) struct Mutating<'a> {
    version: &'a AtomicU64,
    _lock: MutexGuard<'a, ()>,
    _held: Held,
}

/// Where the lock of a directory is in the order of locks.
type Order = (Rank, Among);

impl Mutate {
    pub fn lock(&self, (rank, among): Order) -> Mutating<'_> {
        let held = Held::wait(rank, among);
        self.held(self.lock.lock(), held)
    }

    pub fn try_lock(&self, (rank, among): Order) -> Option<Mutating<'_>> {
        let lock = self.lock.try_lock()?;
        Some(self.held(lock, Held::tried(rank, among)))
    }

    fn held<'a>(&'a self, lock: MutexGuard<'a, ()>, held: Held) -> Mutating<'a> {
        self.version.fetch_add(1, Ordering::SeqCst);
        Mutating { version: &self.version, _lock: lock, _held: held }
    }

    /// Whoever holds the lock is the first one since the version was this.
    pub fn follows(&self, version: u64) -> bool {
        self.version.load(Ordering::SeqCst) == version + 1
    }

    /// What is read between two calls that give the same is of one moment.
    /// `None`: somebody may be changing something.
    pub fn version(&self) -> Option<u64> {
        Some(self.version.load(Ordering::SeqCst)).filter(|version| version % 2 == 0)
    }
}

impl Drop for Mutating<'_> {
    fn drop(&mut self) {
        // Before the lock goes.
        self.version.fetch_add(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORDER: Order = (Rank::Mutate, Among::Only);

    #[test]
    fn each_change_makes_another_version() {
        let mutate = Mutate::default();
        let before = mutate.version();
        assert_eq!((before.is_some(), mutate.version()), (true, before));
        let held = mutate.lock(ORDER);
        assert!(before.is_some_and(|before| mutate.follows(before)));
        assert_eq!(mutate.version(), None);
        assert!(mutate.try_lock(ORDER).is_none());
        assert_eq!(mutate.version(), None);
        drop(held);
        assert!(mutate.version().is_some_and(|now| Some(now) != before));
        let _held = mutate.lock(ORDER);
        assert!(!before.is_some_and(|before| mutate.follows(before)));
    }
}
