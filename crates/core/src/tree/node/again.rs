//! What a node has become by a commit.
#![forbid(unsafe_code)]

use std::sync::atomic::Ordering;

use super::{BaseRef, FORGOTTEN, IN_STORAGE, INDEXED, LINKED, PlaceMut, SHARED};

/// What a known node has become by a commit.
pub(crate) struct FoundAgain {
    /// The number that it shows.
    pub ino: u64,
    pub in_storage: bool,
    /// It is a base object with several names there.
    pub shared: bool,
    pub base: BaseRef,
}

impl PlaceMut<'_> {
    /// What it is was found out anew, after a commit. `true`: it was something else.
    pub fn set_found(&mut self, found: &FoundAgain) -> bool {
        let node = self.node;
        let flags = [
            (IN_STORAGE, found.in_storage),
            (INDEXED, found.in_storage && found.shared),
            (SHARED, found.shared),
        ];
        let mut state = 0;
        flags.iter().filter(|(_, set)| *set).for_each(|(flag, _)| state |= flag);
        // Nobody has looked at its contents as they are now.
        let kept = FORGOTTEN | LINKED;
        let with = |before: u8| Some(before & kept | state);
        let before = node.state.fetch_update(Ordering::AcqRel, Ordering::Acquire, with);
        let before = before.unwrap_or_else(|state| state);
        let ino = node.ino.swap(found.ino, Ordering::Relaxed);
        let other = before & (IN_STORAGE | INDEXED | SHARED) != state || ino != found.ino;
        let other = other || self.place.base != found.base;
        self.place.base = found.base.clone();
        other
    }
}
