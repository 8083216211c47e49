//! How busy a reader is, told from how long its reads take.

use std::time::Duration;

/// A read that returns sooner found its request waiting.
const IMMEDIATE: Duration = Duration::from_micros(4);

/// So many requests in a row that waited call for another reader, and so many
/// that did not for one less.
const STREAK: u32 = 16;

/// How busy one reader is.
#[derive(Debug, Default)]
pub(crate) struct Load {
    immediate: u32,
    waited: u32,
}

impl Load {
    /// Notes how long a read took.
    pub(crate) fn note(&mut self, took: Duration) {
        if took < IMMEDIATE {
            *self = Load { immediate: self.immediate.saturating_add(1), waited: 0 };
        } else {
            *self = Load { immediate: 0, waited: self.waited.saturating_add(1) };
        }
    }

    /// Requests wait each time: another reader would help.
    pub(crate) fn is_backlog(&self) -> bool {
        self.immediate >= STREAK
    }

    /// This reader waits each time: one less would do.
    pub(crate) fn is_calm(&self) -> bool {
        self.waited >= STREAK
    }
}
