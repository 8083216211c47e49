//! From what was found to nodes: one for each object, whatever its names and
//! numbers are.

use std::sync::Arc;

use rustix::fs::Statx;

use super::Overlay;
use super::find::Found;
use super::numbers::{device, node_id};
use super::refs::NodeRef;
use crate::identity::{BaseId, Realm};
use crate::node::{Link, Names, Node, Place};
use crate::sys;
use crate::table::Inserted;
use crate::types::NodeId;

impl Found {
    /// A node id of the object's own where another one has its number.
    fn second_id(&self) -> NodeId {
        let own = BaseId { realm: Realm(self.in_storage.into()), ino: self.stat.stx_ino };
        NodeId(self.shared.unwrap_or(own).second_id())
    }
}

impl Overlay {
    /// Makes a node of what was found, or takes the one that another name or
    /// another thread has made.
    pub(super) fn adopt(&self, parent: &Arc<Node>, name: &[u8], found: Found) -> NodeRef<'_> {
        let kind = found.kind();
        let linked = found.shared.is_some() || kind != libc::S_IFDIR && found.stat.stx_nlink > 1;
        let link = Link::new(parent, name);
        let place = Place { names: Names::One(link.clone()), base: found.base.clone() };
        let mut node = Node::new(node_id(found.ino), found.ino, kind, found.in_storage, place);
        node.shared = found.shared.is_some();
        node.set_indexed(node.shared && found.in_storage);
        let ids = [node.id, found.second_id()];
        let ids = if linked { &ids[..] } else { &ids[..1] };
        // Another thread may enter another name between the look and the entry.
        for id in ids.iter().cycle().take(2 * ids.len()) {
            let known = || ids.iter().find_map(|id| self.named_before(*id, &found));
            if linked && let Some(known) = known() {
                let mut place = known.place.write();
                if !place.names.iter().any(|known| known.is(parent.id, name)) {
                    self.table.add_name(&known, link.clone());
                    place.names.add(link.clone());
                }
                drop(place);
                return known;
            }
            node.id = *id;
            if found.shared.is_some_and(|shared| !self.shared.tell(&node, shared)) {
                continue;
            }
            match self.table.insert(node) {
                Inserted::Known(known) => return self.known(known),
                Inserted::Taken(back) => node = *back,
            }
        }
        if let Some(shared) = found.shared {
            node.id = self.table.fresh_id();
            self.shared.tell(&node, shared);
        }
        self.enter(node)
    }

    /// The node of an object with several names, if it is known by another one
    /// under this id. An id is no proof: two objects may show one number, and a
    /// changed base may have given it away again.
    fn named_before(&self, id: NodeId, found: &Found) -> Option<NodeRef<'_>> {
        let node = self.reference(self.table.referenced(id)?);
        if let Some(shared) = found.shared.filter(|_| node.shared) {
            return (self.shared.base_id(&node) == shared).then_some(node);
        }
        let same = self.at(&node, |spot, in_storage| {
            let stat = sys::stat(spot)?;
            let object = |stat: &Statx| (device(stat), stat.stx_ino);
            Ok(in_storage == found.in_storage && object(&stat) == object(&found.stat))
        });
        (same == Ok(true)).then_some(node)
    }

    fn known(&self, node: Arc<Node>) -> NodeRef<'_> {
        self.trail.met(node.id);
        self.reference(node)
    }

    /// Makes a node known, under another id if its own is taken.
    pub(super) fn enter(&self, node: Node) -> NodeRef<'_> {
        let mut node = node;
        loop {
            match self.table.insert(node) {
                Inserted::Known(known) => return self.known(known),
                Inserted::Taken(back) => {
                    node = *back;
                    node.id = self.table.fresh_id();
                }
            }
        }
    }
}
