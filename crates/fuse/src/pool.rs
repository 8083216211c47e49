//! Reader threads: how many there are, and what each does.
//!
//! One reader waits for requests. The kernel wakes waiting readers in turn, so
//! a second one drags every other request to another CPU, which costs more
//! than most requests do. Others join when they are needed, wait behind the
//! first one while there is more than that one can take, and are parked again:
//!
//! - a handler says that it will take long ([`crate::blocking_section`]);
//! - requests were queueing up each time the reader came back;
//! - a request is not done after a tick of the watch ([`crate::watch`]).

mod receive;

use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use rustix::io::Errno;

use crate::abi;
use crate::buffer::Buffers;
use crate::device::Device;
use crate::dispatch::{Answer, Dispatcher};
use crate::load::Load;
use crate::reply::ReplyBuf;
use crate::request::RawRequest;
use crate::server::FileSystem;
use crate::spares::{self, Blocked, Spares};
use crate::watch::Watch;
use crate::wire;

/// How long a reader that does nothing holds memory of large requests.
const IDLE: Duration = Duration::from_secs(1);

/// How often in a row a reader tries again where the kernel lacks memory, and
/// how much longer it waits each time: half a minute in all.
const PATIENCE: u32 = 34;
const PAUSE: Duration = Duration::from_millis(50);

/// Whether reading may work a moment later. The kernel has answered the
/// request that it could not hand out, or keeps it.
fn is_passing(errno: Errno) -> bool {
    matches!(errno, Errno::NOMEM | Errno::FAULT | Errno::IO | Errno::NOBUFS)
}

/// All readers of one session.
#[derive(Debug)]
pub(crate) struct Pool<F> {
    myself: Weak<Pool<F>>,
    dispatcher: Arc<Dispatcher<F>>,
    /// Descriptors of the device; readers take them in turn.
    devices: Vec<Arc<Device>>,
    /// A descriptor that does not wait, where there is more than one CPU.
    eager: Option<Arc<Device>>,
    /// Readers beyond these are only for requests that take long.
    normal: usize,
    max: usize,
    /// Readers waiting for a request or about to.
    idle: AtomicUsize,
    /// Requests received.
    received: AtomicU64,
    watch: Watch,
    blocked: Blocked,
    /// See [`start`](Self::start).
    alone: AtomicBool,
    /// Innermost lock: nothing else is locked while it is held.
    readers: Mutex<Readers>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Readers {
    /// Readers alive.
    count: usize,
    /// Of these, waiting to be needed.
    parked: usize,
    /// Parked ones that were called and have not come yet.
    called: usize,
    /// Started so far.
    started: usize,
    /// The connection is gone.
    ended: bool,
    /// Why one ended that should not have.
    error: Option<Errno>,
}

impl Readers {
    /// Readers that are not parked, or no longer will be.
    fn at_work(&self) -> usize {
        (self.count + self.called).saturating_sub(self.parked)
    }
}

impl<F: FileSystem> Pool<F> {
    /// `normal`: readers at work at once under load; `max`: with those whose
    /// requests take long.
    pub(crate) fn new(
        dispatcher: Arc<Dispatcher<F>>,
        devices: Vec<Arc<Device>>,
        eager: Option<Arc<Device>>,
        normal: usize,
        max: usize,
    ) -> Arc<Pool<F>> {
        Arc::new_cyclic(|myself| Pool {
            myself: myself.clone(),
            dispatcher,
            devices,
            eager,
            normal,
            max: max.max(normal),
            idle: AtomicUsize::new(0),
            received: AtomicU64::new(0),
            watch: Watch::default(),
            blocked: Blocked::default(),
            alone: AtomicBool::new(false),
            readers: Mutex::new(Readers::default()),
            changed: Condvar::new(),
        })
    }

    /// Starts the first reader, and the watch. `alone`: requests come another
    /// way; what is left, FORGET and INTERRUPT, is for one reader, and nobody
    /// waits for it.
    pub(crate) fn start(self: &Arc<Self>, alone: bool) -> std::io::Result<()> {
        self.alone.store(alone, Ordering::Relaxed);
        self.idle.fetch_add(1, Ordering::AcqRel);
        self.spawn()?;
        if alone {
            return Ok(());
        }
        let pool = Arc::clone(self);
        let watch = std::thread::Builder::new().name("fuse-watch".to_owned());
        let mut before = 0;
        let look = move || {
            let look = || {
                let (received, stalled) = pool.is_stalled();
                let progress = std::mem::replace(&mut before, received) != received;
                if stalled && !progress {
                    pool.announce();
                }
                stalled || progress
            };
            pool.watch.run(look, || pool.dispatcher.give_back());
        };
        if let Err(error) = watch.spawn(look) {
            tracing::warn!(%error, "cannot start the watch");
        }
        Ok(())
    }

