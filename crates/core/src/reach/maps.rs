//! Maps as files of the index: made when needed, removed when not.

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, OFlags};

use crate::format::mark::Mark;
use crate::reach::overlay::Overlay;
use crate::store::partial::{map_name, read_mark};
use crate::sys::trust;
use crate::sys::{self, Result, Spot};
use crate::tree::node::{Contents, Node};

impl Overlay {
    pub(crate) fn open_map(&self, mark: &Mark) -> Result<Option<OwnedFd>> {
        let Ok(index) = self.shared.dir() else { return Ok(None) };
        let mode = if self.is_read_only() { OFlags::RDONLY } else { OFlags::RDWR };
        let name = map_name(mark.map);
        let spot = Spot::at(index.writable()?, &name);
        let map = sys::absent(sys::open(spot, mode | OFlags::NONBLOCK))?;
        map.as_ref().map_or(Ok(()), |map| trust::check_opened(map, "a map", true))?;
        Ok(map)
    }

    /// Removes a map; one that stays costs only its space.
    pub(crate) fn drop_map(&self, map: u64) {
        if let Ok(index) = self.shared.dir()
            && let Ok(dir) = index.writable()
        {
            let _ = sys::unlink(dir, &map_name(map), AtFlags::empty());
        }
    }

    /// The kernel has forgotten an object whose last known name is gone
    /// (`object`): if it was the last one, nobody needs its map. A map that stays
    /// costs only its space.
    pub(crate) fn forget_partial(&self, node: &Node, object: &OwnedFd) {
        if node.contents() == Contents::Whole || !self.partials.exist() {
            return;
        }
        if sys::stat_fd(object).is_ok_and(|stat| stat.stx_nlink == 0)
            && let Ok(Some(mark)) = read_mark(self.own, Spot::Fd(object.as_fd()))
        {
            self.drop_map(mark.map);
        }
    }
}
