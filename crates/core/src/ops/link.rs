//! Hard links.

use std::sync::Arc;

use rustix::io::Errno;

use crate::copy_up::partial::Need;
use crate::format::meta::Record;
use crate::format::numbers::storage_ino;
use crate::interface::types::{Entry, NodeId};
use crate::reach::overlay::Overlay;
use crate::store::meta_dir::{ANY, Step, together};
use crate::sys::{self, Result, Spot};
use crate::tree::node::{Link, Node};

impl Overlay {
    /// Gives an object one more name; a base object is copied up first.
    ///
    /// # Errors
    /// EPERM: a directory, or a reserved name; EEXIST; EMLINK; EROFS.
    pub fn link(&self, node: NodeId, new_parent: NodeId, new_name_: &[u8]) -> Result<Entry> {
        self.check_writable()?;
        let _steady = self.discarding.read();
        let _moving = self.trail.moving();
        let node = self.node(node)?;
        if node.is_dir() {
            return Err(Errno::PERM);
        }
        let name = self.new_name(new_name_)?;
        // Once it has several names, not all of which may be known, filling it
        // could not be kept out of the change time that they show.
        self.copy_up(&node, Need::Writing { little: false })?;
        let (parent, dir) = self.writable_dir(new_parent)?;
        let edit = dir.edit();
        self.check_absent(&edit, name)?;
        let storage = dir.writable()?;
        if sys::absent(sys::stat(Spot::at(storage, name)))?.is_some() {
            return Err(Errno::EXIST);
        }
        let stat = self.stat(&node)?;
        let mut records = self.kept(&node)?.records(name);
        if node.ino() != storage_ino(&stat) {
            records.push(identity_record(&node, stat.stx_ino, name));
        }
        let step = Step { dir: &edit, name, storage_ino: ANY, arrives: true, records, print: None };
        together(&[step], || {
            self.change_at(&node, |spot| {
                let held = sys::hold(spot)?;
                sys::taking_space(|| sys::link_fd(rustix::fd::AsFd::as_fd(&held), storage, name))
            })
        })?;
        edit.seen();
        let link = Link::new(&parent, name);
        {
            let mut place = node.place_mut();
            self.table.add_name(&node, link.clone());
            place.names.add(link);
        }
        let attr = self.attr_of(&node)?;
        let node = self.reference_more(&node);
        Ok(Entry { node, attr })
    }

    fn reference_more(&self, node: &Arc<Node>) -> NodeId {
        node.lookups.fetch_add(1, std::sync::atomic::Ordering::AcqRel);
        node.id
    }
}

/// The record that lets a storage entry show the number of a node.
pub(crate) fn identity_record(node: &Node, storage_ino: u64, name: &[u8]) -> Record {
    Record::Identity { ino: node.ino(), storage_ino, name: name.into() }
}
