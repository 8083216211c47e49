//! A thread with a ring: takes requests out of its places, serves them, and
//! hands the answers over.

#![allow(unsafe_code)]

use std::mem::ManuallyDrop;
use std::sync::{Arc, Weak, mpsc};

use rustix::io::Errno;

use super::current::Current;
use super::entry::{Entry, Parts, in_header};
use super::queue::Queue;
use super::ring::{Command, Completion, Ring};
use super::{RESERVE, Uring};
use crate::abi::{self, opcode};
use crate::dispatch::Dispatcher;
use crate::reply::ReplyBuf;
use crate::request::RawRequest;
use crate::server::FileSystem;
use crate::spares::{self, Spares};
use crate::wire;

/// Payloads up to this size are put aside while the answer is built in their
/// place; for larger ones it is the other way round.
const SMALL: usize = 16 * 1024;

/// Moving more data than this is work that takes long.
const LONG: usize = 64 * 1024;

/// A place for requests, and what is known of it.
pub(super) struct Slot {
    /// The queue that it belongs to.
    qid: u16,
    entry: Entry,
    /// The kernel has it, or is about to.
    live: bool,
    /// It counts as one of its queue's.
    counts: bool,
    /// The node that the last answer counted a lookup of.
    counted: Option<u64>,
    /// Registered anew after a failure, without a request since.
    again: bool,
}

impl Slot {
    pub(super) fn new(qid: u16, entry: Entry) -> Slot {
        Slot { qid, entry, live: false, counts: false, counted: None, again: false }
    }
}

/// The thread's own.
pub(super) struct Worker<F> {
    uring: Arc<Uring<F>>,
    ring: Ring,
    /// Not dropped while the kernel may write there.
    slots: ManuallyDrop<Vec<Slot>>,
    cpu: Option<u16>,
    report: Option<mpsc::Sender<Result<(), Errno>>>,
    /// The connection is gone, as far as this thread has heard.
    over: bool,
}

impl<F: FileSystem> Worker<F> {
    pub(super) fn new(
        uring: Arc<Uring<F>>,
        ring: Ring,
        slots: Vec<Slot>,
        cpu: Option<u16>,
        report: Option<mpsc::Sender<Result<(), Errno>>>,
    ) -> Worker<F> {
        Worker { uring, ring, slots: ManuallyDrop::new(slots), cpu, report, over: false }
    }

    /// Registers the places and serves them until the last one is gone.
    pub(super) fn run(mut self) {
        let current = Current::enter(&self.uring, self.cpu);
        let spares: Arc<dyn Spares> = current.clone();
        spares::serve_for(Arc::downgrade(&spares) as Weak<dyn Spares>);
        if let Err(errno) = self.serve(&current) {
            tracing::error!(%errno, "waiting for requests");
        }
        for slot in self.slots.iter().filter(|slot| slot.live) {
            self.uring.queue(slot.qid).map(Queue::taken);
        }
        for index in 0..self.slots.len() {
            self.miss(index);
        }
        if self.slots.iter().all(|slot| !slot.live) {
            // SAFETY: not used again; the kernel has given all places back.
            unsafe { ManuallyDrop::drop(&mut self.slots) };
        }
    }

    fn serve(&mut self, current: &Current<F>) -> Result<(), Errno> {
        self.ring.enable()?;
        for index in 0..self.slots.len() {
            self.register(index);
        }
        self.ring.submit(false)?;
        let mut first = self.ring.pop();
        if let Some(report) = self.report.take() {
            let failed = first.filter(|completion| completion.res < 0);
            if failed.is_none() {
                self.enrol();
            }
            let _ = report.send(failed.map_or(Ok(()), |completion| Err(errno_of(&completion))));
        }
        while self.slots.iter().any(|slot| slot.live) {
            match first.take().or_else(|| self.ring.pop()) {
                Some(completion) => {
                    self.complete(&completion, current);
                    let index = completion.user_data as usize;
                    if self.slots.get(index).is_some_and(|slot| !slot.live) {
                        self.miss(index);
                    }
                    if self.ring.has_completion() {
                        self.ring.submit(false)?;
                    }
                }
                None => self.ring.submit(true)?,
            }
        }
        Ok(())
    }

    /// The kernel has taken the places.
    fn enrol(&mut self) {
        for slot in self.slots.iter_mut() {
            slot.counts = true;
            self.uring.queue(slot.qid).map(Queue::gained);
        }
    }

    /// A place is not used any more. With the connection that is as it should be.
    fn miss(&mut self, index: usize) {
        let Some(slot) = self.slots.get_mut(index) else { return };
        if std::mem::take(&mut slot.counts) && !self.over {
            self.uring.lost(slot.qid);
        }
    }

