//! One io_uring, as far as commands to a device need it.

#![allow(unsafe_code)]

use std::ffi::c_void;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::io::Errno;
use rustix::io_uring::{
    IORING_OFF_SQ_RING, IORING_OFF_SQES, IoringEnterFlags, IoringFeatureFlags, IoringRegisterOp,
    IoringSetupFlags, io_uring_enter, io_uring_params, io_uring_register, io_uring_setup,
};
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap, munmap};

use crate::abi;
use crate::device::Device;

/// `IORING_OP_URING_CMD`.
const OP_URING_CMD: u8 = 46;
/// All of these came before FUSE used rings (6.14).
const SETUP: IoringSetupFlags = IoringSetupFlags::SQE128
    .union(IoringSetupFlags::SINGLE_ISSUER)
    .union(IoringSetupFlags::DEFER_TASKRUN)
    .union(IoringSetupFlags::NO_SQARRAY)
    .union(IoringSetupFlags::SUBMIT_ALL)
    .union(IoringSetupFlags::R_DISABLED);

/// A submission of 128 bytes (`struct io_uring_sqe` with `SQE128`) that holds
/// a command.
#[repr(C)]
#[derive(Clone, Copy)]
struct Sqe {
    opcode: u8,
    flags: u8,
    ioprio: u16,
    fd: i32,
    cmd_op: u32,
    pad: u32,
    addr: u64,
    len: u32,
    cmd_flags: u32,
    user_data: u64,
    buf_index: u16,
    personality: u16,
    file_index: u32,
    cmd: abi::UringCmdReq,
    rest: [u64; 7],
}

const _: () = assert!(size_of::<Sqe>() == 128 && std::mem::offset_of!(Sqe, cmd) == 48);

/// A completion (`struct io_uring_cqe`).
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(super) struct Completion {
    /// As given with the command.
    pub(super) user_data: u64,
    /// 0, or a negative error number.
    pub(super) res: i32,
    flags: u32,
}

const _: () = assert!(size_of::<Completion>() == 16);

/// A command to the device.
pub(super) struct Command {
    /// `URING_CMD_*`.
    pub(super) op: u32,
    /// Comes back with the completion.
    pub(super) user_data: u64,
    /// Address of the two buffers' description, for REGISTER.
    pub(super) iovecs: u64,
    /// Which request is answered.
    pub(super) commit_id: u64,
    /// Number of the queue.
    pub(super) qid: u16,
}

/// Memory shared with the kernel, unmapped when dropped.
struct Mapping {
    base: NonNull<u8>,
    len: usize,
}

impl Mapping {
    fn new(fd: &OwnedFd, len: usize, offset: u64) -> Result<Mapping, Errno> {
        let prot = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new shared mapping at an address of the kernel's choice.
        let base = unsafe {
            let flags = MapFlags::SHARED | MapFlags::POPULATE;
            mmap(std::ptr::null_mut(), len, prot, flags, fd, offset)?
        };
        // A process that is made of this one must not keep the ring alive.
        // SAFETY: the mapping made just now, whole; its content stays as it is.
        let kept = unsafe { madvise(base, len, Advice::LinuxDontFork) };
        let mapping = Mapping { base: NonNull::new(base.cast()).ok_or(Errno::NOMEM)?, len };
        kept.map(|()| mapping)
    }

    /// The counter at an offset that `check` has accepted.
    fn counter(&self, at: u32) -> &AtomicU32 {
        // SAFETY: within the mapping and aligned (`check` was asked when the
        // ring was made); shared with the kernel by atomic accesses only.
        unsafe { &*self.base.as_ptr().add(at as usize).cast::<AtomicU32>() }
    }

    fn check(&self, at: u32, size: usize) -> Result<(), Errno> {
        let fits = (at as usize).checked_add(size).is_some_and(|end| end <= self.len);
        if fits && at.is_multiple_of(4) { Ok(()) } else { Err(Errno::INVAL) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: exactly the mapping made in `new`; no reference is left.
        let _ = unsafe { munmap(self.base.as_ptr().cast::<c_void>(), self.len) };
    }
}

/// A ring whose submissions are commands to one device. After
/// [`enable`](Ring::enable) it belongs to the thread that called it.
pub(super) struct Ring {
    rings: Mapping,
    sqes: Mapping,
    params: io_uring_params,
    sq_tail: u32,
    cq_head: u32,
    fd: OwnedFd,
}

// SAFETY: the mappings belong to this value alone and may move with it.
unsafe impl Send for Ring {}

impl Ring {
    /// A ring for `entries` commands in flight, still disabled.
    ///
    /// Errors: ENOSYS, EPERM (`kernel.io_uring_disabled`, seccomp), EINVAL (a
    /// kernel before 6.6), ENOMEM, EMFILE.
    pub(super) fn new(entries: u32) -> Result<Ring, Errno> {
        let mut params = io_uring_params::default();
        params.flags = SETUP;
        // SAFETY: the parameters ask for no memory of ours to be used.
        let fd = unsafe { io_uring_setup(entries, &mut params)? };
        if !params.features.contains(IoringFeatureFlags::SINGLE_MMAP) {
            return Err(Errno::INVAL);
        }
        let cqes = params.cq_entries as usize * size_of::<Completion>();
        let rings = Mapping::new(&fd, params.cq_off.cqes as usize + cqes, IORING_OFF_SQ_RING)?;
        let sqes =
            Mapping::new(&fd, params.sq_entries as usize * size_of::<Sqe>(), IORING_OFF_SQES)?;
        let (sq, cq) = (&params.sq_off, &params.cq_off);
        for at in [sq.head, sq.tail, sq.flags, cq.head, cq.tail] {
            rings.check(at, 4)?;
        }
        rings.check(cq.cqes, cqes)?;
        if !params.sq_entries.is_power_of_two() || !params.cq_entries.is_power_of_two() {
            return Err(Errno::INVAL);
        }
        Ok(Ring { rings, sqes, params, sq_tail: 0, cq_head: 0, fd })
    }

