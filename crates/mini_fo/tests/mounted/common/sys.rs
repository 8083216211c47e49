//! The few system calls that the standard library does not offer.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, RenameFlags, Timespec, Timestamps, XattrFlags};

pub use rustix::io::Errno;

pub fn rename_with(old: &Path, new: &Path, flags: RenameFlags) -> Result<(), Errno> {
    rustix::fs::renameat_with(CWD, old, CWD, new, flags)
}

pub fn exchange(one: &Path, other: &Path) -> Result<(), Errno> {
    rename_with(one, other, RenameFlags::EXCHANGE)
}

/// Sets both times of access and modification, of the symlink itself.
pub fn set_times(path: &Path, seconds: i64, nanoseconds: i64) {
    let time = Timespec { tv_sec: seconds, tv_nsec: nanoseconds as _ };
    let times = Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)
        .unwrap_or_else(|error| panic!("utimensat {}: {error}", path.display()));
}

/// Every extended attribute that can be listed and read, sorted by name.
pub fn xattrs(path: &Path) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut names = vec![0; 65536];
    let Ok(length) = rustix::fs::llistxattr(path, &mut names[..]) else {
        return Vec::new();
    };
    let mut all: Vec<_> = names[..length]
        .split(|&byte| byte == 0)
        .filter(|name| !name.is_empty())
        .filter_map(|name| {
            let mut value = vec![0; 65536];
            let text = CString::new(name).ok()?;
            let length = rustix::fs::lgetxattr(path, &*text, &mut value[..]).ok()?;
            value.truncate(length);
            Some((name.to_vec(), value))
        })
        .collect();
    all.sort();
    all
}

pub fn set_xattr(path: &Path, name: &str, value: &[u8]) -> Result<(), Errno> {
    rustix::fs::lsetxattr(path, name, value, XattrFlags::empty())
}

pub fn get_xattr(path: &Path, name: &str) -> Result<Vec<u8>, Errno> {
    let mut value = vec![0; 65536];
    let length = rustix::fs::lgetxattr(path, name, &mut value[..])?;
    value.truncate(length);
    Ok(value)
}

pub fn mknod(path: &Path, mode: u32, rdev: u64) {
    let text = CString::new(path.as_os_str().as_bytes()).expect("no NUL in a path");
    // SAFETY: `text` is a NUL-terminated path that lives across the call.
    let result = unsafe { libc::mknod(text.as_ptr(), mode, rdev) };
    assert_eq!(result, 0, "mknod {}: {}", path.display(), io::Error::last_os_error());
}

/// A file handle as `name_to_handle_at(2)` gives it: size, type, bytes.
#[repr(C)]
pub struct Handle {
    size: libc::c_uint,
    kind: libc::c_int,
    bytes: [u8; 128],
}

impl Handle {
    /// One of a node that is not there, most likely: another one for each number.
    pub fn of_nothing(&self, number: u32) -> Handle {
        let mut bytes = self.bytes;
        // The lower half of the node id.
        bytes[4..8].copy_from_slice(&(0xf000_0000 | number).to_ne_bytes());
        Handle { size: self.size, kind: self.kind, bytes }
    }
}

pub fn handle_of(path: &Path) -> io::Result<Handle> {
    let mut handle = Handle { size: 128, kind: 0, bytes: [0; 128] };
    let text = CString::new(path.as_os_str().as_bytes())?;
    let mut mount = 0;
    // SAFETY: the path is a C string, the handle a live structure whose size
    // field tells how many bytes may be written behind the two integers.
    let result = unsafe {
        libc::syscall(
            libc::SYS_name_to_handle_at,
            libc::AT_FDCWD,
            text.as_ptr(),
            &raw mut handle,
            &raw mut mount,
            0,
        )
    };
    if result == 0 { Ok(handle) } else { Err(io::Error::last_os_error()) }
}

/// Opens for reading what a handle names in the file system of `mount`.
pub fn open_by_handle(mount: &Path, handle: &Handle) -> io::Result<File> {
    let mount = File::open(mount)?;
    // SAFETY: the descriptor is borrowed for the call, the handle is one that
    // the kernel gave.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_open_by_handle_at,
            mount.as_raw_fd(),
            std::ptr::from_ref(handle),
            libc::O_RDONLY | libc::O_CLOEXEC,
        )
    };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    let fd = i32::try_from(fd).map_err(io::Error::other)?;
    // SAFETY: a new descriptor that nobody else has.
    Ok(unsafe { std::os::fd::FromRawFd::from_raw_fd(fd) })
}

/// A mapping of the beginning of a file, unmapped on drop.
pub struct Mapping {
    address: *mut libc::c_void,
    length: usize,
}

