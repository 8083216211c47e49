//! The projects of quota trees (xfs, ext4): what is in one is not renamed into another one.

use rustix::fd::AsFd;
use rustix::ioctl::{Getter, Opcode, ioctl, opcode};

use super::Result;

/// `struct fsxattr` of linux/fs.h.
#[repr(C)]
struct Fsxattr {
    xflags: u32,
    extsize: u32,
    nextents: u32,
    projid: u32,
    cowextsize: u32,
    pad: [u8; 8],
}

/// FS_IOC_FSGETXATTR.
const GET: Opcode = opcode::read::<Fsxattr>(b'X', 31);

/// FS_XFLAG_PROJINHERIT.
const INHERIT: u32 = 0x200;

/// Which one a directory gives to all in it. `None`: none.
///
/// # Errors
/// The file system knows no such thing.
pub(crate) fn given_by(dir: impl AsFd) -> Result<Option<u32>> {
    // SAFETY: the call writes a `struct fsxattr`, which has no invalid values.
    let found = unsafe { ioctl(dir, Getter::<GET, Fsxattr>::new()) }?;
    Ok((found.xflags & INHERIT != 0).then_some(found.projid))
}
