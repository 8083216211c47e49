//! Making a request come.

#![allow(unsafe_code)]

use std::ffi::{CStr, CString};
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::time::Duration;

use super::queue::Queue;
use super::{Uring, cpus};
use crate::server::FileSystem;

/// An answer should have come within this time, if one comes by itself.
const PAUSE: Duration = Duration::from_millis(2);

/// Asks the mounted file system for its space, from a CPU, if its queue
/// is behind and no answer comes from there. Answers bring what waits by
/// themselves; and while somebody asks, the file system cannot be unmounted. Returns
/// at once; all else is done elsewhere.
///
/// The one who asks is a process of its own. Once the server has a request, who
/// waits for the answer cannot be killed; as a thread of the server it would keep
/// the memory of a killed one, with it the rings, their commands, and so the
/// device: neither would ever end.
///
/// # Errors
/// EAGAIN: no thread.
pub(super) fn kick<F: FileSystem>(uring: &Arc<Uring<F>>, cpu: u16) -> std::io::Result<()> {
    if !uring.queue(cpu).is_some_and(|queue| queue.is_behind() && queue.tend()) {
        return Ok(());
    }
    let (session, thread) = (Arc::clone(uring), std::thread::Builder::new());
    let asking = thread.name("fuse-kick".to_owned()).spawn(move || {
        if session.queue(cpu).is_some_and(is_stuck) {
            let mount = Arc::clone(&session.mount);
            drop(session);
            let asked = mount.visit(|point| {
                // The process is where its maker is.
                let _there = cpus::pin(cpu);
                if let Ok(point) = CString::new(point.as_os_str().as_bytes()) {
                    ask(&point);
                }
            });
            if let Err(error) = asked {
                tracing::debug!("cannot make a request come: {error}");
            }
        }
    });
    if asking.is_err() {
        uring.queue(cpu).map(Queue::leave);
    }
    asking.map(drop)
}

/// Looks after a queue until it is behind no more, or no answer comes: `true`.
fn is_stuck(queue: &Queue) -> bool {
    loop {
        let before = queue.handed();
        std::thread::sleep(PAUSE);
        let stuck = queue.handed() == before;
        if queue.is_behind() && !stuck {
            continue;
        }
        queue.leave();
        // It may have fallen behind just now, seen that somebody looks after it,
        // and relied on that.
        if !queue.is_behind() || stuck || !queue.tend() {
            return queue.is_behind() && stuck;
        }
    }
}

fn ask(point: &CStr) {
    let mut space = MaybeUninit::<libc::statfs>::uninit();
    // SAFETY: the new process has this thread alone, so it only makes system
    // calls, which need no lock that another thread may have held.
    let child = unsafe { libc::fork() };
    if child == 0 {
        // SAFETY: the descriptors are copies that nothing here uses; `space` has
        // room for the answer; the process ends without running anything else.
        unsafe {
            if libc::syscall(libc::SYS_close_range, 0, libc::c_uint::MAX, 0) == 0 {
                libc::statfs(point.as_ptr(), space.as_mut_ptr());
            }
            libc::_exit(0);
        }
    }
    if child > 0 {
        // SAFETY: a child of this thread, and no status is wanted.
        while unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) } < 0 {
            if std::io::Error::last_os_error().kind() != std::io::ErrorKind::Interrupted {
                break;
            }
        }
    }
}
