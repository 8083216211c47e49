//! `RENAME_EXCHANGE`.

use std::sync::Arc;

use rustix::fs::RenameFlags;
use rustix::io::Errno;

use crate::ops::ends::{End, edit_both, lock_places, relink};
use crate::ops::gone::still_there;
use crate::reach::overlay::Overlay;
use crate::store::meta_dir::together;
use crate::sys::{self, Result};
use crate::tree::node::Node;
use crate::tree::path::path_below;

impl Overlay {
    /// Two objects change places.
    pub(crate) fn exchange(
        &self,
        from: &End<'_>,
        to: &End<'_>,
        source: &Arc<Node>,
        target: &Arc<Node>,
    ) -> Result<()> {
        let edits = edit_both(&from.dir, &to.dir);
        let base_of = |node: &Arc<Node>| {
            if node.is_dir() { path_below(node, true) } else { None }
        };
        let (source_base, target_base) = (base_of(source), base_of(target));
        self.materialise(edits.from(), from.name, source)?;
        self.materialise(edits.to(), to.name, target)?;
        let (mut place, mut target_place) = lock_places(source, Some(target));
        let target_place = target_place.as_mut().ok_or(Errno::NOENT)?;
        still_there(&place, from.parent.id, from.name)?;
        still_there(target_place, to.parent.id, to.name)?;
        let (old, new) = (from.dir.writable()?, to.dir.writable()?);
        let steps = [
            self.arriving(
                from,
                (to, edits.to(), true),
                (source, &from.stat()?),
                source_base.as_deref(),
            )?,
            self.arriving(
                to,
                (from, edits.from(), true),
                (target, &to.stat()?),
                target_base.as_deref(),
            )?,
        ];
        self.durability.name_moved();
        together(&steps, || {
            sys::rename((old, from.name), (new, to.name), RenameFlags::EXCHANGE)?;
            self.durability.name_moved();
            self.commit_moved(source.is_dir() || target.is_dir());
            Ok(())
        })?;
        edits.from().tidy();
        edits.to().tidy();
        edits.seen();
        let link = relink(&mut place, from, to, source_base);
        let target_link = relink(target_place, to, from, target_base);
        // Both names are taken out before one is entered again.
        self.table.remove_name(from.parent.id, from.name);
        self.table.remove_name(to.parent.id, to.name);
        self.table.add_name(source, link);
        self.table.add_name(target, target_link);
        Ok(())
    }
}
