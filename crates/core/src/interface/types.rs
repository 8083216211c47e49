//! What goes in and out of the overlay: callers, attributes, entries.

pub use crate::format::time::Timestamp;

/// The number of a node: what the kernel calls a node id.
///
/// As a rule the number that the object shows. Not used for another object
/// while an overlay is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub u64);

impl NodeId {
    /// The root of the merged tree. It needs no lookup and is never forgotten.
    pub const ROOT: NodeId = NodeId(1);
}

/// Who asks: decides the owner and the mode of what is created.
///
/// The overlay does not check permissions; its caller does
/// (FUSE: `default_permissions`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    /// File-system user id, as the storage is to record it.
    pub uid: u32,
    /// File-system group id. A setgid parent directory overrides it.
    pub gid: u32,
    /// Permission bits taken away at creation, unless a default ACL decides.
    pub umask: u32,
}

/// The owners that all objects show, whatever base and storage hold: who is
/// shown as the owner may do what an owner may.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Squash {
    /// The user.
    pub uid: Option<u32>,
    /// The group.
    pub gid: Option<u32>,
}

/// Attributes of an object, as `stat` shows them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attr {
    /// Number as shown; stable across copy-up and remount.
    pub ino: u64,
    /// Type and permission bits (`st_mode`).
    pub mode: u32,
    /// Link count. 1 for a directory that merges base and storage.
    pub nlink: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Device number of a device node, as `makedev(3)` packs it.
    pub rdev: u64,
    /// Size in bytes.
    pub size: u64,
    /// Allocated space in units of 512 bytes.
    pub blocks: u64,
    /// Preferred I/O size in bytes.
    pub blksize: u32,
    /// Last access.
    pub atime: Timestamp,
    /// Last change of data.
    pub mtime: Timestamp,
    /// Last change of attributes.
    pub ctime: Timestamp,
    /// Creation, where the layer records it.
    pub btime: Option<Timestamp>,
    /// `stx_attributes` of `statx(2)` (immutable, append, compressed ...).
    pub statx_attributes: u64,
}

/// A name that was found, with one reference (lookup count) on its node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The node; give it back with [`crate::Overlay::forget`].
    pub node: NodeId,
    /// Its attributes.
    pub attr: Attr,
}

/// A time to be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetTime {
    /// The current time, taken by the storage.
    Now,
    /// This time.
    At(Timestamp),
}

/// Attributes to be changed; `None` leaves one as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SetAttr {
    /// Permission bits, including setuid, setgid and sticky.
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
    /// The change is one of data by a caller without `CAP_FSETID`: setuid and
    /// setgid are to be dropped with it.
    pub kill_suid_sgid: bool,
}

/// What `rename` does where the target exists (`renameat2(2)`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RenameMode {
    /// The target is replaced.
    #[default]
    Replace,
    /// EEXIST (`RENAME_NOREPLACE`).
    NoReplace,
    /// Source and target change places (`RENAME_EXCHANGE`).
    Exchange,
    /// The target is replaced, and a character device 0:0 takes the place of
    /// the source (`RENAME_WHITEOUT`: an overlayfs on top hides a name so).
    Whiteout {
        /// Who makes the device, which is his.
        by: Caller,
    },
}

/// How a file is opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpenMode {
    /// The handle may write: a base file is copied up now, whether or not
    /// anything is written.
    pub write: bool,
    /// The size becomes 0 (`O_TRUNC`).
    pub truncate: bool,
    /// Every write goes to the end of the file (`O_APPEND`).
    pub append: bool,
    /// The caller writes at the end of the file only, where that is at the
    /// time. Matters for files that may not be written otherwise.
    pub at_end: bool,
    /// Opened as touch(1) does (`O_WRONLY | O_NONBLOCK`): it will hardly write.
    pub idle: bool,
    /// Reading does not move the time of access (`O_NOATIME`).
    pub no_access_time: bool,
    /// Page cache of the layers is passed by (`O_DIRECT`).
    pub direct: bool,
    /// The caller lacks `CAP_FSETID`: truncation drops setuid and setgid.
    pub kill_suid_sgid: bool,
}

/// An entry of a directory listing, `.` and `..` included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DirEntry<'a> {
    /// The name, one component, any bytes but `/` and NUL.
    pub name: &'a [u8],
    /// The number that `stat` shows.
    pub ino: u64,
    /// Type bits of `st_mode` (`S_IFREG` ...); 0 where the layer does not tell.
    pub kind: u32,
    /// Offset of the next entry, for [`crate::Overlay::read_dir`]. Never 0.
    pub next: u64,
}

/// Space and limits of the storage file system, as `statvfs(3)` tells them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpaceInfo {
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
