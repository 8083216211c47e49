//! How a mount begins to write to its storage: at once, or, where it is read-only,
//! when it is asked to (`remount,rw`).
//!
//! Until then a read-only mount has shared the storage with other readers, so nobody
//! has written to it, and what is known of it holds. What a crash has left undecided
//! was decided in memory by the same rules by which it is put in order now: no name
//! shows anything else afterwards. But META of the directories is read again, for
//! where it ends, and which session counts, are other ones.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::FlockOperation;
use rustix::io::Errno;

use crate::interface::error::{OpenError, Warning};
use crate::interface::options::OpenOptions;
use crate::interface::types::NodeId;
use crate::open::check::{self, Found, Layers, Untouched};
use crate::reach::overlay::Overlay;
use crate::state::later::{Later, Lock};
use crate::store::durability::{Durability, Terms};
use crate::store::meta::{Firm, Session};
use crate::store::server_lock::{ServerLock, TakeAlone};
use crate::sys::{self, Result, StoredDir};
use crate::tree::dir::Dir;

/// How long a failure stands: each attempt looks through all of the storage, and gives
/// the shared lock away for a moment.
const STANDS: Duration = Duration::from_secs(1);

/// Why a mount stays read-only.
pub(super) enum Refusal {
    Open(OpenError),
    Failed(Errno),
    /// What was found in the storage forbids it.
    Found(Vec<Warning>),
    Lost,
}

impl From<OpenError> for Refusal {
    fn from(error: OpenError) -> Refusal {
        Refusal::Open(error)
    }
}

impl From<Errno> for Refusal {
    fn from(errno: Errno) -> Refusal {
        Refusal::Failed(errno)
    }
}

impl Refusal {
    /// What programs get.
    pub fn errno(&self) -> Errno {
        match self {
            Refusal::Open(OpenError::StorageInUse { .. }) => Errno::BUSY,
            Refusal::Open(OpenError::Io { errno, .. }) => *errno,
            Refusal::Failed(errno) => *errno,
            Refusal::Open(_) | Refusal::Found(_) | Refusal::Lost => Errno::ROFS,
        }
    }

    pub fn text(&self) -> String {
        match self {
            Refusal::Open(error) => error.to_string(),
            Refusal::Failed(errno) => format!("the storage cannot be prepared: {errno}"),
            Refusal::Found(why) => {
                let why: Vec<String> = why.iter().map(Warning::to_string).collect();
                format!("of what its storage holds: {}", why.join("; "))
            }
            Refusal::Lost => "another mount has had the storage for itself meanwhile; unmount \
                              this one and mount it again"
                .to_owned(),
        }
    }
}

/// `None`: it writes at once, or never will.
pub(crate) fn later(layers: &Layers, options: &OpenOptions) -> Option<Later> {
    if !options.read_only || options.stays_read_only || layers.bare {
        return None;
    }
    let options = OpenOptions { read_only: false, ..options.clone() };
    let (paths, lock) = (layers.paths.clone(), Lock::Shared);
    Some(Later { options, paths, lock, failed: None, told: String::new(), reserve: None })
}

/// Takes the lock on the storage for this mount alone.
fn lock_alone(later: &mut Later, storage: &OwnedFd) -> std::result::Result<(), Refusal> {
    match later.lock {
        Lock::Alone => return Ok(()),
        Lock::Lost => return Err(Refusal::Lost),
        Lock::Shared => {}
    }
    match rustix::fs::flock(storage, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::WOULDBLOCK) => {
            // The shared lock went with the attempt (flock(2)).
            if rustix::fs::flock(storage, FlockOperation::NonBlockingLockShared).is_err() {
                later.lock = Lock::Lost;
                return Err(Refusal::Lost);
            }
            let path = later.options.storage.clone();
            Err(OpenError::StorageInUse { path, by: None }.into())
        }
        // A file system without locks, as a mount for writing takes it.
        Ok(()) | Err(_) => {
            later.lock = Lock::Alone;
            Ok(())
        }
    }
}

/// What counts where a mount begins to write.
pub(crate) struct Start {
    fresh: bool,
    unclean: bool,
}

impl Start {
    pub fn of(layers: &Layers) -> Start {
        Start { fresh: layers.fresh, unclean: layers.unclean }
    }
}

