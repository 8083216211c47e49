//! The locks of the crate, and the one order in which a thread takes them.
//!
//! Whoever waits for a lock has only such as come before it in [`Rank`]; so nobody waits in
//! a circle. Builds with debug assertions look at that each time, by a list of what the
//! thread holds, and panic where it is not so; others know nothing of it, and a lock here
//! is one of `parking_lot`.
//!
//! Of one rank a thread holds one lock at a time, but where the call says how it goes
//! ([`Among`]). What is only tried waits for nobody, so it may come in any order; what is
//! waited for after that may not.
#![forbid(unsafe_code)]

mod held;
#[cfg(test)]
mod tests;

use std::ops::{Deref, DerefMut};

pub(crate) use held::{Among, Held, is_free, is_held};

macro_rules! ranks {
    ($($(#[$doc:meta])* $rank:ident,)*) => {
        /// All locks, the first to be taken first.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub(crate) enum Rank {
            $($(#[$doc])* $rank,)*
        }

        impl Rank {
            const ALL: &[Rank] = &[$(Rank::$rank,)*];
        }
    };
}

ranks! {
    /// Requests are served, and not held up by a commit.
    Gate,
    /// Closed partial files are settled.
    Settling,
    /// A walk through the tree goes on.
    Walking,
    /// A read-only mount begins to write.
    Later,
    /// The lock for other machines.
    ServerLock,
    /// One open directory is read.
    Reading,
    /// The last listing of a directory, which somebody makes.
    LastListing,
    /// What has gone from one place to another stays there: held for writing where changes
    /// are discarded, for reading by whoever gives an object another name or one more.
    Discarding,
    /// The pieces of the reserve.
    Reserve,
    /// Directories stay where they are: held over renames that move one.
    Topology,
    /// One node is copied up, or the mark of its copy goes.
    CopyUp,
    /// Data of one partial file is written, or fetched from the base.
    Writing,
    /// Entries of a directory, and what META says of them; several by number. A child
    /// after its parent is only tried; but the directory that a rename replaces is waited
    /// for ([`Among::Beside`]), for the kernel keeps all else out of it meanwhile.
    Mutate,
    /// A mark and its file follow a new base file.
    Following,
    /// Where a node is; several by number.
    Place,
    /// As [`Rank::Mutate`], of the index.
    MutateIndex,
    /// Times, mode or flags of a storage directory. Who has its `Mutate` may take it, and
    /// the journal in either order ([`Among::Under`]).
    Attributes,
    /// Directories in use.
    Cache,
    /// The file META of one directory.
    Journal,
    /// What META says. Held over its writing anew.
    Meta,
    /// Names of a directory that META of the root hides.
    Far,
    /// A time that a directory has left behind.
    LeftBehind,
    /// Times of access.
    AccessTable,
    /// Which blocks of a partial file are in the storage. Held over changes of its file.
    Map,
    /// What the objects in the index are; held while the index is read.
    IndexStored,
    /// The storage is handed to the device.
    Syncing,
    /// Objects that are about to be freed.
    Leaving,
    /// Known nodes by name; several by the number of their shard. From here on no system
    /// call is made under a lock, and none is taken under one but as this list says.
    TableNames,
    /// Known nodes by number.
    TableIds,
    /// The index, if there is one.
    IndexDir,
    /// What the nodes are that have another id.
    IndexTold,
    /// What an open file is served from.
    OpenFile,
    /// What one walk has met.
    Met,
    /// File systems of the base.
    Realms,
    /// Partial files that are open.
    OpenPartials,
    /// Partial files that were closed.
    ClosedPartials,
    /// Open files of a base that changes.
    OpenBase,
    /// Mode and owner that the root shows.
    RootOwner,
    /// Storage objects with several names.
    Linked,
    /// Objects that were freed just now.
    Freed,
    /// Names that the base has not.
    Lacks,
    /// Times of access that META has not.
    Unsaved,
    /// Times of access of files that were opened just now.
    Resting,
    /// Where forgotten nodes were.
    Trail,
    /// Which nodes a walk has seen.
    Census,
    /// All listings.
    Listings,
    /// The entries of one listing.
    Packed,
    /// How META reaches the device.
    Terms,
    /// Some META is to be handed to it.
    Dirty,
    /// Files that were opened to be written.
    Written,
    /// Other names of META.
    MetaNames,
}

impl Rank {
    const fn of(number: u8) -> Rank {
        Rank::ALL[number as usize]
    }
}

/// A lock that is held.
pub(crate) struct Guard<G> {
    guard: G,
    _held: Held,
}

impl<G: Deref> Deref for Guard<G> {
    type Target = G::Target;

    fn deref(&self) -> &G::Target {
        &self.guard
    }
}

impl<G: DerefMut> DerefMut for Guard<G> {
    fn deref_mut(&mut self) -> &mut G::Target {
        &mut self.guard
    }
}

pub(crate) type MutexGuard<'a, T> = Guard<parking_lot::MutexGuard<'a, T>>;
pub(crate) type ReadGuard<'a, T> = Guard<parking_lot::RwLockReadGuard<'a, T>>;
pub(crate) type WriteGuard<'a, T> = Guard<parking_lot::RwLockWriteGuard<'a, T>>;
pub(crate) type ReentrantGuard<'a, T> = Guard<parking_lot::ReentrantMutexGuard<'a, T>>;

/// A mutex of one rank: `Mutex<T, { Rank::Freed as u8 }>`.
#[derive(Debug, Default)]
pub(crate) struct Mutex<T, const RANK: u8>(parking_lot::Mutex<T>);

impl<T, const RANK: u8> Mutex<T, RANK> {
    const RANK: Rank = Rank::of(RANK);

    pub const fn new(value: T) -> Self {
        Mutex(parking_lot::const_mutex(value))
    }

    pub fn lock(&self) -> MutexGuard<'_, T> {
        self.lock_among(Among::Only)
    }

    /// The same, beside others of the rank.
    pub fn lock_among(&self, among: Among) -> MutexGuard<'_, T> {
        let _held = Held::wait(Self::RANK, among);
        Guard { guard: self.0.lock(), _held }
    }

    /// The same; `slow` is called where it has to be waited for, and what comes back kept
    /// meanwhile.
    pub fn lock_slow<S>(&self, among: Among, slow: impl FnOnce() -> S) -> MutexGuard<'_, T> {
        let _held = Held::wait(Self::RANK, among);
        let guard = self.0.try_lock().unwrap_or_else(|| {
            let _slow = slow();
            self.0.lock()
        });
        Guard { guard, _held }
    }
}

