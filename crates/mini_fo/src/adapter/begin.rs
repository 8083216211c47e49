//! A read-only mount begins to write.
#![forbid(unsafe_code)]

use std::sync::OnceLock;

use fuse_server::Result;
use mini_fo_core::Overlay;

use super::data::Files;

/// What else is done then.
type Then = Box<dyn Fn() + Send + Sync>;

/// The change from reading to writing.
#[derive(Default)]
pub struct Beginning {
    then: OnceLock<Then>,
}

impl Beginning {
    /// `then` is called once it has happened; only the first call counts.
    pub fn followed_by(&self, then: Then) {
        // A second one is ignored, as documented.
        let _ = self.then.set(then);
    }

    /// The mount is to write from now on. Not to be called with the rights of
    /// somebody else.
    ///
    /// # Errors
    /// As [`Overlay::begin_to_write`].
    pub fn begin(&self, overlay: &Overlay, files: &Files, at_once: bool) -> Result<()> {
        if overlay.begin_to_write(at_once)? {
            // A new storage's root gets the times of the base's, and what a crash has
            // left is gone from directories, which moves their time of change.
            let parts = (0..).map_while(|part| overlay.known_directories(part));
            parts.flatten().for_each(|node| files.forget_attributes(node.0));
            if let Some(then) = self.then.get() {
                then();
            }
        }
        Ok(())
    }
}
