//! Open files: which way their data goes, and what is told to the kernel.
#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use fuse_server::{
    BackingId, BackingRegistry, InitFlags, Negotiated, Notifier, OpenFlags, OpenReply,
};
use mini_fo_core::{NodeId, OpenFile, Overlay, Renewed};
use parking_lot::Mutex;
use rustix::io::Errno;

use super::convert;
use super::judge::Judge;
use super::live::Watched;
use super::numbers::KeptNumbers;
use crate::handles::Handles;
use crate::iomode::{Grant, Modes, Want};

const SHARDS: usize = 16;

/// Backing files kept for the next open, in each shard. Each pins an inode of
/// the storage, but no descriptor of ours.
const KEEP_IDLE: usize = 32;

/// How long after a close a file is settled.
const SETTLE_AFTER: Duration = Duration::from_millis(100);

/// An open file.
pub struct File {
    /// The overlay's side of it.
    pub file: Arc<OpenFile>,
    /// Who opened it may go on where others find no space.
    pub goes_on: bool,
    node: u64,
    grant: Grant,
}

/// How a file was opened.
pub struct How {
    /// Those of open(2).
    pub flags: u32,
    /// It was made just now, with this mode.
    pub created: Option<u32>,
    /// See [`Judge::goes_on`].
    pub goes_on: bool,
}

/// All open files of a mount.
pub struct Files {
    handles: Handles<File>,
    /// States by node. Under these locks no file is touched; registering a
    /// backing file is all that the kernel does meanwhile.
    modes: [Mutex<Modes<Arc<BackingId>>>; SHARDS],
    connection: OnceLock<Connection>,
    watched: Arc<Watched>,
    judge: Arc<Judge>,
    numbers: KeptNumbers,
}

pub(super) struct Connection {
    notifier: Notifier,
    /// Absent: no passthrough.
    pub backing: Option<BackingRegistry>,
    /// The kernel has refused it for good.
    refused: AtomicBool,
    /// Programs and libraries of the base are read past the daemon, too.
    pub programs: AtomicBool,
}

impl Connection {
    fn backing(&self) -> Option<&BackingRegistry> {
        self.backing.as_ref().filter(|_| !self.refused.load(Ordering::Relaxed))
    }

    /// Registers the storage file behind an open file.
    fn register(
        &self,
        overlay: &Overlay,
        judge: &Judge,
        file: &OpenFile,
    ) -> Option<Arc<BackingId>> {
        let (registry, backing) = (self.backing()?, overlay.backing(file)?);
        match judge.for_anybody(|| registry.open(backing)) {
            Ok(id) => Some(Arc::new(id)),
            Err(errno) => {
                tracing::debug!("no passthrough: {errno}");
                // No right to, or a storage that lies too deep: no file of it
                // will do.
                if matches!(errno, Errno::PERM | Errno::LOOP | Errno::NOTTY) {
                    self.refused.store(true, Ordering::Relaxed);
                }
                None
            }
        }
    }
}

impl Files {
    /// No file.
    pub fn new(overlay: &Overlay, judge: Arc<Judge>) -> Files {
        // There what was removed would stay, and be counted, as long as it is kept.
        let keep = if overlay.renames_what_is_open() { 0 } else { KEEP_IDLE };
        Files {
            handles: Handles::new(),
            modes: std::array::from_fn(|_| Mutex::new(Modes::new(keep))),
            connection: OnceLock::new(),
            watched: Arc::default(),
            judge,
            numbers: KeptNumbers::default(),
        }
    }

    /// Open files of a base that others change.
    pub fn watched(&self) -> &Arc<Watched> {
        &self.watched
    }

    /// The connection is up.
    /// `programs`: see [`Overlay::program`].
    pub fn connect(&self, negotiated: &Negotiated, notifier: &Notifier, programs: bool) {
        let backing = negotiated.passthrough.then(|| notifier.backing());
        let programs = AtomicBool::new(programs && backing.is_some());
        // Called once, as the trait promises.
        let _ = self.connection.set(Connection {
            notifier: notifier.clone(),
            backing,
            refused: AtomicBool::new(false),
            programs,
        });
        tracing::debug!(
            passthrough = negotiated.passthrough,
            acl = negotiated.has(InitFlags::POSIX_ACL),
            "connected"
        );
    }

