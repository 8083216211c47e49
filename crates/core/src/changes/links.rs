//! Paths that must be looked at though the storage has nothing there: names of base objects
//! that the index has, and what META of the root hides in other directories.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;

use hashbrown::HashSet;

use super::deleted;
use super::sides::{Lower, Sides, join};
use crate::format::identity::BaseId;
use crate::sys::Result;
use crate::tree::node::Node;

/// Such paths in the lower view.
#[derive(Default)]
pub(super) struct Extras {
    paths: BTreeSet<Vec<u8>>,
    /// All names of objects in the index are among them.
    pub all_links: bool,
}

impl Extras {
    /// The names in a directory that lead to such paths, in their order.
    pub fn each_in(&self, dir: &[u8], mut each: impl FnMut(&[u8])) {
        let prefix = join(dir, b"");
        let from = (Bound::Excluded(&*prefix), Bound::Unbounded);
        let mut last: Option<&[u8]> = None;
        for path in self.paths.range::<[u8], _>(from) {
            let Some(rest) = path.strip_prefix(&*prefix) else { break };
            let name = rest.split(|byte| *byte == b'/').next().unwrap_or_default();
            if last != Some(name) {
                each(name);
            }
            last = Some(name);
        }
    }
}

impl Sides<'_> {
    /// Looks for such paths. Those of hard links take a walk through the whole base, until
    /// all of them are found.
    pub fn extras(&self, all_links: bool) -> Result<Extras> {
        let mut paths = BTreeSet::new();
        if self.overlay.bare {
            return Ok(Extras { paths, all_links: true });
        }
        {
            let meta = self.overlay.root_dir.meta();
            let far = meta.far();
            for dir in far.dirs() {
                paths.extend(far.in_dir(dir).map(|name| join(dir, name)));
            }
        }
        if all_links {
            self.find_links(&mut paths)?;
        }
        Ok(Extras { paths, all_links })
    }

    /// Finds the names of base objects that the index has.
    fn find_links(&self, paths: &mut BTreeSet<Vec<u8>>) -> Result<()> {
        let Ok(index) = self.overlay.shared.dir() else { return Ok(()) };
        let records: Vec<_> = index.meta().shared_objects().collect();
        let mut wanted = HashSet::new();
        for (id, record) in records {
            if record.left > 0 && self.overlay.shared.index_stat(id)?.is_some() {
                wanted.insert(id);
            }
        }
        if wanted.is_empty() {
            return Ok(());
        }
        // What cannot be read has no names that anybody sees; nothing ends the walk.
        let _ = deleted::walk(self, b"", &mut |path, found| {
            let Ok(lower) = found else { return Ok(false) };
            if self.shared_as(lower).is_some_and(|id| wanted.contains(&id)) {
                paths.insert(path.to_vec());
            }
            Ok(lower.is_dir())
        });
        Ok(())
    }

    /// What the index calls an object that has several names.
    pub(super) fn shared_as(&self, lower: &Lower) -> Option<BaseId> {
        let id = lower.id.filter(|_| !lower.is_dir() && lower.attr.nlink > 1)?;
        let (shared, realms) = (&self.overlay.shared, &self.overlay.stack.realms);
        Some(shared.known_as(realms, &lower.stat, (id, lower.attr.ino)).0)
    }

    /// Names of the base that show a changed object and are not told.
    pub fn untold_names(&self, node: &Arc<Node>, extras: &Extras) -> u32 {
        if extras.all_links || !node.is_indexed() {
            return 0;
        }
        let record = self.overlay.shared.record(self.overlay.base_id(node));
        record.map_or(0, |record| record.left)
    }
}
