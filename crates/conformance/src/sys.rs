//! What the standard library and rustix do not offer, or not safely: processes
//! of other users, mappings, locks of open files, file handles.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::Command;
use std::ptr;
use std::time::{Duration, Instant};

use rustix::fs::CWD;
use rustix::mm::{MapFlags, MsyncFlags, ProtFlags};
use rustix::mount::{OpenTreeFlags, open_tree};
use rustix::process::{Gid, Pid, Uid, WaitOptions, WaitStatus, waitpid};

use crate::kit::{Failure, Outcome, failed};

/// The user that cases run as who must not be root.
pub const USER: u32 = 65534;

/// A forked process that runs one part of a case.
pub struct Process {
    pid: Pid,
    said: OwnedFd,
}

/// Runs `part` in a process of its own. It must not rely on other threads.
pub fn spawn(part: impl FnOnce() -> Outcome) -> Result<Process, Failure> {
    let (said, mut says) = io::pipe()?;
    // SAFETY: this process has one thread, so the child's copy of every lock
    // and of the heap is in order; the child leaves by _exit alone.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        drop(said);
        let code = match part() {
            Ok(()) => 0,
            Err(failure) => {
                let _ = says.write_all(failure.text().as_bytes());
                failure.exit_code()
            }
        };
        // SAFETY: ends the process; nothing of the parent's is run twice.
        unsafe { libc::_exit(code.into()) };
    }
    let pid = Pid::from_raw(pid).filter(|_| pid > 0).ok_or_else(io::Error::last_os_error)?;
    Ok(Process { pid, said: said.into() })
}

impl Process {
    /// Waits for its end; its failure becomes this one's.
    pub fn join(self) -> Outcome {
        let status = self.wait()?;
        match status.exit_status() {
            Some(0) => Ok(()),
            Some(code) => {
                let mut text = String::new();
                File::from(self.said.try_clone()?).read_to_string(&mut text)?;
                Err(Failure::from_exit(code, text))
            }
            None => {
                failed(format!("the process ended by signal {:?}", status.terminating_signal()))
            }
        }
    }

    /// Waits for its end.
    pub fn wait(&self) -> Result<WaitStatus, Failure> {
        match waitpid(Some(self.pid), WaitOptions::empty())? {
            Some((_, status)) => Ok(status),
            None => failed("the process did not end"),
        }
    }
}

/// Runs `part` as [`USER`] with its own group alone.
pub fn as_user(part: impl FnOnce() -> Outcome) -> Outcome {
    as_member(&[], part)
}

/// Runs `part` as [`USER`], who is also member of `groups`.
pub fn as_member(groups: &[u32], part: impl FnOnce() -> Outcome) -> Outcome {
    if !rustix::process::geteuid().is_root() {
        return crate::kit::skipped("needs root");
    }
    let groups: Vec<Gid> = groups.iter().map(|&raw| Gid::from_raw(raw)).collect();
    spawn(move || {
        let (uid, gid) = (Uid::from_raw(USER), Gid::from_raw(USER));
        rustix::thread::set_thread_groups(&groups)?;
        rustix::thread::set_thread_res_gid(gid, gid, gid)?;
        rustix::thread::set_thread_res_uid(uid, uid, uid)?;
        part()
    })?
    .join()
}

/// A mapping of a whole number of bytes of a file.
pub struct Mapping {
    start: *mut u8,
    length: usize,
}

impl Mapping {
    /// Maps the first `length` bytes: `flags` private or shared.
    pub fn new(file: impl AsFd, length: usize, write: bool, flags: MapFlags) -> io::Result<Self> {
        let rights = if write { ProtFlags::READ | ProtFlags::WRITE } else { ProtFlags::READ };
        // SAFETY: the kernel chooses the place, so nothing else is replaced.
        let start = unsafe { rustix::mm::mmap(ptr::null_mut(), length, rights, flags, file, 0)? };
        Ok(Self { start: start.cast(), length })
    }

    /// Shared, to be read.
    pub fn shared(file: impl AsFd, length: usize) -> io::Result<Self> {
        Self::new(file, length, false, MapFlags::SHARED)
    }

    /// The byte at `offset`, as it is now.
    pub fn byte(&self, offset: usize) -> u8 {
        assert!(offset < self.length);
        // SAFETY: inside the mapping, which lives as long as self. Volatile:
        // other processes change it. Beyond the file's end it ends the process.
        unsafe { self.start.add(offset).read_volatile() }
    }

    /// `count` bytes from `offset`.
    pub fn bytes(&self, offset: usize, count: usize) -> Vec<u8> {
        (offset..offset + count).map(|at| self.byte(at)).collect()
    }

    /// Writes one byte.
    pub fn set(&self, offset: usize, byte: u8) {
        assert!(offset < self.length);
        // SAFETY: inside the mapping, which lives as long as self.
        unsafe { self.start.add(offset).write_volatile(byte) }
    }

    /// msync(2), and waits.
    pub fn sync(&self) -> io::Result<()> {
        // SAFETY: exactly this mapping.
        unsafe { rustix::mm::msync(self.start.cast(), self.length, MsyncFlags::SYNC)? };
        Ok(())
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: exactly this mapping, which nobody uses from now on.
        let _ = unsafe { rustix::mm::munmap(self.start.cast(), self.length) };
    }
}

