//! The second transport: FUSE over io_uring (Linux 6.14).
//!
//! The kernel has a queue for each possible CPU, into which it puts what comes
//! from there, and wants places for requests in all of them before it begins.
//! Here each place has a thread and a ring of its own: the thread sleeps in the
//! kernel until its place is filled, serves the request on the CPU where the
//! client is, and hands the answer over in the call in which it waits for the
//! next. A slow request holds up its own thread only; the kernel takes the
//! place that became free last, so that spare threads stay asleep.
//!
//! A queue in which all threads are at work gets another one. Places cannot be
//! given back, so threads stay until the connection ends.
//!
//! FORGET, INTERRUPT and notifications go through `/dev/fuse` as ever.

mod cpus;
mod current;
mod entry;
mod kick;
mod queue;
mod ring;
mod tend;
mod worker;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak, mpsc};

use parking_lot::{Condvar, Mutex};
use rustix::io::Errno;

use crate::crowd::Crowd;
use crate::device::Device;
use crate::dispatch::Dispatcher;
use crate::init::Negotiated;
use crate::mount::{Mount, MountPoint};
use crate::sched;
use crate::server::FileSystem;
use crate::spares::Blocked;
use crate::transport::NoRing;
use crate::watch::Watch;
use current::Current;
use entry::Entry;
use queue::Queue;
use ring::Ring;
use worker::{Slot, Worker};

/// Places for requests, and threads, that each CPU in use has from the
/// beginning.
const AT_FIRST: usize = 3;

/// With fewer places waiting in a queue, another one is made: the time that
/// takes must not find it dry.
const RESERVE: isize = 2;

/// Most places of one ring: those of CPUs that are off share rings.
const SHARED: usize = 64;

/// What can be made before INIT is answered: rings for the places without
/// which the kernel would not begin.
pub(crate) struct Prepared {
    cpus: cpus::Cpus,
    rings: Vec<(Ring, Vec<u16>)>,
    crowd: Crowd,
}

impl Prepared {
    /// Makes the rings.
    pub(crate) fn new() -> Result<Prepared, NoRing> {
        let cpus = cpus::Cpus::read().ok_or(NoRing::Cpus)?;
        let mut rings = Vec::new();
        for queues in cpus.shared(SHARED) {
            let ring = Ring::new(queues.len() as u32).map_err(NoRing::Setup)?;
            rings.push((ring, queues));
        }
        let crowd = Crowd::new(cpus.usable.len() as u32);
        Ok(Prepared { cpus, rings, crowd })
    }
}

/// All rings of one session.
pub(crate) struct Uring<F> {
    dispatcher: Arc<Dispatcher<F>>,
    device: Arc<Device>,
    mount: Arc<MountPoint>,
    /// By number of the CPU.
    queues: Vec<Queue>,
    /// Bytes of a place's payload.
    payload: usize,
    /// Threads started.
    started: AtomicUsize,
    /// How many there are at first, and how many may be added.
    first: usize,
    spares: usize,
    blocked: Blocked,
    /// There is a thread that starts threads.
    supervised: AtomicBool,
    /// They run under `SCHED_IDLE` while they wait.
    idle_class: bool,
    /// But not now, for every CPU has other work.
    crowded: AtomicBool,
    /// Threads as the watch sees them; taken before the locks of one.
    watched: Mutex<Vec<Weak<Current<F>>>>,
    watch: Watch,
    state: Mutex<State>,
    changed: Condvar,
}

/// How many threads, and of which kind.
pub(crate) struct Threads {
    /// Threads that may be added under load.
    pub(crate) spares: usize,
    /// They are to run under `SCHED_IDLE` while they wait, if they may.
    pub(crate) idle_class: bool,
}

#[derive(Default)]
struct State {
    /// Threads alive.
    threads: usize,
    /// Queues that need another thread.
    wanted: Vec<u16>,
    /// The connection is gone.
    ended: bool,
}

