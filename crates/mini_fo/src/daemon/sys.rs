//! System calls of a daemon that neither `std` nor rustix offers; and
//! with `run/sys.rs` the only `unsafe` of the program.
#![allow(unsafe_code)]

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::RawFd;

/// Which of the two processes this is after [`fork`].
pub enum Forked {
    /// The caller; the number of the new process.
    Parent(i32),
    /// The new process.
    Child,
}

/// Splits the process in two. To be called before any thread is started.
///
/// # Errors
/// EAGAIN, ENOMEM.
pub fn fork() -> io::Result<Forked> {
    // SAFETY: the process has a single thread (the program calls this before
    // it starts any), so the child may go on as if nothing had happened.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Forked::Child),
        pid => Ok(Forked::Parent(pid)),
    }
}

/// Closes the descriptors from 3 on, which the caller of the program left
/// open. To be called before the program opens any.
pub fn close_inherited() {
    // SAFETY: nothing in this process owns a descriptor above 2 yet.
    // A kernel without the call (before 5.9) leaves them open; no harm.
    let _ = unsafe { libc::syscall(libc::SYS_close_range, 3u32, u32::MAX, 0u32) };
}

/// Closes all descriptors from 3 on but these, in a process that is to use no other one.
pub fn close_all_but(keep: Vec<RawFd>) {
    let mut keep: Vec<u32> = keep.into_iter().filter_map(|fd| u32::try_from(fd).ok()).collect();
    keep.push(u32::MAX);
    keep.sort_unstable();
    let mut from = 3_u32;
    for fd in keep {
        if fd > from {
            let to = if fd == u32::MAX { fd } else { fd - 1 };
            // SAFETY: what owns one of them does so in a process that was forked for other
            // work, and is never used or dropped in this one.
            unsafe { libc::syscall(libc::SYS_close_range, from, to, 0_u32) };
        }
        from = from.max(fd.saturating_add(1));
    }
}

/// Moves the process into a mount namespace of its own, a copy. To be called before
/// any thread is started: they would stay where they are.
///
/// # Errors
/// EPERM without `CAP_SYS_ADMIN`; ENOSPC: too many namespaces.
pub fn own_mount_namespace() -> rustix::io::Result<()> {
    // SAFETY: no descriptor is affected; mounts, root and working directory are those
    // of before.
    unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNS) }
}

/// An ioctl without an argument.
///
/// # Errors
/// ENOTTY: it is unknown there.
pub fn plain_ioctl(fd: &std::fs::File, command: u32) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    // SAFETY: the command takes no argument, so no memory is touched.
    match unsafe { libc::ioctl(fd.as_raw_fd(), command as _, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// An ioctl with as much data as its number says, to and fro.
///
/// # Errors
/// As ioctl(2); EINVAL: there is less room.
pub fn data_ioctl(fd: &std::fs::File, command: u32, data: &mut [u8]) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    let size = command >> 16 & 0x1fff;
    if data.len() < size as usize {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: the kernel moves at most as many bytes as the number says, which `data` has.
    match unsafe { libc::ioctl(fd.as_raw_fd(), command as _, data.as_mut_ptr()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Lets go of the pages of code that this process has mapped, its libraries' included:
/// they stay with the kernel, which maps again what is run again.
pub fn let_go_of_code() {
    // SAFETY: the function has the signature that is asked for, and is called before
    // this returns; it takes no data.
    unsafe { libc::dl_iterate_phdr(Some(let_go_of_object), std::ptr::null_mut()) };
}

/// The same of one object of this process, for `dl_iterate_phdr`.
unsafe extern "C" fn let_go_of_object(
    object: *mut libc::dl_phdr_info,
    _size: usize,
    _data: *mut libc::c_void,
) -> libc::c_int {
    // SAFETY: the caller gives a description that is good for this call, and as many
    // segments as it says.
    let (base, segments) = unsafe {
        let object = &*object;
        let count = usize::from(object.dlpi_phnum);
        (object.dlpi_addr, std::slice::from_raw_parts(object.dlpi_phdr, count))
    };
    let page = rustix::param::page_size();
    // What can be written has been: addresses were put in.
    let written = |flags| flags & libc::PF_W != 0;
    for segment in segments.iter().filter(|s| s.p_type == libc::PT_LOAD && !written(s.p_flags)) {
        // An object below the address that it was linked for has a base beyond all addresses.
        let start = (base as usize).wrapping_add(segment.p_vaddr as usize);
        let end = start.wrapping_add(segment.p_memsz as usize);
        let first = start - start % page;
        let length = end.wrapping_sub(first);
        // SAFETY: the segment is mapped from a file, and nobody can have written to it,
        // so that every page has the same content when it is mapped again.
        unsafe { libc::madvise(first as *mut libc::c_void, length, libc::MADV_DONTNEED) };
    }
    0
}

/// The signals that end a mount.
pub struct EndSignals(libc::sigset_t);

impl EndSignals {
    /// Blocks SIGTERM, SIGINT and SIGHUP in this thread and all that it starts.
    pub fn block() -> EndSignals {
        let mut set = MaybeUninit::uninit();
        // SAFETY: sigemptyset initialises the set that it is given.
        let mut set = unsafe {
            libc::sigemptyset(set.as_mut_ptr());
            set.assume_init()
        };
        for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP] {
            // SAFETY: the set is initialised and lives across the call.
            unsafe { libc::sigaddset(&raw mut set, signal) };
        }
        // SAFETY: both pointers are good for the call; null means that the
        // former set is not wanted.
        unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) };
        EndSignals(set)
    }

    /// Waits for one and returns its number.
    pub fn wait(&self) -> i32 {
        let mut signal = 0;
        // SAFETY: the set is initialised; the result goes into a live integer.
        // EINTR is not among the errors of sigwait(3), and the set is valid.
        unsafe { libc::sigwait(&raw const self.0, &raw mut signal) };
        signal
    }
}

/// How a child has ended, as waitpid(2) tells it; waits for it.
pub fn wait_for(pid: i32) -> Option<i32> {
    let mut status = 0;
    loop {
        // SAFETY: the status goes into a live integer.
        let rc = unsafe { libc::waitpid(pid, &raw mut status, 0) };
        if rc == pid {
            return Some(status);
        }
        if io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
            return None;
        }
    }
}
