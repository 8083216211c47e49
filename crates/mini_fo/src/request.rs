//! From what was typed to what it means.
#![forbid(unsafe_code)]

#[path = "request/values.rs"]
mod values;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use values::meta_name;

use fuse_server::TransportChoice;
use mini_fo_core::{DialectName, MetaName, OpenError};
use rustix::mount::MountFlags;

use crate::exit::{Failure, code};
use crate::ids::{IdOptions, Ids};
use crate::options::{Item, Opt};
use crate::stack::{self, Layers};
use values::{absolute, apply, live_base, max_nodes, once, size, transport};

/// What was typed, from either command line.
#[derive(Debug, Default)]
pub struct Typed {
    /// The free text in the device field.
    pub source: Option<OsString>,
    /// The base, where it is an argument: maybe several, with colons between them.
    pub base: Option<PathBuf>,
    /// `--under`: trees below the base.
    pub under: Vec<PathBuf>,
    /// How the trees are to be read, where no option says it.
    pub dialects: Vec<Option<DialectName>>,
    /// The storage, where it is an argument.
    pub storage: Option<PathBuf>,
    /// The mount point.
    pub mountpoint: PathBuf,
    /// The options, in order.
    pub items: Vec<Item>,
    /// `--read-only`.
    pub read_only: bool,
    /// For good.
    pub stays_ro: bool,
    /// `--accept-base`.
    pub accept_base: bool,
    /// `--accept-storage`.
    pub accept_storage: bool,
    /// `--enable-uring`.
    pub enable_uring: bool,
    /// `--foreground`.
    pub foreground: bool,
    /// `--log`.
    pub log: Option<PathBuf>,
    /// `--verbose`.
    pub verbose: bool,
}

/// What is to be done.
#[derive(Debug)]
pub enum Order {
    /// A new mount.
    Mount(Box<MountRequest>),
    /// Other flags for a live mount.
    Remount(RemountRequest),
}

/// A mount to be made. Paths are absolute.
#[derive(Clone, Debug)]
pub struct MountRequest {
    /// What the first field of `/proc/mounts` shows.
    pub source: OsString,
    /// The trees that are only read.
    pub layers: Layers,
    /// The directory that receives the changes; empty: nothing can be changed.
    pub storage: PathBuf,
    /// What META is called in it.
    pub meta_name: MetaName,
    /// Where the merged tree appears.
    pub mountpoint: PathBuf,
    /// Flags of the mount.
    pub flags: MountFlags,
    /// It is read-only until it is unmounted.
    pub stays_ro: bool,
    /// `None`: as the user's rights suggest.
    pub allow_other: Option<bool>,
    /// The kernel checks permissions.
    pub default_permissions: bool,
    /// Access control lists count.
    pub acl: bool,
    /// The label of all objects, for SELinux.
    pub context: Option<OsString>,
    /// Nothing is written to the storage before something is to be changed; until then it
    /// is shared with others who read it.
    pub writes_late: bool,
    /// It is the root of a command's own mount namespace, and nobody unmounts it.
    pub of_run: bool,
    /// Who asks for a commit must tell this; `None`: nobody need.
    pub commit_key: Option<String>,
    /// What of the base never shows.
    pub hidden: Vec<PathBuf>,
    /// Write although META is damaged.
    pub damaged_rw: bool,
    /// Take a storage of another base.
    pub accept_base: bool,
    /// Take a directory that holds something as a new storage.
    pub accept_storage: bool,
    /// Take a storage whose file system cannot hold everything.
    pub poor_storage: bool,
    /// Copies are not brought to the disk before they count.
    pub volatile: bool,
    /// Files are copied up as a whole.
    pub whole_copies: bool,
    /// From how many bytes on files are copied up block by block.
    pub blocks_from: Option<u64>,
    /// How many bytes are kept back for deletions; `None`: the usual number.
    pub reserve: Option<u64>,
    /// How many nodes may be known; `None`: the usual number.
    pub max_nodes: Option<usize>,
    /// Times of creation show.
    pub birth_times: bool,
    /// Mounts below the base are shown.
    pub submounts: bool,
    /// Others change the base; how soon it is to be seen.
    pub live_base: Option<Duration>,
    /// Use passthrough where the system has it.
    pub passthrough: bool,
    /// How owners are shown and set.
    pub ids: Ids,
    /// How requests are to come.
    pub transport: TransportChoice,
    /// Threads may wait under `SCHED_IDLE`.
    pub sched_idle: bool,
    /// Let the kernel's fuse module use io_uring.
    pub enable_uring: bool,
    /// Stay in the foreground.
    pub foreground: bool,
    /// Log file, instead of the system log.
    pub log: Option<PathBuf>,
    /// Log more.
    pub verbose: bool,
}

impl MountRequest {
    /// The uppermost of the trees that are only read.
    pub fn base(&self) -> &PathBuf {
        &self.layers.first.path
    }

    /// Whether users other than the mounting one may enter. By default root lets
    /// them in, but only where the kernel judges what they may do: without that
    /// everybody would have the daemon's rights.
    pub fn lets_others_in(&self, root: bool) -> bool {
        self.allow_other.unwrap_or(root && self.default_permissions)
    }
}

