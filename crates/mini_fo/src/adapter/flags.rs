//! The ioctls of `chattr(1)` and of project quotas.
//!
//! The kernel judges the caller of these, and of no others: since 5.13 it
//! checks who asks for what before it sends them, in this spelling alone, and
//! hands every other number on to the daemon as it comes, from whoever could
//! open the file for reading. So no other number is answered, but one of our own.
#![forbid(unsafe_code)]

use fuse_server::{IoctlArgs, IoctlReply, Request, Result};
use mini_fo_core::{NodeId, Overlay, Rights, with_rights};
use rustix::io::Errno;

use super::caller::{self, Capability};

/// linux/fs.h. The size in the command is that of a long, what is transferred
/// an int. The kernel translates the numbers of 32-bit programs.
const GETFLAGS: u32 = 0x8008_6601;
const SETFLAGS: u32 = 0x4008_6602;
const FSGETXATTR: u32 = 0x801c_581f;
const FSSETXATTR: u32 = 0x401c_5820;

/// Our own, of the helper for `mount -o remount,ro`: sync, and close what is open for
/// writing in the storage. For who may mount.
pub const REST: u32 = 0x0000_6d66;

/// Another one, of the helper for `mount -o remount,rw`: begin to write. For the same.
pub const WRITE: u32 = 0x0000_6d67;

/// Flags that only `CAP_LINUX_IMMUTABLE` may change: of SETFLAGS, and of a
/// `struct fsxattr`.
const PROTECTING: u32 = 0x10 | 0x20;
const PROTECTING_X: u32 = 0x08 | 0x10;

/// `FS_JOURNAL_DATA_FL`: `CAP_SYS_RESOURCE` may change it. The kernel leaves
/// that to the file system, which sees the daemon.
const JOURNAL_DATA: u32 = 0x4000;

/// The first minor version of the protocol that no kernel before 5.14 speaks.
pub const JUDGES: u32 = 34;

/// Whether an ioctl that was answered has changed the file.
pub fn changes(cmd: u32) -> bool {
    matches!(cmd, SETFLAGS | FSSETXATTR)
}

/// EPERM for who must not change mounts.
pub fn may_mount(req: &Request) -> Result<()> {
    caller::holds(req, Capability::SysAdmin).then_some(()).ok_or(Errno::PERM)
}

/// Answers an ioctl. ENOTTY for all others. `minor`: of the protocol.
pub fn ioctl(
    overlay: &Overlay,
    req: &Request,
    minor: u32,
    args: &IoctlArgs<'_>,
    out: &mut [u8],
) -> Result<IoctlReply> {
    let node = NodeId(req.node);
    let len = match args.cmd {
        REST if caller::holds(req, Capability::SysAdmin) => overlay.rest().map(|()| 0)?,
        GETFLAGS => put(out, &overlay.inode_flags(node)?.to_ne_bytes())?,
        SETFLAGS => {
            let flags = u32::from_ne_bytes(*args.input.first_chunk().ok_or(Errno::INVAL)?);
            let changed = flags ^ overlay.inode_flags(node)?;
            if minor < JUDGES {
                judge(overlay, req, changed & PROTECTING != 0)?;
            }
            if changed & JOURNAL_DATA == 0 {
                overlay.set_inode_flags(node, flags)?;
            } else if caller::holds(req, Capability::SysResource) {
                let rights = Rights { uid: None, resources: true };
                with_rights(Some(rights), || overlay.set_inode_flags(node, flags))?;
            } else {
                return Err(Errno::PERM);
            }
            0
        }
        FSGETXATTR => put(out, &overlay.project_flags(node)?)?,
        FSSETXATTR => {
            let set = args.input.first_chunk().ok_or(Errno::INVAL)?;
            if minor < JUDGES {
                let flags = |of: &[u8]| of.first_chunk().map_or(0, |x| u32::from_ne_bytes(*x));
                let changed = flags(set) ^ flags(&overlay.project_flags(node)?);
                judge(overlay, req, changed & PROTECTING_X != 0)?;
            }
            overlay.set_project_flags(node, set)?;
            0
        }
        _ => return Err(Errno::NOTTY),
    };
    Ok(IoctlReply { result: 0, len })
}

/// What newer kernels do themselves: the owner may, and who holds the right
/// to. `protects`: flags that take a right of their own change. EPERM, also
/// where the caller cannot be seen.
fn judge(overlay: &Overlay, req: &Request, protects: bool) -> Result<()> {
    let owner = overlay.getattr(NodeId(req.node))?.uid;
    let owns = caller::fsuid(req) == Some(owner) || caller::holds(req, Capability::Fowner);
    if !owns || protects && !caller::holds(req, Capability::LinuxImmutable) {
        return Err(Errno::PERM);
    }
    Ok(())
}

fn put(out: &mut [u8], value: &[u8]) -> Result<usize> {
    out.get_mut(..value.len()).ok_or(Errno::INVAL)?.copy_from_slice(value);
    Ok(value.len())
}
