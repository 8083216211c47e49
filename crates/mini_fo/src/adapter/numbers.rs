//! Sockets go on showing the numbers that they had before a commit.
//!
//! A program connects by the path of a socket, and the kernel finds who listens by the number
//! of the file (`i_ino`) that he had when he bound it. Nobody tells us who has bound one, but he
//! holds it, so that the kernel does not forget the node.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};

use mini_fo_core::Another;
use parking_lot::RwLock;

#[derive(Default)]
pub(super) struct KeptNumbers {
    /// By nodes. Its lock is a leaf.
    numbers: RwLock<HashMap<u64, u64>>,
    /// There was one.
    any: AtomicBool,
}

impl KeptNumbers {
    /// A node is another object, before anything is served again.
    pub fn keep(&self, another: &Another) {
        if another.kind != libc::S_IFSOCK {
            return;
        }
        // After a second commit it still is the first one.
        self.numbers.write().entry(another.node.0).or_insert(another.number);
        self.any.store(true, Ordering::Release);
    }

    /// The number that a node goes on showing.
    pub fn shown(&self, node: u64) -> Option<u64> {
        if !self.any.load(Ordering::Acquire) {
            return None;
        }
        self.numbers.read().get(&node).copied()
    }

    /// The kernel does not know the node any more.
    pub fn forget(&self, node: u64) {
        if self.any.load(Ordering::Acquire) {
            self.numbers.write().remove(&node);
        }
    }
}
