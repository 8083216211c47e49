//! What whoever serves the tree must tell the kernel.

use std::collections::{BTreeMap, BTreeSet};

use rustix::io::Errno;

use crate::format::path::is_within;

use crate::interface::types::NodeId;

/// What the kernel has to be told once something was discarded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Discarded {
    /// Names, each with its directory, that stand for something else now, or for nothing.
    pub names: Vec<(NodeId, Box<[u8]>)>,
    /// Directories that are the same, with other attributes and another listing.
    pub nodes: Vec<NodeId>,
    /// Of `names` those whose object has none left, with that: deeper ones first.
    pub removed: Vec<(NodeId, NodeId, Box<[u8]>)>,
    /// What lost a name, and lives on for who has it open.
    pub parted: Vec<NodeId>,
    /// What the storage's file system did not let go, with its path in the tree: all of it
    /// is as it was, and so are the directories that it is in.
    pub failed: Vec<(Box<[u8]>, Errno)>,
    /// What could not be removed once it had lost its name: the next mount removes it.
    pub leftover: Option<Errno>,
    /// Of `failed` those that are as they were with all that is in them.
    pub whole: Vec<Box<[u8]>>,
    /// What must stay, and why: something in it, or the other end of its rename, cannot go.
    pub(super) staying: BTreeMap<Box<[u8]>, Errno>,
    /// What something is mounted on: it is not taken away from there.
    pub(super) mounted: BTreeSet<Box<[u8]>>,
    /// After an error: all paths of the tree that it came to, the other ends of renames among
    /// them. Who goes on discards these, too: what was moved away may have gone, and its old
    /// place not be shown again yet.
    pub left: Vec<Box<[u8]>>,
}

impl Discarded {
    pub(super) fn forgotten(&mut self, parent: NodeId, name: &[u8]) {
        self.names.push((parent, name.into()));
    }

    /// An object has lost a name, whatever stands there now. `last`: it has no other.
    pub(super) fn lost(&mut self, (parent, name): (NodeId, &[u8]), node: NodeId, last: bool) {
        if last {
            self.removed.push((parent, node, name.into()));
        }
        self.parted.push(node);
        self.forgotten(parent, name);
    }

    /// An entry stays as it was. `whole`: so does all that is in it.
    pub(super) fn fails(&mut self, path: Box<[u8]>, errno: Errno, whole: bool) {
        if whole && !self.whole.contains(&path) {
            self.whole.push(path.clone());
        }
        if !self.failed.iter().any(|(known, _)| *known == path) {
            self.failed.push((path, errno));
        }
    }

    /// Why what is at a path must not be taken away, if it must not.
    pub(super) fn holds(&self, path: &[u8]) -> Option<Errno> {
        let staying = first_within(self.staying.iter().map(|(path, errno)| (path, *errno)), path);
        let busy = || first_within(self.mounted.iter().map(|path| (path, Errno::BUSY)), path);
        staying.or_else(busy)
    }

    /// Whether an error is of one entry alone (`chattr +i`, a file that is executed), so
    /// that all others can go on.
    pub(super) fn stays(errno: Errno) -> bool {
        matches!(errno, Errno::PERM | Errno::ACCESS | Errno::BUSY | Errno::TXTBSY)
    }
}

/// What is there of some paths, in order, at a path or below it.
fn first_within<'a>(
    mut paths: impl Iterator<Item = (&'a Box<[u8]>, Errno)>,
    top: &[u8],
) -> Option<Errno> {
    paths.find(|(path, _)| is_within(path, top)).map(|(_, errno)| errno)
}
