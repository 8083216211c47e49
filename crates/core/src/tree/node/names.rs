//! The names of a node.
#![forbid(unsafe_code)]

use std::sync::Arc;

use triomphe::ThinArc;

use super::{Held, Node};
use crate::interface::types::NodeId;

/// Names of a node: rarely more than one.
pub(crate) enum Names {
    /// None.
    None,
    /// None any more, and by this the object is reached.
    Held(Arc<Held>),
    /// One, the common case.
    One(Link),
    /// Hard links; at least two. In a box, so that other nodes are not larger
    /// for it.
    #[allow(clippy::box_collection)]
    Many(Box<Vec<Link>>),
}

/// One name of a node. Never changes: a rename makes a new one. Directory, name
/// and the count of references lie in one piece of memory.
#[derive(Clone)]
pub(crate) struct Link(ThinArc<Arc<Node>, u8>);

impl Link {
    pub fn new(parent: &Arc<Node>, name: &[u8]) -> Link {
        Link(ThinArc::from_header_and_slice(Arc::clone(parent), name))
    }

    /// The directory that holds it.
    pub fn parent(&self) -> &Arc<Node> {
        &self.0.header.header
    }

    /// The name there.
    pub fn name(&self) -> &[u8] {
        &self.0.slice
    }

    pub fn is(&self, parent: NodeId, name: &[u8]) -> bool {
        self.parent().id == parent && *self.name() == *name
    }

    /// It is this very one, not one that says the same.
    pub fn is_same(&self, other: &Link) -> bool {
        self.0.ptr() == other.0.ptr()
    }
}

impl Names {
    pub fn first(&self) -> Option<&Link> {
        match self {
            Names::None | Names::Held(_) => None,
            Names::One(link) => Some(link),
            Names::Many(links) => links.first(),
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = &Link> {
        match self {
            Names::None | Names::Held(_) => [].iter(),
            Names::One(link) => std::slice::from_ref(link).iter(),
            Names::Many(links) => links.iter(),
        }
    }

    pub fn add(&mut self, link: Link) {
        *self = match std::mem::replace(self, Names::None) {
            Names::None | Names::Held(_) => Names::One(link),
            Names::One(first) => Names::Many(Box::new(vec![first, link])),
            Names::Many(mut links) => {
                links.push(link);
                Names::Many(links)
            }
        };
    }

    /// Takes a name away. The result tells whether it was there.
    pub fn remove(&mut self, parent: NodeId, name: &[u8]) -> bool {
        let matches = |link: &Link| link.is(parent, name);
        match self {
            Names::One(link) if matches(link) => *self = Names::None,
            Names::Many(links) => {
                let before = links.len();
                links.retain(|link| !matches(link));
                let gone = links.len() < before;
                if links.len() == 1 {
                    *self = links.pop().map_or(Names::None, Names::One);
                }
                return gone;
            }
            _ => return false,
        }
        true
    }
}
