//! From what was typed to what it means.
#![forbid(unsafe_code)]

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fuse_server::TransportChoice;
use mini_fo_core::{DialectName, MetaName, OpenError};
use rustix::mount::MountFlags;

use crate::exit::{Failure, code};
use crate::ids::{IdOptions, Ids};
use crate::options::{Flag, Item, Opt, OptionError};
use crate::stack::{self, Layers};

/// How soon changes of the base are to be seen, if nothing else is said.
const LIVE_BASE: Duration = Duration::from_secs(1);

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

fn transport(item: &Item) -> TransportChoice {
    match item.value.as_deref().and_then(OsStr::to_str) {
        Some("classic") => TransportChoice::Classic,
        Some("uring") => TransportChoice::Uring,
        _ => TransportChoice::Auto,
    }
}

/// Takes the value of an option that may be given once (or again, the same).
fn once(slot: &mut Option<OsString>, item: &Item, name: &'static str) -> Result<(), Failure> {
    match slot {
        Some(before) if Some(&*before) != item.value.as_ref() => {
            Err(OptionError::Twice(name).into())
        }
        _ => {
            *slot = item.value.clone();
            Ok(())
        }
    }
}

/// The value of `live_base`: seconds, also fractions.
fn live_base(item: &Item) -> Result<Duration, Failure> {
    let Some(value) = &item.value else { return Ok(LIVE_BASE) };
    let seconds: Option<f64> = value.to_str().and_then(|text| text.parse().ok());
    match seconds {
        Some(seconds) if (0.01..=86_400.0).contains(&seconds) => {
            Ok(Duration::from_secs_f64(seconds))
        }
        _ => {
            let value = value.to_string_lossy().into_owned();
            let known = "seconds, from 0.01 to 86400";
            Err(OptionError::BadValue { name: "live_base", value, known }.into())
        }
    }
}

/// The value of `meta_name`.
///
/// # Errors
/// It cannot be the name of META.
pub fn meta_name(value: &OsStr) -> Result<MetaName, Failure> {
    MetaName::of_bytes(value.as_bytes())
        .map_err(|error| Failure::new(code::USAGE, format!("meta_name: {error}")))
}

/// The value of `max_nodes`.
fn max_nodes(item: &Item) -> Result<usize, Failure> {
    let value = item.value.as_ref().map(|value| value.to_string_lossy()).unwrap_or_default();
    value.parse().ok().filter(|number| *number > 0).ok_or_else(|| {
        let (value, known) = (value.into_owned(), "a number from 1 on");
        OptionError::BadValue { name: "max_nodes", value, known }.into()
    })
}

/// A value in bytes, or with a suffix.
fn size(item: &Item, name: &'static str) -> Result<u64, Failure> {
    let value = item.value.as_ref().map(|value| value.to_string_lossy()).unwrap_or_default();
    let (number, shift) = match value.as_bytes().last() {
        Some(b'K' | b'k') => (value.get(..value.len() - 1), 10),
        Some(b'M' | b'm') => (value.get(..value.len() - 1), 20),
        Some(b'G' | b'g') => (value.get(..value.len() - 1), 30),
        _ => (Some(&*value), 0),
    };
    let number = number.and_then(|text| text.parse::<u64>().ok());
    number.and_then(|number| number.checked_mul(1 << shift)).ok_or_else(|| {
        let (value, known) = (value.into_owned(), "a number of bytes, also with K, M or G");
        OptionError::BadValue { name, value, known }.into()
    })
}

/// The path from the root, symlinks followed as far as the path exists.
fn absolute(path: &Path) -> PathBuf {
    path.canonicalize()
        .or_else(|_| std::path::absolute(path))
        .unwrap_or_else(|_| path.to_path_buf())
}

const ATIME: MountFlags =
    MountFlags::NOATIME.union(MountFlags::STRICTATIME).union(MountFlags::RELATIME);

/// Applies one option to the flags of a mount, as mount(8) reads them: a
/// later option wins.
fn apply(flags: MountFlags, item: &Item) -> MountFlags {
    let secure = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    let (flag, on) = match item.opt {
        Opt::Flag(flag, on) => (flag, on),
        Opt::User => return flags | secure,
        Opt::StaysReadOnly => return flags | MountFlags::RDONLY,
        Opt::Defaults => {
            return flags - secure - MountFlags::RDONLY - MountFlags::SYNCHRONOUS;
        }
        _ => return flags,
    };
    let bit = bits(flag);
    match on {
        true if ATIME.contains(bit) => (flags - ATIME) | bit,
        true => flags | bit,
        false => flags - bit,
    }
}

