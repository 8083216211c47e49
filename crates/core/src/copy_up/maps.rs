//! Maps of partial files, made when needed.

use rustix::io::Errno;

use crate::locks::{Rank, is_held};
use crate::reach::overlay::Overlay;
use crate::store::partial::{PartialFile, map_name};
use crate::sys::{self, Result};

impl Overlay {
    /// Makes sure that changes of a partial file can be recorded.
    pub(crate) fn prepare_map(&self, partial: &PartialFile) -> Result<()> {
        debug_assert!(is_held(Rank::Writing, None));
        if partial.is_recorded() {
            if partial.is_map_shut() {
                // From before this mount began to write.
                let map = self.open_map(&partial.mark)?.ok_or(Errno::STALE)?;
                partial.take_map(&map)?;
            }
            return partial.record_limit();
        }
        let index = self.prepare_index()?;
        // What a power cut left of one counts as nothing.
        self.drop_map(partial.mark.map);
        let name = map_name(partial.mark.map);
        partial.record_in(sys::create_private(index.writable()?, &name)?)
    }
}
