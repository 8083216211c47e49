//! Base objects that their file system protects from changes.

use rustix::fs::{Statx, StatxAttributes};
use rustix::io::Errno;

use crate::sys::Result;

/// A base object that can be appended to, and not changed otherwise.
pub(crate) fn is_append_only(base: &Statx) -> bool {
    let (append, immutable) = (StatxAttributes::APPEND, StatxAttributes::IMMUTABLE);
    base.stx_attributes.contains(append) && !base.stx_attributes.contains(immutable)
}

/// EPERM for a base object that its file system protects from changes
/// (`chattr +i`, `+a`): on a plain file system the kernel would refuse.
pub(crate) fn check_unprotected(base: &Statx) -> Result<()> {
    let protected = StatxAttributes::IMMUTABLE | StatxAttributes::APPEND;
    // A file system that is made once and never written (erofs) calls all that
    // is in it immutable, and knows no append-only: nobody has protected that.
    let by_somebody = base.stx_attributes_mask.contains(StatxAttributes::APPEND);
    if by_somebody && base.stx_attributes.intersects(protected) { Err(Errno::PERM) } else { Ok(()) }
}
