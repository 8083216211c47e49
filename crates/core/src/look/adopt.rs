//! From what was found to nodes: one for each object, whatever its names and
//! numbers are.

use std::sync::Arc;

use crate::interface::types::NodeId;
use crate::look::resolve::Resolved;
use crate::reach::overlay::Overlay;
use crate::reach::refs::NodeRef;
use crate::sys;
use crate::tree::node::{Link, Names, Node, Place};
use crate::tree::table::{Inserted, node_id};

fn new_node(link: &Link, found: &Resolved) -> Node {
    let place = Place { names: Names::One(link.clone()), base: found.base.clone() };
    let mut node = Node::new(node_id(found.ino), found.ino, found.kind(), found.in_storage, place);
    node.set_below(found.below);
    node
}

impl Overlay {
    /// Makes a node of what was found, or takes the one that another name or
    /// another thread has made.
    pub(crate) fn adopt(&self, parent: &Arc<Node>, name: &[u8], found: Resolved) -> NodeRef<'_> {
        let several = found.kind() != libc::S_IFDIR && found.stat.stx_nlink > 1;
        // Names of a base object that is not the one that the index speaks of go their own
        // ways.
        let linked = found.shared.is_some();
        let link = Link::new(parent, name);
        if several && found.in_storage && found.shared.is_none() {
            return self.adopt_linked(link, &found);
        }
        let mut node = new_node(&link, &found);
        if found.shared.is_some() {
            node.set_shared();
        }
        if node.is_shared() && found.in_storage {
            node.set_indexed();
        }
        let ids = [node.id, found.second_id()];
        let ids = if linked { &ids[..] } else { &ids[..1] };
        // Another thread may enter another name between the look and the entry.
        for id in ids.iter().cycle().take(2 * ids.len()) {
            let known = || ids.iter().find_map(|id| self.named_before(*id, &found));
            if linked && let Some(known) = known() {
                self.name_too(&known, link);
                return known;
            }
            node.id = *id;
            if found.shared.is_some_and(|shared| !self.shared.tell((node.id, node.ino()), shared)) {
                continue;
            }
            match self.table.insert(node) {
                Inserted::Known(known) => return self.known(known),
                Inserted::Taken(back) => node = *back,
            }
        }
        if let Some(shared) = found.shared {
            node.id = self.table.fresh_id();
            self.shared.tell((node.id, node.ino()), shared);
        }
        self.enter(node)
    }

    /// As [`Overlay::adopt`], of a storage object with several names: whatever
    /// number a name shows, it leads to one node.
    fn adopt_linked(&self, link: Link, found: &Resolved) -> NodeRef<'_> {
        let object = sys::dev_ino(&found.stat);
        let mut node = new_node(&link, found);
        let mut id = self.linked.claim(object, node.id);
        let mut others = std::iter::once(found.second_id());
        let mut looked = false;
        loop {
            if let Some(known) = self.named_before(id, found) {
                self.name_too(&known, link);
                self.linked.settle(object, &known);
                return known;
            }
            node.id = id;
            match self.table.insert(node) {
                Inserted::Known(known) => {
                    let known = self.reference(known);
                    self.linked.settle(object, &known);
                    return known;
                }
                Inserted::Taken(back) => node = *back,
            }
            // Another name may have been faster; else the id is another object's.
            if looked {
                let other = others.next().unwrap_or_else(|| self.table.fresh_id());
                self.linked.replace(object, id, other);
            }
            let now = self.linked.id(object).unwrap_or(id);
            looked = now == id;
            id = now;
        }
    }

    /// One name more of a node, unless it has it.
    fn name_too(&self, node: &Arc<Node>, link: Link) {
        let mut place = node.place_mut();
        if !place.names.iter().any(|known| known.is(link.parent().id, link.name())) {
            self.table.add_name(node, link.clone());
            place.names.add(link);
        }
    }

    /// The node of an object with several names, if it is known by another one
    /// under this id. An id is no proof: two objects may show one number, and a
    /// changed base may have given it away again.
    fn named_before(&self, id: NodeId, found: &Resolved) -> Option<NodeRef<'_>> {
        let node = self.reference(self.table.referenced(id)?);
        if let Some(shared) = found.shared.filter(|_| node.is_shared()) {
            // One whose changes were discarded lives on apart from the base object.
            let parted = node.in_storage() && !node.is_indexed() && !found.in_storage;
            return (self.base_id(&node) == shared && !parted).then_some(node);
        }
        let same = self.at(&node, |known| {
            let stat = known.stat(&self.stack)?;
            let same = sys::dev_ino(&stat) == sys::dev_ino(&found.stat);
            Ok(known.is_stored() == found.in_storage && same)
        });
        (same == Ok(true)).then_some(node)
    }

    fn known(&self, node: Arc<Node>) -> NodeRef<'_> {
        self.trail.met(node.id);
        self.reference(node)
    }

    /// Makes a node known, under another id if its own is taken.
    pub(crate) fn enter(&self, node: Node) -> NodeRef<'_> {
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
