//! Listings that go on while entries come and go, and objects found again by
//! their numbers alone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mini_fo_core::{ListFor, NodeId, OpenDir, SetAttr};
use rustix::io::Errno;

use super::super::naive::{Id, Naive, ROOT};
use super::super::ops::Path;
use super::{Check, Driver, same};

const LISTERS: usize = 3;

/// A listing that has begun.
pub struct Lister {
    id: Id,
    /// With one reference.
    node: NodeId,
    dir: Arc<OpenDir>,
    offset: u64,
    /// How often each name was given.
    given: BTreeMap<Vec<u8>, usize>,
    /// What was there all the time.
    always: BTreeSet<(Vec<u8>, Id)>,
    /// What was there at any time.
    ever: BTreeSet<Vec<u8>>,
    /// Opened again since the beginning.
    again: bool,
    /// It had a part in both layers at the beginning.
    was_merged: bool,
}

impl Lister {
    pub(super) fn is_of_one_layer(&mut self) {
        self.was_merged = false;
    }

    pub(super) fn dir(&self) -> &Arc<OpenDir> {
        &self.dir
    }
}

impl Driver {
    pub(super) fn start_list(&mut self, path: &Path) -> Check {
        if self.listers.len() >= LISTERS {
            return Ok(());
        }
        // Short paths list the root.
        let done = |this: &mut Driver, id: Id, node: NodeId| {
            if !this.model.is_dir(id) {
                return Ok(());
            }
            let was_merged = this.make_merged(id, node, path.0.len() > 1)?;
            let dir = this.overlay().open_dir(node).map_err(|e| format!("open_dir: {e}"))?;
            if node != this.top {
                same("again", &node, &this.overlay().lookup_node(node).unwrap().node)?;
            }
            let always: BTreeSet<_> = names(&this.model, id).collect();
            let ever = always.iter().map(|(name, _)| name.clone()).collect();
            let (offset, given, again) = (0, BTreeMap::new(), false);
            this.listers.push(Lister {
                id,
                node,
                dir,
                offset,
                given,
                always,
                ever,
                again,
                was_merged,
            });
            this.list_on(this.listers.len() - 1, 3, false)
        };
        if path.0.len() == 1 && path.0[0] > 3 {
            return done(self, ROOT, self.top);
        }
        self.on(path, |this, id, entry| done(this, id, entry.node))
    }

    /// Copies a directory up, if wanted; `true`: it has a part in both layers.
    fn make_merged(&mut self, id: Id, node: NodeId, wanted: bool) -> Result<bool, String> {
        let is_base = self.model.get(id).ino.is_some_and(|ino| ino >> 62 == 0);
        if !is_base || !wanted {
            return Ok(false);
        }
        let set = SetAttr { mode: Some(self.model.get(id).mode), ..SetAttr::default() };
        let (before, got) = (self.refused, self.overlay().setattr(node, &set, None));
        self.attr_set(id, node, &set, got)?;
        Ok(self.refused == before)
    }

    pub(super) fn end_list(&mut self, index: usize) {
        let lister = self.listers.swap_remove(index);
        if lister.node != self.top {
            self.overlay().forget(lister.node, 1);
        }
    }

    /// Notes for every listing what is there now.
    pub(super) fn note_names(&mut self) {
        for lister in &mut self.listers {
            let now: BTreeSet<_> = names(&self.model, lister.id).collect();
            lister.always.retain(|entry| now.contains(entry));
            lister.ever.extend(now.into_iter().map(|(name, _)| name));
        }
    }

    /// Takes some more entries; at the end compares.
    pub(super) fn list_on(&mut self, index: usize, count: u8, again: bool) -> Check {
        let Some(lister) = self.listers.get_mut(index) else { return Ok(()) };
        let overlay = Arc::clone(self.overlay.as_ref().unwrap());
        // MASK: a directory that becomes merged gives its offsets another
        // meaning, which only those notice who open it again.
        let again = again && lister.was_merged;
        if again {
            lister.dir = overlay.open_dir(lister.node).map_err(|e| format!("open_dir: {e}"))?;
            lister.again = true;
        }
        let (mut left, mut ended) = (count, true);
        let Lister { dir, offset, given, .. } = lister;
        let listed = overlay.read_dir(dir, *offset, ListFor::Entries, &mut |entry| {
            if left == 0 {
                ended = false;
                return false;
            }
            left -= 1;
            *offset = entry.next;
            *given.entry(entry.name.to_vec()).or_default() += 1;
            true
        });
        listed.map_err(|errno| format!("read_dir: {errno}"))?;
        if !ended {
            return Ok(());
        }
        let done = check_list(lister);
        self.end_list(index);
        done
    }

    /// Looks an object up by its number, whether or not its node is known.
    pub(super) fn find_again(&mut self, path: &Path) -> Check {
        let (mut above, mut id) = (ROOT, ROOT);
        for index in &path.0 {
            let name = super::NAMES[*index];
            let Some(child) = self.model.child(id, name) else { return Ok(()) };
            (above, id) = (id, child);
        }
        let Some(ino) = self.model.get(id).ino else { return Ok(()) };
        let found = self.overlay().lookup_node(NodeId(ino));
        let entry = found.map_err(|errno| format!("lookup of the number {ino}: {errno}"))?;
        same("node", &NodeId(ino), &entry.node)?;
        let mut checked = self.check_attr(id, &entry);
        if checked.is_ok() && self.model.is_dir(id) {
            let parent = self.overlay().lookup_parent(entry.node).map_err(|e| e.to_string())?;
            checked = if above == ROOT {
                same("the parent", &self.top, &parent.node)
            } else {
                self.check_attr(above, &parent).map_err(|what| format!("the parent: {what}"))
            };
            if parent.node != NodeId::ROOT {
                self.overlay().forget(parent.node, 1);
            }
        }
        self.overlay().forget(entry.node, 1);
        checked
    }

    /// As an NFS client, which may have waited for too long.
    pub(super) fn find_any(&mut self, which: usize) -> Check {
        let id = which % self.model.ids().len();
        let Some(ino) = self.model.get(id).ino.filter(|_| id != ROOT) else { return Ok(()) };
        let known = self.is_reachable(ROOT, id) || self.held.iter().any(|held| held.id == id);
        let listed = self.listers.iter().any(|lister| lister.id == id);
        match self.overlay().lookup_node(NodeId(ino)) {
            Ok(entry) => {
                let checked = self.check_attr(id, &entry);
                self.overlay().forget(entry.node, 1);
                if known || listed { checked } else { Err(format!("{ino} is found, but gone")) }
            }
            Err(Errno::STALE) if !known => Ok(()),
            Err(errno) => Err(format!("lookup of the number {ino}: {errno}")),
        }
    }

    fn is_reachable(&self, dir: Id, id: Id) -> bool {
        self.model.entries(dir).is_some_and(|entries| {
            entries.values().any(|child| *child == id || self.is_reachable(*child, id))
        })
    }
}

fn names(model: &Naive, dir: Id) -> impl Iterator<Item = (Vec<u8>, Id)> {
    model.entries(dir).unwrap().iter().map(|(name, id)| (name.clone(), *id))
}

fn check_list(lister: &Lister) -> Check {
    let again = lister.again;
    for (name, _) in &lister.always {
        let count = lister.given.get(name).copied().unwrap_or(0);
        same(&format!("listed (again {again}): {name:?}"), &1, &count)?;
    }
    for name in lister.given.keys().filter(|name| *name != b"." && *name != b"..") {
        if !lister.ever.contains(name) {
            return Err(format!("{name:?} is listed, but never was there"));
        }
    }
    Ok(())
}