impl<T> Guard<parking_lot::MutexGuard<'_, T>> {
    /// Lets go of the lock until it is woken, or for so long.
    pub fn wait(&mut self, wake: &parking_lot::Condvar, most: std::time::Duration) {
        wake.wait_for(&mut self.guard, most);
    }
}

/// A lock of one rank for many readers.
#[derive(Debug, Default)]
pub(crate) struct RwLock<T, const RANK: u8>(parking_lot::RwLock<T>);

impl<T, const RANK: u8> RwLock<T, RANK> {
    const RANK: Rank = Rank::of(RANK);

    pub const fn new(value: T) -> Self {
        RwLock(parking_lot::const_rwlock(value))
    }

    pub fn read(&self) -> ReadGuard<'_, T> {
        self.read_among(Among::Only)
    }

    /// The same, beside others of the rank.
    pub fn read_among(&self, among: Among) -> ReadGuard<'_, T> {
        let _held = Held::wait(Self::RANK, among);
        Guard { guard: self.0.read(), _held }
    }

    pub fn write(&self) -> WriteGuard<'_, T> {
        self.write_among(Among::Only)
    }

    /// The same, beside others of the rank.
    pub fn write_among(&self, among: Among) -> WriteGuard<'_, T> {
        let _held = Held::wait(Self::RANK, among);
        Guard { guard: self.0.write(), _held }
    }

    /// `None`: it could not be had in this time. Who wants to read waits meanwhile.
    pub fn try_write_for(&self, most: std::time::Duration) -> Option<WriteGuard<'_, T>> {
        let _held = Held::wait(Self::RANK, Among::Only);
        Some(Guard { guard: self.0.try_write_for(most)?, _held })
    }

    /// As [`RwLock::read`]; `slow` is called where it has to be waited for, and what comes
    /// back kept meanwhile.
    pub fn read_slow<S>(&self, slow: impl FnOnce() -> S) -> ReadGuard<'_, T> {
        let _held = Held::wait(Self::RANK, Among::Only);
        let guard = self.0.try_read().unwrap_or_else(|| {
            let _slow = slow();
            self.0.read()
        });
        Guard { guard, _held }
    }

    /// `None`: somebody writes.
    pub fn try_read(&self) -> Option<ReadGuard<'_, T>> {
        let guard = self.0.try_read()?;
        Some(Guard { guard, _held: Held::tried(Self::RANK, Among::Only) })
    }

    /// Nobody else has it.
    pub fn get_mut(&mut self) -> &mut T {
        self.0.get_mut()
    }
}

/// A mutex that a thread may take again that has it.
#[derive(Debug, Default)]
pub(crate) struct ReentrantMutex<T, const RANK: u8>(parking_lot::ReentrantMutex<T>);

impl<T, const RANK: u8> ReentrantMutex<T, RANK> {
    const RANK: Rank = Rank::of(RANK);

    pub fn lock_among(&self, among: Among) -> ReentrantGuard<'_, T> {
        let _held = Held::wait(Self::RANK, among);
        Guard { guard: self.0.lock(), _held }
    }
}
