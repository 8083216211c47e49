//! Arguments of the operations that have many of them.
//!
//! Names and values are borrowed from the request. A name is one component:
//! never empty, without `/` and NUL.

use crate::types::FileLock;

/// MKNOD: a file of any type but directory and symbolic link.
#[derive(Clone, Copy, Debug)]
pub struct MknodArgs<'a> {
    /// The new name in directory [`Request::node`](crate::Request::node).
    pub name: &'a [u8],
    /// Type and permission bits; the umask is applied by the kernel, unless
    /// [`InitFlags::DONT_MASK`](crate::InitFlags::DONT_MASK) was negotiated.
    pub mode: u32,
    /// Device number, as `makedev(3)` packs it.
    pub rdev: u64,
    /// The caller's umask.
    pub umask: u32,
}

/// MKDIR.
#[derive(Clone, Copy, Debug)]
pub struct MkdirArgs<'a> {
    /// The new name.
    pub name: &'a [u8],
    /// Permission bits; see [`MknodArgs::mode`] on the umask.
    pub mode: u32,
    /// The caller's umask.
    pub umask: u32,
}

/// RENAME and RENAME2; the source directory is
/// [`Request::node`](crate::Request::node).
#[derive(Clone, Copy, Debug)]
pub struct RenameArgs<'a> {
    /// The present name.
    pub name: &'a [u8],
    /// The directory that will hold it.
    pub new_parent: u64,
    /// The name there.
    pub new_name: &'a [u8],
    /// `RENAME_NOREPLACE`, `RENAME_EXCHANGE`, `RENAME_WHITEOUT`
    /// (`renameat2(2)`). Unknown ones are to be refused with EINVAL.
    pub flags: u32,
}

/// OPEN and OPENDIR.
#[derive(Clone, Copy, Debug)]
pub struct OpenArgs {
    /// `open(2)` flags without `O_CREAT`, `O_EXCL` and `O_NOCTTY`. `O_TRUNC`
    /// is there only if
    /// [`InitFlags::ATOMIC_O_TRUNC`](crate::InitFlags::ATOMIC_O_TRUNC) was
    /// negotiated, and must then be obeyed.
    pub flags: u32,
    /// The open truncates and the caller lacks `CAP_FSETID`: drop setuid and
    /// setgid (`HANDLE_KILLPRIV_V2`).
    pub kill_suidgid: bool,
}

/// CREATE and TMPFILE.
#[derive(Clone, Copy, Debug)]
pub struct CreateArgs<'a> {
    /// The new name; empty for TMPFILE.
    pub name: &'a [u8],
    /// Type and permission bits; see [`MknodArgs::mode`] on the umask.
    pub mode: u32,
    /// The caller's umask.
    pub umask: u32,
    /// `open(2)` flags. With `O_EXCL` an existing name is an error; without,
    /// it may be opened, for the kernel's knowledge of its absence may be old.
    pub flags: u32,
    /// As in [`OpenArgs::kill_suidgid`].
    pub kill_suidgid: bool,
}

/// READ; the length is that of the output buffer.
#[derive(Clone, Copy, Debug)]
pub struct ReadArgs {
    /// The open file.
    pub fh: u64,
    /// First byte.
    pub offset: u64,
    /// `open(2)` flags of the file now (`O_APPEND`, `O_DIRECT` may change).
    pub flags: u32,
    /// Lock owner, where the kernel tells it.
    pub lock_owner: Option<u64>,
}

/// WRITE.
#[derive(Clone, Copy, Debug)]
pub struct WriteArgs {
    /// The open file.
    pub fh: u64,
    /// First byte. Also right for `O_APPEND` if nobody else changes the file.
    pub offset: u64,
    /// `open(2)` flags of the file now.
    pub flags: u32,
    /// From the page cache: `fh` is a guess, and so is the caller.
    pub cached: bool,
    /// Drop setuid and setgid (`HANDLE_KILLPRIV_V2`).
    pub kill_suidgid: bool,
    /// Lock owner, where the kernel tells it.
    pub lock_owner: Option<u64>,
}

/// RELEASE and RELEASEDIR: the last reference to an open file is gone.
#[derive(Clone, Copy, Debug)]
pub struct ReleaseArgs {
    /// The open file, which will not be named again.
    pub fh: u64,
    /// `open(2)` flags.
    pub flags: u32,
    /// Flush as FLUSH does.
    pub flush: bool,
    /// Release the BSD locks of `lock_owner`.
    pub flock_unlock: bool,
    /// Lock owner.
    pub lock_owner: u64,
}

/// SETXATTR.
#[derive(Clone, Copy, Debug)]
pub struct SetXattrArgs<'a> {
    /// Full name with its prefix, such as `user.comment`.
    pub name: &'a [u8],
    /// The value.
    pub value: &'a [u8],
    /// `XATTR_CREATE` or `XATTR_REPLACE` (`setxattr(2)`).
    pub flags: u32,
    /// `system.posix_acl_access` is set by a caller who is not in the group
    /// and lacks `CAP_FSETID`: drop setgid.
    pub acl_kill_sgid: bool,
}

/// FALLOCATE.
#[derive(Clone, Copy, Debug)]
pub struct FallocateArgs {
    /// The open file.
    pub fh: u64,
    /// First byte.
    pub offset: u64,
    /// Number of bytes.
    pub length: u64,
    /// `FALLOC_FL_*` (`fallocate(2)`).
    pub mode: u32,
}

/// COPY_FILE_RANGE; the source is [`Request::node`](crate::Request::node).
#[derive(Clone, Copy, Debug)]
pub struct CopyFileRangeArgs {
    /// Open source file.
    pub fh_in: u64,
    /// First byte of the source.
    pub offset_in: u64,
    /// Target node.
    pub node_out: u64,
    /// Open target file.
    pub fh_out: u64,
    /// First byte of the target.
    pub offset_out: u64,
    /// Number of bytes.
    pub len: u64,
    /// Flags of `copy_file_range(2)`, at present 0.
    pub flags: u64,
}

/// STATX.
#[derive(Clone, Copy, Debug)]
pub struct StatxArgs {
    /// The open file, if asked through one.
    pub fh: Option<u64>,
    /// `AT_STATX_*` flags.
    pub flags: u32,
    /// `STATX_*`: what is wanted.
    pub mask: u32,
}

/// IOCTL, of the restricted kind: the command's own encoding tells the
/// direction and size of its data.
#[derive(Clone, Copy, Debug)]
pub struct IoctlArgs<'a> {
    /// The open file.
    pub fh: u64,
    /// The command.
    pub cmd: u32,
    /// The caller's argument: an address in the caller, of no use here, or a
    /// plain number.
    pub arg: u64,
    /// Data that the command takes.
    pub input: &'a [u8],
    /// The caller is a 32-bit program.
    pub compat: bool,
    /// On a directory.
    pub dir: bool,
}

/// GETLK, SETLK and SETLKW.
#[derive(Clone, Copy, Debug)]
pub struct LockArgs {
    /// The open file.
    pub fh: u64,
    /// Lock owner.
    pub owner: u64,
    /// The lock.
    pub lock: FileLock,
    /// A BSD lock (`flock(2)`) rather than a POSIX one.
    pub flock: bool,
}
