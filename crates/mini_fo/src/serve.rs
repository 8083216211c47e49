//! Carrying out a mount: layers opened, kernel connected, requests served,
//! and everything put away at the end.
#![forbid(unsafe_code)]

mod listing;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fuse_server::{
    Config, InitFlags, Mount, MountError, MountOptions, Session, SessionError, TransportChoice,
};
use mini_fo_core::{AccessTimes, ErrorClass, OpenError, OpenOptions, Opened, Overlay, Squash};
use rustix::fs::FlockOperation;
use rustix::io::Errno;
use rustix::mount::MountFlags;

use crate::adapter::{Adapter, Facts};
use crate::daemon::{self, EndSignals, OwnProc, Ready};
use crate::exit::{Failure, code};
use crate::log::{self, Sink};
use crate::mountinfo;
use crate::registry;
use crate::remount;
use crate::report::{self, Report};
use crate::request::{MountRequest, Order};
use listing::Listing;

/// How long a daemon whose mount is gone may still hold the storage before
/// another mount gives up.
const PATIENCE: Duration = Duration::from_secs(3);

/// Read-ahead of a mount by root, in KiB.
const READ_AHEAD: u32 = 1024;

/// Carries out an order. For a mount in the background it returns when the
/// tree is usable, in the foreground when it is unmounted.
///
/// # Errors
/// Why it cannot be done, with the exit code.
pub fn carry_out(order: Order) -> Result<(), Failure> {
    match order {
        Order::Remount(request) => remount::carry_out(&request),
        Order::Mount(request) if request.foreground => serve(&request, None, Ready::foreground()),
        Order::Mount(request) => {
            daemon::close_inherited();
            daemon::background(None, |ready| serve(&request, None, ready)).map(drop)
        }
    }
}

/// A mount that somebody else has made, in a mount namespace where this process is not.
pub struct Handed {
    pub mount: Mount,
    /// Number of that namespace.
    pub namespace: u64,
    /// The way to the storage, if it is not the path that it is known by.
    pub storage: Option<PathBuf>,
}

/// Mounts, or takes what was mounted, and serves until it is unmounted.
///
/// # Errors
/// It cannot be mounted, or the kernel broke it off.
pub fn serve(
    request: &MountRequest,
    handed: Option<Handed>,
    mut ready: Ready,
) -> Result<(), Failure> {
    let control = log::install(sink(request)?, request.verbose);
    ready.set_log(control);
    daemon::prepare_process();
    let proc = OwnProc::open();
    // What needs more rights than are kept comes before this.
    let acts_as_others = daemon::give_up_rights();
    let signals = EndSignals::block();
    if !request.of_run {
        take_away_dead(&request.mountpoint);
    }
    let (mount, elsewhere, storage) = match handed {
        Some(Handed { mount, namespace, storage }) => (Some(mount), Some(namespace), storage),
        None => (None, None, None),
    };
    let opened = open(request, storage)?;
    let listing = Listing::prepare(request, &opened, elsewhere);
    let mut session = connect(request, opened, mount, proc.as_ref(), acts_as_others)?;
    let overlay = Arc::clone(session.file_system().overlay());
    for warning in overlay.warnings() {
        tracing::warn!("{warning}");
    }
    overlay.keep_reserve(request.reserve);
    let report = Report::of(&session, request);
    let entered = listing.and_then(|listing| listing.enter(session.mount(), &report));
    let entered = entered.map(Arc::new);
    note_writing(&session, entered.as_ref());
    // Only root may; others keep the kernel's 128 KiB. So do runs, which map programs and
    // libraries that nobody has read through this mount before: a page here and a page there.
    if !request.of_run
        && let Err(error) = session.mount().set_read_ahead(READ_AHEAD)
    {
        tracing::debug!("read-ahead: {error}");
    }
    let must = request.of_run && elsewhere.is_none();
    leave(&session, proc.as_ref(), must)?;
    stop_on_signal(&session, &overlay, signals)?;
    tracing::info!(
        "{} mounted on {}, changes go to {}",
        request.base().display(),
        request.mountpoint.display(),
        if request.storage.as_os_str().is_empty() {
            std::borrow::Cow::Borrowed("nowhere")
        } else {
            request.storage.to_string_lossy()
        }
    );
    tracing::info!(
        "requests by {}, data {}, {}",
        report.transport,
        report.data,
        report.capabilities
    );
    if !report.advice.is_empty() {
        tracing::info!("not in use: {}", report.advice);
    }
    // Not before requests are answered: without, a script would write beside the tree.
    session.start().map_err(|error| Failure::new(code::FAILURE, error))?;
    ready.tell();
    // What goes on by the clock has time until the first user of the mount has begun.
    session.file_system().start(&session.notifier());
    let result = session.run();
    // Before another mount may have the storage; threads that are about to end
    // may keep the overlay a little longer.
    if let Ok(pass) = overlay.pass() {
        overlay.finish();
        // A commit that was asked for must not begin any more: until the process ends.
        std::mem::forget(pass);
    }
    drop(entered);
    tracing::info!("{} unmounted", request.mountpoint.display());
    result.map_err(|error| {
        tracing::error!("{error}");
        Failure::new(code::FAILURE, error)
    })
}

