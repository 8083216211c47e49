//! What a storage changes of what is below it: the *upper view*, the tree as a mount shows
//! it, compared with the *lower view*, what the layers below show without it.
//!
//! The same code reads a live [`crate::Overlay`] and one at rest ([`changes_at_rest`]).
//! Everything is returned as data, nothing is printed, and nothing is opened for writing.
//!
//! - Only what the storage speaks of is looked at: the directories that it has, the names
//!   that META hides, redirects. So the cost is that of the changes, and not of the base.
//! - What is found is told at once, in the order of a walk: the entries of a directory by
//!   their bytes, each followed by what is below it.
//! - Paths are those that the upper view shows, without a leading slash; the root is empty.
#![forbid(unsafe_code)]

mod base_state;
mod change;
mod compare;
mod content;
mod deleted;
mod facts;
mod links;
mod moves;
pub(crate) mod rest;
mod search;
mod sides;
mod teller;
mod walk;

pub use base_state::{BaseChanges, BaseState};
pub use change::{
    Change, ChangeKind, ChangeTotals, ChangesOptions, Differences, FoundChange, UnreadChange,
};
pub use content::Content;
pub(crate) use content::Stamp;
pub use rest::{RestOptions, changes_at_rest, layers_at_rest, writing_at_rest};
