//! Making a request come.

#![allow(unsafe_code)]

use std::path::PathBuf;

use super::cpus;

/// `CLOSE_RANGE_UNSHARE`: close in a table of this thread's own (Linux 5.9).
const UNSHARE: libc::c_uint = 1 << 1;

/// Asks the file system mounted at `point` for its space, from a CPU. Returns
/// at once; the answer is waited for elsewhere, and nobody needs it.
///
/// # Errors
/// EAGAIN: no thread.
pub(super) fn kick(point: PathBuf, cpu: u16) -> std::io::Result<()> {
    let thread = std::thread::Builder::new().name("fuse-kick".to_owned());
    let asking = thread.spawn(move || {
        let _there = cpus::pin(cpu);
        // Who waits for the file system must not hold the device: if the
        // process were killed now, neither would ever end.
        // SAFETY: the thread gets a table of its own, so nobody else's
        // descriptors are closed, and it uses none.
        let own = unsafe { libc::syscall(libc::SYS_close_range, 0, libc::c_uint::MAX, UNSHARE) };
        if own == 0 {
            let _ = rustix::fs::statfs(&point);
        }
    });
    asking.map(drop)
}
