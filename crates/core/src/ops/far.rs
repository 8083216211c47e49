//! Deletions that need no copy of their directory, for a storage without room.
//!
//! What is hidden then stands in META of the storage's root, by the path of the
//! directory (docs/FORMAT.md, section 10): some bytes instead of a directory and a
//! META. It counts for a directory at its own place in the base. So whoever moves a
//! directory makes copies of those below it first, which say it themselves.

use std::sync::Arc;

use rustix::io::Errno;

use crate::copy_up::protected::check_unprotected;
use crate::format::features::FEATURE_FAR;
use crate::format::meta::Record;
use crate::format::time::Timestamp;
use crate::interface::types::NodeId;
use crate::locks::{Rank, is_held};
use crate::ops::gone::{changed_now, lock_down, still_there};
use crate::reach::overlay::Overlay;
use crate::store::meta::Firm;
use crate::store::meta_dir::MetaEdit;
use crate::sys::Result;
use crate::tree::node::{BaseRef, Held, Node};
use crate::tree::path::path_below;

/// In one directory: more take less room with a copy of it.
const MOST_IN_ONE: usize = 16;

/// A directory, and the names in it of which its copy tells.
pub(crate) type Settled = (Box<[u8]>, Vec<Box<[u8]>>);

impl Overlay {
    /// Removes a name of the base without a copy of its directory. `None`: it is not
    /// one that can be removed so. `stored`: of a directory that the storage has, and
    /// whose META found no room; or only of one that it has not.
    ///
    /// # Errors
    /// As `unlink(2)` and `rmdir(2)`.
    pub(crate) fn remove_far(
        &self,
        parent: NodeId,
        name: &[u8],
        is_dir: bool,
        stored: bool,
    ) -> Result<Option<()>> {
        self.check_writable()?;
        let parent = self.dir_node(parent)?;
        if parent.is_root() {
            // META of the root is the one that would be told anyway.
            return Ok(None);
        }
        let dir = self.dir(&parent)?;
        let Some((node, Some(stat))) = self.find_node(&parent, &dir, name)? else {
            return Ok(None);
        };
        let fits = || dir.storage().is_some() == stored && !node.in_storage() && !node.is_shared();
        if !fits() || node.is_dir() != is_dir {
            return Ok(None);
        }
        check_unprotected(&stat)?;
        check_unprotected(&self.stat(&parent)?)?;
        let own = if is_dir { Some(self.dir(&node)?) } else { None };
        let held = Held::bounded(|| self.hold(&node))?;
        // Nothing on the way may be moved meanwhile.
        let _topology = self.rename_lock.lock();
        let Some(path) = path_below(&parent, false) else { return Ok(None) };
        if !stored && self.root_dir.meta().far().in_dir(&path).len() >= MOST_IN_ONE {
            return Ok(None);
        }
        let dirs = [Some(&self.root_dir), Some(&dir), own.as_ref()];
        let edits = lock_down(&dirs.into_iter().flatten().map(|dir| &**dir).collect::<Vec<_>>());
        let [root, edit, ..] = &edits[..] else { return Ok(None) };
        if let Some(own) = &own {
            self.check_empty(own)?;
        }
        let mut place = node.place_mut();
        still_there(&place, parent.id, name)?;
        if !fits() || !self.shows_below(&dir, name)? {
            return Ok(None);
        }
        self.hide_far(root, &path, name)?;
        edit.hide_far(name);
        if let Some(storage) = dir.storage() {
            changed_now(storage.fd());
            edit.seen();
        }
        if is_dir {
            root.index_mut().far_mut().forget_tree(&joined(&path, name));
            self.detach_dir(&node, &mut place, held);
        } else {
            self.name_gone((&parent, name), &node, &mut place, Some(held));
        }
        Ok(Some(()))
    }