    pub(super) fn connection(&self) -> Option<&Connection> {
        self.connection.get()
    }

    pub(super) fn judge(&self) -> &Judge {
        &self.judge
    }

    pub(super) fn modes(&self, node: u64) -> &Mutex<Modes<Arc<BackingId>>> {
        let [first, ..] = &self.modes;
        self.modes.get(node as usize % SHARDS).unwrap_or(first)
    }

    /// Enters a file that was opened and decides the way of its data.
    pub fn opened(&self, overlay: &Overlay, file: Arc<OpenFile>, how: &How) -> OpenReply {
        let How { flags, created, goes_on } = *how;
        let node = file.node_id().0;
        let connection = self.connection.get();
        let passes = connection.is_some_and(|c| c.backing().is_some());
        let backed = passes && overlay.is_settled(&file);
        let program = if backed { None } else { self.program(overlay, &file) };
        if program.is_none() && self.has_programs() {
            let unused = self.modes(node).lock().leave_base(node);
            drop(unused);
        }
        let want = Want {
            backed,
            base: program.is_some(),
            writes: convert::writes(flags),
            avoid: backed
                && (goes_on || convert::writes(flags) && has_id_bits(overlay, node, created)),
            maps: convert::maps(flags),
        };
        self.look_for_mappings(overlay, node);
        let register = || match &program {
            // It may have been copied up since.
            Some(program) if overlay.lies_in_base(&file) => self.register_program(program),
            Some(_) => None,
            None => connection?.register(overlay, &self.judge, &file),
        };
        let (grant, id) = self.modes(node).lock().open(node, want, register);
        if matches!(grant, Grant::Passthrough { maps: true }) && created.is_none() {
            // What the kernel knows of the times may become wrong unseen.
            self.forget_attributes(node);
        }
        let opened = Arc::new(File { file: Arc::clone(&file), goes_on, node, grant });
        let fh = self.handles.insert(opened);
        let known = self.watched.opened(overlay, fh, &file);
        let flags = match grant {
            Grant::Cached { .. } if file.is_generated() => OpenFlags::DIRECT_IO,
            Grant::Passthrough { .. } => OpenFlags::PASSTHROUGH,
            Grant::Cached { direct: true, .. } => OpenFlags::DIRECT_IO,
            Grant::Cached { keep, .. } if keep && known && !overlay.reading_is_due(&file) => {
                OpenFlags::KEEP_CACHE
            }
            Grant::Cached { .. } => OpenFlags::empty(),
        };
        OpenReply {
            fh,
            flags: flags.with(OpenFlags::NOFLUSH),
            backing_id: id.map_or(0, |id| id.raw()),
        }
    }

    /// Runs `change`, which drops the setuid and setgid bits of a node if
    /// `kills`. The kernel asks for that, but goes on believing in the bits it
    /// knows, so it is told.
    pub fn dropping_id_bits<T>(
        &self,
        overlay: &Overlay,
        node: u64,
        kills: bool,
        change: impl FnOnce() -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        let drops = kills && has_id_bits(overlay, node, None);
        let result = change();
        if drops {
            self.forget_attributes(node);
        }
        result
    }

    /// Lets the kernel ask for the attributes of a node again.
    pub fn forget_attributes(&self, node: u64) {
        // That it does not know the node is no error.
        let _ = self.connection.get().map(|c| c.notifier.inval_inode(node, -1, 0));
    }

    /// All open files. Storage files that are kept for the next open are let
    /// go of: nobody has them open.
    pub fn in_use(&self) -> Vec<Arc<OpenFile>> {
        for modes in &self.modes {
            let unused = modes.lock().let_go();
            drop(unused);
        }
        self.handles.all().iter().map(|file| Arc::clone(&file.file)).collect()
    }

    /// Files can be mapped past the daemon.
    pub fn pass_by(&self) -> bool {
        self.connection.get().is_some_and(|connection| connection.backing.is_some())
    }

