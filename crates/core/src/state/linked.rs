//! Storage objects with several names: which node each has.
//!
//! The number that a name shows does not say it: a copy of the storage shows other
//! numbers under names that were made or moved (their `i` records do not hold), and
//! a base that was built anew under those that show a base object's. Two nodes for
//! one object would be two page caches, and two maps of one partial file.
#![forbid(unsafe_code)]

use std::sync::Arc;

use hashbrown::HashMap;

use crate::interface::types::NodeId;
use crate::locks::{Mutex, Rank};
use crate::tree::node::Node;

/// Device and `st_ino` in the storage.
pub(crate) type Object = (u64, u64);

/// The node ids of known objects with several names. Its lock is a leaf.
#[derive(Default)]
pub(crate) struct Linked(Mutex<Ids, { Rank::Linked as u8 }>);

#[derive(Default)]
struct Ids {
    objects: HashMap<Object, (NodeId, u32)>,
    /// Which object a node is, by the address of the node: an id may be given to
    /// another one before all is done for the first.
    nodes: HashMap<usize, Object>,
}

impl Ids {
    fn drop_claim(&mut self, object: Object) {
        let Some((_, claims)) = self.objects.get_mut(&object) else { return };
        *claims -= 1;
        if *claims == 0 {
            self.objects.remove(&object);
        }
    }
}

impl Linked {
    /// The id that the node of an object has, or is to have: `own`, unless another
    /// name came first. Counted until [`Linked::settle`].
    pub fn claim(&self, object: Object, own: NodeId) -> NodeId {
        let mut ids = self.0.lock();
        let (id, claims) = ids.objects.entry(object).or_insert((own, 0));
        *claims += 1;
        *id
    }

    /// The id of an object that is claimed, as it is by now.
    pub fn id(&self, object: Object) -> Option<NodeId> {
        self.0.lock().objects.get(&object).map(|(id, _)| *id)
    }

    /// The id is another object's. `new` is taken, unless somebody has found one.
    pub fn replace(&self, object: Object, taken: NodeId, new: NodeId) {
        let mut ids = self.0.lock();
        if let Some((id, _)) = ids.objects.get_mut(&object).filter(|(id, _)| *id == taken) {
            *id = new;
        }
    }

    /// A claimed object has this node, which keeps the claim as long as it is known.
    /// The caller holds a reference on it.
    pub fn settle(&self, object: Object, node: &Arc<Node>) {
        let mut ids = self.0.lock();
        if node.set_linked() {
            ids.nodes.insert(Arc::as_ptr(node).addr(), object);
        } else {
            ids.drop_claim(object);
        }
    }

    /// A node is not known any more, or not one of an object of the storage.
    pub fn forget(&self, node: &Arc<Node>) {
        if !node.is_linked() {
            return;
        }
        let mut ids = self.0.lock();
        node.set_unlinked();
        if let Some(object) = ids.nodes.remove(&Arc::as_ptr(node).addr()) {
            ids.drop_claim(object);
        }
    }
}
