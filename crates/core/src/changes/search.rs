//! The passes of which a comparison is made.

use hashbrown::HashSet;

use super::change::{ChangeTotals, ChangesOptions, FoundChange};
use super::deleted;
use super::links::Extras;
use super::moves::{Arrived, Moves};
use super::sides::Sides;
use super::teller::Teller;
use super::walk::{Pass, Walk};
use crate::reach::overlay::Overlay;
use crate::sys::Result;

impl Overlay {
    /// Tells `each` what differs between the tree that this overlay shows and what is below
    /// its storage; without a storage, between all its layers and those below the
    /// uppermost. It ends when `each` returns `false`.
    ///
    /// The cost is that of the storage: a look at each of its directories (twice or three
    /// times, where anything was renamed), and the content of what it has of the same size
    /// as it was. Nothing is written, and no time of access moves where the process may
    /// prevent that.
    ///
    /// # Errors
    /// The root cannot be read. What goes wrong with one entry is told to `each`.
    pub fn changes(
        &self,
        options: &ChangesOptions,
        each: &mut dyn FnMut(FoundChange<'_>) -> bool,
    ) -> Result<ChangeTotals> {
        let sides = Sides::of(self);
        let extras = sides.extras(options.all_links)?;
        let moves = find_moves(sides, &extras)?;
        let mut totals = ChangeTotals::default();
        let teller = Teller { options, moves: &moves, totals: &mut totals, each };
        Walk::new(sides, &extras, Pass::Tell(teller)).run()?;
        Ok(totals)
    }
}

/// Finds what was renamed.
fn find_moves(sides: Sides<'_>, extras: &Extras) -> Result<Moves> {
    let mut arrived = Arrived::default();
    Walk::new(sides, extras, Pass::Arrivals(&mut arrived)).run()?;
    if arrived.is_empty() {
        return Ok(Moves::default());
    }
    let mut gone = Vec::new();
    Walk::new(sides, extras, Pass::Losses(&mut arrived, &mut gone)).run()?;
    loop {
        let replaced = arrived.settle();
        if replaced.is_empty() {
            break;
        }
        // What was taken out of such a directory was renamed all the same.
        replaced.iter().for_each(|path| arrived.gone(path, None));
        gone.extend(replaced.iter().map(|path| path.to_vec()));
    }
    // A file that was taken out of a directory before that was deleted.
    for dir in gone {
        if !arrived.has_numbers() {
            break;
        }
        let _ = deleted::walk(&sides, &dir, &mut |path, found| {
            let Ok(lower) = found else { return Ok(false) };
            if lower.is_dir() {
                return Ok(!arrived.has_left(path));
            }
            arrived.gone(path, Some(lower.attr.ino));
            Ok(true)
        });
    }
    let mut moves = arrived.into_moves();
    // What is in a directory was compared as if that had been renamed, which may not be so.
    while !moves.is_empty() {
        let (mut reached, mut in_place) = (HashSet::new(), Vec::new());
        Walk::new(sides, extras, Pass::Reach(&moves, &mut reached, &mut in_place)).run()?;
        in_place.iter().for_each(|from| moves.stays(from));
        if moves.keep(&reached) && in_place.is_empty() {
            break;
        }
    }
    Ok(moves)
}
