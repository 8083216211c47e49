//! What META keeps of an object, as it shows.

use std::sync::Arc;

use crate::format::meta::Kept;
use crate::interface::types::Attr;
use crate::reach::overlay::Overlay;
use crate::store::meta_dir::MetaDir;
use crate::sys::Result;
use crate::tree::node::Node;

/// Makes attributes show what is kept of an entry.
pub(crate) fn show(attr: &mut Attr, kept: &Kept) {
    attr.mode = kept.mode(attr.mode);
    if let Some((_, device)) = kept.device {
        attr.rdev = device;
    }
    if let Some((_, uid, gid)) = kept.owner {
        (attr.uid, attr.gid) = (uid, gid);
    }
}

impl Overlay {
    /// What is kept of a node; nothing of one that lies in the base.
    pub(crate) fn kept(&self, node: &Arc<Node>) -> Result<Kept> {
        if node.is_root() || !node.in_storage() {
            return Ok(Kept::default());
        }
        let of = |dir: &MetaDir, name: &[u8]| dir.meta().kept(name).cloned().unwrap_or_default();
        if node.is_indexed() {
            return Ok(of(&*self.shared.dir()?, self.base_id(node).index_name().as_bytes()));
        }
        let link = node.place().names.first().cloned();
        match link {
            Some(link) => Ok(of(&*self.dir(link.parent())?, link.name())),
            None => Ok(Kept::default()),
        }
    }
}