/// Which locks fcntl(2) sets.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// POSIX: the process's.
    Process,
    /// OFD: the open file's.
    OpenFile,
}

/// Sets a read lock, a write lock (`exclusive`) on the whole file without
/// waiting.
pub fn lock(file: impl AsFd, owner: Owner, exclusive: bool) -> io::Result<()> {
    let command = match owner {
        Owner::Process => libc::F_SETLK,
        Owner::OpenFile => libc::F_OFD_SETLK,
    };
    // SAFETY: a plain structure of integers; zero is a value of each.
    let mut range: libc::flock = unsafe { std::mem::zeroed() };
    range.l_type = if exclusive { libc::F_WRLCK as i16 } else { libc::F_RDLCK as i16 };
    // SAFETY: the kernel reads the structure, which outlives the call.
    match unsafe { libc::fcntl(file.as_fd().as_raw_fd(), command, &range) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// What name_to_handle_at(2) gave.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Handle {
    kind: i32,
    bytes: Vec<u8>,
}

const HANDLE_MAX: usize = 128;

#[repr(C)]
struct RawHandle {
    length: u32,
    kind: i32,
    bytes: [u8; HANDLE_MAX],
}

/// The handle of `path` itself, a symbolic link too.
pub fn name_to_handle(path: &Path) -> io::Result<Handle> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut raw = RawHandle { length: HANDLE_MAX as u32, kind: 0, bytes: [0; HANDLE_MAX] };
    let mut mount: libc::c_int = 0;
    let (at, pointer) = (libc::AT_FDCWD, &raw mut raw);
    // SAFETY: the path is a C string, and the handle says how large it is.
    let code = unsafe {
        libc::syscall(libc::SYS_name_to_handle_at, at, path.as_ptr(), pointer, &raw mut mount, 0)
    };
    if code != 0 {
        return Err(io::Error::last_os_error());
    }
    let bytes = raw.bytes.iter().copied().take(raw.length as usize).collect();
    Ok(Handle { kind: raw.kind, bytes })
}

/// Opens what `handle` stands for on the file system of `mount`.
pub fn open_by_handle(mount: impl AsFd, handle: &Handle, flags: i32) -> io::Result<File> {
    let mut raw =
        RawHandle { length: handle.bytes.len() as u32, kind: handle.kind, bytes: [0; HANDLE_MAX] };
    for (to, from) in raw.bytes.iter_mut().zip(&handle.bytes) {
        *to = *from;
    }
    let (mount, flags) = (mount.as_fd().as_raw_fd(), flags | libc::O_CLOEXEC);
    // SAFETY: the handle says how large it is, and outlives the call.
    let fd = unsafe { libc::syscall(libc::SYS_open_by_handle_at, mount, &raw const raw, flags) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a new descriptor, which nobody else owns.
    Ok(unsafe { File::from_raw_fd(fd as RawFd) })
}

/// A copy of the mount at `dir` that shows owner 0 as `first`, 1 as the next and
/// so on; attached nowhere. EINVAL where the file system does not offer it.
pub fn idmapped(dir: &Path, first: u32) -> io::Result<OwnedFd> {
    let own = std::fs::read_link("/proc/self/ns/user")?;
    let mut sleeper = Command::new("unshare").args(["--user", "sleep", "20"]).spawn()?;
    let of = |name: &str| format!("/proc/{}/{name}", sleeper.id());
    let made = wait_until(Duration::from_secs(5), || {
        std::fs::read_link(of("ns/user")).is_ok_and(|namespace| namespace != own)
    });
    let map = format!("0 {first} 66000");
    let namespace = std::fs::write(of("uid_map"), &map)
        .and_then(|()| std::fs::write(of("gid_map"), &map))
        .and_then(|()| File::open(of("ns/user")));
    sleeper.kill()?;
    sleeper.wait()?;
    if !made {
        return Err(io::Error::other("no user namespace"));
    }
    let namespace = namespace?;
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let mount = open_tree(CWD, dir, flags)?;
    let attributes = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_IDMAP,
        attr_clr: 0,
        propagation: 0,
        userns_fd: namespace.as_raw_fd() as u64,
    };
    // SAFETY: an empty C string and a structure whose size is given, both of
    // which outlive the call.
    let code = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    if code == 0 { Ok(mount) } else { Err(io::Error::last_os_error()) }
}

/// Runs `part` as a user without other groups.
pub fn as_number(number: u32, part: impl FnOnce() -> Outcome) -> Outcome {
    spawn(move || {
        let (uid, gid) = (Uid::from_raw(number), Gid::from_raw(number));
        rustix::thread::set_thread_groups(&[])?;
        rustix::thread::set_thread_res_gid(gid, gid, gid)?;
        rustix::thread::set_thread_res_uid(uid, uid, uid)?;
        part()
    })?
    .join()
}

/// Ends everything of the process group `pid`.
pub fn kill_group(pid: u32) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = rustix::process::kill_process_group(pid, rustix::process::Signal::KILL);
    }
}

/// Asks again and again until `done`, or for `limit`.
pub fn wait_until(limit: Duration, mut done: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    while start.elapsed() < limit {
        if done() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    done()
}
