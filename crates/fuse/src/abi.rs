//! The kernel's side of the protocol: structures, numbers and flags of
//! FUSE 7.45 (`include/uapi/linux/fuse.h`).
//!
//! Structures carry the kernel's field names. Their sizes are asserted at
//! compile time, and a test compares every offset with the system's header.

mod layout;
mod requests;
mod structs;

pub use layout::{Field, StructLayout, layouts};
pub use requests::*;
pub use structs::*;

/// Major version of the protocol.
pub const KERNEL_VERSION: u32 = 7;
/// Minor version that this library speaks.
pub const KERNEL_MINOR_VERSION: u32 = 45;
/// Oldest minor version that it works with (Linux 5.4).
pub const OLDEST_MINOR_VERSION: u32 = 31;
/// Node id of the root.
pub const ROOT_ID: u64 = 1;
/// The read buffer must not be smaller.
pub const MIN_READ_BUFFER: usize = 8192;

/// Operation codes (`enum fuse_opcode`).
pub mod opcode {
    #![expect(missing_docs, reason = "the names are the documentation")]
    pub const LOOKUP: u32 = 1;
    pub const FORGET: u32 = 2;
    pub const GETATTR: u32 = 3;
    pub const SETATTR: u32 = 4;
    pub const READLINK: u32 = 5;
    pub const SYMLINK: u32 = 6;
    pub const MKNOD: u32 = 8;
    pub const MKDIR: u32 = 9;
    pub const UNLINK: u32 = 10;
    pub const RMDIR: u32 = 11;
    pub const RENAME: u32 = 12;
    pub const LINK: u32 = 13;
    pub const OPEN: u32 = 14;
    pub const READ: u32 = 15;
    pub const WRITE: u32 = 16;
    pub const STATFS: u32 = 17;
    pub const RELEASE: u32 = 18;
    pub const FSYNC: u32 = 20;
    pub const SETXATTR: u32 = 21;
    pub const GETXATTR: u32 = 22;
    pub const LISTXATTR: u32 = 23;
    pub const REMOVEXATTR: u32 = 24;
    pub const FLUSH: u32 = 25;
    pub const INIT: u32 = 26;
    pub const OPENDIR: u32 = 27;
    pub const READDIR: u32 = 28;
    pub const RELEASEDIR: u32 = 29;
    pub const FSYNCDIR: u32 = 30;
    pub const GETLK: u32 = 31;
    pub const SETLK: u32 = 32;
    pub const SETLKW: u32 = 33;
    pub const ACCESS: u32 = 34;
    pub const CREATE: u32 = 35;
    pub const INTERRUPT: u32 = 36;
    pub const BMAP: u32 = 37;
    pub const DESTROY: u32 = 38;
    pub const IOCTL: u32 = 39;
    pub const POLL: u32 = 40;
    pub const NOTIFY_REPLY: u32 = 41;
    pub const BATCH_FORGET: u32 = 42;
    pub const FALLOCATE: u32 = 43;
    pub const READDIRPLUS: u32 = 44;
    pub const RENAME2: u32 = 45;
    pub const LSEEK: u32 = 46;
    pub const COPY_FILE_RANGE: u32 = 47;
    pub const SETUPMAPPING: u32 = 48;
    pub const REMOVEMAPPING: u32 = 49;
    pub const SYNCFS: u32 = 50;
    pub const TMPFILE: u32 = 51;
    pub const STATX: u32 = 52;
    pub const COPY_FILE_RANGE_64: u32 = 53;

    /// What an operation is called.
    pub fn name(code: u32) -> &'static str {
        match code {
            LOOKUP => "lookup",
            FORGET => "forget",
            GETATTR => "getattr",
            SETATTR => "setattr",
            READLINK => "readlink",
            SYMLINK => "symlink",
            MKNOD => "mknod",
            MKDIR => "mkdir",
            UNLINK => "unlink",
            RMDIR => "rmdir",
            RENAME => "rename",
            LINK => "link",
            OPEN => "open",
            READ => "read",
            WRITE => "write",
            STATFS => "statfs",
            RELEASE => "release",
            FSYNC => "fsync",
            SETXATTR => "setxattr",
            GETXATTR => "getxattr",
            LISTXATTR => "listxattr",
            REMOVEXATTR => "removexattr",
            FLUSH => "flush",
            INIT => "init",
            OPENDIR => "opendir",
            READDIR => "readdir",
            RELEASEDIR => "releasedir",
            FSYNCDIR => "fsyncdir",
            GETLK => "getlk",
            SETLK => "setlk",
            SETLKW => "setlkw",
            ACCESS => "access",
            CREATE => "create",
            INTERRUPT => "interrupt",
            BMAP => "bmap",
            DESTROY => "destroy",
            IOCTL => "ioctl",
            POLL => "poll",
            NOTIFY_REPLY => "notify_reply",
            BATCH_FORGET => "batch_forget",
            FALLOCATE => "fallocate",
            READDIRPLUS => "readdirplus",
            RENAME2 => "rename2",
            LSEEK => "lseek",
            COPY_FILE_RANGE => "copy_file_range",
            SETUPMAPPING => "setupmapping",
            REMOVEMAPPING => "removemapping",
            SYNCFS => "syncfs",
            TMPFILE => "tmpfile",
            STATX => "statx",
            COPY_FILE_RANGE_64 => "copy_file_range_64",
            _ => "an unknown operation",
        }
    }
}

