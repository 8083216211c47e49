//! Which file system an object is on, as it can still be told after a boot.

use rustix::fd::{AsFd, AsRawFd};
use rustix::fs::OFlags;

use super::{Result, Spot, open_untraced};

/// `FS_IOC_GETFSUUID` (linux/fs.h, 6.9).
const GETFSUUID: libc::c_ulong = 0x8011_1500;

/// A number of the file system that outlives its mount: `f_fsid`, or what its
/// UUID gives; 0 where there is neither. `fd`: may be `O_PATH`.
pub(crate) fn fsid(fd: impl AsFd) -> Result<u64> {
    match lasting(rustix::fs::fstatvfs(&fd)?.f_fsid) {
        0 => Ok(uuid(fd).unwrap_or(0)),
        fsid => Ok(fsid),
    }
}

/// An `f_fsid`, if it is one that lasts: what fits into 32 bits is made of the
/// number of a device, or of nothing.
pub(crate) fn lasting(fsid: u64) -> u64 {
    if fsid >> 32 == 0 { 0 } else { fsid }
}

/// Of directories only: opening something else may have effects.
fn uuid(fd: impl AsFd) -> Option<u64> {
    let dir = Spot::at(fd.as_fd(), b".");
    let dir = open_untraced(dir, OFlags::RDONLY | OFlags::DIRECTORY).ok()?;
    let mut out = [0_u8; 17];
    // SAFETY: the command fills a length and 16 bytes, which `out` has room for;
    // the descriptor is open for the call.
    let ret = unsafe { libc::ioctl(dir.as_raw_fd(), GETFSUUID as _, out.as_mut_ptr()) };
    let (length, uuid) = out.split_first()?;
    if ret != 0 || *length != 16 {
        return None;
    }
    let half = |half: Option<&[u8; 8]>| half.map(|bytes| u64::from_be_bytes(*bytes));
    let fold = half(uuid.first_chunk())? ^ half(uuid.last_chunk())?;
    (fold != 0).then_some(fold | 1 << 63)
}
