//! Reader threads: how many there are, and what each does.

use std::cell::RefCell;
use std::marker::PhantomData;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::{Condvar, Mutex};
use rustix::io::Errno;

use crate::abi;
use crate::affinity::Affinity;
use crate::buffer::Buffers;
use crate::device::Device;
use crate::dispatch::{Answer, Dispatcher};
use crate::reply::ReplyBuf;
use crate::request::RawRequest;
use crate::server::FileSystem;
use crate::wire;

/// All readers of one session.
///
/// There are never more idle readers than `normal`: idle readers are woken in
/// turn, and each one more drags requests across CPUs.
#[derive(Debug)]
pub(crate) struct Pool<F> {
    myself: Weak<Pool<F>>,
    dispatcher: Dispatcher<F>,
    /// For spare readers, which need no queue of their own.
    device: Arc<Device>,
    normal: usize,
    max: usize,
    affinity: Option<Affinity>,
    /// Readers waiting for a request or about to.
    idle: AtomicUsize,
    /// Innermost lock: nothing else is locked while it is held.
    readers: Mutex<Readers>,
    ended: Condvar,
}

#[derive(Debug, Default)]
struct Readers {
    /// Readers alive.
    count: usize,
    /// Why one ended that should not have.
    error: Option<Errno>,
}

/// Whatever can start a spare reader; hides the file system's type.
trait Spares {
    fn start_if_none_idle(&self);
}

thread_local! {
    /// The pool of the reader that this thread is.
    static CURRENT: RefCell<Option<Weak<dyn Spares>>> = const { RefCell::new(None) };
}

/// Shows that slow work is going on; see [`blocking_section`].
#[derive(Debug)]
#[must_use = "the section lasts as long as the guard"]
pub struct BlockingSection(PhantomData<*const ()>);

/// To be called by a method of the file system before work that may take long
/// (a large copy, fsync, waiting for a lock): if no other reader is free, a
/// spare one is started, so that other requests are served meanwhile. Without
/// effect on threads that are no readers.
pub fn blocking_section() -> BlockingSection {
    before_blocking();
    BlockingSection(PhantomData)
}

/// [`blocking_section`] as a plain function, to be handed to code that should
/// know nothing of this library: `fn()`.
pub fn before_blocking() {
    let pool = CURRENT.with_borrow(|current| current.as_ref().and_then(Weak::upgrade));
    if let Some(pool) = pool {
        pool.start_if_none_idle();
    }
}

impl<F: FileSystem> Pool<F> {
    pub(crate) fn new(
        dispatcher: Dispatcher<F>,
        device: Arc<Device>,
        normal: usize,
        max: usize,
        affinity: Option<Affinity>,
    ) -> Arc<Pool<F>> {
        Arc::new_cyclic(|myself| Pool {
            myself: myself.clone(),
            dispatcher,
            device,
            normal,
            max: max.max(normal),
            affinity,
            idle: AtomicUsize::new(0),
            readers: Mutex::new(Readers::default()),
            ended: Condvar::new(),
        })
    }

    /// Starts one of the normal readers on a device of its own.
    pub(crate) fn start(self: &Arc<Self>, device: Arc<Device>, nth: usize) -> std::io::Result<()> {
        self.idle.fetch_add(1, Ordering::AcqRel);
        self.spawn(device, Some(nth))
    }

    /// Waits until all readers have ended; the error of one that should not
    /// have.
    pub(crate) fn wait(&self) -> Option<Errno> {
        let mut readers = self.readers.lock();
        while readers.count > 0 {
            self.ended.wait(&mut readers);
        }
        readers.error
    }

    /// Starts a thread whose being idle is already counted.
    fn spawn(self: &Arc<Self>, device: Arc<Device>, nth: Option<usize>) -> std::io::Result<()> {
        let started = self.try_spawn(device, nth);
        if started.is_err() {
            self.idle.fetch_sub(1, Ordering::AcqRel);
        }
        started
    }

    fn try_spawn(self: &Arc<Self>, device: Arc<Device>, nth: Option<usize>) -> std::io::Result<()> {
        let buffers = Buffers::new(self.dispatcher.negotiated().max_write as usize)?;
        self.readers.lock().count += 1;
        let leaving = Leaving(Arc::clone(self));
        std::thread::Builder::new().name("fuse".to_owned()).spawn(move || {
            let pool = &leaving.0;
            if let Some(affinity) = &pool.affinity {
                affinity.apply(nth);
            }
            let spares: Weak<dyn Spares> = pool.myself.clone();
            CURRENT.set(Some(spares));
            if let Err(errno) = pool.read_requests(&device, buffers) {
                tracing::error!(%errno, "reading /dev/fuse");
                pool.readers.lock().error.get_or_insert(errno);
            }
        })?;
        Ok(())
    }

    /// Serves requests until the connection ends or too many readers idle.
    /// On entry this reader counts as idle.
    fn read_requests(&self, device: &Device, mut buffers: Buffers) -> Result<(), Errno> {
        loop {
            let (request, answer) = buffers.split();
            let read = rustix::io::read(device.as_fd(), &mut *request);
            self.idle.fetch_sub(1, Ordering::AcqRel);
            match read {
                Ok(0) => return Ok(()),
                Ok(len) => {
                    let sent = self.serve(device, request.get(..len).unwrap_or_default(), answer);
                    buffers.used(len.max(sent));
                }
                // ENOENT: the request was withdrawn before it was read.
                Err(Errno::INTR | Errno::AGAIN | Errno::NOENT) => {}
                // Unmounted, or the connection was aborted.
                Err(Errno::NODEV | Errno::CONNABORTED) => return Ok(()),
                Err(errno) => return Err(errno),
            }
            if self.idle.fetch_add(1, Ordering::AcqRel) >= self.normal {
                self.idle.fetch_sub(1, Ordering::AcqRel);
                return Ok(());
            }
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
        let delivered = write(device, message);
        if let Err(errno) = delivered {
            // ENOENT: nobody waits any more (aborted, or an INTERRUPT whose
            // request is gone).
            if errno != Errno::NOENT {
                tracing::debug!(%errno, "an answer was not taken");
            }
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
    fn start_if_none_idle(&self) {
        // Counting the spare as idle at once keeps a second caller from
        // starting another before this one has begun.
        if self.idle.compare_exchange(0, 1, Ordering::AcqRel, Ordering::Acquire).is_err() {
            return;
        }
        let pool = self.myself.upgrade();
        let Some(pool) = pool.filter(|pool| pool.readers.lock().count < pool.max) else {
            self.idle.fetch_sub(1, Ordering::AcqRel);
            return;
        };
        if let Err(error) = pool.spawn(Arc::clone(&pool.device), None) {
            tracing::warn!(%error, "cannot start a spare reader");
        }
    }
}

/// Counts a reader out when its thread ends, however it ends.
struct Leaving<F>(Arc<Pool<F>>);

impl<F> Drop for Leaving<F> {
    fn drop(&mut self) {
        self.0.readers.lock().count -= 1;
        self.0.ended.notify_all();
    }
}
