//! Who owns the root, as it shows.

use crate::layers::Stack;
use crate::sys::Result;
use crate::tree::dir::Dir;

/// Owner and mode that the root of the mount shows.
///
/// Apart from those of the storage directory, which may be closed to others
/// to protect what lies in it.
#[derive(Clone, Copy)]
pub(crate) struct RootOwner {
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
}

impl RootOwner {
    /// As META tells, else as the base has it, whose access list is not shown.
    pub fn of(dir: &Dir, stack: &Stack) -> Result<RootOwner> {
        let told = dir.meta().owner(b".");
        let (mode, uid, gid) = told.map_or_else(|| stack.root_owner(), Ok)?;
        Ok(RootOwner { mode, uid, gid })
    }
}