/// The record of a read-only mount says so, should that begin to write.
fn note_writing(session: &Session<Adapter>, entered: Option<&Arc<registry::Entered>>) {
    let Some(entered) = entered.map(Arc::downgrade) else { return };
    session.file_system().when_written(Box::new(move || {
        if let Some(Err(error)) = entered.upgrade().map(|entered| entered.now_writable()) {
            tracing::warn!("this mount is listed as one that does not write: {error}");
        }
    }));
}

/// Unmounts what a daemon that was killed has left on the mount point.
fn take_away_dead(mountpoint: &Path) {
    let mounts = mountinfo::read().unwrap_or_default();
    let ours = mountinfo::at(&mounts, mountpoint).is_some_and(mountinfo::Mount::is_ours);
    // Not stat(2), which the kernel answers by what it remembers of the daemon.
    if !ours || rustix::fs::statfs(mountpoint).err() != Some(Errno::NOTCONN) {
        return;
    }
    match fuse_server::mount::unmount_at(mountpoint, true) {
        Ok(()) => tracing::info!("a mount without a daemon was in the way: unmounted"),
        Err(error) => tracing::warn!("a mount without a daemon is in the way: {error}"),
    }
}

fn sink(request: &MountRequest) -> Result<Sink, Failure> {
    match &request.log {
        Some(path) => Sink::file(path)
            .map_err(|e| Failure::new(code::FAILURE, format!("log file {}: {e}", path.display()))),
        None if request.foreground => Ok(Sink::Stderr),
        None => Ok(Sink::syslog()),
    }
}

/// Opens the layers. A storage whose last daemon is about to end is waited
/// for.
fn open(request: &MountRequest, storage: Option<PathBuf>) -> Result<Opened, Failure> {
    let options = OpenOptions {
        storage: storage.unwrap_or_else(|| request.storage.clone()),
        meta_name: request.meta_name,
        // That of a run lies on its storage: nobody else sees it.
        mountpoint: Some(request.mountpoint.clone()).filter(|_| !request.of_run),
        read_only: request.flags.contains(MountFlags::RDONLY) || request.writes_late,
        stays_read_only: request.stays_ro,
        accept_other_base: request.accept_base,
        accept_storage: request.accept_storage,
        accept_poor_storage: request.poor_storage,
        write_despite_damage: request.damaged_rw,
        volatile: request.volatile,
        far_first: false,
        on_server: false,
        whole_copies: request.whole_copies,
        blocks_from: request.blocks_from,
        submounts: request.submounts,
        hidden: request.hidden.clone(),
        live_base: request.live_base,
        access_times: access_times(request.flags),
        squash: if gives_files_away() { request.ids.squash() } else { Squash::default() },
        one_owner: request.of_run && request.ids.are_one_owner(),
        ..request.layers.options()
    };
    let begun = Instant::now();
    loop {
        match Opened::open(&options) {
            Err(OpenError::StorageInUse { .. })
                if begun.elapsed() < PATIENCE && !is_held(&request.storage) =>
            {
                std::thread::sleep(Duration::from_millis(20));
            }
            Err(OpenError::BaseInCommit { base, .. })
                if begun.elapsed() < PATIENCE && is_being_committed(&base) =>
            {
                std::thread::sleep(Duration::from_millis(20));
            }
            Ok(opened) => return Ok(opened),
            Err(error) => return Err(refusal(error)),
        }
    }
}

