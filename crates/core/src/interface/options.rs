//! What an overlay is opened with.
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::time::Duration;

use crate::format::name::MetaName;
use crate::interface::types::Squash;

/// Which accesses move the time of access (mount(8)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AccessTimes {
    /// `relatime`: where it is not later than the last change, or a day old.
    #[default]
    Relative,
    /// `strictatime`: all.
    Always,
    /// `nodiratime`: as `Relative`, but of directories none.
    NotOfDirectories,
    /// `noatime`: none.
    Never,
}

/// How a layer says what it hides of those below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DialectName {
    /// It hides nothing but by what it has itself.
    Plain,
    /// It is a storage of mini_fo, whose META is called so; `None`: as is recognised.
    MiniFo(Option<MetaName>),
    /// The kernel's overlayfs has written it; attributes are `trusted.overlay.*`.
    Overlay,
    /// The same with `user.overlay.*` (its option `userxattr`).
    OverlayUser,
    /// It is a layer of a container image, or fuse-overlayfs has written it.
    Oci,
}

impl DialectName {
    /// All of them, as users call them.
    pub const ALL: [(&'static str, DialectName); 5] = [
        ("plain", DialectName::Plain),
        ("mini_fo", DialectName::MiniFo(None)),
        ("overlay", DialectName::Overlay),
        ("overlay-user", DialectName::OverlayUser),
        ("oci", DialectName::Oci),
    ];
}

/// One of the trees that are only read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LayerOptions {
    /// Its root.
    pub path: PathBuf,
    /// How it is to be read; `None`: as is recognised.
    pub dialect: Option<DialectName>,
}

/// Options of [`crate::Overlay::assemble`].
#[derive(Clone, Debug, Default)]
pub struct OpenOptions {
    /// The tree that is only read: the uppermost, if there are several.
    pub base: PathBuf,
    /// How it is to be read; `None`: as is recognised.
    pub dialect: Option<DialectName>,
    /// The trees below it, from the top down.
    pub under: Vec<LayerOptions>,
    /// The directory that receives every change. Empty: there is none, and nothing can
    /// be changed.
    pub storage: PathBuf,
    /// What META is called in the storage.
    pub meta_name: MetaName,
    /// Where the merged tree will be mounted, if it will.
    pub mountpoint: Option<PathBuf>,
    /// Nothing is to be changed; the storage is shared with other readers.
    pub read_only: bool,
    /// It is so until it ends: it never begins to write.
    pub stays_read_only: bool,
    /// Take a storage that was made for another base, and make it this one's.
    pub accept_other_base: bool,
    /// Take a directory as storage that holds something and no META.
    pub accept_storage: bool,
    /// Take a storage whose file system cannot hold everything.
    pub accept_poor_storage: bool,
    /// Write although META has damaged lines, which are dropped.
    pub write_despite_damage: bool,
    /// Which accesses move times of access.
    pub access_times: AccessTimes,
    /// File systems that are mounted below the base are part of it; else their
    /// mount points show as empty directories.
    pub submounts: bool,
    /// Objects that never show, under whatever name the base has them.
    pub hidden: Vec<PathBuf>,
    /// Others may change the base; what they do shows within this time.
    /// `None`: the base stays as it is.
    pub live_base: Option<Duration>,
    /// Files are copied up as a whole: none is left with data in the base.
    pub whole_copies: bool,
    /// Files of at least so many bytes that are opened for writing are copied
    /// up block by block; `None`: from a size where that pays.
    pub blocks_from: Option<u64>,
    /// Base and storage are shown with one owner, and this process may give
    /// files away. Nothing is translated by the overlay.
    pub squash: Squash,
    /// Who owns objects says nothing: the tree is shown with one owner, who can give
    /// nothing away. So owners are not compared.
    pub one_owner: bool,
    /// Copied data is not handed to the device before it gets its name.
    pub volatile: bool,
    /// Deletions take no copies of directories, as on a full storage: to test that.
    pub far_first: bool,
    /// A commit of the storage that was begun is no obstacle: who opens it finishes that.
    pub after_commit: bool,
    /// The storage counts as one on a file server, which others than this machine
    /// reach: to test its lock.
    pub on_server: bool,
}
