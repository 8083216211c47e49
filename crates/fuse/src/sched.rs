//! The scheduling class of threads that wait for requests.
//!
//! A thread that hands an answer over still runs when its client wakes, so the
//! kernel moves the client to another CPU if one is idle, and the client's next
//! request must wake a thread there. A CPU that runs nothing but `SCHED_IDLE`
//! counts as idle: the client stays, takes the CPU from the thread at once, and
//! nothing crosses.

#![allow(unsafe_code)]

use rustix::io::Errno;
use rustix::thread::{Pid, gettid};

/// Whether a thread of this process may take on `SCHED_IDLE` and leave it again
/// (sched(7)): that takes `CAP_SYS_NICE`, or an `RLIMIT_NICE` of 20 and more. Who
/// runs this process under another class than the ordinary one is not meddled
/// with.
///
/// It is tried, by a thread that is good for nothing else.
pub(crate) fn may_idle() -> bool {
    let attempt = || {
        let tid = gettid();
        class_of(tid) == Ok(libc::SCHED_OTHER)
            && set_class(tid, libc::SCHED_IDLE).is_ok()
            && set_class(tid, libc::SCHED_OTHER).is_ok()
    };
    let thread = std::thread::Builder::new().spawn(attempt);
    thread.is_ok_and(|thread| thread.join().unwrap_or(false))
}

/// The class of one thread, which any thread may change.
#[derive(Debug)]
pub(crate) struct Class(Pid);

impl Class {
    /// Puts this thread under `SCHED_IDLE`. `None`: it stays as it is.
    pub(crate) fn idle_from_now() -> Option<Class> {
        let class = Class(gettid());
        set_class(class.0, libc::SCHED_IDLE).is_ok().then_some(class)
    }

    /// It is to get its share of the CPU.
    pub(crate) fn make_ordinary(&self) {
        self.set(libc::SCHED_OTHER);
    }

    /// It is to leave the CPU to everybody else.
    pub(crate) fn make_idle(&self) {
        self.set(libc::SCHED_IDLE);
    }

    fn set(&self, class: i32) {
        if let Err(errno) = set_class(self.0, class) {
            tracing::debug!(%errno, "the scheduling class of a thread stays");
        }
    }
}

fn class_of(tid: Pid) -> Result<i32, Errno> {
    // SAFETY: the call takes a number only.
    check(unsafe { libc::syscall(libc::SYS_sched_getscheduler, tid.as_raw_nonzero().get()) })
}

/// The nice value stays as it is. Not by way of libc: musl's function fails.
fn set_class(tid: Pid, class: i32) -> Result<(), Errno> {
    // Of both classes the priority is 0.
    let param: libc::c_int = 0;
    let tid = tid.as_raw_nonzero().get();
    // SAFETY: the kernel reads a `struct sched_param`, which is one int, and
    // lives across the call.
    let rc = unsafe { libc::syscall(libc::SYS_sched_setscheduler, tid, class, &raw const param) };
    check(rc).map(drop)
}

fn check(rc: libc::c_long) -> Result<i32, Errno> {
    if rc < 0 {
        let errno = std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO);
        return Err(Errno::from_raw_os_error(errno));
    }
    Ok(rc as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_idles_and_returns() {
        if !may_idle() {
            println!("skipped: there is no way back from SCHED_IDLE for this process");
            return;
        }
        let class = Class::idle_from_now().unwrap();
        assert_eq!(class_of(gettid()), Ok(libc::SCHED_IDLE));
        std::thread::scope(|scope| {
            scope.spawn(|| class.make_ordinary());
        });
        assert_eq!(class_of(gettid()), Ok(libc::SCHED_OTHER));
        class.make_idle();
        assert_eq!(class_of(gettid()), Ok(libc::SCHED_IDLE));
        class.make_ordinary();
        // Whose class somebody has chosen, keeps it.
        set_class(gettid(), libc::SCHED_BATCH).unwrap();
        assert!(!may_idle());
        assert_eq!(class_of(gettid()), Ok(libc::SCHED_BATCH));
    }
}