/// Root may give files to anybody; in a user namespace to some, and what belongs
/// to others has no set-ID bits there.
fn gives_files_away() -> bool {
    rustix::process::geteuid().is_root() && daemon::is_initial_namespace()
}

/// Who else moves times of access: the kernel leaves that to the daemon.
fn access_times(flags: MountFlags) -> AccessTimes {
    match flags {
        flags if flags.contains(MountFlags::NOATIME) => AccessTimes::Never,
        flags if flags.contains(MountFlags::STRICTATIME) => AccessTimes::Always,
        flags if flags.contains(MountFlags::NODIRATIME) => AccessTimes::NotOfDirectories,
        _ => AccessTimes::Relative,
    }
}

/// Somebody holds the lock of who commits into a base: that is waited for, too.
fn is_being_committed(base: &Path) -> bool {
    let Ok(base) = std::fs::File::open(base) else { return false };
    let locked = rustix::fs::flock(&base, FlockOperation::NonBlockingLockShared);
    locked == Err(Errno::WOULDBLOCK)
}

/// Whether a live mount is known to hold the storage.
fn is_held(storage: &Path) -> bool {
    registry::holder(storage).is_some_and(|record| record.is_mounted())
}

/// The exit code of an error, and who holds the storage.
pub fn refusal(mut error: OpenError) -> Failure {
    if let OpenError::StorageInUse { path, by } = &mut error
        && let Some(record) = registry::holder(path)
    {
        let mountpoint = record.mountpoint.display();
        *by = Some(format!("the mount on {mountpoint} (process {})", record.pid));
    }
    let code = match error.class() {
        ErrorClass::Base => code::BASE,
        ErrorClass::Storage => code::STORAGE,
        ErrorClass::InUse => code::IN_USE,
        ErrorClass::OtherBase => code::OTHER_BASE,
        ErrorClass::Nested => code::NESTED,
        ErrorClass::Other => match error {
            // Found full only when it was first written to.
            OpenError::Io { errno: Errno::NOSPC | Errno::DQUOT | Errno::ROFS, .. } => code::STORAGE,
            _ => code::FAILURE,
        },
    };
    Failure::new(code, error)
}

/// Mounts, agrees with the kernel on how to work together, and only then writes
/// to the storage: a mount that fails has changed nothing.
fn connect(
    request: &MountRequest,
    opened: Opened,
    handed: Option<Mount>,
    proc: Option<&OwnProc>,
    acts_as_others: bool,
) -> Result<Session<Adapter>, Failure> {
    let root = rustix::process::geteuid().is_root();
    let config = Config {
        flags: caching(request).with(InitFlags::EXPORT_SUPPORT).with(
            match request.default_permissions {
                // ACLs imply that the kernel checks permissions; without that
                // it refuses to allow idmapped mounts.
                true if request.acl => InitFlags::POSIX_ACL.with(InitFlags::ALLOW_IDMAP),
                true => InitFlags::empty(),
                false => InitFlags::empty(),
            },
        ),
        // Where all places of io_uring are taken, a request is made from inside.
        transport: if handed.is_some() { TransportChoice::Classic } else { request.transport },
        max_threads: most_threads(),
        idle_class: request.sched_idle,
        max_stack_depth: if request.passthrough && root { stack_depth(request) } else { 0 },
        ..Config::default()
    };
    let mut flags = request.flags;
    if opened.is_read_only() && !request.writes_late {
        flags |= MountFlags::RDONLY;
    }
    if request.enable_uring {
        report::enable_uring()?;
    }
    let mount = match handed {
        Some(mount) => mount,
        None => mount(request, flags, proc)?,
    };
    Session::begin(mount, &config, || {
        let overlay = Arc::new(opened.begin().map_err(refusal)?);
        let adapter = Adapter::new(overlay, request.ids.clone(), request.birth_times);
        let adapter = adapter.with_most_nodes(request.max_nodes).acting_as_others(acts_as_others);
        let adapter = adapter.reading_programs_past(request.of_run);
        Ok(Arc::new(adapter.known_as(facts(request))))
    })
}

