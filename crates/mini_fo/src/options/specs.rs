//! The table of options.

/// What an option asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opt {
    /// The base directory.
    Base,
    /// How the layers are to be read.
    Dialect,
    /// The storage directory.
    Storage,
    /// What META is called in it.
    MetaName,
    /// Sets (`true`) or clears a flag of the mount.
    Flag(Flag, bool),
    /// Read-only, and never otherwise.
    StaysReadOnly,
    /// Everything back to rw, suid, dev, exec, async, relatime.
    Defaults,
    /// A mount by an ordinary user from fstab: nosuid, nodev and noexec.
    User,
    /// Change the flags of the live mount.
    Remount,
    /// Other users may enter the mount.
    AllowOther(bool),
    /// The kernel checks permission bits.
    DefaultPermissions(bool),
    /// Write although META holds damaged lines.
    Damaged,
    /// Take a storage that was made for another base.
    AcceptBase,
    /// Take a directory that holds something as a new storage.
    AcceptStorage,
    /// Take a storage whose file system cannot hold everything.
    PoorStorage,
    /// Syncs by programs are not waited for.
    Volatile,
    /// From which size on files are copied block by block.
    BlocksFrom,
    /// `reserve`
    Reserve,
    /// Files are copied as a whole.
    WholeCopies,
    /// How many objects may be known.
    MaxNodes,
    /// Times of creation do not show.
    NoBirthTimes,
    /// Mounts below the base are part of it.
    Submounts,
    /// Others change the base.
    LiveBase,
    /// Data of storage files is read and written by the kernel itself.
    Passthrough(bool),
    /// How requests come from the kernel.
    Transport,
    /// What the first field of `/proc/mounts` shows.
    Source,
    /// Threads that wait for requests leave their CPUs to everybody else.
    SchedIdle(bool),
    /// Write the log to this file.
    Log,
    /// How owners are translated.
    Ids(Ids),
    /// Accepted and without effect.
    Ignored,
}

/// What is said of owners.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Ids {
    UidMap,
    GidMap,
    SquashUid,
    SquashGid,
    SquashRoot,
}

/// A flag of a mount, as mount(8) names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Flag {
    ReadOnly,
    NoSuid,
    NoDev,
    NoExec,
    Sync,
    DirSync,
    NoAtime,
    NoDirAtime,
    StrictAtime,
    RelAtime,
    LazyTime,
    NoSymFollow,
}

/// How an option is written.
pub struct Spec {
    /// Its name; for prefixes (`x-`) all that begins so.
    pub name: &'static str,
    /// What stands after `=`; `None`: no value. In `[]`: may be left out.
    pub value: Option<&'static str>,
    /// Its meaning.
    pub opt: Opt,
    /// A line of help; empty: not shown.
    pub help: &'static str,
}

const fn spec(
    name: &'static str,
    value: Option<&'static str>,
    opt: Opt,
    help: &'static str,
) -> Spec {
    Spec { name, value, opt, help }
}

const fn flag(name: &'static str, flag: Flag, on: bool, help: &'static str) -> Spec {
    Spec { name, value: None, opt: Opt::Flag(flag, on), help }
}

const fn ignored(name: &'static str, value: Option<&'static str>) -> Spec {
    Spec { name, value, opt: Opt::Ignored, help: "" }
}

