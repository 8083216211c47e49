//! What a thread does at present, and where and how it may run meanwhile.

#![forbid(unsafe_code)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};

use parking_lot::Mutex;

use super::{RESERVE, Uring, cpus};
use crate::sched::Class;
use crate::server::FileSystem;
use crate::spares::{Blocked, Spares};

/// One thread. While it waits, hands over and does short work it stays on its
/// CPU and under `SCHED_IDLE`. Long work frees it of both: under that class it
/// would get nothing beside others' work, and they would wait for what it holds.
pub(super) struct Current<F> {
    uring: Arc<Uring<F>>,
    /// Whose request it serves.
    qid: AtomicU16,
    /// Counts beginnings and ends: odd while a request is served.
    turn: AtomicU64,
    /// `turn` when the watch looked last.
    seen: AtomicU64,
    pinned: Option<cpus::Pinned>,
    class: Option<Class>,
    /// A leaf: only system calls on this thread's behalf are made under it.
    freed: Mutex<Freed>,
}

/// Of what a thread is free for the sake of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Freed {
    class: bool,
    cpu: bool,
}

impl<F: FileSystem> Current<F> {
    /// Of the calling thread. `cpu`: where it is to stay.
    pub(super) fn enter(uring: &Arc<Uring<F>>, cpu: Option<u16>) -> Arc<Current<F>> {
        let current = Arc::new(Current {
            uring: Arc::clone(uring),
            qid: AtomicU16::new(0),
            turn: AtomicU64::new(0),
            seen: AtomicU64::new(0),
            pinned: cpu.and_then(cpus::pin),
            class: uring.idle_class.then(Class::idle_from_now).flatten(),
            freed: Mutex::default(),
        });
        uring.watched.lock().push(Arc::downgrade(&current));
        current
    }

    /// It serves a request of a queue, `long` if that is certain to take some
    /// time.
    pub(super) fn begin(&self, qid: u16, long: bool) {
        self.qid.store(qid, Ordering::Relaxed);
        self.turn.fetch_add(1, Ordering::Relaxed);
        self.uring.watch.wake();
        if long {
            self.free(false);
        }
    }

    /// The request is done, its answer not handed over yet. `true`: that should
    /// be done before [`go_back`](Self::go_back), for the way may be long.
    pub(super) fn end(&self) -> bool {
        self.turn.fetch_add(1, Ordering::Relaxed);
        self.freed.lock().cpu
    }

    /// Back to the CPU, and to leaving it to others.
    pub(super) fn go_back(&self) {
        let mut freed = self.freed.lock();
        if std::mem::take(&mut freed.cpu)
            && let Some(pinned) = &self.pinned
        {
            pinned.tighten();
        }
        if freed.class && !self.uring.crowded.load(Ordering::Relaxed) {
            freed.class = false;
            self.class.iter().for_each(Class::make_idle);
        }
    }

    /// There is no idle CPU to leave the client: it takes its part in the work,
    /// until it goes back when that is over.
    pub(super) fn join_in(&self) {
        self.free(false);
    }

    /// Requests begun, and whether it is at one that it was at when asked last.
    /// For the watch alone.
    pub(super) fn look(&self) -> (u64, bool) {
        let turn = self.turn.load(Ordering::Relaxed);
        let before = self.seen.swap(turn, Ordering::Relaxed);
        (turn.div_ceil(2), turn == before && turn % 2 == 1)
    }

    fn free(&self, cpu: bool) {
        let mut freed = self.freed.lock();
        if !std::mem::replace(&mut freed.class, true)
            && let Some(class) = &self.class
        {
            class.make_ordinary();
        }
        if cpu
            && !std::mem::replace(&mut freed.cpu, true)
            && let Some(pinned) = &self.pinned
        {
            pinned.loosen();
        }
    }
}

impl<F: FileSystem> Spares for Current<F> {
    fn announce(&self) {
        let qid = self.qid.load(Ordering::Relaxed);
        if self.uring.queue(qid).is_some_and(|queue| queue.idle() < RESERVE) {
            self.uring.want(qid);
        }
        self.free(true);
    }

    fn blocked(&self) -> &Blocked {
        &self.uring.blocked
    }
}
