//! Kinds of file systems as statfs(2) tells them (`f_type`): `linux/magic.h`, and for
//! those that are not in there their own sources.
#![forbid(unsafe_code)]

use rustix::fs::FsWord;

pub(crate) const BCACHEFS: FsWord = 0xca45_1a4e;
pub(crate) const BTRFS: FsWord = 0x9123_683e;
pub(crate) const CRAMFS: FsWord = 0x28cd_3d45;
pub(crate) const EROFS: FsWord = 0xe0f5_e1e2;
/// ext2 and ext3 as well.
pub(crate) const EXT4: FsWord = 0xef53;
pub(crate) const F2FS: FsWord = 0xf2f5_2010;
pub(crate) const ISO9660: FsWord = 0x9660;
pub(crate) const JFFS2: FsWord = 0x72b6;
pub(crate) const JFS: FsWord = 0x3153_464a;
pub(crate) const NFS: FsWord = 0x6969;
pub(crate) const RAMFS: FsWord = 0x8584_58f6;
pub(crate) const ROMFS: FsWord = 0x7275;
pub(crate) const SQUASHFS: FsWord = 0x7371_7368;
pub(crate) const TMPFS: FsWord = 0x0102_1994;
pub(crate) const UBIFS: FsWord = 0x2405_1905;
pub(crate) const XFS: FsWord = 0x5846_5342;
pub(crate) const ZFS: FsWord = 0x2fc1_2fc1;