    /// Tells the storage's root.
    fn hide_far(&self, root: &MetaEdit<'_>, path: &[u8], name: &[u8]) -> Result<()> {
        let tell = || {
            self.add_feature(root, FEATURE_FAR)?;
            let (at, path, name) = (Timestamp::now(), path.into(), name.into());
            root.append(&[Record::HideFar { at, path, name }])
        };
        match tell() {
            // Most of it may be of directories that are gone.
            Err(Errno::NOSPC) if root.squeeze() => tell(),
            other => other,
        }
    }

    /// A directory is about to move: copies say what is hidden in those below it; whether
    /// there were any.
    ///
    /// # Errors
    /// ENOSPC: there is no room for them.
    pub(crate) fn settle_before_move(&self, node: &Arc<Node>) -> Result<bool> {
        if !node.is_dir() {
            return Ok(false);
        }
        debug_assert!(is_held(Rank::Topology, None));
        let Some(path) = self.far_path(node) else { return Ok(false) };
        let dirs: Vec<Box<[u8]>> = self.root_dir.meta().far().tree(&path).map(Into::into).collect();
        dirs.iter().try_for_each(|dir| self.settle_far_dir(dir).map(drop))?;
        Ok(true)
    }

    /// Makes copies of all such directories, and takes them out of META of the
    /// storage's root. What finds no room stays as it is.
    pub(crate) fn settle_far(&self) {
        let (dirs, named) = {
            let meta = self.root_dir.meta();
            let dirs: Vec<Box<[u8]>> = meta.far().dirs().map(Into::into).collect();
            (dirs, meta.features().any(|word| word == FEATURE_FAR))
        };
        if !named || self.is_read_only() {
            return;
        }
        let mut settled = Vec::new();
        for dir in dirs {
            if !self.has_plenty() {
                break;
            }
            let names = self.root_dir.meta().far().in_dir(&dir).map(Into::into).collect();
            match self.settle_far_dir(&dir) {
                Ok(true) => settled.push((dir, names)),
                Ok(false) => {}
                Err(errno) => {
                    tracing::debug!("what was deleted without room stays as it is: {errno}");
                }
            }
        }
        if settled.is_empty() && !self.root_dir.meta().far().is_empty() {
            return;
        }
        if let Err(errno) = self.forget_far(&settled) {
            tracing::warn!("META of the storage's root keeps what others say: {errno}");
        }
    }

    /// What is shown of a directory of the base at its own place lies in the storage
    /// afterwards, and says what is hidden in it. `false`: it is not there at present, and
    /// may be again.
    pub(crate) fn settle_far_dir(&self, path: &[u8]) -> Result<bool> {
        let mut node = Arc::clone(&self.root);
        // Keeps the table from forgetting them.
        let mut on_the_way = Vec::new();
        for name in path.split(|byte| *byte == b'/') {
            let dir = self.dir(&node)?;
            match self.find_node(&node, &dir, name)? {
                Some((next, _)) if next.place().base == BaseRef::SameName => {
                    node = Arc::clone(&next);
                    on_the_way.push(next);
                }
                // It was removed since, or moved.
                _ => return Ok(dir.hides(name)),
            }
        }
        let (_, dir) = self.writable_dir(node.id)?;
        self.take_over_hidden(&node, &dir)?;
        Ok(true)
    }

    /// META of the root, written anew, no longer says what these directories do.
    pub(crate) fn forget_far(&self, settled: &[Settled]) -> Result<()> {
        if self.durability.terms().firm != Firm::No {
            // What the copies say is on the device before the root forgets it.
            rustix::fs::syncfs(self.storage_opened()?)?;
        }
        let root = self.root_dir.edit();
        let mut meta = root.index_mut();
        settled.iter().for_each(|(dir, names)| meta.far_mut().forget_names(dir, names));
        if meta.far().is_empty() {
            let words = meta.features().filter(|word| *word != FEATURE_FAR);
            let words = words.map(Into::into).collect();
            meta.apply(&Record::Features { words });
        }
        drop(meta);
        root.rewrite_unseen()
    }
}

fn joined(path: &[u8], name: &[u8]) -> Vec<u8> {
    [path, b"/", name].concat()
}
