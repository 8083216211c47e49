//! Fixed structures of requests.

#![allow(unsafe_code)]

use super::layout::abi_structs;
use super::structs::FileLock;

abi_structs! {
    /// FORGET.
    ForgetIn = "fuse_forget_in", 8 bytes, since 1 {
        nlookup: u64,
    }
    /// One of BATCH_FORGET.
    ForgetOne = "fuse_forget_one", 16 bytes, since 16 {
        nodeid: u64,
        nlookup: u64,
    }
    /// BATCH_FORGET.
    BatchForgetIn = "fuse_batch_forget_in", 8 bytes, since 16 {
        count: u32,
        dummy: u32,
    }
    /// GETATTR.
    GetattrIn = "fuse_getattr_in", 16 bytes, since 9 {
        getattr_flags: u32,
        dummy: u32,
        fh: u64,
    }
    /// STATX.
    StatxIn = "fuse_statx_in", 24 bytes, since 39 {
        getattr_flags: u32,
        reserved: u32,
        fh: u64,
        sx_flags: u32,
        sx_mask: u32,
    }
    /// SETATTR.
    SetattrIn = "fuse_setattr_in", 88 bytes, since 23 {
        valid: u32,
        padding: u32,
        fh: u64,
        size: u64,
        lock_owner: u64,
        atime: u64,
        mtime: u64,
        ctime: u64,
        atimensec: u32,
        mtimensec: u32,
        ctimensec: u32,
        mode: u32,
        unused4: u32,
        uid: u32,
        gid: u32,
        unused5: u32,
    }
    /// MKNOD.
    MknodIn = "fuse_mknod_in", 16 bytes, since 12 {
        mode: u32,
        rdev: u32,
        umask: u32,
        padding: u32,
    }
    /// MKDIR.
    MkdirIn = "fuse_mkdir_in", 8 bytes, since 12 {
        mode: u32,
        umask: u32,
    }
    /// RENAME.
    RenameIn = "fuse_rename_in", 8 bytes, since 1 {
        newdir: u64,
    }
    /// RENAME2.
    Rename2In = "fuse_rename2_in", 16 bytes, since 23 {
        newdir: u64,
        flags: u32,
        padding: u32,
    }
    /// LINK.
    LinkIn = "fuse_link_in", 8 bytes, since 1 {
        oldnodeid: u64,
    }
    /// OPEN and OPENDIR.
    OpenIn = "fuse_open_in", 8 bytes, since 32 {
        flags: u32,
        open_flags: u32,
    }
    /// CREATE and TMPFILE.
    CreateIn = "fuse_create_in", 16 bytes, since 32 {
        flags: u32,
        mode: u32,
        umask: u32,
        open_flags: u32,
    }
    /// RELEASE and RELEASEDIR.
    ReleaseIn = "fuse_release_in", 24 bytes, since 8 {
        fh: u64,
        flags: u32,
        release_flags: u32,
        lock_owner: u64,
    }
    /// FLUSH.
    FlushIn = "fuse_flush_in", 24 bytes, since 7 {
        fh: u64,
        unused: u32,
        padding: u32,
        lock_owner: u64,
    }
    /// READ, READDIR and READDIRPLUS.
    ReadIn = "fuse_read_in", 40 bytes, since 9 {
        fh: u64,
        offset: u64,
        size: u32,
        read_flags: u32,
        lock_owner: u64,
        flags: u32,
        padding: u32,
    }
    /// WRITE; the data follow.
    WriteIn = "fuse_write_in", 40 bytes, since 9 {
        fh: u64,
        offset: u64,
        size: u32,
        write_flags: u32,
        lock_owner: u64,
        flags: u32,
        padding: u32,
    }
    /// FSYNC and FSYNCDIR.
    FsyncIn = "fuse_fsync_in", 16 bytes, since 1 {
        fh: u64,
        fsync_flags: u32,
        padding: u32,
    }
    /// SETXATTR, with `SETXATTR_EXT`; otherwise only the first 8 bytes.
    SetxattrIn = "fuse_setxattr_in", 16 bytes, since 33 {
        size: u32,
        flags: u32,
        setxattr_flags: u32,
        padding: u32,
    }
    /// GETXATTR and LISTXATTR.
    GetxattrIn = "fuse_getxattr_in", 8 bytes, since 1 {
        size: u32,
        padding: u32,
    }
    /// GETLK, SETLK and SETLKW.
    LkIn = "fuse_lk_in", 48 bytes, since 9 {
        fh: u64,
        owner: u64,
        lk: FileLock,
        lk_flags: u32,
        padding: u32,
    }
    /// ACCESS.
    AccessIn = "fuse_access_in", 8 bytes, since 1 {
        mask: u32,
        padding: u32,
    }
    /// INIT, with `INIT_EXT`; otherwise only the first 16 bytes.
    InitIn = "fuse_init_in", 64 bytes, since 36 {
        major: u32,
        minor: u32,
        max_readahead: u32,
        flags: u32,
        flags2: u32,
        unused: [u32; 11],
    }
    /// INTERRUPT.
    InterruptIn = "fuse_interrupt_in", 8 bytes, since 1 {
        unique: u64,
    }
    /// IOCTL; input data follow.
    IoctlIn = "fuse_ioctl_in", 32 bytes, since 16 {
        fh: u64,
        flags: u32,
        cmd: u32,
        arg: u64,
        in_size: u32,
        out_size: u32,
    }
    /// FALLOCATE.
    FallocateIn = "fuse_fallocate_in", 32 bytes, since 19 {
        fh: u64,
        offset: u64,
        length: u64,
        mode: u32,
        padding: u32,
    }
    /// LSEEK.
    LseekIn = "fuse_lseek_in", 24 bytes, since 24 {
        fh: u64,
        offset: u64,
        whence: u32,
        padding: u32,
    }
    /// COPY_FILE_RANGE and COPY_FILE_RANGE_64.
    CopyFileRangeIn = "fuse_copy_file_range_in", 56 bytes, since 28 {
        fh_in: u64,
        off_in: u64,
        nodeid_out: u64,
        fh_out: u64,
        off_out: u64,
        len: u64,
        flags: u64,
    }
    /// SYNCFS.
    SyncfsIn = "fuse_syncfs_in", 8 bytes, since 34 {
        padding: u64,
    }
}
