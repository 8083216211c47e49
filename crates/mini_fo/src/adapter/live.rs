//! A base that others change (`-o live_base`): what the kernel was told counts
//! for a short time only, and cached data of open files is looked after.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use fuse_server::Notifier;
use mini_fo_core::{OpenFile, Overlay, Version};
use parking_lot::Mutex;

/// Versions of closed files that are remembered, to keep what is cached of
/// them at the next open; about 64 bytes each.
const REMEMBERED: usize = 64 * 1024;

/// Open base files, and which version of each node's data the kernel may have
/// cached. Empty without the option.
#[derive(Default)]
pub struct Watched {
    /// There was one, ever: spares everybody else the locks.
    any: AtomicBool,
    open: Mutex<HashMap<u64, Arc<OpenFile>>>,
    versions: Mutex<HashMap<u64, Version>>,
}

impl Watched {
    /// A file was opened. The result tells whether what the kernel has cached
    /// of it is still right.
    pub fn opened(&self, overlay: &Overlay, fh: u64, file: &Arc<OpenFile>) -> bool {
        let Some(version) = overlay.version(file) else { return true };
        self.any.store(true, Ordering::Relaxed);
        self.open.lock().insert(fh, Arc::clone(file));
        let mut versions = self.versions.lock();
        if versions.len() >= REMEMBERED {
            // Those of open files come back at the next look at them.
            versions.clear();
        }
        versions.insert(file.node_id().0, version) == Some(version)
    }

    /// The kernel has let go of a file.
    pub fn released(&self, fh: u64, file: &Arc<OpenFile>) {
        if self.any.load(Ordering::Relaxed) {
            let closed = take(&mut self.open.lock(), fh, file);
            drop(closed);
        }
    }

    /// The kernel has forgotten a node, if it `has`.
    pub fn forgotten(&self, node: u64, has: impl FnOnce() -> bool) {
        if self.any.load(Ordering::Relaxed) {
            let mut versions = self.versions.lock();
            if has() {
                versions.remove(&node);
            }
        }
    }

    /// Looks at all open base files and tells the kernel of those that have
    /// changed: a mapping of them would show the old data for ever.
    fn look(&self, overlay: &Overlay, notifier: &Notifier) {
        let files: Vec<(u64, Arc<OpenFile>)> =
            self.open.lock().iter().map(|(fh, file)| (*fh, Arc::clone(file))).collect();
        for (fh, file) in files {
            let node = file.node_id().0;
            let Some(version) = overlay.version(&file) else {
                // Copied up: from now on the kernel hears of every change.
                self.released(fh, &file);
                continue;
            };
            let before = self.versions.lock().insert(node, version);
            if before != Some(version) {
                // That it does not know the node any more is no error.
                let _ = notifier.inval_inode(node, 0, 0);
            }
        }
    }
}

/// Takes a file out, unless its number is another one's by now.
fn take<T>(open: &mut HashMap<u64, Arc<T>>, fh: u64, file: &Arc<T>) -> Option<Arc<T>> {
    open.get(&fh).is_some_and(|known| Arc::ptr_eq(known, file)).then(|| open.remove(&fh)).flatten()
}

/// Looks after open files as long as the mount lives, in a thread of its own.
pub fn watch(watched: &Arc<Watched>, overlay: &Arc<Overlay>, notifier: &Notifier, every: Duration) {
    let (watched, overlay) = (Arc::downgrade(watched), Arc::downgrade(overlay));
    let notifier = notifier.clone();
    let look = move || {
        loop {
            std::thread::sleep(every);
            let both = Weak::upgrade(&watched).zip(Weak::upgrade(&overlay));
            let Some((watched, overlay)) = both else { break };
            watched.look(&overlay, &notifier);
        }
    };
    let thread = std::thread::Builder::new().name("live base".to_owned()).spawn(look);
    if let Err(error) = thread {
        tracing::warn!("changes of mapped base files will not be seen: no thread: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_came_again_stays_watched() {
        let (old, new) = (Arc::new(1), Arc::new(1));
        let mut open = HashMap::from([(3, Arc::clone(&new))]);
        assert!(take(&mut open, 3, &old).is_none());
        assert!(open.contains_key(&3));
        assert!(take(&mut open, 3, &new).is_some());
        assert!(open.is_empty());
    }
}