/// All options.
pub const SPECS: &[Spec] = &[
    spec(
        "base",
        Some("DIR[:DIR...]"),
        Opt::Base,
        "the tree that is only read; of several the first is the uppermost (a colon in a path is \
         written \\:)",
    ),
    spec(
        "dialect",
        Some("NAME[:NAME...]"),
        Opt::Dialect,
        "how each of these trees is to be read, in their order: auto (the default), plain, \
         mini_fo (a storage; mini_fo=NAME if its META is called NAME), overlay or overlay-user (an upper directory of the kernel's \
         overlayfs), oci (a layer of a container image)",
    ),
    spec("sto", Some("DIR"), Opt::Storage, "the directory that receives every change"),
    spec("storage", Some("DIR"), Opt::Storage, "the same as sto="),
    spec(
        "meta_name",
        Some("NAME"),
        Opt::MetaName,
        "what the file META is called in the storage (META_dAfFgHE39ktF3HD2sr if not given): for \
         storages of a module of 2005 that was built with another name, or where that one is \
         wanted as the name of a file. What begins with it is not shown; a storage whose base, or \
         which itself, has such names is refused at its first mount",
    ),
    flag("ro", Flag::ReadOnly, true, "nothing can be changed, until mount -o remount,rw"),
    flag("rw", Flag::ReadOnly, false, "changes go to the storage (the default)"),
    spec(
        "stays_ro",
        None,
        Opt::StaysReadOnly,
        "ro until it is unmounted: remount,rw is refused, and the kernel may read files of the \
         base itself (as of the storage, see passthrough)",
    ),
    spec("remount", None, Opt::Remount, "change the flags of the live mount"),
    spec("accept_base", None, Opt::AcceptBase, "use a storage that was made for another base"),
    spec(
        "accept_storage",
        None,
        Opt::AcceptStorage,
        "use a directory as storage that is not empty and does not look like a storage: what it \
         holds shows in the mount",
    ),
    spec(
        "poor_storage",
        None,
        Opt::PoorStorage,
        "use a storage whose file system cannot hold hard links, or all names (FAT): what it \
         cannot hold fails then; names are escaped",
    ),
    spec(
        "damaged",
        Some("ro|rw"),
        Opt::Damaged,
        "what to do when META holds damaged lines: mount read-only (the default), \
         or write, after they were dropped",
    ),
    spec(
        "volatile",
        None,
        Opt::Volatile,
        "do not bring the copy of a file to the disk before it takes the file's place: \
         faster, but a power cut may lose what was copied; after one, or if the \
         daemon is killed, later mounts warn",
    ),
    spec(
        "blocks_from",
        Some("SIZE"),
        Opt::BlocksFrom,
        "files of at least SIZE (bytes, or with K, M, G; 128M if not given) that are opened for \
         writing are copied block by block, as they are written; smaller ones at once",
    ),
    spec(
        "reserve",
        Some("SIZE"),
        Opt::Reserve,
        "keep SIZE of the storage (bytes, or with K, M, G; 4M if not given; a 32nd of its file          system at most; 0: nothing) for deletions when it is full",
    ),
    spec(
        "whole_copies",
        None,
        Opt::WholeCopies,
        "every file that is changed in any way is copied as a whole, at once",
    ),
    spec(
        "max_nodes",
        Some("NUMBER"),
        Opt::MaxNodes,
        "of how many files and directories the daemon may have to know at a time (4194304 if not \
         given; some 200 bytes each and the name): above that it asks the kernel to forget those \
         that nobody uses; needs Linux 6.18",
    ),
    spec(
        "nobtime",
        None,
        Opt::NoBirthTimes,
        "show no times of creation (stat %w). Saves a second request for every file that a \
         program asks for its time of creation, which programs in Rust always do",
    ),
    spec(
        "submounts",
        None,
        Opt::Submounts,
        "file systems mounted below the base are part of the tree \
         (else their mount points are empty directories)",
    ),
    spec(
        "live_base",
        Some("[SECONDS]"),
        Opt::LiveBase,
        "others change the base while it is mounted: what they do to objects that are not \
         in the storage shows within SECONDS (1 if not given, at least 0.01). Without it the \
         base must stay as it is",
    ),
    spec("log", Some("FILE"), Opt::Log, "append the log to FILE instead of the system log"),
    spec(
        "fsname",
        Some("TEXT"),
        Opt::Source,
        "what df and the first field of /proc/mounts show as the source (the base or, for mount(8), \
         the device if not given)",
    ),
    spec(
        "passthrough",
        None,
        Opt::Passthrough(true),
        "let the kernel read and write storage files itself where it can \
         (the default; needs root and Linux 6.9)",
    ),
    spec(
        "transport",
        Some("auto|classic|uring"),
        Opt::Transport,
        "how requests come from the kernel: through io_uring if it can be had (the default), \
         through /dev/fuse, or through io_uring or not at all; needs Linux 6.14 with io_uring \
         switched on in its fuse module",
    ),
    spec(
        "sched_idle",
        None,
        Opt::SchedIdle(true),
        "with io_uring, threads wait and do short work under SCHED_IDLE, so that programs stay on \
         their CPUs; long work is done under the ordinary class (the default; needs root)",
    ),
    spec("nosched_idle", None, Opt::SchedIdle(false), "all work under the ordinary class"),
    spec("nopassthrough", None, Opt::Passthrough(false), "all data goes through the daemon"),
    spec(
        "allow_other",
        None,
        Opt::AllowOther(true),
        "all users may enter the mount (the default for root; others need \
         user_allow_other in /etc/fuse.conf)",
    ),
    spec("noallow_other", None, Opt::AllowOther(false), "only the mounting user may enter"),
    spec(
        "default_permissions",
        None,
        Opt::DefaultPermissions(true),
        "the kernel checks owners, modes and ACLs (the default)",
    ),
    spec(
        "nodefault_permissions",
        None,
        Opt::DefaultPermissions(false),
        "the mounting user, who alone may enter, may do what the daemon may; not with allow_other",
    ),
    spec(
        "uidmap",
        Some("RANGES"),
        Opt::Ids(Ids::UidMap),
        "translate user IDs. RANGES: INSIDE:OUTSIDE:COUNT, several separated by /; \
         INSIDE is the first ID in the mount, OUTSIDE the first one in base and storage. \
         Other IDs show as the overflow ID and cannot be set",
    ),
    spec("gidmap", Some("RANGES"), Opt::Ids(Ids::GidMap), "translate group IDs, written as uidmap"),
    spec(
        "squash_to_uid",
        Some("UID"),
        Opt::Ids(Ids::SquashUid),
        "every object belongs to this user and cannot be given to another",
    ),
    spec("squash_to_gid", Some("GID"), Opt::Ids(Ids::SquashGid), "the same for its group"),
    spec("squash_to_root", None, Opt::Ids(Ids::SquashRoot), "squash_to_uid=0 and squash_to_gid=0"),
    flag("nosuid", Flag::NoSuid, true, "set-user-ID bits and capabilities of files do not count"),
    flag("suid", Flag::NoSuid, false, "they count"),
    flag("nodev", Flag::NoDev, true, "device files cannot be opened"),
    flag("dev", Flag::NoDev, false, "they can"),
    flag("noexec", Flag::NoExec, true, "nothing can be executed"),
    flag("exec", Flag::NoExec, false, "programs can be executed"),
    flag("noatime", Flag::NoAtime, true, "reading does not change access times"),
    flag("atime", Flag::NoAtime, false, ""),
    flag("nodiratime", Flag::NoDirAtime, true, "listing does not change access times"),
    flag("diratime", Flag::NoDirAtime, false, ""),
    flag("relatime", Flag::RelAtime, true, "access times change at most once a day"),
    flag("norelatime", Flag::RelAtime, false, ""),
    flag("strictatime", Flag::StrictAtime, true, "access times always change"),
    flag("nostrictatime", Flag::StrictAtime, false, ""),
    flag("sync", Flag::Sync, true, "every write waits for the disk"),
    flag("async", Flag::Sync, false, ""),
    flag("dirsync", Flag::DirSync, true, "every change of a directory waits for the disk"),
    flag("lazytime", Flag::LazyTime, true, "times are written later"),
    flag("nolazytime", Flag::LazyTime, false, ""),
    flag("nosymfollow", Flag::NoSymFollow, true, "symbolic links are not followed"),
    flag("symfollow", Flag::NoSymFollow, false, ""),
    spec("defaults", None, Opt::Defaults, "rw, suid, dev, exec, async"),
    spec("user", Some("[NAME]"), Opt::User, ""),
    spec("users", None, Opt::User, ""),
    spec("owner", None, Opt::User, ""),
    spec("group", None, Opt::User, ""),
    ignored("nouser", None),
    ignored("auto", None),
    ignored("noauto", None),
    ignored("nofail", None),
    ignored("_netdev", None),
    ignored("silent", None),
    ignored("loud", None),
    ignored("mand", None),
    ignored("nomand", None),
    ignored("iversion", None),
    ignored("noiversion", None),
    ignored("comment", Some("TEXT")),
    ignored("uhelper", Some("NAME")),
    ignored("helper", Some("NAME")),
    ignored("X-", Some("[TEXT]")),
    ignored("x-", Some("[TEXT]")),
    // What /proc/self/mountinfo shows of a live mount, and mount(8) therefore
    // hands back at a remount.
    ignored("user_id", Some("UID")),
    ignored("group_id", Some("GID")),
    ignored("rootmode", Some("MODE")),
    ignored("fd", Some("FD")),
    ignored("max_read", Some("BYTES")),
    ignored("blksize", Some("BYTES")),
    ignored("subtype", Some("TEXT")),
];

impl Spec {
    /// How it is written: `name`, `name=VALUE` or `name[=VALUE]`.
    pub fn written(&self) -> String {
        match self
            .value
            .map(|value| (value, value.strip_prefix('[').and_then(|v| v.strip_suffix(']'))))
        {
            None => self.name.to_owned(),
            Some((_, Some(value))) => format!("{}[={value}]", self.name),
            Some((value, None)) => format!("{}={value}", self.name),
        }
    }

    pub(super) fn is(&self, name: &[u8]) -> bool {
        if self.name.ends_with('-') {
            return name.starts_with(self.name.as_bytes());
        }
        name == self.name.as_bytes()
    }
}
