//! The record of live mounts: one small file for each, in a directory of the
//! user's own that no one else can write.
//!
//! `list` and `umount` read it, and a refused mount says from it who holds the
//! storage. It is a help, not a lock: the lock is on the storage itself.
#![forbid(unsafe_code)]

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use mini_fo_core::procfs;
use parking_lot::Mutex;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{self, AtFlags, FlockOperation, Mode, OFlags};
use rustix::process::Pid;

use crate::daemon;
use crate::mountinfo::{self, Mount};
use crate::report::Report;

/// A live mount.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// The daemon.
    pub pid: u32,
    /// When the daemon began, in clock ticks since boot: tells it apart from
    /// a later process of the same number.
    pub start: u64,
    /// Device number of the mount, major and minor.
    pub dev: (u32, u32),
    /// The mount point.
    pub mountpoint: PathBuf,
    /// The base; of several layers the uppermost one.
    pub base: PathBuf,
    /// The layers below that, from the top down.
    pub under: Vec<PathBuf>,
    /// The storage.
    pub storage: PathBuf,
    /// `st_dev` and `st_ino` of the storage.
    pub storage_id: (u64, u64),
    /// It can be written: the daemon holds the storage alone.
    pub writable: bool,
    /// When it was mounted, in seconds since 1970.
    pub since: u64,
    /// What it got from the system.
    pub report: Report,
    /// Number of the mount namespace in which it was mounted; 0: unknown.
    pub namespace: u64,
    /// The daemon holds a lock on the record for as long as it lives: its process
    /// number says nothing where another PID namespace sees the record.
    pub locked: bool,
    /// Whether the daemon lives, as found when the record was read.
    pub lives: bool,
}

impl Record {
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let mut field = |key: &str, value: &[u8]| {
            out.extend_from_slice(key.as_bytes());
            out.push(b'=');
            out.extend(mountinfo::escape(value));
            out.push(b'\n');
        };
        let number = |n: u64| n.to_string().into_bytes();
        field("pid", &number(self.pid.into()));
        field("start", &number(self.start));
        field("dev", format!("{}:{}", self.dev.0, self.dev.1).as_bytes());
        field("mountpoint", self.mountpoint.as_os_str().as_bytes());
        field("base", self.base.as_os_str().as_bytes());
        field("storage", self.storage.as_os_str().as_bytes());
        field("storage_id", format!("{}:{}", self.storage_id.0, self.storage_id.1).as_bytes());
        field("writable", &number(self.writable.into()));
        field("since", &number(self.since));
        field("namespace", &number(self.namespace));
        field("locked", &number(self.locked.into()));
        field("transport", self.report.transport.as_bytes());
        field("data", self.report.data.as_bytes());
        field("capabilities", self.report.capabilities.as_bytes());
        field("advice", self.report.advice.as_bytes());
        for layer in &self.under {
            field("under", layer.as_os_str().as_bytes());
        }
        out
    }

    fn decode(text: &[u8]) -> Option<Record> {
        let mut record = Record::default();
        for line in text.split(|&byte| byte == b'\n') {
            let Some(at) = line.iter().position(|&byte| byte == b'=') else { continue };
            let (key, value) = line.split_at(at);
            let value = mountinfo::unescape(value.get(1..)?);
            let number = || value.to_str()?.parse::<u64>().ok();
            match key {
                b"pid" => record.pid = number()?.try_into().ok()?,
                b"start" => record.start = number()?,
                b"dev" => {
                    let (major, minor) = pair(&value)?;
                    record.dev = (major.try_into().ok()?, minor.try_into().ok()?);
                }
                b"mountpoint" => record.mountpoint = value.into(),
                b"base" => record.base = value.into(),
                b"storage" => record.storage = value.into(),
                b"storage_id" => record.storage_id = pair(&value)?,
                b"writable" => record.writable = number()? != 0,
                b"since" => record.since = number()?,
                b"namespace" => record.namespace = number()?,
                b"locked" => record.locked = number()? != 0,
                b"transport" => record.report.transport = text_of(&value),
                b"data" => record.report.data = text_of(&value),
                b"capabilities" => record.report.capabilities = text_of(&value),
                b"advice" => record.report.advice = text_of(&value),
                b"under" => record.under.push(value.into()),
                _ => {}
            }
        }
        (record.pid != 0).then_some(record)
    }

    fn file_name(&self) -> String {
        format!("{}-{}_{}", self.pid, self.dev.0, self.dev.1)
    }

    /// Whether the process of that number, as seen from here, is its daemon.
    pub fn is_here(&self) -> bool {
        start_of(self.pid).is_some_and(|start| start == self.start)
    }

    /// Whether it is what `mounts` shows. While the daemon lives no other mount has
    /// the device number, wherever it was moved.
    pub fn is_shown_by(&self, mount: &Mount) -> bool {
        let same = mount.is_ours() && mount.dev == self.dev;
        same && (self.lives || mount.mountpoint == self.mountpoint)
    }

    /// Whether the mount is still there, as far as can be seen from here: somebody
    /// else's mount namespace cannot be seen.
    pub fn is_mounted(&self) -> bool {
        if self.namespace != 0 && self.namespace != own_namespace() {
            return true;
        }
        let mounts = mountinfo::read().unwrap_or_default();
        mounts.iter().any(|mount| self.is_shown_by(mount))
    }

    /// A descriptor that becomes readable when the daemon has ended.
    pub fn watch(&self) -> Option<OwnedFd> {
        let pid = Pid::from_raw(self.pid.try_into().ok()?)?;
        let fd = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).ok()?;
        self.is_here().then_some(fd)
    }
}

