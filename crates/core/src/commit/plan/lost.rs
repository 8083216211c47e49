//! What is in a directory of the base that does not show any more.

use hashbrown::HashSet;

use super::found::{Placed, changed};
use crate::commit::path::on_the_way;
use crate::format::commit::Path;
use crate::format::identity::BaseId;
use crate::format::time::Timestamp;
use crate::reach::overlay::Overlay;
use crate::store::shared_index::is_shared;
use crate::sys::{self, Result};

/// All that goes with a directory.
#[derive(Default)]
pub(super) struct Lost {
    /// Objects with several names of which it has some.
    pub shared: Vec<BaseId>,
    /// When anything in it was changed last.
    pub newest: Option<Timestamp>,
    /// The same, with changes of attributes of directories in it: an earlier commit may have
    /// made these, but nothing may come after the plan.
    pub latest: Option<Timestamp>,
    /// Of what is in it, what may keep it from being removed.
    pub odd: Vec<(Path, Placed)>,
}

impl Lost {
    /// `moved`: paths of what does not go with it, as it shows elsewhere in the tree.
    pub fn of(overlay: &Overlay, below: &[u8], moved: &HashSet<Path>) -> Result<Lost> {
        let mut lost = Lost::default();
        let own = overlay.stack.root_stat()?;
        overlay.all_below(below, &mut |path, found| {
            let stat = &found.stat;
            if is_shared(stat) {
                lost.shared.push(overlay.known_as(found).0);
            }
            let placed = Placed::of(stat);
            if placed.fixed || placed.device != sys::device(&own) {
                lost.odd.push((path.into(), placed));
            }
            let shows = |above: &[u8]| above.len() > below.len() && moved.contains(above);
            if !moved.is_empty() && on_the_way(path).any(shows) {
                return Ok(());
            }
            lost.newest = lost.newest.max(Some(changed(stat)));
            // A directory that was moved here keeps its time of modification.
            let moved = sys::kind(stat) == libc::S_IFDIR && path != below;
            let moved = moved.then(|| stat.stx_ctime.into());
            lost.latest = lost.latest.max(Some(changed(stat))).max(moved);
            Ok(())
        })?;
        lost.shared.sort_unstable();
        lost.shared.dedup();
        Ok(lost)
    }
}
