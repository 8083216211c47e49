//! What a scenario does: single system calls on paths below some directory,
//! the same on the mount and on a plain one.

use std::fs::File;
use std::os::fd::IntoRawFd;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::fs::{
    AtFlags, CWD, FallocateFlags, FileType, Gid, Mode, OFlags, RenameFlags, Timespec, Timestamps,
    Uid, XattrFlags,
};
use rustix::io::{Errno, Result};

use crate::{mount, scenario};

/// One system call (or one that needs another to say what it is about).
#[derive(Clone, Copy, Debug)]
pub enum Op {
    Mkdir(&'static str),
    /// Type (`S_IFIFO`, ...), device numbers.
    Mknod(&'static str, u32, (u32, u32)),
    /// Target, name.
    Symlink(&'static str, &'static str),
    Link(&'static str, &'static str),
    Unlink(&'static str),
    Rmdir(&'static str),
    Rename(&'static str, &'static str),
    RenameWith(&'static str, &'static str, RenameFlags),
    Chmod(&'static str, u32),
    Chown(&'static str, u32, u32),
    /// Sets both times to this second.
    Utimes(&'static str, i64),
    SetXattr(&'static str, &'static str, &'static [u8]),
    RemoveXattr(&'static str, &'static str),
    Truncate(&'static str, u64),
    /// What it opens is held until `Close`.
    Open(&'static str, OFlags),
    /// Bytes of this value: where, how many.
    Put(u8, u64, usize),
    /// `write`, to the end under `O_APPEND`.
    Append(u8, usize),
    Cut(u64),
    Allocate(FallocateFlags, u64, u64),
    /// Copies the first bytes of a file to this place of the open one.
    CopyFrom(&'static str, u64, usize),
    Fsync,
    Fdatasync,
    Close,
    /// Gives the open file, of `O_TMPFILE`, a name.
    LinkOpen(&'static str),
    FsyncDir(&'static str),
    /// What is below shows at these paths again (empty: everywhere), by the command; on an
    /// ordinary directory these places are as they were made, and the directories that they
    /// are in have their old times.
    Discard(&'static [&'static str], &'static [&'static str]),
    /// Waits for what comes later by itself, in milliseconds.
    Wait(u64),
    /// Only before the operation under test: another daemon.
    Remount,
    /// The same, and the mount is read-only.
    MountReadOnly,
    /// Makes a read-only mount writable: mount(2), of which the daemon is not told.
    MakeWritable,
}

/// An access control list that names user 7: version 2, five entries.
pub const ACL: &[u8] = &[
    2, 0, 0, 0, 1, 0, 6, 0, 255, 255, 255, 255, 2, 0, 4, 0, 7, 0, 0, 0, 4, 0, 4, 0, 255, 255, 255,
    255, 16, 0, 4, 0, 255, 255, 255, 255, 32, 0, 0, 0, 255, 255, 255, 255,
];

impl Op {
    /// The paths it is about.
    pub fn paths(&self) -> Vec<&'static str> {
        match *self {
            Op::Link(a, b) | Op::Rename(a, b) | Op::RenameWith(a, b, _) => vec![a, b],
            Op::Mkdir(a)
            | Op::Mknod(a, ..)
            | Op::Symlink(_, a)
            | Op::Unlink(a)
            | Op::Rmdir(a)
            | Op::Chmod(a, _)
            | Op::Chown(a, ..)
            | Op::Utimes(a, _)
            | Op::SetXattr(a, ..)
            | Op::RemoveXattr(a, _)
            | Op::Truncate(a, _)
            | Op::Open(a, _)
            | Op::CopyFrom(a, ..)
            | Op::LinkOpen(a)
            | Op::FsyncDir(a) => vec![a],
            Op::Discard(paths, _) => {
                paths.iter().filter(|path| !path.is_empty()).copied().collect()
            }
            _ => Vec::new(),
        }
    }
}

/// Somebody at work below a directory, with at most one file open.
pub struct Actor<'a> {
    root: &'a Path,
    held: Option<File>,
}

impl<'a> Actor<'a> {
    pub fn new(root: &'a Path) -> Actor<'a> {
        Actor { root, held: None }
    }

    /// Whether a file is open.
    pub fn holds(&self) -> bool {
        self.held.is_some()
    }

    /// Does one thing.
    ///
    /// # Errors
    /// Those of the system call; EBADF without an open file.
    pub fn act(&mut self, op: &Op) -> Result<()> {
        let at = |path: &str| self.root.join(path);
        let mode = |bits: u32| Mode::from_raw_mode(bits);
        match *op {
            Op::Mkdir(path) => rustix::fs::mkdir(at(path), mode(0o755)),
            Op::Mknod(path, kind, (major, minor)) => rustix::fs::mknodat(
                CWD,
                at(path),
                FileType::from_raw_mode(kind),
                mode(0o640),
                rustix::fs::makedev(major, minor),
            ),
            Op::Symlink(target, path) => rustix::fs::symlink(target, at(path)),
            Op::Link(old, new) => rustix::fs::link(at(old), at(new)),
            Op::Unlink(path) => rustix::fs::unlink(at(path)),
            Op::Rmdir(path) => rustix::fs::rmdir(at(path)),
            Op::Rename(old, new) => rustix::fs::rename(at(old), at(new)),
            Op::RenameWith(old, new, flags) => {
                rustix::fs::renameat_with(CWD, at(old), CWD, at(new), flags)
            }
            Op::Chmod(path, bits) => rustix::fs::chmod(at(path), mode(bits)),
            Op::Chown(path, user, group) => {
                let (user, group) = (Uid::from_raw(user), Gid::from_raw(group));
                let flags = AtFlags::SYMLINK_NOFOLLOW;
                rustix::fs::chownat(CWD, at(path), Some(user), Some(group), flags)
            }
            Op::Utimes(path, second) => set_times(&at(path), second),
            Op::SetXattr(path, name, value) => {
                rustix::fs::lsetxattr(at(path), name, value, XattrFlags::empty())
            }
            Op::RemoveXattr(path, name) => rustix::fs::lremovexattr(at(path), name),
            Op::Truncate(path, length) => truncate(&at(path), length),
            Op::FsyncDir(path) => {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
                rustix::fs::fsync(rustix::fs::open(at(path), flags, Mode::empty())?)
            }
            Op::Open(path, flags) => {
                self.held = None;
                let fd = rustix::fs::open(at(path), flags | OFlags::CLOEXEC, mode(0o644))?;
                self.held = Some(fd.into());
                Ok(())
            }
            Op::Discard(paths, _) if is_mount(self.root)? => discard(self.root, paths),
            Op::Discard(_, places) => scenario::as_made(self.root, places)
                .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO)),
            Op::Wait(milliseconds) => {
                std::thread::sleep(Duration::from_millis(milliseconds));
                Ok(())
            }
            // Whoever runs the scenario does it.
            Op::Remount | Op::MountReadOnly => Ok(()),
            Op::MakeWritable => make_writable(self.root),
            _ => self.on_held(op),
        }
    }

    fn on_held(&mut self, op: &Op) -> Result<()> {
        if let Op::Close = op {
            let file = self.held.take().ok_or(Errno::BADF)?;
            return close(file);
        }
        let file = self.held.as_ref().ok_or(Errno::BADF)?;
        match *op {
            Op::Put(byte, offset, count) => {
                whole(count, rustix::io::pwrite(file, &vec![byte; count], offset)?)
            }
            Op::Append(byte, count) => whole(count, rustix::io::write(file, &vec![byte; count])?),
            Op::Cut(length) => rustix::fs::ftruncate(file, length),
            Op::Allocate(flags, offset, length) => {
                rustix::fs::fallocate(file, flags, offset, length)
            }
            Op::CopyFrom(path, mut offset, count) => {
                let flags = OFlags::RDONLY | OFlags::CLOEXEC;
                let source = rustix::fs::open(self.root.join(path), flags, Mode::empty())?;
                let mut from = 0;
                let copied = rustix::fs::copy_file_range(
                    source,
                    Some(&mut from),
                    file,
                    Some(&mut offset),
                    count,
                )?;
                whole(count, copied)
            }
            Op::Fsync => rustix::fs::fsync(file),
            Op::Fdatasync => rustix::fs::fdatasync(file),
            Op::LinkOpen(path) => {
                let own = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(file));
                rustix::fs::linkat(CWD, own, CWD, self.root.join(path), AtFlags::SYMLINK_FOLLOW)
            }
            _ => Ok(()),
        }
    }
}

fn is_mount(root: &Path) -> Result<bool> {
    const FUSE: i64 = 0x6573_5546;
    Ok(rustix::fs::statfs(root)?.f_type == FUSE)
}

fn discard(root: &Path, paths: &[&str]) -> Result<()> {
    let mut command = Command::new(mount::program());
    command.args(["discard", "--yes"]);
    match paths {
        [""] => command.arg("--all").arg(root),
        paths => command.args(paths.iter().map(|path| root.join(path))),
    };
    let command = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let status = command.status().map_err(|_| Errno::IO)?;
    if status.success() { Ok(()) } else { Err(Errno::IO) }
}

/// Nothing to do where it is an ordinary directory.
fn make_writable(root: &Path) -> Result<()> {
    if !is_mount(root)? {
        return Ok(());
    }
    rustix::mount::mount_remount(root, rustix::mount::MountFlags::empty(), "")
}

fn whole(wanted: usize, done: usize) -> Result<()> {
    if done == wanted { Ok(()) } else { Err(Errno::IO) }
}

/// close(2), with its error.
fn close(file: File) -> Result<()> {
    // SAFETY: the descriptor was ours and is not used again.
    match unsafe { libc::close(file.into_raw_fd()) } {
        0 => Ok(()),
        _ => Err(last_error()),
    }
}

fn truncate(path: &Path, length: u64) -> Result<()> {
    use std::os::unix::ffi::OsStrExt;
    let path = std::ffi::CString::new(path.as_os_str().as_bytes()).map_err(|_| Errno::INVAL)?;
    let length = i64::try_from(length).map_err(|_| Errno::INVAL)?;
    // SAFETY: `path` is a C string that lives across the call.
    match unsafe { libc::truncate(path.as_ptr(), length) } {
        0 => Ok(()),
        _ => Err(last_error()),
    }
}

fn last_error() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}

/// Sets both times to a second with odd nanoseconds, of a symlink itself.
pub fn set_times(path: &Path, second: i64) -> Result<()> {
    let time = Timespec { tv_sec: second, tv_nsec: 123_456_789 };
    let times = Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)
}
