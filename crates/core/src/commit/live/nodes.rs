//! What the nodes that the kernel knows are after a commit.
//!
//! They show the same as before, under the same names: only where that lies is another
//! place, and which number it has there.

use std::sync::Arc;

use crate::interface::types::NodeId;
use crate::look::resolve::Resolved;
use crate::reach::overlay::Overlay;
use crate::sys::{self, Result};
use crate::tree::node::{BaseRef, FoundAgain, Link, Node};

/// A node that is another object after a commit.
#[derive(Clone, Copy, Debug)]
pub struct Another {
    /// Which.
    pub node: NodeId,
    /// The type: one of the `S_IFMT` values.
    pub kind: u32,
    /// The number that it showed before.
    pub number: u64,
}

/// What is not what the kernel knows after a commit.
#[derive(Debug, Default)]
pub struct Renewed {
    /// What is another object, or has another number.
    pub nodes: Vec<Another>,
    /// Directories in which the numbers of entries may be other ones.
    pub dirs: Vec<NodeId>,
}

impl Overlay {
    /// Finds out anew where all nodes are that a commit may have moved.
    pub(super) fn find_nodes_again(&self) -> Renewed {
        let mut nodes: Vec<(usize, Arc<Node>)> =
            self.table.all().into_iter().filter_map(moves).collect();
        let in_them = nodes.iter().filter(|(_, node)| node.is_dir()).map(|(_, node)| node.id);
        let dirs = in_them.chain([NodeId::ROOT]).collect();
        // A directory before what is in it, which is reached by it: under any of its names.
        nodes.sort_by_key(|(depth, node)| (!node.is_dir(), *depth));
        let mut changed = Vec::new();
        for (_, node) in nodes {
            let (kind, number) = (node.kind(), node.ino());
            match self.find_node_again(&node) {
                Ok(true) => changed.push(Another { node: node.id, kind, number }),
                Ok(false) => {}
                Err(errno) => {
                    let path = self.shown_path(node.id);
                    let path = String::from_utf8_lossy(&path);
                    tracing::warn!("{path}: it cannot be looked at after a commit: {errno}");
                }
            }
        }
        Renewed { nodes: changed, dirs }
    }

    fn find_node_again(&self, node: &Arc<Node>) -> Result<bool> {
        let names: Vec<Link> = node.place().names.iter().cloned().collect();
        let mut first: Option<Resolved> = None;
        let mut changed = false;
        for name in names {
            let dir = self.dir(name.parent())?;
            let found =
                self.resolve(&dir, name.name())?.filter(|found| found.kind() == node.kind());
            match (found, &first) {
                (Some(found), None) => first = Some(found),
                (Some(found), Some(first)) if is_same(&found, first) => {}
                _ => {
                    // Nothing of a commit does that. The name is looked up anew.
                    self.table.remove_name(name.parent().id, name.name());
                    node.place_mut().names.remove(name.parent().id, name.name());
                    changed = true;
                }
            }
        }
        let Some(found) = first else { return Ok(changed) };
        Ok(self.set_found(node, &found) || changed)
    }

    fn set_found(&self, node: &Arc<Node>, found: &Resolved) -> bool {
        let several = node.kind() != libc::S_IFDIR && found.stat.stx_nlink > 1;
        let is_linked = several && found.in_storage && found.shared.is_none();
        if !is_linked {
            self.linked.forget(node);
        } else if !node.is_linked() {
            let object = sys::dev_ino(&found.stat);
            self.linked.claim(object, node.id);
            self.linked.settle(object, node);
        }
        self.shared.tell_anew((node.id, found.ino), found.shared);
        node.place_mut().set_found(&FoundAgain {
            ino: found.ino,
            in_storage: found.in_storage,
            shared: found.shared.is_some(),
            base: found.base.clone(),
        })
    }
}

/// How deep a node lies, if a commit may have made another object of it.
fn moves(node: Arc<Node>) -> Option<(usize, Arc<Node>)> {
    let may = {
        let place = node.place();
        let elsewhere = node.in_storage() || node.is_shared() || place.base != BaseRef::SameName;
        elsewhere && place.names.first().is_some()
    };
    if !may || node.is_root() {
        return None;
    }
    let (mut depth, mut at) = (0, Arc::clone(&node));
    while let Some(above) = at.parent() {
        depth += 1;
        at = above;
    }
    Some((depth, node))
}

fn is_same(one: &Resolved, other: &Resolved) -> bool {
    one.in_storage == other.in_storage && sys::dev_ino(&one.stat) == sys::dev_ino(&other.stat)
}
