//! What goes into and comes out of a file system's methods.

use std::time::Duration;

use rustix::io::Errno;

use crate::flags::flag_set;

/// What every method of a file system returns: a value, or the error number
/// that the calling program sees.
pub type Result<T> = std::result::Result<T, Errno>;

/// The node id of the root directory.
pub const ROOT_ID: u64 = crate::abi::ROOT_ID;

/// Who asks, and about which node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Number of the request, unique while it is being served.
    pub unique: u64,
    /// The node that the operation is about; for operations on names, the
    /// directory that holds (or will hold) the name.
    pub node: u64,
    /// File-system user id of the caller. `u32::MAX` where the kernel does
    /// not tell it (idmapped mounts, outside creation).
    pub uid: u32,
    /// File-system group id of the caller.
    pub gid: u32,
    /// Thread id of the caller, 0 if it is not visible in the server's pid
    /// namespace or the kernel acts by itself.
    pub pid: u32,
    /// The one supplementary group of the caller that equals the group of the
    /// parent directory. Only for creations, and only if
    /// [`InitFlags::CREATE_SUPP_GROUP`](crate::InitFlags::CREATE_SUPP_GROUP)
    /// was negotiated.
    pub supplementary_group: Option<u32>,
}

/// A point in time; negative seconds lie before 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp {
    /// Seconds since 1970-01-01 UTC.
    pub sec: i64,
    /// Nanoseconds, 0..=999_999_999.
    pub nsec: u32,
}

/// Attributes of a node, as `stat(2)` shows them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attr {
    /// The number shown as `st_ino`. Independent of the node id.
    pub ino: u64,
    /// Size in bytes.
    pub size: u64,
    /// Allocated space in units of 512 bytes.
    pub blocks: u64,
    /// Last access.
    pub atime: Timestamp,
    /// Last change of data.
    pub mtime: Timestamp,
    /// Last change of attributes.
    pub ctime: Timestamp,
    /// Type and permission bits (`st_mode`).
    pub mode: u32,
    /// Number of links.
    pub nlink: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Device number of a device node, as `makedev(3)` packs it.
    pub rdev: u64,
    /// Preferred I/O size in bytes.
    pub blksize: u32,
    /// `FUSE_ATTR_*` flags ([`crate::abi::ATTR_SUBMOUNT`], ...); usually 0.
    pub flags: u32,
}

/// The answer to an operation that yields a node: the node, how long the
/// kernel may remember it under this name, and its attributes.
///
/// Each positive entry that reaches the kernel counts one lookup, which a
/// later [`forget`](crate::FileSystem::forget) takes back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// Node id, chosen by the file system; [`ROOT_ID`] is the root. 0 makes
    /// the entry negative: the name does not exist.
    pub node: u64,
    /// Tells apart successive uses of one node id. The pair must never recur
    /// while the file system is mounted. 0 if ids are not used again.
    pub generation: u64,
    /// Attributes; ignored in a negative entry.
    pub attr: Attr,
    /// How long the kernel may trust the name.
    pub entry_ttl: Duration,
    /// How long the kernel may trust the attributes.
    pub attr_ttl: Duration,
}

impl Entry {
    /// The name does not exist, and the kernel may remember so for `ttl`.
    ///
    /// Only sensible as the answer to a lookup. The error ENOENT says the
    /// same without the permission to remember.
    pub fn negative(ttl: Duration) -> Entry {
        Entry { entry_ttl: ttl, ..Entry::default() }
    }
}

/// Attributes and how long the kernel may trust them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AttrReply {
    /// The attributes.
    pub attr: Attr,
    /// How long they hold.
    pub ttl: Duration,
}

/// A time to be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetTime {
    /// The current time, taken by the server.
    Now,
    /// This time.
    At(Timestamp),
}

