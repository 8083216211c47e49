//! What the cases are written with.
#![forbid(unsafe_code)]

use std::fmt::{Debug, Display};
use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::panic::Location;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::fs::{AtFlags, CWD, RawDir, Timespec, Timestamps, UTIME_OMIT};
use rustix::io::Errno;

/// How a case ends.
pub type Outcome = Result<(), Failure>;

/// Why a case did not pass.
#[derive(Debug)]
pub enum Failure {
    /// A promise is broken, with the place in the source that noticed.
    Failed(String),
    /// It cannot be tried here.
    Skipped(String),
}

/// Exit code of a case's process that failed.
pub const EXIT_FAILED: u8 = 1;
/// Exit code of a case's process that cannot try it.
pub const EXIT_SKIPPED: u8 = 77;

impl Failure {
    /// The reason.
    pub fn text(&self) -> &str {
        match self {
            Self::Failed(text) | Self::Skipped(text) => text,
        }
    }

    /// What its process ends with.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Failed(_) => EXIT_FAILED,
            Self::Skipped(_) => EXIT_SKIPPED,
        }
    }

    /// What a process that ended with `code` and said `text` means.
    pub fn from_exit(code: i32, text: String) -> Self {
        if code == i32::from(EXIT_SKIPPED) { Self::Skipped(text) } else { Self::Failed(text) }
    }
}

impl<E: Into<io::Error>> From<E> for Failure {
    #[track_caller]
    fn from(error: E) -> Self {
        located(error.into())
    }
}

#[track_caller]
fn located(what: impl Display) -> Failure {
    let at = Location::caller();
    let file = Path::new(at.file()).file_name().unwrap_or_default();
    Failure::Failed(format!("{}:{}: {what}", file.display(), at.line()))
}

/// The promise is broken.
#[track_caller]
pub fn failed<T>(why: impl Display) -> Result<T, Failure> {
    Err(located(why))
}

/// It cannot be tried here.
pub fn skipped<T>(why: impl Display) -> Result<T, Failure> {
    Err(Failure::Skipped(why.to_string()))
}

/// `left` must be `right`.
#[track_caller]
pub fn same<T: PartialEq + Debug>(what: &str, left: T, right: T) -> Outcome {
    if left == right { Ok(()) } else { failed(format!("{what}: {left:?} instead of {right:?}")) }
}

/// `left` must not be `right`.
#[track_caller]
pub fn differ<T: PartialEq + Debug>(what: &str, left: T, right: T) -> Outcome {
    if left != right { Ok(()) } else { failed(format!("{what}: still {left:?}")) }
}

/// It must hold.
#[track_caller]
pub fn ensure(holds: bool, what: &str) -> Outcome {
    if holds { Ok(()) } else { failed(what) }
}

/// The call must fail with `errno`.
#[track_caller]
pub fn refused<T, E: Into<io::Error>>(result: Result<T, E>, errno: Errno) -> Outcome {
    match result.map_err(Into::into) {
        Ok(_) => failed(format!("succeeded instead of {errno:?}")),
        Err(error) if error.raw_os_error() == Some(errno.raw_os_error()) => Ok(()),
        Err(error) => failed(format!("{error} instead of {errno:?}")),
    }
}

/// The content of the base file `f`.
pub fn content() -> Vec<u8> {
    (0..20_000_u32).map(|at| b'a' + (at % 26) as u8).collect()
}

/// The modification and access time of every base object.
pub const OLD: Timespec = Timespec { tv_sec: 1_000_000_000, tv_nsec: 123_456_789 };

/// Sets access and modification time, of a symbolic link too.
pub fn set_times(path: &Path, access: Timespec, modification: Timespec) -> io::Result<()> {
    let times = Timestamps { last_access: access, last_modification: modification };
    Ok(rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)?)
}

/// Leaves this time as it is.
pub const OMIT: Timespec = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };

/// lstat(2).
pub fn stat(path: impl AsRef<Path>) -> io::Result<Metadata> {
    let path = path.as_ref();
    fs::symlink_metadata(path)
        .map_err(|e| if e.raw_os_error() == Some(2) { missing(path) } else { e })
}

fn missing(path: &Path) -> io::Error {
    let name = path.file_name().unwrap_or_default();
    io::Error::new(io::ErrorKind::NotFound, format!("{} is not there", name.display()))
}

/// Is there such a name?
pub fn there(path: impl AsRef<Path>) -> bool {
    fs::symlink_metadata(path).is_ok()
}

/// Renames a directory; where that is refused with EXDEV, does what mv(1) does
/// instead, so that only the cases about it fail for it.
pub fn move_dir(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {}
        done => return done,
    }
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let (entry, to) = (entry?, to.to_path_buf());
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            move_dir(&entry.path(), &to)?;
        } else {
            fs::rename(entry.path(), to)?;
        }
    }
    fs::remove_dir(from)
}

/// Mode without the type.
pub fn mode(path: impl AsRef<Path>) -> io::Result<u32> {
    Ok(stat(path)?.mode() & 0o7777)
}