    /// Waits until all readers have ended; the error of one that should not
    /// have.
    pub(crate) fn wait(&self) -> Option<Errno> {
        let mut readers = self.readers.lock();
        while readers.count > 0 {
            self.changed.wait(&mut readers);
        }
        self.watch.end();
        readers.error
    }

    /// Requests received so far, and whether nobody waits for the next one.
    fn is_stalled(&self) -> (u64, bool) {
        let stalled = self.idle.load(Ordering::Acquire) == 0;
        (self.received.load(Ordering::Relaxed), stalled)
    }

    /// Starts a thread whose being idle is already counted.
    fn spawn(self: &Arc<Self>) -> std::io::Result<()> {
        let started = self.try_spawn();
        if started.is_err() {
            self.idle.fetch_sub(1, Ordering::AcqRel);
        }
        started
    }

    fn try_spawn(self: &Arc<Self>) -> std::io::Result<()> {
        let buffers = Buffers::new(self.dispatcher.negotiated().largest())?;
        let mut readers = self.readers.lock();
        let nth = readers.started.checked_rem(self.devices.len()).unwrap_or(0);
        let device = self.devices.get(nth).cloned();
        let device = device.ok_or(std::io::ErrorKind::NotConnected)?;
        readers.count += 1;
        readers.started += 1;
        drop(readers);
        let leaving = Leaving(Arc::clone(self));
        std::thread::Builder::new().name("fuse".to_owned()).spawn(move || {
            let pool = &leaving.0;
            spares::serve_for(pool.myself.clone());
            if let Err(errno) = pool.read_requests(&device, buffers) {
                tracing::error!(%errno, "reading /dev/fuse");
                pool.readers.lock().error.get_or_insert(errno);
            }
        })?;
        Ok(())
    }

    /// Serves requests until the connection ends or nobody needs this reader.
    /// On entry it counts as idle.
    fn read_requests(&self, device: &Device, mut buffers: Buffers) -> Result<(), Errno> {
        let mut load = Load::default();
        let mut failures = 0;
        loop {
            let asked = Instant::now();
            let (read, device) = self.receive(device, &mut buffers, asked);
            let (request, answer) = buffers.split();
            load.note(asked.elapsed());
            self.idle.fetch_sub(1, Ordering::AcqRel);
            match read {
                Ok(0) => return Ok(()),
                Ok(len) => {
                    failures = 0;
                    self.received.fetch_add(1, Ordering::Relaxed);
                    self.watch.wake();
                    if load.is_backlog() {
                        self.add_reader(self.normal);
                    }
                    let sent = self.serve(device, request.get(..len).unwrap_or_default(), answer);
                    buffers.used(len.max(sent));
                }
                // ENOENT: the request was withdrawn before it was read.
                Err(Errno::INTR | Errno::AGAIN | Errno::NOENT) => {}
                // Unmounted, or the connection was aborted.
                Err(Errno::NODEV | Errno::CONNABORTED) => return Ok(()),
                Err(errno) if failures < PATIENCE && is_passing(errno) => {
                    tracing::warn!(%errno, "reading /dev/fuse; trying again");
                    failures += 1;
                    std::thread::sleep(PAUSE * failures);
                }
                Err(errno) => return Err(errno),
            }
            let others = self.idle.fetch_add(1, Ordering::AcqRel);
            if others >= self.normal || others >= 1 && load.is_calm() {
                self.idle.fetch_sub(1, Ordering::AcqRel);
                if !self.park(&mut buffers) {
                    return Ok(());
                }
                load = Load::default();
            }
        }
    }

    /// Waits until this reader is needed; then it counts as idle again.
    /// `false`: it is to end.
    fn park(&self, buffers: &mut Buffers) -> bool {
        let mut readers = self.readers.lock();
        if readers.parked >= self.normal {
            return false;
        }
        readers.parked += 1;
        while readers.called == 0 && !readers.ended {
            if buffers.are_large() {
                if self.changed.wait_for(&mut readers, IDLE).timed_out() {
                    buffers.trim();
                }
            } else {
                self.changed.wait(&mut readers);
            }
        }
        readers.parked -= 1;
        readers.called = readers.called.saturating_sub(1);
        !readers.ended
    }

