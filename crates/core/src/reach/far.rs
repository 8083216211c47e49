//! What META of the storage's root says is hidden in other directories.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::format::time::Timestamp;
use crate::reach::overlay::Overlay;
use crate::state::reserve::{MOST, PART, PLENTY};
use crate::tree::node::Node;
use crate::tree::path::path_below;

impl Overlay {
    /// What META of the storage's root says is hidden in a directory.
    pub(crate) fn far_hidden(&self, node: &Arc<Node>) -> Vec<Box<[u8]>> {
        if self.root_dir.meta().far().is_empty() {
            return Vec::new();
        }
        let Some(path) = path_below(node, false) else { return Vec::new() };
        self.root_dir.meta().far().in_dir(&path).map(Into::into).collect()
    }

    /// When something was hidden so in a directory: its time of modification and change.
    pub(crate) fn far_changed(&self, node: &Arc<Node>) -> Option<Timestamp> {
        if !node.is_dir() || self.root_dir.meta().far().is_empty() {
            return None;
        }
        let path = path_below(node, false)?;
        self.root_dir.meta().far().changed(&path)
    }

    /// The path of a directory, if something is hidden so in it or below it.
    pub(crate) fn far_path(&self, node: &Arc<Node>) -> Option<Vec<u8>> {
        if self.root_dir.meta().far().is_empty() {
            return None;
        }
        let path = path_below(node, false)?;
        let some = self.root_dir.meta().far().tree(&path).next().is_some();
        some.then_some(path)
    }

    /// A directory is gone: what was hidden there says nothing any more.
    pub(crate) fn forget_far_below(&self, path: Option<Vec<u8>>) {
        // There META of the root could reach the device before what tells of that.
        let Some(path) = path.filter(|_| !self.durability.syncs_before_changes()) else { return };
        self.root_dir.edit().index_mut().far_mut().forget_tree(&path);
    }

    /// There is more room than whoever keeps a reserve again asks for.
    pub(crate) fn has_plenty(&self) -> bool {
        let Ok(vfs) = rustix::fs::fstatvfs(&self.storage) else { return false };
        let reserve = (vfs.f_blocks.saturating_mul(vfs.f_frsize) / PART).min(MOST);
        let room = vfs.f_bavail.saturating_mul(vfs.f_frsize);
        let inodes = vfs.f_files == 0 || vfs.f_favail > vfs.f_files / PART;
        inodes && room / PLENTY >= reserve && !self.reserve.short.load(Ordering::Relaxed)
    }
}
