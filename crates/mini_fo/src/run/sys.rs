//! System calls of `mini_fo run` that neither `std` nor rustix offers.
#![allow(unsafe_code)]

use std::ffi::{CString, OsString};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::thread::UnshareFlags;

/// Signals that somebody may send to a command, and SIGCHLD.
const WATCHED: [i32; 13] = [
    libc::SIGHUP,
    libc::SIGINT,
    libc::SIGQUIT,
    libc::SIGTERM,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGALRM,
    libc::SIGWINCH,
    libc::SIGCONT,
    libc::SIGTSTP,
    libc::SIGTTIN,
    libc::SIGTTOU,
    libc::SIGCHLD,
];

/// Signals that are asked for, instead of being let happen.
pub struct Signals {
    watched: libc::sigset_t,
    before: libc::sigset_t,
}

/// A signal that has come.
pub struct Told {
    /// Which.
    pub signal: i32,
    /// A process has sent it: not the terminal, which sends it to the command, too.
    pub by_process: bool,
}

impl Signals {
    /// Blocks them in this thread, and in all that it starts.
    pub fn block() -> Signals {
        let watched = set(&WATCHED);
        let mut before = set(&[]);
        // SAFETY: a child that is ignored could not be waited for; takes constants alone.
        unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
        // SAFETY: both sets are initialised and live across the call.
        unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const watched, &raw mut before) };
        Signals { watched, before }
    }

    /// Waits for one.
    pub fn wait(&self) -> Told {
        let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
        loop {
            // SAFETY: the set is initialised, and the result has room.
            let signal = unsafe { libc::sigwaitinfo(&raw const self.watched, info.as_mut_ptr()) };
            if signal > 0 {
                // SAFETY: all zeros is a valid value, and the kernel has written one.
                let code = unsafe { info.assume_init_ref() }.si_code;
                return Told { signal, by_process: code <= 0 };
            }
        }
    }

    /// Forgets those that have come, and lets others happen as before.
    pub fn let_pass(&self) {
        let now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: the set is initialised, and with the time lives across the call; null: more
        // is not wanted.
        while unsafe {
            libc::sigtimedwait(&raw const self.watched, std::ptr::null_mut(), &raw const now)
        } > 0
        {}
        self.restore();
    }

    /// As it was before: for the command, and before the process ends by a signal itself.
    pub fn restore(&self) {
        // SAFETY: the set is initialised; null: the former one is not wanted.
        unsafe {
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.before, std::ptr::null_mut());
        }
    }
}

fn set(signals: &[i32]) -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: sigemptyset initialises the set that it is given.
    let mut set = unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        set.assume_init()
    };
    for signal in signals {
        // SAFETY: the set is initialised and lives across the call.
        unsafe { libc::sigaddset(&raw mut set, *signal) };
    }
    set
}

/// Lets this process have what a signal does by itself: it ends, or stops. Returns when it
/// goes on, or where the signal does nothing.
pub fn suffer(signal: i32) {
    // SAFETY: takes a number and a constant; a number that is none has no effect.
    unsafe { libc::signal(signal, libc::SIG_DFL) };
    let (one, mut before) = (set(&[signal]), set(&[]));
    // Still blocked: it may have come from the terminal, too, and must not stop us twice.
    // SAFETY: takes a number.
    unsafe { libc::raise(signal) };
    // SAFETY: both sets are initialised and live across the call.
    unsafe { libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const one, &raw mut before) };
    // SAFETY: the set was filled above.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const before, std::ptr::null_mut()) };
}

/// Becomes a program, which is looked for as a shell does. Returns only when that fails.
pub fn execute(words: &[OsString]) -> io::Error {
    let words: Result<Vec<CString>, _> =
        words.iter().map(|word| CString::new(word.as_bytes())).collect();
    let Ok(words) = words else { return io::ErrorKind::InvalidInput.into() };
    let mut pointers: Vec<_> = words.iter().map(|word| word.as_ptr()).collect();
    pointers.push(std::ptr::null());
    let Some(first) = words.first() else { return io::ErrorKind::InvalidInput.into() };
    // SAFETY: the strings end with NUL, the list with null, and both live across the calls.
    // Rust's start has set SIGPIPE to be ignored, which programs do not expect.
    unsafe {
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
        libc::execvp(first.as_ptr(), pointers.as_ptr());
    }
    io::Error::last_os_error()
}

/// Leaves for new namespaces. To be called before any thread is started.
///
/// # Errors
/// As unshare(2).
pub fn leave_for(namespaces: UnshareFlags) -> rustix::io::Result<()> {
    // SAFETY: no descriptor is affected.
    unsafe { rustix::thread::unshare_unsafe(namespaces) }
}

/// Changes attributes of a mount, or of all in a tree.
///
/// # Errors
/// As mount_setattr(2).
pub fn set_attributes(mount: BorrowedFd<'_>, tree: bool, set: u64, clear: u64) -> io::Result<()> {
    let attributes =
        libc::mount_attr { attr_set: set, attr_clr: clear, propagation: 0, userns_fd: 0 };
    let flags = libc::AT_EMPTY_PATH | if tree { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path and the structure live across the call; its size is told.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Brings the loopback interface of a new network namespace up.
///
/// # Errors
/// As netdevice(7).
pub fn loopback_up(socket: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: a structure of numbers, for which zeros are good.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = *from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: the request lives across the call, which reads it alone.
    match unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