    /// Makes the ring usable, by this thread only.
    pub(super) fn enable(&self) -> Result<(), Errno> {
        let op = IoringRegisterOp::RegisterEnableRings;
        // SAFETY: the operation takes no argument.
        unsafe { io_uring_register(&self.fd, op, std::ptr::null(), 0).map(drop) }
    }

    /// Queues a command. `false`: the ring is full.
    ///
    /// # Safety
    ///
    /// Of a REGISTER, `iovecs` must describe memory that stays mapped as long
    /// as the device's connection or this process lives or the command has
    /// failed, and that nobody else touches between a submission and its
    /// completion.
    // SAFETY: what the caller has to keep is said above.
    pub(super) unsafe fn push(&mut self, device: &Device, command: &Command) -> bool {
        let head = self.rings.counter(self.params.sq_off.head).load(Ordering::Acquire);
        if self.sq_tail.wrapping_sub(head) >= self.params.sq_entries {
            return false;
        }
        let sqe = Sqe {
            opcode: OP_URING_CMD,
            flags: 0,
            ioprio: 0,
            fd: device.as_fd().as_raw_fd(),
            cmd_op: command.op,
            pad: 0,
            addr: command.iovecs,
            len: if command.iovecs == 0 { 0 } else { 2 },
            cmd_flags: 0,
            user_data: command.user_data,
            buf_index: 0,
            personality: 0,
            file_index: 0,
            cmd: abi::UringCmdReq {
                commit_id: command.commit_id,
                qid: command.qid,
                ..abi::UringCmdReq::default()
            },
            rest: [0; 7],
        };
        let index = self.sq_tail & (self.params.sq_entries - 1);
        // SAFETY: the index is below `sq_entries`, for which the mapping was
        // made; the kernel reads this place only once the tail has passed it.
        unsafe { self.sqes.base.as_ptr().cast::<Sqe>().add(index as usize).write(sqe) };
        self.sq_tail = self.sq_tail.wrapping_add(1);
        self.rings.counter(self.params.sq_off.tail).store(self.sq_tail, Ordering::Release);
        true
    }

    /// Submits what is queued, lets completions come in, and waits for one if
    /// `wait`.
    pub(super) fn submit(&self, wait: bool) -> Result<(), Errno> {
        loop {
            let head = self.rings.counter(self.params.sq_off.head).load(Ordering::Acquire);
            let queued = self.sq_tail.wrapping_sub(head);
            // SAFETY: the submissions' memory is what `push` was promised.
            let entered = unsafe {
                io_uring_enter(&self.fd, queued, wait.into(), IoringEnterFlags::GETEVENTS)
            };
            match entered {
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                // Short of memory. Somebody waits for an answer that is in
                // the queue, so it is not for us to give up.
                Err(Errno::AGAIN | Errno::BUSY | Errno::NOMEM) => {
                    std::thread::sleep(Duration::from_millis(1));
                }
                Err(errno) => return Err(errno),
            }
        }
    }

    /// Whether a completion is there.
    pub(super) fn has_completion(&self) -> bool {
        self.rings.counter(self.params.cq_off.tail).load(Ordering::Acquire) != self.cq_head
    }

    /// Takes a completion.
    pub(super) fn pop(&mut self) -> Option<Completion> {
        if !self.has_completion() {
            return None;
        }
        let index = self.cq_head & (self.params.cq_entries - 1);
        let cqes = self.params.cq_off.cqes as usize;
        // SAFETY: the index is below `cq_entries`, for which `new` checked the
        // mapping; the kernel has written this place, as its tail says, and
        // does not touch it before the head has passed it.
        let cqe = unsafe {
            self.rings.base.as_ptr().add(cqes).cast::<Completion>().add(index as usize).read()
        };
        self.cq_head = self.cq_head.wrapping_add(1);
        self.rings.counter(self.params.cq_off.head).store(self.cq_head, Ordering::Release);
        Some(cqe)
    }
}
