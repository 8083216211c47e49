//! Structures shared by operations, answers, notifications and ioctls.

#![allow(unsafe_code)]

use super::layout::abi_structs;

abi_structs! {
    /// In front of every request.
    InHeader = "fuse_in_header", 40 bytes, since 38 {
        len: u32,
        opcode: u32,
        unique: u64,
        nodeid: u64,
        uid: u32,
        gid: u32,
        pid: u32,
        total_extlen: u16,
        padding: u16,
    }
    /// In front of every answer and notification.
    OutHeader = "fuse_out_header", 16 bytes, since 1 {
        len: u32,
        error: i32,
        unique: u64,
    }
    /// Attributes of a node.
    Attr = "fuse_attr", 88 bytes, since 32 {
        ino: u64,
        size: u64,
        blocks: u64,
        atime: u64,
        mtime: u64,
        ctime: u64,
        atimensec: u32,
        mtimensec: u32,
        ctimensec: u32,
        mode: u32,
        nlink: u32,
        uid: u32,
        gid: u32,
        rdev: u32,
        blksize: u32,
        flags: u32,
    }
    /// A time in STATX.
    SxTime = "fuse_sx_time", 16 bytes, since 39 {
        tv_sec: i64,
        tv_nsec: u32,
        __reserved: i32,
    }
    /// `struct statx`.
    Statx = "fuse_statx", 256 bytes, since 39 {
        mask: u32,
        blksize: u32,
        attributes: u64,
        nlink: u32,
        uid: u32,
        gid: u32,
        mode: u16,
        __spare0: [u16; 1],
        ino: u64,
        size: u64,
        blocks: u64,
        attributes_mask: u64,
        atime: SxTime,
        btime: SxTime,
        ctime: SxTime,
        mtime: SxTime,
        rdev_major: u32,
        rdev_minor: u32,
        dev_major: u32,
        dev_minor: u32,
        __spare2: [u64; 14],
    }
    /// Space and limits.
    Kstatfs = "fuse_kstatfs", 80 bytes, since 4 {
        blocks: u64,
        bfree: u64,
        bavail: u64,
        files: u64,
        ffree: u64,
        bsize: u32,
        namelen: u32,
        frsize: u32,
        padding: u32,
        spare: [u32; 6],
    }
    /// A lock.
    FileLock = "fuse_file_lock", 24 bytes, since 9 {
        start: u64,
        end: u64,
        r#type: u32,
        pid: u32,
    }
    /// Answer that yields a node.
    EntryOut = "fuse_entry_out", 128 bytes, since 9 {
        nodeid: u64,
        generation: u64,
        entry_valid: u64,
        attr_valid: u64,
        entry_valid_nsec: u32,
        attr_valid_nsec: u32,
        attr: Attr,
    }
    /// Answer to GETATTR and SETATTR.
    AttrOut = "fuse_attr_out", 104 bytes, since 9 {
        attr_valid: u64,
        attr_valid_nsec: u32,
        dummy: u32,
        attr: Attr,
    }
    /// Answer to STATX.
    StatxOut = "fuse_statx_out", 288 bytes, since 39 {
        attr_valid: u64,
        attr_valid_nsec: u32,
        flags: u32,
        spare: [u64; 2],
        stat: Statx,
    }
    /// Answer to OPEN, OPENDIR, CREATE and TMPFILE.
    OpenOut = "fuse_open_out", 16 bytes, since 40 {
        fh: u64,
        open_flags: u32,
        backing_id: i32,
    }
    /// Answer to WRITE and COPY_FILE_RANGE.
    WriteOut = "fuse_write_out", 8 bytes, since 1 {
        size: u32,
        padding: u32,
    }
    /// Answer to STATFS.
    StatfsOut = "fuse_statfs_out", 80 bytes, since 4 {
        st: Kstatfs,
    }
    /// Answer to GETXATTR and LISTXATTR of size 0.
    GetxattrOut = "fuse_getxattr_out", 8 bytes, since 1 {
        size: u32,
        padding: u32,
    }
    /// Answer to GETLK.
    LkOut = "fuse_lk_out", 24 bytes, since 9 {
        lk: FileLock,
    }
    /// Answer to INIT.
    InitOut = "fuse_init_out", 64 bytes, since 43 {
        major: u32,
        minor: u32,
        max_readahead: u32,
        flags: u32,
        max_background: u16,
        congestion_threshold: u16,
        max_write: u32,
        time_gran: u32,
        max_pages: u16,
        map_alignment: u16,
        flags2: u32,
        max_stack_depth: u32,
        request_timeout: u16,
        unused: [u16; 11],
    }
    /// Answer to IOCTL.
    IoctlOut = "fuse_ioctl_out", 16 bytes, since 11 {
        result: i32,
        flags: u32,
        in_iovs: u32,
        out_iovs: u32,
    }
    /// Answer to LSEEK.
    LseekOut = "fuse_lseek_out", 8 bytes, since 24 {
        offset: u64,
    }
    /// Answer to COPY_FILE_RANGE_64.
    CopyFileRangeOut = "fuse_copy_file_range_out", 8 bytes, since 45 {
        bytes_copied: u64,
    }
    /// Entry of READDIR; the name follows, padded to 8 bytes.
    Dirent = "fuse_dirent", 24 bytes, since 1 {
        ino: u64,
        off: u64,
        namelen: u32,
        r#type: u32,
    }
    /// Entry of READDIRPLUS.
    Direntplus = "fuse_direntplus", 152 bytes, since 21 {
        entry_out: EntryOut,
        dirent: Dirent,
    }
    /// Notification INVAL_INODE.
    NotifyInvalInodeOut = "fuse_notify_inval_inode_out", 24 bytes, since 12 {
        ino: u64,
        off: i64,
        len: i64,
    }
    /// Notification INVAL_ENTRY.
    NotifyInvalEntryOut = "fuse_notify_inval_entry_out", 16 bytes, since 38 {
        parent: u64,
        namelen: u32,
        flags: u32,
    }
    /// Notification DELETE.
    NotifyDeleteOut = "fuse_notify_delete_out", 24 bytes, since 18 {
        parent: u64,
        child: u64,
        namelen: u32,
        padding: u32,
    }
    /// Notification STORE.
    NotifyStoreOut = "fuse_notify_store_out", 24 bytes, since 15 {
        nodeid: u64,
        offset: u64,
        size: u32,
        padding: u32,
    }
    /// Notification RETRIEVE.
    NotifyRetrieveOut = "fuse_notify_retrieve_out", 32 bytes, since 15 {
        notify_unique: u64,
        nodeid: u64,
        offset: u64,
        size: u32,
        padding: u32,
    }
    /// Notification PRUNE; node ids follow.
    NotifyPruneOut = "fuse_notify_prune_out", 16 bytes, since 45 {
        count: u32,
        padding: u32,
        spare: u64,
    }
    /// Argument of the ioctl that registers a backing file.
    BackingMap = "fuse_backing_map", 16 bytes, since 40 {
        fd: i32,
        flags: u32,
        padding: u64,
    }
    /// In front of each extension of a request.
    ExtHeader = "fuse_ext_header", 8 bytes, since 38 {
        size: u32,
        r#type: u32,
    }
    /// Extension of supplementary groups; the groups follow.
    SuppGroups = "fuse_supp_groups", 4 bytes, since 39 {
        nr_groups: u32,
    }
    /// io_uring transport: what an entry is about.
    UringEntInOut = "fuse_uring_ent_in_out", 32 bytes, since 42 {
        flags: u64,
        commit_id: u64,
        payload_sz: u32,
        padding: u32,
        reserved: u64,
    }
    /// io_uring transport: the headers of a request and its answer.
    UringReqHeader = "fuse_uring_req_header", 288 bytes, since 42 {
        in_out: [u8; 128],
        op_in: [u8; 128],
        ring_ent_in_out: UringEntInOut,
    }
    /// io_uring transport: the command area of a submission.
    UringCmdReq = "fuse_uring_cmd_req", 24 bytes, since 42 {
        flags: u64,
        commit_id: u64,
        qid: u16,
        padding: [u8; 6],
    }
}