/// Notification codes (`enum fuse_notify_code`).
pub mod notify {
    #![expect(missing_docs, reason = "the names are the documentation")]
    pub const POLL: i32 = 1;
    pub const INVAL_INODE: i32 = 2;
    pub const INVAL_ENTRY: i32 = 3;
    pub const STORE: i32 = 4;
    pub const RETRIEVE: i32 = 5;
    pub const DELETE: i32 = 6;
    pub const RESEND: i32 = 7;
    pub const INC_EPOCH: i32 = 8;
    pub const PRUNE: i32 = 9;
}

/// Bits of [`SetattrIn::valid`].
pub mod fattr {
    #![expect(missing_docs, reason = "the names are the documentation")]
    pub const MODE: u32 = 1 << 0;
    pub const UID: u32 = 1 << 1;
    pub const GID: u32 = 1 << 2;
    pub const SIZE: u32 = 1 << 3;
    pub const ATIME: u32 = 1 << 4;
    pub const MTIME: u32 = 1 << 5;
    pub const FH: u32 = 1 << 6;
    pub const ATIME_NOW: u32 = 1 << 7;
    pub const MTIME_NOW: u32 = 1 << 8;
    pub const LOCKOWNER: u32 = 1 << 9;
    pub const CTIME: u32 = 1 << 10;
    pub const KILL_SUIDGID: u32 = 1 << 11;
}

/// RELEASE: flush as FLUSH does.
pub const RELEASE_FLUSH: u32 = 1 << 0;
/// RELEASE: drop BSD locks.
pub const RELEASE_FLOCK_UNLOCK: u32 = 1 << 1;
/// GETATTR and STATX: the file handle is valid.
pub const GETATTR_FH: u32 = 1 << 0;
/// Locks: a BSD lock.
pub const LK_FLOCK: u32 = 1 << 0;
/// WRITE: from the page cache, the handle is a guess.
pub const WRITE_CACHE: u32 = 1 << 0;
/// WRITE: the lock owner is valid.
pub const WRITE_LOCKOWNER: u32 = 1 << 1;
/// WRITE: drop setuid and setgid.
pub const WRITE_KILL_SUIDGID: u32 = 1 << 2;
/// READ: the lock owner is valid.
pub const READ_LOCKOWNER: u32 = 1 << 1;
/// IOCTL: 32-bit caller on a 64-bit kernel.
pub const IOCTL_COMPAT: u32 = 1 << 0;
/// IOCTL: not restricted to commands that encode their data.
pub const IOCTL_UNRESTRICTED: u32 = 1 << 1;
/// IOCTL: on a directory.
pub const IOCTL_DIR: u32 = 1 << 4;
/// FSYNC: data only.
pub const FSYNC_FDATASYNC: u32 = 1 << 0;
/// Attribute flag: the root of a submount.
pub const ATTR_SUBMOUNT: u32 = 1 << 0;
/// Attribute flag: DAX for this file.
pub const ATTR_DAX: u32 = 1 << 1;
/// OPEN and CREATE: drop setuid and setgid.
pub const OPEN_KILL_SUIDGID: u32 = 1 << 0;
/// SETXATTR: drop setgid when an access ACL is set.
pub const SETXATTR_ACL_KILL_SGID: u32 = 1 << 0;
/// Entry notification: let the entry expire rather than drop it.
pub const EXPIRE_ONLY: u32 = 1 << 0;
/// Extension type: supplementary groups; smaller ones are security contexts.
pub const EXT_GROUPS: u32 = 32;

/// Command to a ring: here is a place for requests.
pub const URING_CMD_REGISTER: u32 = 1;
/// Command to a ring: here is an answer; its place is free for a request.
pub const URING_CMD_COMMIT_AND_FETCH: u32 = 2;

/// Bytes of an old-style SETXATTR structure (without `SETXATTR_EXT`).
pub const COMPAT_SETXATTR_IN_SIZE: usize = 8;
/// Bytes of an INIT structure without `INIT_EXT`.
pub const COMPAT_INIT_IN_SIZE: usize = 16;

/// `_IOR(229, 0, uint32_t)`: attach this descriptor to another's connection.
pub const DEV_IOC_CLONE: u32 = ioc(2, 0, 4);
/// `_IOW(229, 1, struct fuse_backing_map)`: register a backing file.
pub const DEV_IOC_BACKING_OPEN: u32 = ioc(1, 1, 16);
/// `_IOW(229, 2, uint32_t)`: give a backing file up.
pub const DEV_IOC_BACKING_CLOSE: u32 = ioc(1, 2, 4);

/// The generic encoding of ioctl numbers, with the device's magic number 229.
const fn ioc(direction: u32, number: u32, size: u32) -> u32 {
    // Alpha, MIPS, PowerPC and SPARC number the directions differently and
    // have 13 bits for the size.
    if cfg!(any(
        target_arch = "mips",
        target_arch = "mips64",
        target_arch = "powerpc",
        target_arch = "powerpc64",
        target_arch = "sparc64"
    )) {
        let direction = if direction == 1 { 4 } else { direction };
        direction << 29 | size << 16 | 229 << 8 | number
    } else {
        direction << 30 | size << 16 | 229 << 8 | number
    }
}

/// Bytes of a directory entry's name field with what precedes it, padded.
pub const fn dirent_size(namelen: usize) -> usize {
    (size_of::<Dirent>() + namelen).next_multiple_of(8)
}

/// The same for an entry of READDIRPLUS.
pub const fn direntplus_size(namelen: usize) -> usize {
    (size_of::<Direntplus>() + namelen).next_multiple_of(8)
}
