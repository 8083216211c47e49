//! Where forgotten nodes were.

pub(crate) mod census;

use census::{Census, Moving};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use hashbrown::HashMap;

use crate::interface::types::NodeId;
use crate::locks::{Mutex, Rank};
use crate::tree::node::Node;

/// Forgotten nodes whose last name is kept; about 100 bytes each and the name.
pub(crate) const REMEMBERED: usize = 64 * 1024;

/// Where forgotten nodes were. Empty until somebody asks for the first one,
/// since most mounts are never asked.
pub(crate) struct Trail {
    pub used: AtomicBool,
    inner: Mutex<Remembered, { Rank::Trail as u8 }>,
    pub census: Census,
    /// Held over a walk through the tree.
    pub walking: Mutex<(), { Rank::Walking as u8 }>,
    pub waiting: AtomicUsize,
}

#[derive(Default)]
struct Remembered {
    places: HashMap<u64, (NodeId, Box<[u8]>)>,
    order: VecDeque<u64>,
}

impl Trail {
    pub fn new() -> Trail {
        Trail {
            used: AtomicBool::new(false),
            inner: Mutex::default(),
            census: Census::default(),
            walking: Mutex::default(),
            waiting: AtomicUsize::new(0),
        }
    }

    /// A node was entered into the table.
    pub fn met(&self, id: NodeId) {
        if self.used.load(Ordering::SeqCst) {
            self.census.met(id);
        }
    }

    /// An object is about to get another name, until the result is dropped.
    pub fn moving(&self) -> Moving<'_> {
        self.census.moving()
    }

    /// Remembers where a node was that goes out of the table.
    pub fn remember(&self, node: &Node) {
        if self.used.load(Ordering::Relaxed)
            && let Some(link) = node.place().names.first()
        {
            self.note(node.id, link.parent().id, link.name());
        }
    }

    pub fn note(&self, id: NodeId, parent: NodeId, name: &[u8]) {
        let mut inner = self.inner.lock();
        if inner.places.insert(id.0, (parent, name.into())).is_none() {
            inner.order.push_back(id.0);
        }
        while inner.order.len() > REMEMBERED {
            if let Some(oldest) = inner.order.pop_front() {
                inner.places.remove(&oldest);
            }
        }
    }

    pub fn place(&self, id: NodeId) -> Option<(NodeId, Box<[u8]>)> {
        self.inner.lock().places.get(&id.0).cloned()
    }
}
