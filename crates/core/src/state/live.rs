//! What a mount keeps whose base others change (`-o live_base`).

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use hashbrown::HashMap;
use rustix::fd::OwnedFd;

use crate::format::time::Timestamp;
use crate::interface::types::NodeId;
use crate::layers::LowerDir;
use crate::locks::{Mutex, Rank};
use crate::state::open_file::Backing;
use crate::tree::node::Node;

/// What a mount with a changing base keeps.
pub(crate) struct Live {
    /// How long what was learnt of a directory counts.
    pub trust: Duration,
    begun: Instant,
    /// Open base files by node: the objects of those whose name is gone.
    open: Mutex<HashMap<u64, Vec<Weak<Backing>>>, { Rank::OpenBase as u8 }>,
    swept: AtomicU64,
}

/// What tells the content of a base file from what it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version {
    pub(crate) size: u64,
    pub(crate) mtime: Timestamp,
    pub(crate) ctime: Timestamp,
}

impl Live {
    pub fn new(time: Duration) -> Live {
        let swept = AtomicU64::new(0);
        Live { trust: time / 2, begun: Instant::now(), open: Mutex::default(), swept }
    }

    /// Milliseconds since the mount, from 1.
    pub fn now(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX).saturating_add(1)
    }

    pub fn trusts(&self, base: &LowerDir) -> bool {
        let checked = base.top().map_or(0, |part| part.checked.load(Ordering::Relaxed));
        let age = self.now().saturating_sub(checked);
        u128::from(age) < self.trust.as_millis()
    }

    /// The object of a node that somebody has open in the base.
    pub fn opened(&self, node: &Node) -> Option<OwnedFd> {
        let opened = self.open.lock().get(&node.id.0)?.iter().find_map(Weak::upgrade)?;
        rustix::io::fcntl_dupfd_cloexec(opened.fd(), 0).ok()
    }

    pub fn note(&self, node: NodeId, opened: &Arc<Backing>) {
        let mut open = self.open.lock();
        let of_node = open.entry(node.0).or_default();
        of_node.retain(|opened| opened.strong_count() > 0);
        of_node.push(Arc::downgrade(opened));
        // Now and then the closed ones go: as often as their number doubles.
        let limit = self.swept.load(Ordering::Relaxed).max(512);
        if open.len() as u64 > 2 * limit {
            open.retain(|_, opened| opened.iter().any(|opened| opened.strong_count() > 0));
            self.swept.store(open.len() as u64, Ordering::Relaxed);
        }
    }
}
