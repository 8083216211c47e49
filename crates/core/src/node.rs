//! Nodes: the objects that the kernel knows.
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};
use rustix::fd::OwnedFd;

use crate::types::{NodeId, Timestamp};

/// An object that the kernel knows by number.
///
/// Lock order, for the whole crate: `copy_up` of a node, then the rename lock
/// of the overlay, then `mutate` of directories (by node number; rmdir, which
/// needs a parent before its child, only tries the second; a rename onto a
/// directory takes that one last, and relies on its caller to keep other changes
/// of its parent away), then `place` of nodes (by number), then the table (a leaf).
pub(crate) struct Node {
    /// Its id for the kernel: the number, unless another node has that one.
    pub id: NodeId,
    /// The number that programs see; constant.
    pub ino: u64,
    /// Type bits of `st_mode`.
    pub kind: u32,
    /// Data and attributes lie in the storage. Never goes back to false.
    in_storage: AtomicBool,
    /// It is a base object that had several names there.
    pub shared: bool,
    /// It was copied up and lies in the index, under its number.
    indexed: AtomicBool,
    /// Whether its storage file holds all of its data, as far as known.
    contents: AtomicU8,
    /// References the kernel holds, plus those of running operations.
    pub lookups: AtomicU64,
    /// Names whose parent this is; changed under the table's lock only.
    pub children: AtomicU64,
    /// Held while the object is copied up, also over the copying of data:
    /// only requests that need the copy wait for it.
    pub copy_up: Mutex<()>,
    /// Where it is. Held for writing over the system calls that move or
    /// remove this one object, for reading over those that use its name.
    pub place: RwLock<Place>,
}

/// Whether a storage file holds all data of its node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Contents {
    /// Nobody has looked.
    Unknown,
    /// It does, for good.
    Whole,
    /// The base has what is missing.
    Partial,
}

/// Where a node is found in the layers.
pub(crate) struct Place {
    /// Its names; the first one is used to reach it. Empty for the root and
    /// for an object whose (known) names are gone.
    pub names: Names,
    /// What it shows of the base. Of non-directories only used until copy-up.
    pub base: BaseRef,
    /// The object itself, once it has no known name.
    pub held: Option<Arc<Held>>,
}

/// An object that lost its last known name.
pub(crate) struct Held {
    /// `O_PATH` descriptor.
    pub fd: OwnedFd,
    /// When: the change time that it shows as long as it lies in the base.
    pub since: Timestamp,
}

impl Held {
    pub fn new(fd: OwnedFd) -> Arc<Held> {
        Arc::new(Held { fd, since: Timestamp::now() })
    }
}

/// Names of a node: rarely more than one.
pub(crate) enum Names {
    /// None.
    None,
    /// One, the common case.
    One(Arc<Link>),
    /// Hard links; at least two.
    Many(Vec<Arc<Link>>),
}

/// One name of a node. Never changes: a rename makes a new one.
pub(crate) struct Link {
    /// The directory that holds it.
    pub parent: Arc<Node>,
    /// The name there.
    pub name: Box<[u8]>,
}

impl Link {
    pub fn new(parent: &Arc<Node>, name: &[u8]) -> Arc<Link> {
        Arc::new(Link { parent: Arc::clone(parent), name: name.into() })
    }

    pub fn is(&self, parent: NodeId, name: &[u8]) -> bool {
        self.parent.id == parent && *self.name == *name
    }
}

/// What a node shows of the base.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum BaseRef {
    /// Nothing: the storage alone counts.
    None,
    /// The entry of the same name in the parent's base directory.
    SameName,
    /// The directory of this path, by a redirect.
    Path(Arc<[u8]>),
}

impl Names {
    pub fn first(&self) -> Option<&Arc<Link>> {
        match self {
            Names::None => None,
            Names::One(link) => Some(link),
            Names::Many(links) => links.first(),
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = &Arc<Link>> {
        match self {
            Names::None => [].iter(),
            Names::One(link) => std::slice::from_ref(link).iter(),
            Names::Many(links) => links.iter(),
        }
    }

    pub fn add(&mut self, link: Arc<Link>) {
        *self = match std::mem::replace(self, Names::None) {
            Names::None => Names::One(link),
            Names::One(first) => Names::Many(vec![first, link]),
            Names::Many(mut links) => {
                links.push(link);
                Names::Many(links)
            }
        };
    }

    /// Takes a name away. The result tells whether it was there.
    pub fn remove(&mut self, parent: NodeId, name: &[u8]) -> bool {
        let matches = |link: &Arc<Link>| link.is(parent, name);
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

impl Node {
    pub fn new(id: NodeId, ino: u64, kind: u32, in_storage: bool, place: Place) -> Node {
        Node {
            id,
            ino,
            kind,
            in_storage: AtomicBool::new(in_storage),
            shared: false,
            indexed: AtomicBool::new(false),
            contents: AtomicU8::new(Contents::Unknown as u8),
            lookups: AtomicU64::new(0),
            children: AtomicU64::new(0),
            copy_up: Mutex::new(()),
            place: RwLock::new(place),
        }
    }

    pub fn is_dir(&self) -> bool {
        self.kind == libc::S_IFDIR
    }

    pub fn is_root(&self) -> bool {
        self.id == NodeId::ROOT
    }

    pub fn in_storage(&self) -> bool {
        self.in_storage.load(Ordering::Acquire)
    }

    /// From here on the storage counts. Call it with `place` held for writing.
    pub fn set_in_storage(&self) {
        self.in_storage.store(true, Ordering::Release);
    }

    pub fn contents(&self) -> Contents {
        match self.contents.load(Ordering::Acquire) {
            1 => Contents::Whole,
            2 => Contents::Partial,
            _ => Contents::Unknown,
        }
    }

    pub fn set_contents(&self, contents: Contents) {
        self.contents.store(contents as u8, Ordering::Release);
    }

    /// It is reached through the index, whatever its names are.
    pub fn is_indexed(&self) -> bool {
        self.indexed.load(Ordering::Acquire)
    }

    /// Call it with `place` held for writing.
    pub fn set_indexed(&self, indexed: bool) {
        self.indexed.store(indexed, Ordering::Release);
    }

    /// The directory that holds the first name. `None`: the root, or gone.
    pub fn parent(&self) -> Option<Arc<Node>> {
        self.place.read().names.first().map(|link| Arc::clone(&link.parent))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What docs/ARCHITECTURE.md says of memory per node.
    #[test]
    fn nodes_are_small() {
        // Two reference counts go with each in an `Arc`.
        assert_eq!(size_of::<Node>() + 16, 128);
        assert_eq!(size_of::<Link>() + 16, 40);
    }
}