impl Mapping {
    pub fn shared(file: &File, length: usize, writable: bool) -> Mapping {
        let protection = libc::PROT_READ | if writable { libc::PROT_WRITE } else { 0 };
        // SAFETY: a new mapping at an address of the kernel's choice; it aliases no Rust memory.
        let address = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                length,
                protection,
                libc::MAP_SHARED,
                file.as_raw_fd(),
                0,
            )
        };
        assert_ne!(address, libc::MAP_FAILED, "{}", io::Error::last_os_error());
        Mapping { address, length }
    }

    pub fn read(&self, count: usize) -> Vec<u8> {
        assert!(count <= self.length);
        (0..count)
            // SAFETY: the offset is inside the mapping, which lives as long as `self`;
            // volatile, because the kernel may change the bytes at any time.
            .map(|offset| unsafe { self.address.cast::<u8>().add(offset).read_volatile() })
            .collect()
    }

    pub fn write(&self, bytes: &[u8]) {
        assert!(bytes.len() <= self.length);
        for (offset, &byte) in bytes.iter().enumerate() {
            // SAFETY: the offset is inside the mapping, which was made writable by the caller.
            unsafe { self.address.cast::<u8>().add(offset).write_volatile(byte) };
        }
        // SAFETY: the range is exactly this mapping.
        let result = unsafe { libc::msync(self.address, self.length, libc::MS_SYNC) };
        assert_eq!(result, 0, "msync: {}", io::Error::last_os_error());
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the range is exactly this mapping and nobody keeps a pointer into it.
        unsafe { libc::munmap(self.address, self.length) };
    }
}

/// Gives the calling thread, and every program it starts, a mount namespace of
/// its own: what a test mounts ends with the test, however it ends.
pub fn own_mount_namespace() -> io::Result<()> {
    // SAFETY: unshare takes flags only; CLONE_NEWNS concerns the calling thread.
    if unsafe { libc::unshare(libc::CLONE_NEWNS) } != 0 {
        return Err(io::Error::last_os_error());
    }
    rustix::mount::mount_change(
        "/",
        rustix::mount::MountPropagationFlags::PRIVATE | rustix::mount::MountPropagationFlags::REC,
    )?;
    Ok(())
}

/// Shows the mount at `from` also at `to`, there with the ids 0..65536 moved
/// to begin at `first`, as `mount --bind -o X-mount.idmap=` of newer mount(8).
pub fn bind_idmapped(from: &Path, to: &Path, first: u32) -> io::Result<()> {
    use rustix::mount::{MoveMountFlags, OpenTreeFlags, move_mount, open_tree};
    // The kernel takes the map from a user namespace.
    let mut holder = std::process::Command::new("unshare").args(["-U", "sleep", "60"]).spawn()?;
    let proc = format!("/proc/{}", holder.id());
    let own = std::fs::read_link("/proc/self/ns/user")?;
    while std::fs::read_link(format!("{proc}/ns/user"))? == own {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    for file in ["uid_map", "gid_map"] {
        std::fs::write(format!("{proc}/{file}"), format!("0 {first} 65536"))?;
    }
    let namespace = File::open(format!("{proc}/ns/user"))?;
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let tree = open_tree(CWD, from, flags)?;
    let attr = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_IDMAP,
        attr_clr: 0,
        propagation: 0,
        userns_fd: namespace.as_raw_fd() as u64,
    };
    // SAFETY: the path is empty, so the call is about the descriptor, and the structure is whole.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &raw const attr,
            size_of_val(&attr),
        )
    };
    let failed = io::Error::last_os_error();
    let _ = holder.kill();
    let _ = holder.wait();
    if result != 0 {
        return Err(failed);
    }
    move_mount(&tree, "", CWD, to, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
    Ok(())
}

/// Runs something as another user, without any capability, in a thread of its
/// own: the system calls, unlike those of libc, concern the calling thread only.
pub fn as_user<T: Send>(id: u32, work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let call = |number, args: [libc::c_long; 3]| {
                // SAFETY: numbers only, and a null list of no groups.
                let result = unsafe { libc::syscall(number, args[0], args[1], args[2]) };
                assert_eq!(result, 0, "{}", io::Error::last_os_error());
            };
            let id = libc::c_long::from(id);
            call(libc::SYS_setgroups, [0, 0, 0]);
            call(libc::SYS_setresgid, [id; 3]);
            call(libc::SYS_setresuid, [id; 3]);
            work()
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// The flags of a file (`lsattr(1)`).
pub fn flags(path: &Path) -> io::Result<u32> {
    let mut flags: u32 = 0;
    ioctl(path, 0x8008_6601, std::ptr::from_mut(&mut flags).cast()).map(|()| flags)
}

/// Sets them by `number`, which should be `FS_IOC_SETFLAGS`.
pub fn set_flags_by(number: u32, path: &Path, flags: u32) -> io::Result<()> {
    let mut flags = u64::from(flags);
    ioctl(path, number, std::ptr::from_mut(&mut flags).cast())
}

/// `FS_IOC_SETFLAGS`.
pub const SETFLAGS: u32 = 0x4008_6602;

/// An ioctl on what is opened for reading.
pub fn ioctl(path: &Path, number: u32, argument: *mut libc::c_void) -> io::Result<()> {
    let file = File::open(path)?;
    // SAFETY: the caller's argument is at least as large as what the number
    // says, and lives across the call.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), libc::c_ulong::from(number), argument) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// An access control list as the attributes hold it: tag, permissions, id.
pub fn acl(entries: &[(u16, u16, u32)]) -> Vec<u8> {
    let mut out = 2u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        out.extend(tag.to_le_bytes());
        out.extend(permissions.to_le_bytes());
        out.extend(id.to_le_bytes());
    }
    out
}
