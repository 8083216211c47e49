//! Keeping signals away from reader threads.

#![allow(unsafe_code)]

use std::mem::MaybeUninit;

/// While it lives, the calling thread, and for good the threads that it
/// starts meanwhile, receive no asynchronous signals. They go to the threads
/// that were there before: a SIGTERM to whoever waits for it, and a request
/// is not cut short.
pub(crate) struct SignalsBlocked {
    before: Option<libc::sigset_t>,
}

impl SignalsBlocked {
    pub(crate) fn enter() -> SignalsBlocked {
        let mut block = MaybeUninit::<libc::sigset_t>::uninit();
        let mut before = MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: sigfillset initialises the set before the other calls use
        // it; pthread_sigmask fills `before` when it returns 0.
        let before = unsafe {
            libc::sigfillset(block.as_mut_ptr());
            // Faults of the thread itself cannot be put off.
            for fault in [libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL, libc::SIGTRAP] {
                libc::sigdelset(block.as_mut_ptr(), fault);
            }
            let rc = libc::pthread_sigmask(libc::SIG_BLOCK, block.as_ptr(), before.as_mut_ptr());
            (rc == 0).then(|| before.assume_init())
        };
        SignalsBlocked { before }
    }
}

impl Drop for SignalsBlocked {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            // SAFETY: a set that pthread_sigmask filled in; no old one is
            // asked for.
            unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, before, std::ptr::null_mut()) };
        }
    }
}