fn text_of(value: &OsStr) -> String {
    value.to_string_lossy().into_owned()
}

fn pair(text: &OsStr) -> Option<(u64, u64)> {
    let (left, right) = text.to_str()?.split_once(':')?;
    Some((left.parse().ok()?, right.parse().ok()?))
}

/// Start time of a process, field 22 of proc_pid_stat(5). `None`: no such
/// process.
pub fn start_of(pid: u32) -> Option<u64> {
    let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the name in parentheses and may hold anything.
    let after = stat.iter().rposition(|&byte| byte == b')')?;
    let text = std::str::from_utf8(stat.get(after + 1..)?).ok()?;
    let mut fields = text.split_ascii_whitespace();
    // A zombie has ended; only its parent has not noticed.
    if matches!(fields.next()?, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

/// The number of this process in the process namespace that `/proc` shows,
/// which need not be its own. Other numbers would lead readers astray.
pub fn own_pid() -> Option<u32> {
    std::fs::read_link("/proc/self").ok()?.to_str()?.parse().ok()
}

/// The number of this thread's mount namespace; 0: unknown.
pub fn own_namespace() -> u64 {
    fs::stat("/proc/thread-self/ns/mnt").map_or(0, |stat| stat.st_ino)
}

/// Seconds since 1970.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// The directory of records.
pub struct Registry {
    dir: OwnedFd,
}

impl Registry {
    /// Opens it and makes it where it is missing.
    ///
    /// # Errors
    /// EACCES: somebody else owns or can write it; as `mkdir(2)`, `open(2)`.
    pub fn open() -> io::Result<Registry> {
        let uid = rustix::process::geteuid();
        let system = uid.is_root().then(|| PathBuf::from("/run/mini_fo"));
        let runtime =
            std::env::var_os("XDG_RUNTIME_DIR").map(|dir| Path::new(&dir).join("mini_fo"));
        let runtime = runtime.filter(|_| !uid.is_root());
        let own = PathBuf::from(format!("/tmp/mini_fo-{}", uid.as_raw()));
        // Root of a user namespace may find that /run is not its own.
        for path in [system, runtime].into_iter().flatten() {
            if let Ok(registry) = Registry::open_at(&path) {
                return Ok(registry);
            }
        }
        Registry::open_at(&own)
    }

    fn open_at(path: &Path) -> io::Result<Registry> {
        match fs::mkdir(path, Mode::from_raw_mode(0o700)) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(errno) => return Err(errno.into()),
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let dir = fs::open(path, flags, Mode::empty())?;
        let stat = fs::fstat(&dir)?;
        if stat.st_uid != rustix::process::geteuid().as_raw() || stat.st_mode & 0o022 != 0 {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        Ok(Registry { dir })
    }

    /// Enters a mount. The record goes when the result is dropped.
    ///
    /// # Errors
    /// As `open(2)`, `write(2)`, `rename(2)`.
    pub fn enter(&self, record: &Record) -> io::Result<Entered> {
        // By a clone of its mount, which so is not kept in use.
        let own = procfs::path_of_descriptor(self.dir.as_fd());
        let dir = daemon::hold_directory(Path::new(&own))?;
        let (record, lock) = write(dir.as_fd(), record)?;
        Ok(Entered { dir, state: Mutex::new((record, lock)) })
    }

    /// The mounts whose daemons run.
    ///
    /// # Errors
    /// As `getdents(2)`.
    pub fn live(&self) -> io::Result<Vec<Record>> {
        Ok(self.all()?.into_iter().filter(|record| record.lives).collect())
    }

    /// The mounts whose daemons run, and those that are still there although theirs do
    /// not. What other dead ones left behind is removed.
    ///
    /// # Errors
    /// As `getdents(2)`.
    pub fn all(&self) -> io::Result<Vec<Record>> {
        let mut records = Vec::new();
        for entry in fs::Dir::read_from(&self.dir)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name.starts_with(b".") {
                continue;
            }
            let name = OsString::from_vec(name.to_vec());
            match self.read(&name) {
                Some(record) if record.lives || record.is_mounted() => records.push(record),
                // Only what names a dead daemon goes; the rest is not ours.
                Some(_) => drop(fs::unlinkat(&self.dir, &name, AtFlags::empty())),
                None => {}
            }
        }
        records.sort_by_key(|record: &Record| record.since);
        // A dead one whose number and place a live one has is gone.
        let live: Vec<_> = records.iter().filter(|one| one.lives).map(|one| one.dev).collect();
        records.retain(|record| {
            let replaced = !record.lives && live.contains(&record.dev);
            if replaced {
                let _ = fs::unlinkat(&self.dir, record.file_name(), AtFlags::empty());
            }
            !replaced
        });
        Ok(records)
    }

    fn read(&self, name: &OsStr) -> Option<Record> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = fs::openat(&self.dir, name, flags, Mode::empty()).ok()?;
        let mut text = Vec::new();
        // Five hundred layers have long paths before a record of ours is that long.
        let file = std::fs::File::from(file);
        io::Read::read_to_end(&mut io::Read::take(&file, 1 << 22), &mut text).ok()?;
        let mut record = Record::decode(&text)?;
        // Versions that did not lock are known by the process alone.
        record.lives = match record.locked {
            true => fs::flock(&file, FlockOperation::NonBlockingLockShared).is_err(),
            false => record.is_here(),
        };
        Some(record)
    }
}

/// Writes a record, whole or not at all. The file holds the lock on it.
fn write(dir: BorrowedFd<'_>, record: &Record) -> io::Result<(Record, std::fs::File)> {
    let name = record.file_name();
    let unfinished = format!(".{name}");
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW;
    let mode = Mode::from_raw_mode(0o600);
    let file = fs::openat(dir, &unfinished, flags | OFlags::CLOEXEC, mode)?;
    let locked = fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok();
    let record = Record { locked, ..record.clone() };
    let mut file = std::fs::File::from(file);
    io::Write::write_all(&mut file, &record.encode())?;
    fs::renameat(dir, &unfinished, dir, &name)?;
    Ok((record, file))
}

/// A record that is removed when this is dropped.
pub struct Entered {
    dir: OwnedFd,
    /// As it was written, and the file that is locked.
    state: Mutex<(Record, std::fs::File)>,
}

impl Entered {
    /// The mount can be written from now on.
    ///
    /// # Errors
    /// As [`Registry::enter`]; the record says what it said then.
    pub fn now_writable(&self) -> io::Result<()> {
        let mut state = self.state.lock();
        let record = Record { writable: true, ..state.0.clone() };
        *state = write(self.dir.as_fd(), &record)?;
        Ok(())
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        // Left behind, it is removed by the next reader.
        let name = self.state.get_mut().0.file_name();
        let _ = fs::unlinkat(self.dir.as_fd(), name, AtFlags::empty());
    }
}

/// The live mount that holds a storage directory, for error messages.
pub fn holder(storage: &Path) -> Option<Record> {
    let stat = fs::stat(storage).ok()?;
    let records = Registry::open().ok()?.live().ok()?;
    records.into_iter().find(|record| record.storage_id == (stat.st_dev, stat.st_ino))
}

#[cfg(test)]
#[path = "registry/tests.rs"]
mod tests;
