//! What a change was made from: META says it where the base entry was.

use std::sync::Arc;

use super::super::sides::{Lower, join};
use super::super::teller::Spot;
use super::{Level, Pass, Walk};
use crate::format::name::{file_name, parent};
use crate::format::print::Print;
use crate::sys::Result;
use crate::tree::dir::Dir;
use crate::tree::node::Node;
use crate::tree::path::path_below;

impl<'a> Walk<'a, '_> {
    /// Of the entry of this name in a directory, which must show what it is compared with:
    /// META speaks of that.
    pub(super) fn print_in(
        &self,
        (level, dir): (&Level<'a>, &Dir),
        spot: &Spot<'_>,
    ) -> Option<Print> {
        let speaks = matches!(self.pass, Pass::Tell(_)) && level.merged == level.below;
        if speaks && !self.sides.overlay.bare { dir.meta().print(spot.name) } else { None }
    }

    /// Of a base object with several names, which has one copy for all of them.
    pub(super) fn print_of(&self, node: &Arc<Node>, lower: &Lower) -> Option<Print> {
        if !matches!(self.pass, Pass::Tell(_)) || !node.is_indexed() {
            return None;
        }
        let overlay = self.sides.overlay;
        let id = overlay.base_id(node);
        // Another one may lie there by now.
        let own = self.sides.shared_as(lower) == Some(id);
        if own { overlay.shared.print(id) } else { None }
    }

    /// Of what was renamed: META says it where it was, in the directory that shows its old
    /// one.
    pub(super) fn print_from(&self, from: &[u8]) -> Result<Option<Print>> {
        let Pass::Tell(teller) = &self.pass else { return Ok(None) };
        let overlay = self.sides.overlay;
        let old = parent(from);
        let mut above = old;
        let upper = loop {
            if let Some(to) = teller.moves.to(above) {
                let rest = old.get(above.len()..).unwrap_or_default();
                break join(to, rest.strip_prefix(b"/").unwrap_or(rest));
            }
            if above.is_empty() {
                break old.to_vec();
            }
            above = parent(above);
        };
        let upper = upper.strip_suffix(b"/").unwrap_or(&upper);
        let Some(node) = overlay.reach(upper)?.filter(|node| node.is_dir()) else {
            return Ok(None);
        };
        if path_below(&node, true).as_deref() != Some(old) {
            return Ok(None);
        }
        Ok(overlay.dir(&node)?.meta().print(file_name(from)))
    }
}