fn bits(flag: Flag) -> MountFlags {
    match flag {
        Flag::ReadOnly => MountFlags::RDONLY,
        Flag::NoSuid => MountFlags::NOSUID,
        Flag::NoDev => MountFlags::NODEV,
        Flag::NoExec => MountFlags::NOEXEC,
        Flag::Sync => MountFlags::SYNCHRONOUS,
        Flag::DirSync => MountFlags::DIRSYNC,
        Flag::NoAtime => MountFlags::NOATIME,
        Flag::NoDirAtime => MountFlags::NODIRATIME,
        Flag::StrictAtime => MountFlags::STRICTATIME,
        Flag::RelAtime => MountFlags::RELATIME,
        Flag::LazyTime => MountFlags::LAZYTIME,
        Flag::NoSymFollow => MountFlags::from_bits_retain(256),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options;

    fn typed(list: &str) -> Typed {
        Typed {
            source: Some("none".into()),
            mountpoint: "/nowhere/m".into(),
            items: options::parse(OsStr::new(list), false).unwrap(),
            ..Typed::default()
        }
    }

    fn mount(list: &str) -> MountRequest {
        match typed(list).order() {
            Ok(Order::Mount(request)) => *request,
            other => panic!("{other:?}"),
        }
    }

    fn error(list: &str) -> String {
        typed(list).order().unwrap_err().message
    }

    #[test]
    fn the_line_of_2005() {
        let request = mount("rw,base=/nowhere/b,sto=/nowhere/s");
        assert_eq!(request.base(), Path::new("/nowhere/b"));
        assert_eq!(request.storage, Path::new("/nowhere/s"));
        assert_eq!(request.source, "none");
        assert!(request.flags.is_empty());
        assert!(request.default_permissions && request.passthrough);
        assert_eq!(request.transport, TransportChoice::Auto);
    }

    #[test]
    fn later_options_win() {
        let flags = mount("base=/b,sto=/s,ro,user,exec,noatime,relatime,rw,nodev,dev").flags;
        assert_eq!(flags, MountFlags::NOSUID | MountFlags::RELATIME);
        let last = mount("base=/b,sto=/s,transport=uring,transport=classic").transport;
        assert_eq!(last, TransportChoice::Classic);
        assert!(mount("user,ro,sync,base=/b,sto=/s,defaults").flags.is_empty());
    }

    #[test]
    fn what_is_missing_is_named() {
        assert!(error("sto=/s").contains("base=DIR"));
        assert!(error("base=/b").contains("sto=DIR"));
        assert!(error("base=/b,base=/c,sto=/s").contains("'base' is given twice"));
        assert!(error("base=/b,sto=/s,allow_other,nodefault_permissions").contains("every user"));
        mount("base=/b,base=/b,sto=/s,storage=/s");
    }

    #[test]
    fn others_are_let_in_where_the_kernel_judges_them() {
        let of = |more: &str| mount(&format!("base=/b,sto=/s{more}"));
        assert!(of("").lets_others_in(true));
        assert!(!of("").lets_others_in(false));
        assert!(of(",allow_other").lets_others_in(false));
        assert!(!of(",noallow_other").lets_others_in(true));
        assert!(!of(",nodefault_permissions").lets_others_in(true));
    }

    #[test]
    fn the_name_of_meta() {
        assert!(!mount("base=/b,sto=/s").meta_name.is_chosen());
        assert_eq!(mount("base=/b,sto=/s,meta_name=.mini").meta_name.as_str(), ".mini");
        for bad in ["..", "a/b"] {
            assert!(error(&format!("base=/b,sto=/s,meta_name={bad}")).contains(bad));
        }
    }

    #[test]
    fn a_remount_sets_all_flags() {
        let order = typed("rw,nosuid,relatime,user_id=0,remount,ro").order();
        let Ok(Order::Remount(request)) = order else { panic!() };
        let flags = MountFlags::NOSUID | MountFlags::RELATIME | MountFlags::RDONLY;
        assert_eq!(request.flags(), flags);
    }
}
