//! Making a request come.

#![allow(unsafe_code)]

use std::ffi::{CStr, CString};
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::cpus;

/// Asks the file system mounted at `point` for its space, from a CPU. Returns
/// at once; the answer is waited for elsewhere, and nobody needs it.
///
/// The one who asks is a process of its own. Once the server has a request, who
/// waits for the answer cannot be killed; as a thread of the server it would keep
/// the memory of a killed one, with it the rings, their commands, and so the
/// device: neither would ever end.
///
/// # Errors
/// EAGAIN: no thread. EINVAL: no path.
pub(super) fn kick(point: &Path, cpu: u16) -> std::io::Result<()> {
    let point = CString::new(point.as_os_str().as_bytes())?;
    let thread = std::thread::Builder::new().name("fuse-kick".to_owned());
    let asking = thread.spawn(move || {
        // The process is where its maker is.
        let _there = cpus::pin(cpu);
        ask(&point);
    });
    asking.map(drop)
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