/// Mounts what somebody will serve. Until then whoever touches it waits.
///
/// # Errors
/// As mount(2).
pub fn mount(
    request: &MountRequest,
    flags: MountFlags,
    proc: Option<&OwnProc>,
) -> Result<Mount, Failure> {
    let options = MountOptions {
        source: request.source.clone(),
        subtype: Some("mini_fo".to_owned()),
        flags,
        allow_other: request.lets_others_in(rustix::process::geteuid().is_root()),
        default_permissions: request.default_permissions,
        context: request.context.clone(),
        helper: !request.of_run,
        proc: proc.map(|proc| Arc::clone(proc.dir())),
        ..MountOptions::default()
    };
    Mount::new(&request.mountpoint, &options).map_err(|error| Failure::new(code::MOUNT, error))
}

/// What commands are told of the mount.
fn facts(request: &MountRequest) -> Facts {
    let layers = std::iter::once(&request.layers.first).chain(&request.layers.under);
    Facts {
        mountpoint: request.mountpoint.clone(),
        layers: layers.map(|layer| layer.path.clone()).collect(),
        storage: request.storage.clone(),
        meta_name: request.meta_name,
        commit_key: request.commit_key.clone(),
    }
}

impl From<SessionError> for Failure {
    fn from(error: SessionError) -> Failure {
        Failure::new(code::MOUNT, error)
    }
}

/// Threads that serve at once: each has a descriptor.
fn most_threads() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let limit = limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    (limit / 16).clamp(2, Config::default().max_threads)
}

/// The last step before threads are started: from here on no path leads anywhere.
///
/// # Errors
/// Whoever serves a run and keeps its namespace would keep it for ever.
fn leave(session: &Session<Adapter>, proc: Option<&OwnProc>, must: bool) -> Result<(), Failure> {
    let why = match proc.map(OwnProc::move_in) {
        Some(Ok(namespace)) => {
            session.mount().has_left(namespace);
            if must {
                session.mount().let_go();
            }
            return Ok(());
        }
        Some(Err(errno)) => errno.to_string(),
        None => "there is no /proc".to_owned(),
    };
    if must {
        return Err(Failure::new(code::MOUNT, format!("no root of the daemon's own: {why}")));
    }
    tracing::debug!("no root of the daemon's own: {why}");
    Ok(())
}

/// What the kernel may cache on its own.
fn caching(request: &MountRequest) -> InitFlags {
    let flags = Config::default().flags;
    if request.live_base.is_none() {
        return flags;
    }
    // Numbers of deleted objects come back: a target might be another link's.
    flags
        .without(InitFlags::EXPLICIT_INVAL_DATA)
        .without(InitFlags::CACHE_SYMLINKS)
        .with(InitFlags::AUTO_INVAL_DATA)
}

/// How deep file systems may be stacked: as little as the storage needs, for
/// what is allowed below us cannot be stacked above (the kernel's limit is 2).
fn stack_depth(request: &MountRequest) -> u32 {
    let kind = rustix::fs::statfs(&request.storage).map_or(0, |stat| stat.f_type);
    if kind == libc::OVERLAYFS_SUPER_MAGIC { 2 } else { 1 }
}

/// Unmounts at a signal that asks the process to end.
fn stop_on_signal(
    session: &Session<Adapter>,
    overlay: &Arc<Overlay>,
    signals: EndSignals,
) -> Result<(), Failure> {
    let handle = session.stop_handle();
    let overlay = Arc::clone(overlay);
    let wait = move || {
        loop {
            let signal = signals.wait();
            tracing::info!("signal {signal}: unmounting");
            match handle.stop() {
                Ok(()) => {}
                // At a shutdown everybody gets the signal, and the system still needs
                // its root.
                Err(MountError::Root) => {
                    tracing::info!("{}; its changes are synced", MountError::Root);
                    let synced = overlay.sync();
                    let _ = synced.inspect_err(|errno| tracing::error!("sync: {errno}"));
                }
                Err(error) => tracing::error!("{error}"),
            }
        }
    };
    let thread = std::thread::Builder::new().name("signals".to_owned()).spawn(wait);
    thread.map(drop).map_err(|e| Failure::new(code::FAILURE, format!("cannot start a thread: {e}")))
}