impl<F: FileSystem> Uring<F> {
    /// Gives the kernel its places. When it returns success, requests come
    /// through the rings; on failure they come through `/dev/fuse`.
    pub(crate) fn start(
        prepared: Prepared,
        dispatcher: Arc<Dispatcher<F>>,
        mount: &Mount,
        threads: Threads,
    ) -> Result<Arc<Uring<F>>, Errno> {
        let usable = prepared.cpus.usable.clone();
        let uring = Arc::new(Uring {
            payload: payload_size(dispatcher.negotiated()),
            dispatcher,
            device: Arc::clone(mount.device()),
            mount: Arc::clone(mount.point_arc()),
            queues: (0..prepared.cpus.possible).map(|_| Queue::default()).collect(),
            started: AtomicUsize::new(0),
            first: prepared.rings.len() + usable.len() * (AT_FIRST - 1),
            spares: threads.spares,
            blocked: Blocked::default(),
            supervised: AtomicBool::new(true),
            idle_class: threads.idle_class && sched::may_idle(),
            crowded: AtomicBool::new(false),
            watched: Mutex::default(),
            watch: Watch::default(),
            state: Mutex::new(State::default()),
            changed: Condvar::new(),
        });
        tracing::debug!(idle_class = uring.idle_class, "threads for requests");
        let (report, reports) = mpsc::channel();
        let mut failed = None;
        for (ring, queues) in prepared.rings {
            let cpu = queues.first().copied().filter(|cpu| usable.contains(cpu));
            let started = uring.start_worker(ring, &queues, cpu, Some(report.clone()));
            failed = failed.or(started.err());
        }
        drop(report);
        for registered in reports {
            failed = failed.or(registered.err());
        }
        if let Some(errno) = failed {
            uring.withdraw();
            return Err(errno);
        }
        for _ in 1..AT_FIRST {
            for &cpu in &usable {
                uring.add_worker(cpu);
            }
        }
        uring.start_supervisor();
        uring.start_watch(prepared.crowd);
        Ok(uring)
    }

    /// A thread for one ring and its places. `cpu`: where it is to stay.
    fn start_worker(
        self: &Arc<Self>,
        ring: Ring,
        queues: &[u16],
        cpu: Option<u16>,
        report: Option<mpsc::Sender<Result<(), Errno>>>,
    ) -> Result<(), Errno> {
        let mut slots = Vec::with_capacity(queues.len());
        for &qid in queues {
            slots.push(Slot::new(qid, Entry::new(self.payload)?));
        }
        let worker = Worker::new(Arc::clone(self), ring, slots, cpu, report);
        self.state.lock().threads += 1;
        self.started.fetch_add(1, Ordering::Relaxed);
        let leaving = Leaving(Arc::clone(self));
        let name = cpu.map_or_else(|| "fuse-ring".to_owned(), |cpu| format!("fuse-ring{cpu}"));
        let spawned = std::thread::Builder::new().name(name).spawn(move || {
            let _leaving = leaving;
            worker.run();
        });
        spawned.map(drop).map_err(|error| error.raw_os_error().map_or(Errno::AGAIN, errno))
    }

    /// Sees to it that a queue has places, and that they are used.
    fn relieve(self: &Arc<Self>, cpu: u16) {
        let Some(queue) = self.queue(cpu) else { return };
        queue.granted();
        if queue.is_deserted() {
            // Beyond the bound, if need be: it stands in for one that is gone.
            if !self.try_worker(cpu) && queue.is_deserted() {
                return self.give_up(cpu);
            }
        } else if queue.idle() < RESERVE {
            self.add_worker(cpu);
        }
        self.kick(cpu);
    }

    /// A further thread for the queue of a CPU.
    fn add_worker(self: &Arc<Self>, cpu: u16) {
        if self.may_grow() {
            self.try_worker(cpu);
        }
    }

    /// `false`: there is none, though the connection lives.
    fn try_worker(self: &Arc<Self>, cpu: u16) -> bool {
        let (report, registered) = mpsc::channel();
        let added = Ring::new(1)
            .and_then(|ring| self.start_worker(ring, &[cpu], Some(cpu), Some(report)))
            .and_then(|()| registered.recv().unwrap_or(Err(Errno::CANCELED)));
        match added {
            Ok(()) | Err(Errno::NOTCONN | Errno::CONNABORTED) => true,
            Err(error) => {
                tracing::warn!(%error, cpu, "cannot add a thread for requests");
                false
            }
        }
    }