    /// A place got a request, or was refused or taken back.
    fn complete(&mut self, completion: &Completion, current: &Current<F>) {
        let index = completion.user_data as usize;
        let Some(slot) = self.slots.get_mut(index) else { return };
        let idle = self.uring.queue(slot.qid).map_or(1, Queue::taken);
        if completion.res < 0 {
            slot.live = false;
            self.failed(index, errno_of(completion));
            return;
        }
        (slot.counted, slot.again) = (None, false);
        let behind = self.uring.queue(slot.qid).is_some_and(Queue::is_behind);
        if behind || idle < RESERVE && self.uring.may_grow() {
            self.uring.want(slot.qid);
        }
        let qid = slot.qid;
        current.begin(qid, is_long(&slot.entry.headers()));
        let (commit_id, counted) = answer(&self.uring.dispatcher, &mut slot.entry);
        slot.counted = counted;
        let far = current.end();
        self.push(index, abi::URING_CMD_COMMIT_AND_FETCH, 0, commit_id);
        if behind {
            let _ = self.ring.submit(false);
            if !self.ring.has_completion() {
                self.uring.queue(qid).map(Queue::caught_up);
            }
        }
        if far {
            // The client need not wait for the way back.
            let _ = self.ring.submit(false);
        }
        current.go_back();
    }

    fn register(&mut self, index: usize) {
        let iovecs = self.slots.get(index).map_or(0, |slot| slot.entry.iovecs());
        self.push(index, abi::URING_CMD_REGISTER, iovecs, 0);
    }

    fn push(&mut self, index: usize, op: u32, iovecs: u64, commit_id: u64) {
        let Some(slot) = self.slots.get_mut(index) else { return };
        let command = Command { op, user_data: index as u64, iovecs, commit_id, qid: slot.qid };
        // SAFETY: `iovecs` describes the entry's memory, which is kept while
        // the slot is live, and touched only after completions.
        slot.live = unsafe { self.ring.push(&self.uring.device, &command) };
        if slot.live
            && let Some(queue) = self.uring.queue(slot.qid)
        {
            queue.waits();
        }
    }

    /// A command failed: with the connection, or by itself.
    fn failed(&mut self, index: usize, errno: Errno) {
        let Some(slot) = self.slots.get_mut(index) else { return };
        // Nobody waits for the answer any more.
        if let Some(node) = slot.counted.take() {
            self.uring.dispatcher.undelivered(node);
        }
        if matches!(errno, Errno::NOTCONN | Errno::CONNABORTED | Errno::NODEV | Errno::CANCELED) {
            self.over = true;
            return;
        }
        tracing::debug!(%errno, queue = slot.qid, "an answer was not taken");
        if !slot.again && self.report.is_none() {
            slot.again = true;
            self.register(index);
        }
    }
}

/// Whether a request is certain to take longer than changing the class of a
/// thread twice (4 us).
fn is_long(headers: &abi::UringReqHeader) -> bool {
    let long = |len: u32| len as usize > LONG;
    match in_header(headers).opcode {
        opcode::READDIR | opcode::READDIRPLUS => true,
        opcode::READ => {
            wire::read::<abi::ReadIn>(&headers.op_in).is_some_and(|read| long(read.size))
        }
        _ => long(headers.ring_ent_in_out.payload_sz),
    }
}

fn errno_of(completion: &Completion) -> Errno {
    super::errno(completion.res.wrapping_neg())
}

/// Serves the request in a place and leaves the answer there. Returns its
/// number, and the node that gained a lookup.
fn answer<F: FileSystem>(dispatcher: &Dispatcher<F>, entry: &mut Entry) -> (u64, Option<u64>) {
    let headers = entry.headers();
    let header = in_header(&headers);
    let asked = headers.ring_ent_in_out.payload_sz as usize;
    let (error, len, counted) = build(dispatcher, header, asked, entry.parts());
    entry.set_answer(header.unique, error, len);
    entry.used(asked.max(len));
    (headers.ring_ent_in_out.commit_id, counted)
}

/// Serves a request. Returns the error number of the answer, the length of its
/// payload, and the node that gained a lookup.
///
/// Request and answer have the same place: the smaller one is put aside.
fn build<F: FileSystem>(
    dispatcher: &Dispatcher<F>,
    header: abi::InHeader,
    asked: usize,
    parts: Parts<'_>,
) -> (i32, usize, Option<u64>) {
    let Parts { op, payload, aside } = parts;
    let Some(data) = payload.get(..asked) else {
        tracing::error!(len = asked, "request longer than its place");
        return (-Errno::IO.raw_os_error(), 0, None);
    };
    if asked > SMALL {
        let mut reply = ReplyBuf::new(aside);
        dispatcher.dispatch(&RawRequest { header, op, payload: data }, &mut reply);
        let (error, len, counted) = (reply.error(), reply.len(), reply.entry());
        return match (payload.get_mut(..len), aside.get(..len)) {
            (Some(place), Some(body)) => {
                place.copy_from_slice(body);
                (error, len, counted)
            }
            _ => (-Errno::IO.raw_os_error(), 0, counted),
        };
    }
    let Some(copy) = aside.get_mut(..asked) else {
        return (-Errno::IO.raw_os_error(), 0, None);
    };
    copy.copy_from_slice(data);
    let mut reply = ReplyBuf::new(payload);
    dispatcher.dispatch(&RawRequest { header, op, payload: copy }, &mut reply);
    (reply.error(), reply.len(), reply.entry())
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