    /// Calls a parked reader or starts one, unless one is idle or `limit`
    /// readers are at work.
    fn add_reader(&self, limit: usize) {
        if self.alone.load(Ordering::Relaxed) {
            return;
        }
        // Counting it as idle at once keeps a second caller from adding
        // another before this one has begun.
        if self.idle.compare_exchange(0, 1, Ordering::AcqRel, Ordering::Acquire).is_err() {
            return;
        }
        let mut readers = self.readers.lock();
        if readers.at_work() >= limit || readers.ended {
            self.idle.fetch_sub(1, Ordering::AcqRel);
            return;
        }
        if readers.parked > readers.called {
            readers.called += 1;
            self.changed.notify_all();
            return;
        }
        drop(readers);
        let started = self.myself.upgrade().map(|pool| pool.spawn());
        if let Some(Err(error)) = started {
            tracing::warn!(%error, "cannot start another reader");
        }
    }

    /// Serves one request and sends the answer, for which `answer` has place.
    /// Returns the bytes sent.
    fn serve(&self, device: &Device, request: &[u8], answer: &mut [u8]) -> usize {
        let Some((unique, sent)) = self.answer(request, answer) else {
            return 0;
        };
        let len = HEADER + sent.len;
        let header = abi::OutHeader { len: len as u32, error: sent.error, unique };
        let Some(message) = answer.get_mut(..len) else {
            return 0;
        };
        for (place, byte) in message.iter_mut().zip(wire::bytes_of(&header)) {
            *place = *byte;
        }
        if let Err(errno) = write(device, message) {
            refused(device, unique, errno);
            if let Some(node) = sent.entry {
                self.dispatcher.undelivered(node);
            }
        }
        len
    }

    /// Builds the body of the answer; `None` if none is to be sent.
    fn answer(&self, request: &[u8], answer: &mut [u8]) -> Option<(u64, Built)> {
        let mut reply = ReplyBuf::new(answer.get_mut(HEADER..)?);
        let unique = match RawRequest::split(request, self.dispatcher.negotiated()) {
            Some(raw) => match self.dispatcher.dispatch(&raw, &mut reply) {
                Answer::None => return None,
                Answer::Send => raw.header.unique,
            },
            None => {
                tracing::error!(len = request.len(), "request shorter than it says");
                reply.fail(Errno::IO);
                wire::read::<abi::InHeader>(request)?.unique
            }
        };
        let built = Built { len: reply.len(), error: reply.error(), entry: reply.entry() };
        Some((unique, built))
    }
}

/// An answer was not taken. Unless nobody waits for it any more, the request is
/// still there, and gets one that needs neither memory nor judgement.
fn refused(device: &Device, unique: u64, errno: Errno) {
    // ENOENT: nobody waits (aborted, or an INTERRUPT whose request is gone).
    // The others: nor will anybody, the connection is gone.
    if matches!(errno, Errno::NOENT | Errno::NODEV | Errno::CONNABORTED | Errno::PERM) {
        return;
    }
    tracing::error!(%errno, "an answer was not taken: EIO instead");
    let header = abi::OutHeader { len: HEADER as u32, error: -Errno::IO.raw_os_error(), unique };
    // ENOENT: it was taken as far as that the request is over.
    if let Err(errno) = write(device, wire::bytes_of(&header))
        && errno != Errno::NOENT
    {
        tracing::error!(%errno, "nor was that");
    }
}

const HEADER: usize = size_of::<abi::OutHeader>();

/// What is known of an answer once its body is written.
struct Built {
    len: usize,
    error: i32,
    entry: Option<u64>,
}

fn write(device: &Device, bytes: &[u8]) -> Result<(), Errno> {
    loop {
        match rustix::io::write(device.as_fd(), bytes) {
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

impl<F: FileSystem> Spares for Pool<F> {
    fn announce(&self) {
        self.add_reader(self.blocked.most(self.max));
    }

    fn blocked(&self) -> &Blocked {
        &self.blocked
    }
}

/// Counts a reader out when its thread ends, however it ends.
struct Leaving<F>(Arc<Pool<F>>);

impl<F> Drop for Leaving<F> {
    fn drop(&mut self) {
        let mut readers = self.0.readers.lock();
        readers.count -= 1;
        // The last one at work ends only with the connection. One that was
        // called is at work, though it may not have woken yet: a surplus
        // reader that leaves before that must not take the rest with it.
        if readers.at_work() == 0 {
            readers.ended = true;
        }
        self.0.changed.notify_all();
    }
}