impl Overlay {
    /// A read-only mount is to begin to write. Nobody but who may remount it can ask
    /// for that: the kernel sends no change to a mount that is read-only for it.
    /// `true`: it was read-only until now.
    ///
    /// `at_once`: also if that has failed a moment ago.
    ///
    /// # Errors
    /// EROFS: it stays read-only, or what is in the storage forbids to write; EBUSY:
    /// somebody else has the storage; as for what is written. The log tells why, once.
    pub fn begin_to_write(&self, at_once: bool) -> Result<bool> {
        if !self.is_read_only() {
            return Ok(false);
        }
        let later = self.later.as_ref().ok_or(Errno::ROFS)?;
        let _slow = self.slow_section();
        let mut later = later.lock();
        if !self.is_read_only() {
            return Ok(false);
        }
        if let Some((when, errno)) = later.failed
            && !at_once
            && when.elapsed() < STANDS
        {
            return Err(errno);
        }
        // Programs must not choose the modes of what is made now.
        match sys::with_umask(0o077, 0, |_| self.try_to_write(&mut later)) {
            Ok(warnings) => {
                for warning in warnings.iter().filter(|warning| self.is_news(warning)) {
                    tracing::warn!("{warning}");
                }
                tracing::info!(
                    "the storage {} is written from now on",
                    later.paths.storage.display()
                );
                Ok(true)
            }
            Err(refusal) => {
                let (text, errno) = (refusal.text(), refusal.errno());
                if later.told != text {
                    tracing::error!("asked to write, this mount stays read-only: {text}");
                    later.told = text;
                }
                later.failed = Some((Instant::now(), errno));
                Err(errno)
            }
        }
    }

    pub(super) fn is_news(&self, warning: &Warning) -> bool {
        let text = warning.to_string();
        !self.warnings.iter().any(|known| known.to_string() == text)
    }

    fn try_to_write(&self, later: &mut Later) -> std::result::Result<Vec<Warning>, Refusal> {
        let options = later.options.clone();
        check::check_writable(&options.storage, &self.lock)?;
        // The clone of a mount that was read-only then and is not any more.
        let _ = sys::allow_writing(self.storage.as_fd());
        check::check_writable(&options.storage, &self.storage)?;
        lock_alone(later, &self.lock)?;
        self.lock_server(later)?;
        let mut layers = self.verify(&options)?;
        if layers.read_only {
            return Err(Refusal::Found(layers.warnings));
        }
        let untouched = Untouched::of(&layers);
        self.make_server_lock(&mut layers, &options)?;
        let before = self.durability.terms();
        let begun = self.change_over(&mut layers, &options);
        match (&begun, untouched) {
            (Ok(()), _) => {
                if let Some(most) = later.reserve {
                    self.keep_reserve(most);
                }
                return Ok(layers.warnings);
            }
            (Err(_), Some(untouched)) => untouched.restore(),
            (Err(_), None) => {}
        }
        self.durability.set_terms(before);
        if let Err(errno) = self.read_again() {
            tracing::error!("META that was put in order cannot be read again: {errno}");
        }
        begun.map(|()| Vec::new())
    }

    /// Takes the lock for other machines, too, for this mount alone.
    fn lock_server(&self, later: &mut Later) -> std::result::Result<(), Refusal> {
        let storage = ServerLock::of((&later.options.storage, &self.lock), later.options.meta_name);
        self.server_lock.lock().take_alone(&storage).map_err(|failed| match failed {
            TakeAlone::Lost => {
                later.lock = Lock::Lost;
                Refusal::Lost
            }
            TakeAlone::Failed(error) => Refusal::Open(error),
        })
    }

    /// Makes it where there is none. What fails here has written nothing.
    fn make_server_lock(
        &self,
        layers: &mut Layers,
        options: &OpenOptions,
    ) -> std::result::Result<(), Refusal> {
        let storage = ServerLock::of((&options.storage, &self.lock), options.meta_name);
        Ok(self.server_lock.lock().make(&storage, &mut layers.warnings)?)
    }

    /// Looks at everything again, by descriptors alone.
    pub(super) fn verify(&self, options: &OpenOptions) -> std::result::Result<Layers, Refusal> {
        let dup = |fd: &OwnedFd| rustix::io::fcntl_dupfd_cloexec(fd, 0);
        let found = Found {
            stack: Arc::clone(&self.stack),
            storage: dup(&self.lock)?,
            reached: dup(&self.storage)?,
            own: self.own,
            paths: self.paths.clone(),
            // It stays where it is, whatever comes of this.
            server_lock: ServerLock::default(),
        };
        check::storage_is_ours(&options.storage, &self.lock, options.meta_name)?;
        Ok(check::verify(found, options, Vec::new())?)
    }

