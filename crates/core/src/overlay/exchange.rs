//! `RENAME_EXCHANGE`.

use std::sync::Arc;

use rustix::fs::RenameFlags;
use rustix::io::Errno;

use super::Overlay;
use super::link::identity;
use super::numbers::storage_ino;
use super::remove::still_there;
use super::rename::{End, Marks, lock_both, lock_places, relink};
use crate::meta::Record;
use crate::node::Node;
use crate::sys::{self, Result, Spot};

impl Overlay {
    /// Two objects change places.
    pub(super) fn exchange(
        &self,
        from: &End<'_>,
        to: &End<'_>,
        source: &Arc<Node>,
        target: &Arc<Node>,
    ) -> Result<()> {
        let _locks = lock_both(&from.dir, &to.dir);
        let base_of = |node: &Arc<Node>| {
            if node.is_dir() { self.base_path(node) } else { None }
        };
        let (source_base, target_base) = (base_of(source), base_of(target));
        self.materialise(&from.dir, from.name, source)?;
        self.materialise(&to.dir, to.name, target)?;
        let (mut place, mut target_place) = lock_places(source, Some(target));
        let target_place = target_place.as_mut().ok_or(Errno::NOENT)?;
        still_there(&place, from.parent.id, from.name)?;
        still_there(target_place, to.parent.id, to.name)?;
        let (old, new) = (from.dir.writable()?, to.dir.writable()?);
        let marks = Marks::set(from, to)?;
        let swapped = self
            .prepare_swap(
                from,
                to,
                (source, source_base.as_deref()),
                (target, target_base.as_deref()),
            )
            .and_then(|()| {
                rustix::fs::renameat_with(old, from.name, new, to.name, RenameFlags::EXCHANGE)
            });
        if let Err(errno) = swapped {
            marks.roll_back(from, to);
            return Err(errno);
        }
        self.ends_changed(from, to);
        let link = relink(&mut place, from, to, source_base);
        let target_link = relink(target_place, to, from, target_base);
        // Both names are taken out before one is entered again.
        self.table.remove_name(from.parent.id, from.name);
        self.table.remove_name(to.parent.id, to.name);
        self.table.add_name(source, link);
        self.table.add_name(target, target_link);
        Ok(())
    }

    pub(super) fn ends_changed(&self, from: &End<'_>, to: &End<'_>) {
        from.dir.seen();
        if !Arc::ptr_eq(&from.dir, &to.dir) {
            to.dir.seen();
        }
    }

    /// META of both directories before an exchange, each changed at once: a
    /// base directory is never hidden without the redirect that shows it.
    fn prepare_swap(
        &self,
        from: &End<'_>,
        to: &End<'_>,
        (source, source_base): (&Node, Option<&[u8]>),
        (target, target_base): (&Node, Option<&[u8]>),
    ) -> Result<()> {
        let (mut old, old_drop) = self.swapped_in(to, from, target, target_base)?;
        let (new, new_drop) = self.swapped_in(from, to, source, source_base)?;
        if !Arc::ptr_eq(&from.dir, &to.dir) {
            from.dir.change(old, old_drop)?;
            return to.dir.change(new, new_drop);
        }
        old.extend(new);
        if let (Some(_), Some(second)) = (old_drop, new_drop) {
            // Both had one, so neither shows the base without it.
            from.dir.remove_redirect(second)?;
        }
        from.dir.change(old, old_drop.or(new_drop))
    }

    /// What META has to say of the name `to` when the object at `from` comes
    /// to it, and whether a redirect goes.
    fn swapped_in<'a>(
        &self,
        from: &End<'_>,
        to: &End<'a>,
        node: &Node,
        base: Option<&[u8]>,
    ) -> Result<(Vec<Record>, Option<&'a [u8]>)> {
        let mut records = Overlay::kept_moved((&from.dir, from.name), (&to.dir, to.name));
        if let Some(path) = base {
            records.push(Record::Redirect { path: path.into(), name: to.name.into() });
        } else {
            let stat = sys::stat(Spot::At(from.dir.writable()?, from.name))?;
            if node.ino != storage_ino(&stat) {
                records.push(identity(node, stat.stx_ino, to.name));
            }
        }
        records.extend(self.whiteout(&to.dir, to.name)?);
        Ok((records, base.is_none().then_some(to.name)))
    }
}