/// A change of a live mount's flags.
#[derive(Debug)]
pub struct RemountRequest {
    /// The mount.
    pub mountpoint: PathBuf,
    /// The changes, in order.
    items: Vec<Item>,
}

impl RemountRequest {
    /// The flags that the mount is to have, all of them: mount(8) hands over
    /// those of the live mount or of fstab with the changes made already, and
    /// says nothing of what is to be off.
    pub fn flags(&self) -> MountFlags {
        self.items.iter().fold(MountFlags::empty(), apply)
    }
}

impl Typed {
    /// Tells what it means.
    pub fn order(self) -> Result<Order, Failure> {
        if self.items.iter().any(|item| item.opt == Opt::Remount) {
            let mountpoint = absolute(&self.mountpoint);
            return Ok(Order::Remount(RemountRequest { mountpoint, items: self.items }));
        }
        self.mount().map(|request| Order::Mount(Box::new(request)))
    }

    fn mount(self) -> Result<MountRequest, Failure> {
        let mut base = self.base.map(OsString::from);
        let mut storage = self.storage.map(OsString::from);
        let mut log = self.log.map(OsString::from);
        let mut source = self.source;
        let mut request = MountRequest {
            source: OsString::new(),
            layers: Layers::default(),
            storage: PathBuf::new(),
            meta_name: MetaName::default(),
            mountpoint: absolute(&self.mountpoint),
            flags: MountFlags::empty(),
            stays_ro: self.stays_ro,
            allow_other: None,
            default_permissions: true,
            acl: true,
            context: None,
            writes_late: false,
            of_run: false,
            commit_key: None,
            hidden: Vec::new(),
            damaged_rw: false,
            accept_base: self.accept_base,
            accept_storage: self.accept_storage,
            poor_storage: false,
            volatile: false,
            whole_copies: false,
            blocks_from: None,
            reserve: None,
            max_nodes: None,
            birth_times: true,
            submounts: false,
            live_base: None,
            passthrough: true,
            ids: Ids::default(),
            transport: TransportChoice::Auto,
            sched_idle: true,
            enable_uring: self.enable_uring,
            foreground: self.foreground,
            log: None,
            verbose: self.verbose,
        };
        let mut ids = IdOptions::default();
        let mut dialects = self.dialects;
        for item in &self.items {
            request.flags = apply(request.flags, item);
            match item.opt {
                Opt::Base => once(&mut base, item, "base")?,
                Opt::Dialect => {
                    dialects = stack::dialects(item.value.as_deref().unwrap_or_default())?;
                }
                Opt::Storage => once(&mut storage, item, "sto")?,
                Opt::MetaName => {
                    request.meta_name = meta_name(item.value.as_deref().unwrap_or_default())?;
                }
                Opt::Source => source = item.value.clone(),
                Opt::Log => once(&mut log, item, "log")?,
                Opt::AllowOther(on) => request.allow_other = Some(on),
                Opt::DefaultPermissions(on) => request.default_permissions = on,
                Opt::StaysReadOnly => request.stays_ro = true,
                Opt::Damaged => request.damaged_rw = item.value.as_deref() == Some("rw".as_ref()),
                Opt::AcceptBase => request.accept_base = true,
                Opt::AcceptStorage => request.accept_storage = true,
                Opt::PoorStorage => request.poor_storage = true,
                Opt::Volatile => request.volatile = true,
                Opt::WholeCopies => request.whole_copies = true,
                Opt::BlocksFrom => request.blocks_from = Some(size(item, "blocks_from")?),
                Opt::Reserve => request.reserve = Some(size(item, "reserve")?),
                Opt::MaxNodes => request.max_nodes = Some(max_nodes(item)?),
                Opt::NoBirthTimes => request.birth_times = false,
                Opt::Submounts => request.submounts = true,
                Opt::LiveBase => request.live_base = Some(live_base(item)?),
                Opt::Passthrough(on) => request.passthrough = on,
                Opt::Ids(opt) => ids.take(opt, item.value.as_deref())?,
                Opt::Transport => request.transport = transport(item),
                Opt::SchedIdle(on) => request.sched_idle = on,
                _ => {}
            }
        }
        request.ids = ids.ids();
        if self.read_only || request.stays_ro {
            request.flags |= MountFlags::RDONLY;
        }
        let missing = |what: &str| Failure::new(code::USAGE, what);
        let mut paths = base.as_deref().map(stack::split).unwrap_or_default();
        paths.extend(self.under);
        request.layers = Layers::new(paths, &dialects, absolute)
            .ok_or_else(|| missing("no base is given: add the option base=DIR"))?;
        if storage.is_none() && !request.flags.contains(MountFlags::RDONLY) {
            return Err(Failure::new(code::USAGE, OpenError::StorageNeeded));
        }
        if !request.default_permissions && request.lets_others_in(true) {
            return Err(missing(
                "nodefault_permissions and allow_other together would give every user \
                 the daemon's rights",
            ));
        }
        request.storage = storage.map(|path| absolute(Path::new(&path))).unwrap_or_default();
        request.log = log.map(|log| absolute(Path::new(&log)));
        request.source = source.unwrap_or_else(|| request.base().clone().into());
        Ok(request)
    }
}

#[cfg(test)]
#[path = "request/tests.rs"]
mod tests;
