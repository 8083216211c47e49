//! The calls that change a storage, and what they are about.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use crate::seccomp::{Stopped, When, memory};

/// Where the arguments say what a call is about.
#[derive(Clone, Copy)]
enum Target {
    /// A descriptor.
    Fd(usize),
    /// A directory and a name in it; the name may be absent.
    At(usize, usize),
    /// Two of them, the second is where something appears.
    Two(usize, usize, usize, usize),
    /// A path.
    Path(usize),
}

use Target::{At, Fd, Path, Two};

struct Kind {
    number: i64,
    name: &'static str,
    target: Target,
    when: When,
    /// Whether it may need room.
    grows: bool,
}

const CREATING: u32 = (libc::O_CREAT | libc::O_TMPFILE & !libc::O_DIRECTORY | libc::O_TRUNC) as u32;

macro_rules! kinds {
    ($($name:ident $target:expr, $grows:expr, $when:expr;)*) => {
        &[$(Kind {
            number: libc::$name,
            // Without SYS_.
            name: stringify!($name).split_at(4).1,
            target: $target,
            when: $when,
            grows: $grows,
        }),*]
    };
}

const KINDS: &[Kind] = kinds! {
    SYS_write Fd(0), true, When::Always;
    SYS_writev Fd(0), true, When::Always;
    SYS_pwrite64 Fd(0), true, When::Always;
    SYS_pwritev Fd(0), true, When::Always;
    SYS_pwritev2 Fd(0), true, When::Always;
    SYS_ftruncate Fd(0), false, When::Always;
    SYS_fallocate Fd(0), true, When::Always;
    SYS_openat At(0, 1), true, When::Bits(2, CREATING);
    SYS_openat2 At(0, 1), true, When::Always;
    SYS_mkdirat At(0, 1), true, When::Always;
    SYS_mknodat At(0, 1), true, When::Always;
    SYS_symlinkat At(1, 2), true, When::Always;
    SYS_linkat Two(0, 1, 2, 3), true, When::Always;
    SYS_unlinkat At(0, 1), false, When::Always;
    SYS_renameat Two(0, 1, 2, 3), true, When::Always;
    SYS_renameat2 Two(0, 1, 2, 3), true, When::Always;
    SYS_fchmod Fd(0), false, When::Always;
    SYS_fchmodat At(0, 1), false, When::Always;
    SYS_fchmodat2 At(0, 1), false, When::Always;
    SYS_fchown Fd(0), false, When::Always;
    SYS_fchownat At(0, 1), false, When::Always;
    SYS_utimensat At(0, 1), false, When::Always;
    SYS_setxattr Path(0), true, When::Always;
    SYS_lsetxattr Path(0), true, When::Always;
    SYS_fsetxattr Fd(0), true, When::Always;
    SYS_removexattr Path(0), false, When::Always;
    SYS_lremovexattr Path(0), false, When::Always;
    SYS_fremovexattr Fd(0), false, When::Always;
    SYS_copy_file_range Fd(2), true, When::Always;
    SYS_sendfile Fd(0), true, When::Always;
    SYS_ioctl Fd(0), true, When::Is(1, libc::FICLONE as u32);
    SYS_ioctl Fd(0), true, When::Is(1, libc::FS_IOC_SETFLAGS as u32);
    SYS_sync_file_range Fd(0), true, When::Always;
    SYS_fsync Fd(0), true, When::Always;
    SYS_fdatasync Fd(0), true, When::Always;
    SYS_syncfs Fd(0), true, When::Always;
};

/// What the filter has to report.
pub fn watched() -> Vec<(i64, When)> {
    KINDS.iter().map(|kind| (kind.number, kind.when)).collect()
}

/// A call that changes the storage.
#[derive(Clone, Debug)]
pub struct Call {
    pub name: &'static str,
    /// The path in the storage, for people.
    pub path: String,
    /// Whether it may need room.
    pub grows: bool,
}

impl Call {
    /// What a stopped call is to the file system `device`; None if nothing.
    pub fn of(stopped: &Stopped, device: u64) -> Option<Call> {
        let kind = KINDS.iter().find(|kind| {
            kind.number == stopped.number
                && match kind.when {
                    When::Is(index, value) => {
                        stopped.args.get(index).copied() == Some(value.into())
                    }
                    _ => true,
                }
        })?;
        let arg = |index: usize| stopped.args.get(index).copied().unwrap_or(0);
        if kind.number == libc::SYS_openat2 && !creates(stopped.thread, arg(2)) {
            return None;
        }
        let thread = stopped.thread;
        let (on, path) = match kind.target {
            Fd(fd) => of_fd(thread, arg(fd) as i32)?,
            At(dir, name) => at(thread, arg(dir) as i32, arg(name))?,
            Path(path) => at(thread, libc::AT_FDCWD, arg(path))?,
            Two(dir, name, new_dir, new_name) => {
                let (on, new) = at(thread, arg(new_dir) as i32, arg(new_name))?;
                let old = at(thread, arg(dir) as i32, arg(name)).map_or(String::new(), |o| o.1);
                (on, format!("{old} -> {new}"))
            }
        };
        (on == device).then_some(Call { name: kind.name, path, grows: kind.grows })
    }
}

/// Whether the `open_how` at this address asks for something new.
fn creates(thread: u32, how: u64) -> bool {
    let flags = memory(thread, how, 8);
    <[u8; 8]>::try_from(flags).is_ok_and(|f| u64::from_ne_bytes(f) & u64::from(CREATING) != 0)
}

/// The file system of a descriptor, and its path there.
fn of_fd(thread: u32, fd: i32) -> Option<(u64, String)> {
    let entry = if fd == libc::AT_FDCWD {
        PathBuf::from(format!("/proc/{thread}/cwd"))
    } else {
        PathBuf::from(format!("/proc/{thread}/fd/{fd}"))
    };
    let device = std::fs::metadata(&entry).ok()?.dev();
    let path = std::fs::read_link(&entry).ok()?;
    Some((device, path.to_string_lossy().into_owned()))
}

/// The same of a name in a directory; a name that leads to a descriptor is
/// taken for that.
fn at(thread: u32, dir: i32, name: u64) -> Option<(u64, String)> {
    let name = text(thread, name);
    let own = name.strip_prefix("/proc/self/fd/").or(name.strip_prefix("/proc/thread-self/fd/"));
    let (own, below) = match own {
        Some(rest) => match rest.split_once('/') {
            Some((fd, below)) => (fd.parse().ok(), below),
            None => (rest.parse().ok(), ""),
        },
        None => (None, name.as_str()),
    };
    let (device, dir) = if own.is_none() && name.starts_with('/') {
        (std::fs::metadata(std::path::Path::new(&name).parent()?).ok()?.dev(), String::new())
    } else {
        of_fd(thread, own.unwrap_or(dir))?
    };
    let path = match below {
        "" => dir,
        below if dir == "/" || dir.is_empty() => format!("{dir}{below}"),
        below => format!("{dir}/{below}"),
    };
    Some((device, path))
}

/// A C string of a stopped thread; empty for a null pointer.
fn text(thread: u32, address: u64) -> String {
    if address == 0 {
        return String::new();
    }
    // Up to the end of its page, which may be the last of the mapping.
    let room = 4096 - (address % 4096) as usize;
    let mut bytes = memory(thread, address, room);
    if !bytes.contains(&0) {
        bytes.extend(memory(thread, address + room as u64, 4096));
    }
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(bytes.get(..end).unwrap_or_default()).into_owned()
}