    /// Nodes are other objects now, with the same content: what is known of their storage
    /// files does not hold.
    pub fn renew(&self, renewed: &Renewed) {
        for another in &renewed.nodes {
            let node = another.node.0;
            let unused = self.modes(node).lock().change_object(node);
            drop(unused);
            self.numbers.keep(another);
        }
    }

    /// Lets the kernel ask for their numbers again. It may wait until what it has to write
    /// was written.
    pub fn tell_renewed(&self, renewed: &Renewed) {
        renewed.nodes.iter().for_each(|another| self.forget_attributes(another.node.0));
        let Some(connection) = self.connection.get() else { return };
        for dir in &renewed.dirs {
            let _ = connection.notifier.inval_inode(dir.0, 0, 0);
        }
    }

    /// The number that a node shows.
    pub fn number(&self, node: u64, number: u64) -> u64 {
        self.numbers.shown(node).unwrap_or(number)
    }

    /// The open file of a number.
    ///
    /// # Errors
    /// EBADF: there is none.
    pub fn get(&self, fh: u64) -> Result<Arc<File>, Errno> {
        self.handles.get(fh).ok_or(Errno::BADF)
    }

    /// The kernel has let go of a file.
    pub fn released(&self, overlay: &Arc<Overlay>, fh: u64) {
        if let Some(file) = self.handles.get(fh) {
            // Before the number is free: the next file that gets it is watched
            // by it, too.
            self.watched.released(fh, &file.file);
            self.handles.remove(fh);
            if overlay.closed(&file.file) {
                settle_later(overlay, &self.judge);
            }
            let unused = self.modes(file.node).lock().close(file.node, file.grant);
            drop(unused);
        }
    }

    /// The kernel has given lookups of a node back, and the overlay has taken
    /// them: if those were the last, what is known of its cache goes as well.
    ///
    /// Whoever opens the node has looked it up before, so a node that is unknown
    /// under these locks cannot have been opened since. One that has come back
    /// already keeps the old state, which is right for it, if too careful.
    pub fn forgotten(&self, overlay: &Overlay, node: u64) {
        if overlay.knows(NodeId(node)) {
            return;
        }
        self.watched.forgotten(node, || !overlay.knows(NodeId(node)));
        self.numbers.forget(node);
        let mut modes = self.modes(node).lock();
        let unused = if overlay.knows(NodeId(node)) { Vec::new() } else { modes.forget(node) };
        drop(modes);
        drop(unused);
    }

    /// Attributes of the node can change without the kernel's knowledge.
    pub fn is_mapped(&self, overlay: &Overlay, node: u64) -> bool {
        self.look_for_mappings(overlay, node);
        self.modes(node).lock().is_mapped(node)
    }

    /// Finds out whether a mapping has outlived its passthrough open, where
    /// that may be. The storage file is asked, without a lock.
    fn look_for_mappings(&self, overlay: &Overlay, node: u64) {
        let left = self.modes(node).lock().left(node);
        if let Some(left) = left
            && !overlay.has_writers(NodeId(node))
        {
            self.modes(node).lock().settle(node, left);
        }
    }
}

/// Settles closed files in a thread of its own, a moment later: the next
/// program may want them first.
fn settle_later(overlay: &Arc<Overlay>, judge: &Arc<Judge>) {
    // A new thread gets the class and the CPUs of this one.
    let _slow = fuse_server::blocking_section();
    let (later, by) = (Arc::clone(overlay), Arc::clone(judge));
    let settle = move || {
        std::thread::sleep(SETTLE_AFTER);
        if let Ok(_pass) = later.pass() {
            by.later(|| later.settle_closed());
        }
    };
    let thread = std::thread::Builder::new().name("settle".to_owned()).spawn(settle);
    if thread.is_err() {
        judge.later(|| overlay.settle_closed());
    }
}

/// Whether a file has setuid or setgid bits, which a write may have to drop:
/// under passthrough the kernel does not tell whose write it was.
pub fn has_id_bits(overlay: &Overlay, node: u64, created: Option<u32>) -> bool {
    let mode = created.or_else(|| overlay.getattr(NodeId(node)).ok().map(|attr| attr.mode));
    mode.is_some_and(|mode| mode & 0o6000 != 0)
}
