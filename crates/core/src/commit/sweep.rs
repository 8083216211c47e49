//! Takes files away from a storage that is about to forget everything.

use rustix::fs::AtFlags;
use rustix::io::Errno;

use crate::format::commit::Path;
use crate::format::name::is_dot;
use crate::format::path::join;
use crate::reach::overlay::Overlay;
use crate::store::dirs::Dirs;
use crate::sys::{self, Result};

impl Overlay {
    /// Removes the files of the storage, so that a discard of all that follows meets nothing
    /// but directories: it would write down of each file that it goes. Here all are in the
    /// base, and the journal of the commit says so until the discard has ended. What cannot be
    /// removed is left to that.
    ///
    /// # Errors
    /// EIO and the like.
    pub(super) fn sweep(&self) -> Result<()> {
        // What else is recorded of such files elsewhere goes with each of them.
        if self.knows_shared() || self.partials.exist() {
            return Ok(());
        }
        let dirs = Dirs::of(self.storage_opened()?);
        let mut left = vec![Path::default()];
        while let Some(path) = left.pop() {
            let dir = match dirs.dir(&path) {
                Err(Errno::ACCESS | Errno::NOENT | Errno::NOTDIR) => continue,
                dir => dir?,
            };
            let mut files = Vec::new();
            let listed = sys::each_entry(&*dir, |entry| {
                let own = is_dot(entry.name) || self.meta.reserves(entry.name);
                match entry.kind {
                    _ if own => {}
                    libc::S_IFDIR => left.push(join(&path, entry.name)),
                    _ => files.push(entry.name.to_vec()),
                }
                true
            });
            if listed != Err(Errno::ACCESS) {
                listed?;
            }
            for name in files {
                match sys::unlink(&*dir, &name, AtFlags::empty()) {
                    // Of a file system that tells no types.
                    Err(Errno::ISDIR) => left.push(join(&path, &name)),
                    Err(Errno::PERM | Errno::ACCESS | Errno::NOENT) => {}
                    gone => gone?,
                }
            }
        }
        Ok(())
    }
}
