//! Space and limits of the storage.

use crate::format::name::NAME_MAX;
use crate::interface::types::SpaceInfo;
use crate::reach::overlay::Overlay;
use crate::sys::Result;
use crate::sys::magic::{EXT4, F2FS, UBIFS};

impl Overlay {
    /// Space and limits of the storage.
    ///
    /// # Errors
    /// As `fstatvfs(3)`.
    pub fn space(&self) -> Result<SpaceInfo> {
        self.await_leaving();
        let shown = if self.bare { self.stack.top()? } else { &self.storage };
        let vfs = rustix::fs::fstatvfs(shown)?;
        let narrow = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
        Ok(SpaceInfo {
            blocks: vfs.f_blocks,
            bfree: vfs.f_bfree,
            bavail: vfs.f_bavail,
            files: vfs.f_files,
            ffree: vfs.f_ffree,
            bsize: narrow(vfs.f_bsize),
            frsize: narrow(vfs.f_frsize),
            // FAT counts bytes that UTF-8 may take.
            namelen: narrow(vfs.f_namemax.min(NAME_MAX as u64)),
        })
    }

    /// The storage's file system keeps space back by the file-system user ID of
    /// who takes it: for root, or for whom its administrator has named.
    pub fn keeps_space_back(&self) -> bool {
        let kind = rustix::fs::fstatfs(&self.storage).map(|stat| stat.f_type);
        matches!(kind, Ok(EXT4 | F2FS | UBIFS))
    }
}
