//! Which storage files are partial, and how they show.

use std::sync::Arc;

use rustix::io::Errno;

use crate::interface::types::Attr;
use crate::reach::overlay::Overlay;
use crate::store::partial::read_mark;
use crate::sys::{self, Result, Spot};
use crate::tree::node::{Contents, Node};

impl Overlay {
    /// The base has data that the storage file of this node lacks.
    pub(crate) fn is_partial(&self, node: &Arc<Node>) -> Result<bool> {
        if !node.in_storage() || node.kind() != libc::S_IFREG || !self.partials.exist() {
            return Ok(false);
        }
        match node.contents() {
            Contents::Whole => Ok(false),
            Contents::Partial => Ok(true),
            Contents::Stale if self.is_read_only() => Ok(true),
            Contents::Unknown | Contents::Stale => {
                let mark = self.change_at(node, |spot| match read_mark(self.own, spot) {
                    Err(Errno::ACCESS) if self.is_closed(spot) => Ok(None),
                    mark => mark,
                })?;
                let contents = mark.map_or(Contents::Whole, |mark| self.follow_base(node, &mark));
                node.set_contents(contents);
                Ok(contents != Contents::Whole)
            }
        }
    }

    /// Nobody has looked yet whether a storage object is partial. Now somebody
    /// has, and its attributes may be new ones.
    pub(crate) fn is_first_look(&self, node: &Arc<Node>) -> bool {
        node.contents() == Contents::Unknown && self.is_partial(node) == Ok(true)
    }

    /// The file belongs to this user, who has closed it to himself: such ones
    /// are not left partial.
    fn is_closed(&self, spot: Spot<'_>) -> bool {
        let user = rustix::process::geteuid().as_raw();
        sys::stat(spot)
            .is_ok_and(|stat| stat.stx_uid == user && !self.partials.may_have(stat.stx_mode.into()))
    }

    /// Lets a partial file show the space that its base file occupies: programs
    /// take few blocks for holes; and what it has of a new base file. Where it
    /// cannot be told, its attributes count all the same.
    pub(crate) fn show_partial(&self, node: &Arc<Node>, attr: &mut Attr) {
        if self.is_partial(node) == Ok(true)
            && let Ok(Some(mark)) = self.change_at(node, |spot| read_mark(self.own, spot))
        {
            let new = if node.contents() == Contents::Stale { self.new_mark(&mark) } else { None };
            if let Some(new) = &new {
                attr.size = new.size;
                attr.mtime = mark.shown(new, attr.mtime);
            }
            let mark = new.unwrap_or(mark);
            attr.blocks = attr.blocks.max(mark.blocks.min(attr.size.div_ceil(512)));
        }
    }
}
