//! Stopping at system calls of another process: the filter, its listener, and
//! the memory and descriptors that arguments point to.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

#[cfg(target_arch = "x86_64")]
const ARCH: u32 = 0xC000_003E;
#[cfg(target_arch = "aarch64")]
const ARCH: u32 = 0xC000_00B7;

/// What makes the filter report a call.
#[derive(Clone, Copy)]
pub enum When {
    Always,
    /// The argument has one of these bits.
    Bits(usize, u32),
    /// The argument is this number.
    Is(usize, u32),
}

/// A call that a thread is about to make; it waits for the answer.
pub struct Stopped {
    pub id: u64,
    pub thread: u32,
    pub number: i64,
    pub args: [u64; 6],
}

/// Where stopped calls are reported.
pub struct Listener(OwnedFd);

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Makes the program that `command` starts, and all its threads and children,
/// stop at these calls, and takes capabilities away from it. The listener comes
/// through the returned socket.
///
/// # Errors
/// That of socketpair(2).
pub fn stop_at(
    command: &mut Command,
    calls: &[(i64, When)],
    without: &'static [i32],
) -> io::Result<UnixStream> {
    let (ours, theirs) = UnixStream::pair()?;
    let mut filter = program(calls);
    let install = move || {
        let length = u16::try_from(filter.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
        let program = libc::sock_fprog { len: length, filter: filter.as_mut_ptr() };
        let flags =
            libc::SECCOMP_FILTER_FLAG_NEW_LISTENER | libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
        // SAFETY: takes numbers alone. A daemon must not outlive who supervises it.
        check(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) }.into())?;
        for &capability in without {
            // SAFETY: takes numbers alone.
            check(unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability) }.into())?;
        }
        // SAFETY: takes numbers alone.
        check(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }.into())?;
        let operation = libc::SECCOMP_SET_MODE_FILTER;
        // SAFETY: `program` points to a live array of the length it says.
        let fd = check(unsafe {
            libc::syscall(libc::SYS_seccomp, operation, flags, &raw const program)
        })?;
        // SAFETY: a new descriptor that nobody else has.
        let listener = unsafe { OwnedFd::from_raw_fd(fd as RawFd) };
        hand_over(&theirs, &listener)
    };
    // SAFETY: between fork and exec the closure makes system calls alone; it
    // neither allocates nor takes locks.
    unsafe { command.pre_exec(install) };
    Ok(ours)
}

fn check(result: i64) -> io::Result<i64> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Allocates nothing: it runs between fork and exec.
fn hand_over(socket: &UnixStream, listener: &OwnedFd) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let fds = [listener.as_fd()];
    ancillary.push(SendAncillaryMessage::ScmRights(&fds));
    sendmsg(socket, &[IoSlice::new(b"L")], &mut ancillary, SendFlags::empty())?;
    Ok(())
}

impl Listener {
    /// Waits for the program to hand it over.
    ///
    /// # Errors
    /// The program could not be started, or the kernel has no such filters.
    pub fn receive(socket: &UnixStream) -> io::Result<Listener> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut byte = [0];
        let flags = RecvFlags::CMSG_CLOEXEC;
        recvmsg(socket, &mut [IoSliceMut::new(&mut byte)], &mut ancillary, flags)?;
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(mut fds) = message
                && let Some(fd) = fds.next()
            {
                return Ok(Listener(fd));
            }
        }
        Err(io::ErrorKind::UnexpectedEof.into())
    }

    /// The next stopped call. To be called when poll(2) says so.
    ///
    /// # Errors
    /// ENOENT: the thread was killed in the meantime. EINTR.
    pub fn next(&self) -> io::Result<Stopped> {
        // SAFETY: a structure of integers, which the kernel wants to be zero.
        let mut raw: libc::seccomp_notif = unsafe { std::mem::zeroed() };
        let fd = self.0.as_raw_fd();
        // SAFETY: the structure is live and of the size that the request says.
        check(unsafe { libc::ioctl(fd, libc::SECCOMP_IOCTL_NOTIF_RECV, &raw mut raw) }.into())?;
        let number = i64::from(raw.data.nr);
        Ok(Stopped { id: raw.id, thread: raw.pid, number, args: raw.data.args })
    }

    /// Lets a call go on, or fail. That it was killed is no matter here.
    pub fn answer(&self, call: &Stopped, fails: Option<rustix::io::Errno>) {
        let mut reply = libc::seccomp_notif_resp {
            id: call.id,
            val: 0,
            error: fails.map_or(0, |errno| -errno.raw_os_error()),
            flags: 0,
        };
        if fails.is_none() {
            reply.flags = libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32;
        }
        let fd = self.0.as_raw_fd();
        // SAFETY: the structure is live and of the size that the request says.
        let _ = unsafe { libc::ioctl(fd, libc::SECCOMP_IOCTL_NOTIF_SEND, &raw mut reply) };
    }
}

/// Bytes at an address of a stopped thread; fewer where its memory ends.
pub fn memory(thread: u32, address: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0u8; length];
    let local = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: length };
    let remote = libc::iovec { iov_base: address as *mut libc::c_void, iov_len: length };
    // SAFETY: the local range is live and writable; the remote one is another
    // process's, and the kernel checks it.
    let read = unsafe {
        libc::process_vm_readv(thread as i32, &raw const local, 1, &raw const remote, 1, 0)
    };
    bytes.truncate(usize::try_from(read).unwrap_or(0));
    bytes
}

/// The filter in the kernel's language.
fn program(calls: &[(i64, When)]) -> Vec<libc::sock_filter> {
    let load = |offset: usize| op(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset as u32, 0, 0);
    let equal = |k: u32, yes, no| op(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, k, yes, no);
    let leave = |k: u32| op(libc::BPF_RET | libc::BPF_K, k, 0, 0);
    // The lower half of an argument, on machines that store it first.
    let argument = |index: usize| load(16 + 8 * index);
    let mut filter = vec![load(4), equal(ARCH, 1, 0), leave(libc::SECCOMP_RET_ALLOW), load(0)];
    for &(number, when) in calls {
        let notify = leave(libc::SECCOMP_RET_USER_NOTIF);
        let number = number as u32;
        match when {
            When::Always => filter.extend([equal(number, 0, 1), notify]),
            When::Bits(index, bits) => filter.extend([
                equal(number, 0, 4),
                argument(index),
                op(libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K, bits, 0, 1),
                notify,
                load(0),
            ]),
            When::Is(index, value) => {
                filter.extend([
                    equal(number, 0, 4),
                    argument(index),
                    equal(value, 0, 1),
                    notify,
                    load(0),
                ]);
            }
        }
    }
    filter.push(leave(libc::SECCOMP_RET_ALLOW));
    filter
}

fn op(code: u32, k: u32, jt: u8, jf: u8) -> libc::sock_filter {
    libc::sock_filter { code: code as u16, jt, jf, k }
}
