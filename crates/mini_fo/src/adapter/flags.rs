//! The ioctls of `chattr(1)` and of project quotas.
#![forbid(unsafe_code)]

use fuse_server::{IoctlArgs, IoctlReply, Result};
use mini_fo_core::{NodeId, Overlay};
use rustix::io::Errno;

/// linux/fs.h. The size in the command is that of a long, what is transferred
/// an int; the kernel's FUSE sends either spelling.
const GETFLAGS: [u32; 2] = [0x8008_6601, 0x8004_6601];
const SETFLAGS: [u32; 2] = [0x4008_6602, 0x4004_6602];
const FSGETXATTR: u32 = 0x801c_581f;
const FSSETXATTR: u32 = 0x401c_5820;

/// Answers an ioctl. ENOTTY for all others.
pub fn ioctl(
    overlay: &Overlay,
    node: NodeId,
    args: &IoctlArgs<'_>,
    out: &mut [u8],
) -> Result<IoctlReply> {
    let len = match args.cmd {
        cmd if GETFLAGS.contains(&cmd) => put(out, &overlay.inode_flags(node)?.to_ne_bytes())?,
        cmd if SETFLAGS.contains(&cmd) => {
            let flags = args.input.first_chunk().ok_or(Errno::INVAL)?;
            overlay.set_inode_flags(node, u32::from_ne_bytes(*flags))?;
            0
        }
        FSGETXATTR => put(out, &overlay.project_flags(node)?)?,
        FSSETXATTR => {
            overlay.set_project_flags(node, args.input.first_chunk().ok_or(Errno::INVAL)?)?;
            0
        }
        _ => return Err(Errno::NOTTY),
    };
    Ok(IoctlReply { result: 0, len })
}

fn put(out: &mut [u8], value: &[u8]) -> Result<usize> {
    out.get_mut(..value.len()).ok_or(Errno::INVAL)?.copy_from_slice(value);
    Ok(value.len())
}
