//! Nodes that the kernel knows of what is discarded: they live on as after an unlink.

use std::sync::Arc;

use hashbrown::HashSet;
use rustix::io::Errno;

use super::told::Discarded;
use crate::format::name::is_dot;
use crate::format::path::Path;
use crate::interface::types::NodeId;
use crate::reach::overlay::Overlay;
use crate::reach::refs::NodeRef;
use crate::store::meta_dir::with_access;
use crate::store::partial::read_mark;
use crate::sys::{self, Result, Spot, each_entry};
use crate::tree::dir::Dir;
use crate::tree::node::{BaseRef, Held, Link, Node, PlaceMut};

/// A name of a node, and what holds the object.
pub(super) type HeldName = (Link, Arc<Node>, Option<Arc<Held>>);

/// How often names are looked for that come while others go.
const ROUNDS: usize = 8;

impl Overlay {
    /// The node at a path of the tree. `None`: nothing is there.
    pub(crate) fn reach(&self, path: &[u8]) -> Result<Option<NodeRef<'_>>> {
        let mut at = self.reference_root();
        for name in path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
            if !at.is_dir() {
                return Ok(None);
            }
            let Some(dir) = sys::absent(self.dir(&at))? else { return Ok(None) };
            match self.find_node(&at, &dir, name)? {
                Some((next, _)) => at = next,
                None => return Ok(None),
            }
        }
        Ok(Some(at))
    }

    /// The same; it must be a directory that the storage has.
    pub(super) fn reach_stored(&self, path: &[u8]) -> Result<Option<(NodeRef<'_>, Arc<Dir>)>> {
        let Some(node) = self.reach(path)?.filter(|node| node.is_dir()) else { return Ok(None) };
        let dir = self.dir(&node)?;
        Ok(dir.storage().is_some().then_some((node, dir)))
    }

    /// Path of a directory in the tree, without a leading slash. ENOENT: it was removed.
    pub(crate) fn tree_path(&self, node: &Arc<Node>) -> Result<Path> {
        let (mut names, mut node) = (Vec::new(), Arc::clone(node));
        while !node.is_root() {
            let link = node.place().names.first().cloned().ok_or(Errno::NOENT)?;
            names.push(link.name().to_vec());
            node = Arc::clone(link.parent());
        }
        names.reverse();
        Ok(names.join(&b'/').into())
    }

    /// It is in the storage, and in it shows what is below under its name.
    pub(super) fn is_merged(&self, node: &Node) -> bool {
        node.is_dir() && node.in_storage() && node.place().base == BaseRef::SameName
    }

    /// All that the storage has or says in a directory.
    pub(super) fn names_in(&self, dir: &Dir) -> Result<Vec<Path>> {
        let Some(storage) = dir.storage() else { return Ok(Vec::new()) };
        let mut names: HashSet<Path> = {
            let meta = dir.meta();
            let redirects = meta.redirects().map(|(name, _)| name);
            meta.hidden().chain(redirects).map(Into::into).collect()
        };
        with_access(storage.fd(), || {
            each_entry(storage, |entry| {
                if !is_dot(entry.name) && !self.meta.reserves(entry.name) {
                    names.insert(entry.name.into());
                }
                true
            })
        })?;
        Ok(names.into_iter().collect())
    }

    /// All known nodes below a directory that is about to go, held for who has them open.
    pub(super) fn hold_below(&self, top: &Node) -> Vec<HeldName> {
        let mut below: Vec<HeldName> = Vec::new();
        for _ in 0..ROUNDS {
            let known: HashSet<(NodeId, Path)> =
                below.iter().map(|(link, ..)| (link.parent().id, link.name().into())).collect();
            let mut late = self.table.below(top.id);
            late.retain(|(link, _)| !known.contains(&(link.parent().id, link.name().into())));
            if late.is_empty() {
                break;
            }
            below.extend(self.hold_all(late));
        }
        below
    }

    /// The same of some of them.
    pub(super) fn hold_all(&self, below: Vec<(Link, Arc<Node>)>) -> Vec<HeldName> {
        // Too many, or already gone: who comes by its number finds nothing.
        let held = |(link, node): (Link, Arc<Node>)| {
            let held = Held::bounded(|| self.hold(&node)).ok();
            (link, node, held)
        };
        below.into_iter().map(held).collect()
    }

    /// Takes these names from the nodes. The result are the storage objects that live on.
    pub(super) fn detach(&self, below: Vec<HeldName>, told: &mut Discarded) -> HashSet<u64> {
        let mut held_objects = HashSet::new();
        for (link, node, held) in below {
            if let Some(stat) = held.as_ref().and_then(|held| sys::stat_fd(&held.object.fd).ok()) {
                held_objects.insert(stat.stx_ino);
            }
            let mut place = node.place_mut();
            if place.names.iter().any(|now| now.is_same(&link)) {
                self.lose((link.parent(), link.name()), &node, &mut place, held);
                let last = place.names.first().is_none();
                told.lost((link.parent().id, link.name()), node.id, last);
            }
        }
        held_objects
    }

    /// A node has a name less.
    pub(super) fn lose(
        &self,
        (parent, name): (&Node, &[u8]),
        node: &Arc<Node>,
        place: &mut PlaceMut<'_>,
        held: Option<Arc<Held>>,
    ) {
        match held {
            Some(held) if node.is_dir() => self.detach_dir(node, place, held),
            Some(held) => self.name_gone((parent, name), node, place, Some(held)),
            None => {
                place.names.remove(parent.id, name);
                self.table.remove_name(parent.id, name);
                self.dirs.remove(node.id);
            }
        }
    }

    /// A file is about to go: so does its map, unless somebody has it open.
    pub(super) fn drop_map_of(&self, spot: Spot<'_>, open: &HashSet<u64>) {
        let Ok(stat) = sys::stat(spot) else { return };
        let last = stat.stx_nlink == 1 && sys::kind(&stat) == libc::S_IFREG;
        if last
            && !open.contains(&stat.stx_ino)
            && let Ok(Some(mark)) = read_mark(self.own, spot)
        {
            self.drop_map(mark.map);
        }
    }
}
