//! What META says reaches the device within seconds, whether anybody syncs or
//! not.
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::time::Duration;

use mini_fo_core::Overlay;

/// How long an idle thread keeps a mount that has ended in memory.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// Hands over what was written as long as the mount lives, in a thread of its
/// own: nobody waits for the device.
pub fn watch(overlay: &Arc<Overlay>) {
    let overlay = Arc::downgrade(overlay);
    let write = move || {
        while let Some(overlay) = overlay.upgrade() {
            overlay.write_back(LOOK_EVERY);
        }
    };
    let thread = std::thread::Builder::new().name("write back".to_owned()).spawn(write);
    if let Err(error) = thread {
        tracing::warn!("what META says reaches the device later: no thread: {error}");
    }
}