/// Sets the mode.
pub fn chmod(path: impl AsRef<Path>, mode: u32) -> io::Result<()> {
    fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode))
}

/// Opens for reading.
pub fn open(path: impl AsRef<Path>) -> io::Result<File> {
    File::open(path)
}

/// Opens for reading and writing what exists.
pub fn open_rw(path: impl AsRef<Path>) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open(path)
}

/// Makes a file that does not exist, for reading and writing.
pub fn create(path: impl AsRef<Path>) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create_new(true).open(path)
}

/// Writes into an existing file through a descriptor of its own.
pub fn write_at(path: impl AsRef<Path>, offset: u64, bytes: &[u8]) -> io::Result<()> {
    OpenOptions::new().write(true).open(path)?.write_all_at(bytes, offset)
}

/// Appends through a descriptor of its own.
pub fn append(path: impl AsRef<Path>, bytes: &[u8]) -> io::Result<()> {
    io::Write::write_all(&mut OpenOptions::new().append(true).open(path)?, bytes)
}

/// `count` bytes at `offset`, or fewer at the end.
pub fn read_at(file: &File, offset: u64, count: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; count];
    let got = file.read_at(&mut bytes, offset)?;
    bytes.truncate(got);
    Ok(bytes)
}

/// The C string for a path, as most raw calls want it.
pub fn proc_path(file: impl AsFd) -> PathBuf {
    let fd = std::os::fd::AsRawFd::as_raw_fd(&file.as_fd());
    PathBuf::from(format!("/proc/self/fd/{fd}"))
}

/// One entry as getdents64(2) gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: Vec<u8>,
    /// `d_ino`.
    pub ino: u64,
    /// `d_off`: where the next begins.
    pub next: u64,
    /// `d_type`.
    pub kind: rustix::fs::FileType,
}

impl Entry {
    /// `.` or `..`.
    pub fn is_dots(&self) -> bool {
        self.name == b"." || self.name == b".."
    }
}

/// What one call of getdents64(2) with a buffer of `size` bytes gives.
pub fn entries_once(dir: &File, size: usize) -> io::Result<Vec<Entry>> {
    let mut buffer = vec![MaybeUninit::uninit(); size];
    let mut raw = RawDir::new(dir, &mut buffer);
    let mut entries = Vec::new();
    while let Some(entry) = raw.next() {
        let entry = entry?;
        entries.push(Entry {
            name: entry.file_name().to_bytes().to_vec(),
            ino: entry.ino(),
            next: entry.next_entry_cookie(),
            kind: entry.file_type(),
        });
        if raw.is_buffer_empty() {
            break;
        }
    }
    Ok(entries)
}

/// Everything that follows in an open directory, without the dots.
pub fn entries_from(dir: &File) -> io::Result<Vec<Entry>> {
    let mut all = Vec::new();
    loop {
        let some = entries_once(dir, 32 << 10)?;
        if some.is_empty() {
            return Ok(all);
        }
        all.extend(some.into_iter().filter(|entry| !entry.is_dots()));
    }
}

/// The names in a directory, sorted; a name that shows twice is there twice.
pub fn names(dir: impl AsRef<Path>) -> io::Result<Vec<String>> {
    let entries = entries_from(&open(dir)?)?;
    let mut names: Vec<String> =
        entries.iter().map(|e| String::from_utf8_lossy(&e.name).into_owned()).collect();
    names.sort();
    Ok(names)
}

/// Where a case works: a directory of its own, populated in the base.
pub struct Place {
    /// The directory.
    pub dir: PathBuf,
    /// Unmounts and mounts again.
    pub remount: Option<String>,
}

impl Place {
    /// A path below the directory.
    pub fn at(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Makes the kernel forget all that it does not need.
    pub fn drop_caches(&self) -> Outcome {
        rustix::fs::syncfs(open(&self.dir)?)?;
        match fs::write("/proc/sys/vm/drop_caches", "3") {
            Ok(()) => Ok(()),
            Err(error) => skipped(format!("caches cannot be dropped: {error}")),
        }
    }

    /// Unmounts and mounts again. No descriptor in the mount may be open.
    pub fn remount(&self) -> Outcome {
        let Some(command) = &self.remount else { return skipped("no --remount given") };
        // A file, not a pipe: the server that mounts may keep it open.
        let said = said()?;
        let mut shell = Command::new("sh");
        shell.args(["-ec", command]).current_dir("/").stdin(Stdio::null());
        let status = shell.stdout(said.try_clone()?).stderr(said.try_clone()?).status()?;
        let said = read_at(&said, 0, 2000)?;
        let said = String::from_utf8_lossy(&said);
        ensure(status.success(), &format!("remounting: {}", said.trim()))
    }
}

/// A file in memory for what a program says.
pub fn said() -> io::Result<File> {
    let flags = rustix::fs::MemfdFlags::CLOEXEC;
    Ok(rustix::fs::memfd_create("said", flags)?.into())
}