    /// A place of a queue is gone although the connection lives.
    fn lost(&self, qid: u16) {
        let Some(queue) = self.queue(qid) else { return };
        tracing::warn!(queue = qid, "a place for requests is lost");
        if !queue.lost() {
            return;
        }
        match self.supervised.load(Ordering::Acquire) {
            true => self.want(qid),
            false => self.give_up(qid),
        }
    }

    /// Requests from a CPU would wait for ever, so all are told that there is
    /// nobody.
    fn give_up(&self, qid: u16) {
        tracing::error!(queue = qid, "nobody can serve requests: the connection is ended");
        if let Err(error) = self.mount.abort() {
            tracing::error!("cannot end the connection: {error}");
        }
    }

    /// Makes the kernel hand out requests that had to wait: it gives a new
    /// place to the next request that comes, and those that wait only to
    /// places from which an answer comes. So a request is made to come.
    fn kick(self: &Arc<Self>, cpu: u16) {
        if let Err(error) = kick::kick(self, cpu) {
            tracing::debug!("cannot make a request come: {error}");
        }
    }

    /// Makes the kernel keep to `/dev/fuse`: it does when it refuses a place.
    fn withdraw(self: &Arc<Self>) {
        let beyond = [u16::MAX];
        if let Ok(ring) = Ring::new(1) {
            let (report, registered) = mpsc::channel();
            if self.start_worker(ring, &beyond, None, Some(report)).is_ok() {
                let _ = registered.recv();
            }
        }
    }

    /// The thread that starts threads.
    fn start_supervisor(self: &Arc<Self>) {
        let uring = Arc::clone(self);
        let spawned = std::thread::Builder::new().name("fuse-rings".to_owned()).spawn(move || {
            let mut state = uring.state.lock();
            while !state.ended {
                match state.wanted.pop() {
                    Some(cpu) => parking_lot::MutexGuard::unlocked(&mut state, || {
                        uring.relieve(cpu);
                    }),
                    None => uring.changed.wait(&mut state),
                }
            }
        });
        if let Err(error) = spawned {
            self.supervised.store(false, Ordering::Release);
            tracing::warn!(%error, "no threads for requests will be added");
        }
    }

    /// Whether there may be more threads.
    fn may_grow(&self) -> bool {
        self.started.load(Ordering::Relaxed) < self.first + self.blocked.most(self.spares)
    }

    /// The queue of a CPU.
    fn queue(&self, qid: u16) -> Option<&Queue> {
        self.queues.get(usize::from(qid))
    }

    /// Asks for another thread for a queue.
    fn want(&self, qid: u16) {
        let queue = self.queue(qid);
        if queue.is_some_and(Queue::ask) {
            self.state.lock().wanted.push(qid);
            self.changed.notify_all();
        }
    }

    /// Waits until all threads have ended.
    pub(crate) fn wait(&self) {
        let mut state = self.state.lock();
        while state.threads > 0 {
            self.changed.wait(&mut state);
        }
        self.watch.end();
    }
}

#[cfg(test)]
thread_local! {
    /// Makes the next sessions of this thread offer places that are too small.
    static TOO_SMALL: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// Bytes of a place: what the kernel asks for.
fn payload_size(negotiated: &Negotiated) -> usize {
    #[cfg(test)]
    if TOO_SMALL.get() {
        return crate::abi::MIN_READ_BUFFER;
    }
    negotiated.largest().max(crate::abi::MIN_READ_BUFFER)
}

fn errno(raw: i32) -> Errno {
    Errno::from_raw_os_error(raw)
}

/// Counts a thread out when it ends, however it ends.
struct Leaving<F>(Arc<Uring<F>>);

impl<F> Drop for Leaving<F> {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.threads = state.threads.saturating_sub(1);
        state.ended = state.threads == 0;
        self.0.changed.notify_all();
    }
}
