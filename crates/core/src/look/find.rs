//! From names to nodes: lookup, forget and the numbers objects show.

use std::sync::Arc;

use rustix::fs::Statx;
use rustix::io::Errno;

use crate::format::name::Name;
use crate::interface::types::{Entry, NodeId};
use crate::look::resolve::Resolved;
use crate::reach::overlay::Overlay;
use crate::reach::refs::NodeRef;
use crate::sys::Result;
use crate::tree::dir::Dir;
use crate::tree::node::Node;

impl Overlay {
    /// Finds a name; the entry holds one reference more on its node.
    /// `None`: there is no such name.
    ///
    /// # Errors
    /// ENOTDIR, ENAMETOOLONG, and what reading the layers gives.
    pub fn lookup(&self, parent: NodeId, name: &[u8]) -> Result<Option<Entry>> {
        let parent = self.dir_node(parent)?;
        let name = Name::new(name)?;
        if self.meta.reserves(name.as_bytes()) {
            return Ok(None);
        }
        let dir = match self.dir(&parent) {
            Err(Errno::NOENT) => return Ok(None),
            other => other?,
        };
        let Some((node, stat)) = self.find(&parent, &dir, name.as_bytes())? else {
            return Ok(None);
        };
        let attr = self.show(&node, &stat, &dir, name.as_bytes())?;
        Ok(Some(Entry { node: node.into_kernel(), attr }))
    }

    /// The node of a name, made if need be, and the attributes of its object
    /// as the layer has them.
    pub(crate) fn find(
        &self,
        parent: &Arc<Node>,
        dir: &Dir,
        name: &[u8],
    ) -> Result<Option<(NodeRef<'_>, Statx)>> {
        if let Some(node) = self.table.child(parent.id, name) {
            let node = self.reference(node);
            if self.live.is_none() {
                let stat = self.stat(&node)?;
                return Ok(Some((node, stat)));
            }
            if let Some(found) = self.find_again(parent, dir, name, node)? {
                return Ok(Some(found));
            }
        }
        let copies = self.shared.copies();
        let Some(found) = self.resolve(dir, name)? else {
            return Ok(None);
        };
        self.adopt_current(parent, name, found, copies).map(Some)
    }

    /// Makes a node of what was found when the index had so many `copies`. By another name
    /// the object may have been copied up, and forgotten, since.
    fn adopt_current(
        &self,
        parent: &Arc<Node>,
        name: &[u8],
        found: Resolved,
        copies: u64,
    ) -> Result<(NodeRef<'_>, Statx)> {
        let (stat, may_be_late) = (found.stat, found.shared.is_some() && !found.in_storage);
        let node = self.adopt(parent, name, found);
        if !may_be_late || self.shared.copies() == copies {
            return Ok((node, stat));
        }
        {
            // Whoever copies it up holds it from the copy to the note of it.
            let mut place = node.place_mut();
            if !node.in_storage() && self.shared.index_stat(self.base_id(&node))?.is_some() {
                place.set_indexed(true);
                place.set_in_storage();
            }
        }
        let stat = self.stat(&node)?;
        Ok((node, stat))
    }

    /// As [`Overlay::find`], without attributes of what lies in the storage
    /// and is known.
    pub(crate) fn find_node(
        &self,
        parent: &Arc<Node>,
        dir: &Dir,
        name: &[u8],
    ) -> Result<Option<(NodeRef<'_>, Option<Statx>)>> {
        if self.live.is_none()
            && let Some(node) = self.table.child(parent.id, name)
        {
            let node = self.reference(node);
            if node.in_storage() {
                return Ok(Some((node, None)));
            }
        }
        Ok(self.find(parent, dir, name)?.map(|(node, stat)| (node, Some(stat))))
    }
}

#[cfg(test)]
mod tests {
    use crate::interface::options::OpenOptions;
    use crate::interface::types::{NodeId, OpenMode};
    use crate::reach::overlay::Overlay;

    /// One name is looked up while the object is copied up, and forgotten, by another.
    #[test]
    fn what_another_name_has_copied_up_meanwhile_is_known() {
        let dir = tempfile::TempDir::new().unwrap();
        let (base, storage) = (dir.path().join("base"), dir.path().join("storage"));
        for dir in [&base, &storage] {
            std::fs::create_dir(dir).unwrap();
        }
        std::fs::write(base.join("one"), "text").unwrap();
        std::fs::hard_link(base.join("one"), base.join("two")).unwrap();
        let options = OpenOptions { base, storage, ..OpenOptions::default() };
        let overlay = Overlay::assemble(&options).unwrap();
        let root = overlay.node(NodeId::ROOT).unwrap();
        let dir = overlay.dir(&root).unwrap();
        let writing = OpenMode { write: true, ..OpenMode::default() };

        let copies = overlay.shared.copies();
        let found = overlay.resolve(&dir, b"two").unwrap().unwrap();
        let one = overlay.lookup(NodeId::ROOT, b"one").unwrap().unwrap().node;
        let file = overlay.open(one, writing).unwrap();
        assert_eq!(overlay.write(&file, b"T", 0, false), Ok(1));
        drop(file);
        overlay.forget(one, 1);
        assert!(!overlay.knows(one));

        let (two, stat) = overlay.adopt_current(&root, b"two", found, copies).unwrap();
        let index = overlay.shared.index_stat(overlay.base_id(&two)).unwrap().unwrap();
        assert_eq!(stat.stx_ino, index.stx_ino, "the copy's");
        let file = overlay.open(two.id, writing).unwrap();
        let mut text = [0; 4];
        assert_eq!(overlay.read(&file, &mut text, 0), Ok(4));
        assert_eq!(&text, b"Text");
    }
}
