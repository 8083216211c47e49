//! Open files and directories by the number that the kernel names them with.
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::RwLock;

const SHARDS: usize = 16;

/// A table of handles. Numbers are used again.
///
/// Its locks are leaves: nothing else is taken and no system call made under
/// them.
pub struct Handles<T> {
    shards: [RwLock<Shard<T>>; SHARDS],
    next: AtomicUsize,
}

struct Shard<T> {
    slots: Vec<Option<Arc<T>>>,
    free: Vec<usize>,
}

impl<T> Handles<T> {
    /// An empty table.
    pub fn new() -> Handles<T> {
        let shard = || RwLock::new(Shard { slots: Vec::new(), free: Vec::new() });
        Handles { shards: std::array::from_fn(|_| shard()), next: AtomicUsize::new(0) }
    }

    /// Enters a handle and returns its number.
    pub fn insert(&self, handle: Arc<T>) -> u64 {
        let at = self.next.fetch_add(1, Ordering::Relaxed) % SHARDS;
        let Some(shard) = self.shards.get(at) else { return u64::MAX };
        let mut shard = shard.write();
        let index = match shard.free.pop() {
            Some(index) => index,
            None => {
                shard.slots.push(None);
                shard.slots.len() - 1
            }
        };
        if let Some(slot) = shard.slots.get_mut(index) {
            *slot = Some(handle);
        }
        (index * SHARDS + at) as u64
    }

    /// The handle of a number.
    pub fn get(&self, number: u64) -> Option<Arc<T>> {
        let (shard, index) = self.place(number)?;
        shard.read().slots.get(index)?.clone()
    }

    /// All handles.
    pub fn all(&self) -> Vec<Arc<T>> {
        let all = |shard: &RwLock<Shard<T>>| -> Vec<Arc<T>> {
            shard.read().slots.iter().flatten().cloned().collect()
        };
        self.shards.iter().flat_map(all).collect()
    }

    /// Takes a handle out. Operations that hold it go on with it.
    pub fn remove(&self, number: u64) -> Option<Arc<T>> {
        let (shard, index) = self.place(number)?;
        let mut shard = shard.write();
        let handle = shard.slots.get_mut(index)?.take()?;
        shard.free.push(index);
        Some(handle)
    }

    fn place(&self, number: u64) -> Option<(&RwLock<Shard<T>>, usize)> {
        let number = usize::try_from(number).ok()?;
        Some((self.shards.get(number % SHARDS)?, number / SHARDS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_name_what_was_entered() {
        let handles = Handles::new();
        let numbers: Vec<u64> = (0..100).map(|i| handles.insert(Arc::new(i))).collect();
        for (i, &number) in numbers.iter().enumerate() {
            assert_eq!(handles.get(number).as_deref(), Some(&i));
        }
        assert_eq!(handles.remove(numbers[7]).as_deref(), Some(&7));
        assert_eq!(handles.get(numbers[7]), None);
        assert_eq!(handles.remove(numbers[7]), None);
        assert_eq!(handles.get(u64::MAX), None);
        let again: Vec<u64> = (0..SHARDS).map(|i| handles.insert(Arc::new(1000 + i))).collect();
        assert!(again.contains(&numbers[7]));
    }
}