/// Attributes to be changed; `None` leaves one as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SetAttr {
    /// Permission bits, including setuid, setgid and sticky. May contain the
    /// type bits, which cannot change.
    pub mode: Option<u32>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Size in bytes.
    pub size: Option<u64>,
    /// Access time.
    pub atime: Option<SetTime>,
    /// Modification time.
    pub mtime: Option<SetTime>,
    /// Change time; only sent under
    /// [`InitFlags::WRITEBACK_CACHE`](crate::InitFlags::WRITEBACK_CACHE).
    pub ctime: Option<Timestamp>,
    /// The open file through which the change was asked for (`ftruncate`).
    pub fh: Option<u64>,
    /// Lock owner of the truncating caller.
    pub lock_owner: Option<u64>,
    /// setuid and setgid are to be dropped with this change: it changes the
    /// size, and the caller lacks `CAP_FSETID`. (A change of owner must drop
    /// them without being told, under `HANDLE_KILLPRIV_V2`.)
    pub kill_suidgid: bool,
}

flag_set! {
    /// How the kernel treats a file or directory that was opened.
    pub struct OpenFlags(u32) {
        /// Bypass the page cache.
        DIRECT_IO = 1 << 0;
        /// Keep what the page cache holds from earlier opens.
        /// With `PASSTHROUGH` the open fails (EIO).
        KEEP_CACHE = 1 << 1;
        /// The file cannot be seeked.
        NONSEEKABLE = 1 << 2;
        /// The kernel may cache the listing of this directory. `KEEP_CACHE`
        /// must be set too for a listing cached earlier to be used again.
        CACHE_DIR = 1 << 3;
        /// The file has no position at all.
        STREAM = 1 << 4;
        /// Closing needs no FLUSH request (5.16).
        NOFLUSH = 1 << 5;
        /// With `DIRECT_IO`: writes to one file may run side by side (6.2).
        PARALLEL_DIRECT_WRITES = 1 << 6;
        /// Read, write and mmap go straight to the file that
        /// [`OpenReply::backing_id`] names (6.9).
        PASSTHROUGH = 1 << 7;
    }
}

/// A file or directory that was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpenReply {
    /// Handle, chosen by the file system, that later requests carry.
    pub fh: u64,
    /// How the kernel is to treat it.
    pub flags: OpenFlags,
    /// The backing file, from [`BackingId::raw`](crate::BackingId::raw).
    /// Ignored unless `flags` has [`OpenFlags::PASSTHROUGH`].
    pub backing_id: i32,
}

/// Space and limits, as `statvfs(3)` shows them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatFs {
    /// Blocks in all, in units of `frsize`.
    pub blocks: u64,
    /// Free blocks.
    pub bfree: u64,
    /// Blocks free for ordinary users.
    pub bavail: u64,
    /// Inodes in all.
    pub files: u64,
    /// Free inodes.
    pub ffree: u64,
    /// Preferred I/O size in bytes.
    pub bsize: u32,
    /// Unit of the block counts in bytes.
    pub frsize: u32,
    /// Longest name in bytes.
    pub namelen: u32,
}

impl Default for StatFs {
    fn default() -> StatFs {
        StatFs {
            blocks: 0,
            bfree: 0,
            bavail: 0,
            files: 0,
            ffree: 0,
            bsize: 4096,
            frsize: 4096,
            namelen: 255,
        }
    }
}

/// The answer to STATX: what [`Attr`] does not hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StatxReply {
    /// The basic attributes.
    pub attr: Attr,
    /// Creation; `None` if unknown.
    pub btime: Option<Timestamp>,
    /// `stx_attributes` (`STATX_ATTR_*`).
    pub attributes: u64,
    /// `stx_attributes_mask`: which of them the file system knows.
    pub attributes_mask: u64,
    /// How long the kernel may trust the basic attributes.
    pub ttl: Duration,
}

/// The answer to IOCTL.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IoctlReply {
    /// What `ioctl(2)` returns.
    pub result: i32,
    /// Bytes written to the output buffer.
    pub len: usize,
}

/// A lock on a range of bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileLock {
    /// First byte.
    pub start: u64,
    /// Last byte; `i64::MAX` for "to the end".
    pub end: u64,
    /// `F_RDLCK`, `F_WRLCK` or `F_UNLCK`.
    pub kind: u32,
    /// Process that holds it.
    pub pid: u32,
}