    pub(super) fn change_over(
        &self,
        layers: &mut Layers,
        options: &OpenOptions,
    ) -> std::result::Result<(), Refusal> {
        let start = Start::of(layers);
        layers.begin(options)?;
        // Only of a new storage it is another way, and that has no other directory.
        self.root_dir.write_names(layers.written);
        begin_session(layers, options, |terms| {
            self.durability.set_terms(terms);
            self.root_dir.reload()?;
            Ok(Arc::clone(&self.root_dir))
        })?;
        self.read_again()?;
        // As found by the first attempt that came so far: it does not change.
        let _ = self.holds.set(layers.holds.clone());
        let fine = sys::has_fine_clock(self.storage.as_fd());
        self.fine_clock.store(fine, Ordering::Relaxed);
        layers.warnings.extend(self.start_writing(&start, options)?);
        self.read_only.store(false, Ordering::Release);
        Ok(())
    }

    /// What META says is read again, of all directories.
    fn read_again(&self) -> Result<()> {
        // First, lest somebody enters what he has read before.
        self.dirs.outdate();
        self.known_dirs().iter().try_for_each(|dir| dir.reload())
    }

    /// The first that is written to a storage that is in order.
    pub(crate) fn start_writing(
        &self,
        start: &Start,
        options: &OpenOptions,
    ) -> Result<Vec<Warning>> {
        if start.fresh {
            self.adopt_root(&self.stack.root_stat()?)?;
        }
        if start.unclean && options.write_despite_damage {
            self.take_as_clean()?;
        }
        let mut warnings = Vec::new();
        if !self.root_dir.meta().discards().is_empty() {
            let (path, done) = (options.storage.clone(), self.finish_discards());
            warnings.push(Warning::DiscardBegun { path, errno: done.err() });
        }
        let marked = start.unclean && !options.write_despite_damage;
        if options.volatile
            && !marked
            && let Err(errno) = self.begin_volatile()
        {
            warnings.push(Warning::Unmarked { path: options.storage.clone(), errno });
        }
        Ok(warnings)
    }
}

/// The root's directory, and how its META and all others' reach the device.
pub(crate) fn open_root(
    layers: &Layers,
    options: &OpenOptions,
) -> Result<(Arc<Durability>, Arc<Dir>)> {
    let firm = Durability::firm_of(&layers.storage, options.volatile);
    let terms = Terms { firm, session: layers.session, goes_on: !layers.settled };
    let durability = Arc::new(Durability::new(terms));
    let open = |terms| -> Result<_> {
        durability.set_terms(terms);
        let base = layers.stack.root()?;
        let storage = match layers.bare {
            true => None,
            false => {
                let storage = rustix::io::fcntl_dupfd_cloexec(&layers.storage, 0)?;
                Some(StoredDir::new(storage, layers.written))
            }
        };
        Ok(Arc::new(Dir::new(NodeId::ROOT, Some(base), storage, Vec::new(), &durability)?))
    };
    let root = if layers.read_only { open(terms)? } else { begin_session(layers, options, open)? };
    Ok((durability, root))
}

/// This mount writes to the storage: META reaches the device by an attribute that
/// counts as long as the storage says so. `open`: opens the root by other terms.
fn begin_session(
    layers: &Layers,
    options: &OpenOptions,
    open: impl Fn(Terms) -> Result<Arc<Dir>>,
) -> Result<Arc<Dir>> {
    let open = |firm, session| {
        let goes_on = !layers.settled && session == layers.session;
        open(Terms { firm, session, goes_on })
    };
    let firm = Durability::firm_of(&layers.storage, options.volatile);
    // What was not put in order counts as long as its session goes on.
    if !layers.settled && !firm.has_attribute() {
        return open(firm, layers.session);
    }
    if !firm.has_attribute() {
        let root = open(firm, Session::none(layers.session.meta))?;
        if layers.session.is_open() {
            root.end_session()?;
        }
        return Ok(root);
    }
    let meta = layers.session.meta;
    let kept = if layers.settled { Session::none(meta) } else { layers.session };
    let session = if kept.is_open() { kept } else { Session::new(meta) };
    let root = open(firm, session)?;
    match root.begin_session() {
        Ok(()) => Ok(root),
        Err(errno) => {
            tracing::warn!("META is synced at each change: {errno}");
            open(Firm::Sync, kept)
        }
    }
}
