//! What one look has met, and how deep it went.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use rustix::fs::Statx;
use rustix::io::Errno;

use super::LowerDir;
use crate::locks::{Mutex, Rank};
use crate::sys::Result;

/// What the layers below others have at the paths that marks and redirects name, as far as
/// it was met on the way of one look. Where many storages have a file without its data each
/// of them asks all that is below it, and so do directories that redirects lead to;
/// without this the work would double with each layer.
#[derive(Default)]
pub(super) struct Met {
    files: Mutex<HashMap<Place, Result<Statx>>, { Rank::Met as u8 }>,
    dirs: Mutex<HashMap<Place, Option<Arc<LowerDir>>>, { Rank::Met as u8 }>,
    /// Paths within paths.
    depth: AtomicUsize,
}

/// Below so many layers at this path.
type Place = (usize, Box<[u8]>);

/// So deep a look goes on the stack of one thread: a small part of it.
const DEPTH: usize = 32;

impl Met {
    /// What the view below `from` layers has at a path; `look` tells it once.
    pub fn stat(
        &self,
        from: usize,
        path: &[u8],
        look: impl FnOnce() -> Result<Statx> + Send,
    ) -> Result<Statx> {
        let key = (from, path.into());
        let known = self.files.lock().get(&key).copied();
        known.unwrap_or_else(|| {
            let stat = self.deeper(look);
            self.files.lock().insert(key, stat);
            stat
        })
    }

    /// The directory at a path; `open` opens it once.
    pub fn dir(
        &self,
        from: usize,
        path: &[u8],
        open: impl FnOnce() -> Result<Option<Arc<LowerDir>>> + Send,
    ) -> Result<Option<Arc<LowerDir>>> {
        let key = (from, path.into());
        let known = self.dirs.lock().get(&key).cloned();
        if let Some(known) = known {
            return Ok(known);
        }
        let dir = self.deeper(open)?;
        self.dirs.lock().insert(key, dir.clone());
        Ok(dir)
    }

    /// Follows a path in the layers below. It may lead to another one in each of these,
    /// which is more than a stack holds: from time to time it goes on with a new one.
    pub fn deeper<T: Send>(&self, follow: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        let depth = self.depth.fetch_add(1, Ordering::Relaxed) + 1;
        let found = if depth.is_multiple_of(DEPTH) {
            thread::scope(|scope| {
                // It has the rights of this thread.
                let on = thread::Builder::new().spawn_scoped(scope, follow);
                let on = on.map_err(|_| Errno::NOMEM)?;
                on.join().unwrap_or(Err(Errno::IO))
            })
        } else {
            follow()
        };
        self.depth.fetch_sub(1, Ordering::Relaxed);
        found
    }
}
