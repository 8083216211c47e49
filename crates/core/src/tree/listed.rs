//! Merged listings in memory: one for all who read the same version of a
//! directory, and not more than a bound of all together.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use crate::locks::{Mutex, Rank};
use crate::tree::packed::Packed;

/// Bytes of listings that are kept for those who go on reading them. One that is
/// given up is made anew for who comes back, and goes on at the same place.
const MOST: usize = 32 << 20;

/// A listing, as long as it is kept.
pub(crate) struct HeldListing {
    /// Of the directory's entries; `None`: they may have changed meanwhile.
    version: Option<u64>,
    packed: Mutex<Option<Arc<Packed>>, { Rank::Packed as u8 }>,
    bytes: usize,
    total: Arc<AtomicUsize>,
}

impl HeldListing {
    /// The entries. `None`: they were given up.
    pub fn entries(&self) -> Option<Arc<Packed>> {
        self.packed.lock().clone()
    }

    fn give_up(&self) {
        if let Some(packed) = self.packed.lock().take() {
            self.total.fetch_sub(self.bytes, Ordering::Relaxed);
            drop(packed);
        }
    }
}

impl Drop for HeldListing {
    fn drop(&mut self) {
        self.give_up();
    }
}

/// The last listing of a directory. Held by who makes one, so that all others
/// who want it wait for that.
pub(crate) type LastListing = Mutex<Weak<HeldListing>, { Rank::LastListing as u8 }>;

/// The listing that `last` tells of, if it is of this version.
pub(crate) fn shared(
    last: &Weak<HeldListing>,
    version: Option<u64>,
) -> Option<(Arc<HeldListing>, Arc<Packed>)> {
    let held = last.upgrade().filter(|held| version.is_some() && held.version == version)?;
    let entries = held.entries()?;
    Some((held, entries))
}

/// All that are kept, in the order in which they were made.
#[derive(Default)]
pub(crate) struct Listings {
    order: Mutex<VecDeque<Weak<HeldListing>>, { Rank::Listings as u8 }>,
    total: Arc<AtomicUsize>,
}

impl Listings {
    /// Keeps a new listing, and gives up the oldest ones if it is too much then.
    pub fn keep(&self, packed: &Arc<Packed>, version: Option<u64>) -> Arc<HeldListing> {
        let bytes = packed.bytes();
        let held = Arc::new(HeldListing {
            version,
            packed: Mutex::new(Some(Arc::clone(packed))),
            bytes,
            total: Arc::clone(&self.total),
        });
        self.total.fetch_add(bytes, Ordering::Relaxed);
        let mut order = self.order.lock();
        if order.len() == order.capacity() {
            order.retain(|kept| kept.strong_count() > 0);
        }
        let mut gone = Vec::new();
        while self.total.load(Ordering::Relaxed) > MOST {
            let Some(oldest) = order.pop_front() else { break };
            if let Some(oldest) = oldest.upgrade() {
                oldest.give_up();
                // Its end is not for under the lock.
                gone.push(oldest);
            }
        }
        order.push_back(Arc::downgrade(&held));
        held
    }
}
