//! The attributes that programs see.

use std::sync::Arc;

use rustix::fs::Statx;

use crate::format::time::Timestamp;
use crate::interface::types::Attr;
use crate::look::kept;
use crate::reach::overlay::Overlay;
use crate::sys::{self, Result};
use crate::tree::dir::Dir;
use crate::tree::node::{BaseRef, Node};

impl Overlay {
    /// The attributes that programs see. `dir` and `name`: where the node was
    /// reached.
    pub(crate) fn show(
        &self,
        node: &Arc<Node>,
        stat: &Statx,
        dir: &Dir,
        name: &[u8],
    ) -> Result<Attr> {
        // A new base file may show in it from now on.
        let new = if node.in_storage() && self.is_first_look(node) {
            Some(self.stat(node)?)
        } else {
            None
        };
        let stat = new.as_ref().unwrap_or(stat);
        let mut attr = Attr::from(stat);
        attr.ino = node.ino();
        if node.is_shared() {
            attr.nlink = self.shared_nlink(node, stat);
        }
        if !node.in_storage() {
            attr.atime = self.accesses.shown(node.ino(), attr.atime);
            if node.is_shared() {
                attr.ctime = self.shared_ctime(node, attr.ctime);
            }
            if let Some(at) = self.far_changed(node) {
                (attr.mtime, attr.ctime, attr.nlink) = (at, at, 1);
            }
            return Ok(attr);
        }
        if node.is_indexed() {
            let (index, name) = (self.shared.dir()?, self.base_id(node).index_name());
            attr.ctime = index.shown_ctime(name.as_bytes(), attr.ctime);
            self.show_partial(node, &mut attr);
            if let Some(kept) = index.meta().kept(name.as_bytes()) {
                kept::show(&mut attr, kept);
            }
            return Ok(attr);
        }
        if let Some(kept) = dir.meta().kept(name) {
            kept::show(&mut attr, kept);
        }
        self.show_partial(node, &mut attr);
        if !node.is_dir() {
            attr.ctime = dir.shown_ctime(name, attr.ctime);
            return Ok(attr);
        }
        if node.place().base != BaseRef::None {
            // Entries of two layers: 1 says that nothing is to be concluded.
            attr.nlink = 1;
        }
        // Copy-ups inside do not move the time that shows.
        if let Some(own) = sys::absent(self.dir(node))? {
            attr.ctime = own.shown_ctime(b".", attr.ctime);
        }
        Ok(attr)
    }

    pub(crate) fn attr_of(&self, node: &Arc<Node>) -> Result<Attr> {
        if node.is_root() {
            return self.root_attr();
        }
        let stat = self.stat(node)?;
        let (link, held) = {
            let place = node.place();
            (place.names.first().cloned(), place.held().cloned())
        };
        let Some(link) = link else {
            let mut attr = Attr::from(&stat);
            attr.ino = node.ino();
            let in_base = node.is_shared() && !node.in_storage();
            if in_base && !self.shared.knows(self.base_id(node), &stat) {
                // A commit has taken its name away in the base, too.
            } else if node.is_shared() {
                attr.nlink = self.shared_nlink(node, &stat);
                if in_base {
                    attr.ctime = self.shared_ctime(node, attr.ctime);
                } else if node.is_indexed() {
                    let name = self.base_id(node).index_name();
                    attr.ctime = self.shared.dir()?.shown_ctime(name.as_bytes(), attr.ctime);
                }
            } else if !node.in_storage() || node.is_dir() {
                // The base still has its name; the merged tree does not.
                attr.nlink = 0;
            }
            self.show_partial(node, &mut attr);
            if let Some(held) = held.filter(|_| !node.in_storage()) {
                attr.ctime = attr.ctime.max(held.since);
            }
            return Ok(attr);
        };
        let dir = self.dir(link.parent())?;
        self.show(node, &stat, &dir, link.name())
    }

    fn root_attr(&self) -> Result<Attr> {
        let stat = if self.bare { self.stack.root_stat()? } else { sys::stat_fd(&self.storage)? };
        let owner = *self.root_owner.lock();
        let mut attr = Attr::from(&stat);
        attr.ino = self.root.ino();
        attr.nlink = 1;
        attr.mode = libc::S_IFDIR | owner.mode;
        attr.uid = owner.uid;
        attr.gid = owner.gid;
        attr.ctime = self.root_dir.shown_ctime(b".", attr.ctime);
        Ok(attr)
    }

    /// The ctime that a shared node shows while it lies in the base.
    pub(crate) fn shared_ctime(&self, node: &Node, base: Timestamp) -> Timestamp {
        self.shared.record(self.base_id(node)).map_or(base, |record| record.ctime)
    }

    /// The link count that a shared node shows.
    pub(crate) fn shared_nlink(&self, node: &Node, stat: &Statx) -> u32 {
        let left = self.shared.record(self.base_id(node)).map(|record| record.left);
        if !node.in_storage() {
            return left.unwrap_or(stat.stx_nlink);
        }
        if !node.is_indexed() {
            // It has left the index: no name of the base shows it.
            return stat.stx_nlink;
        }
        stat.stx_nlink.saturating_sub(1).saturating_add(left.unwrap_or(0))
    }
}
