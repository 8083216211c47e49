//! A disk that keeps a log: one file served through FUSE, to be put under a
//! loop device. The log holds every write and flush in the order in which they
//! were served, and the marks that a workload sets in between.
//!
//! A write is answered only after it is in the log, and a flush (the loop driver
//! sends it as fsync) only after all writes that were answered before it: so
//! what a file system may rely on after a flush is what lies before it in the
//! log. FUA does not exist on a loop device; the block layer sends a flush behind
//! such a write.
//!
//! The server is a process of its own: in the process of the workload it could
//! not end, if that were killed while one of its threads waits for this disk. So
//! the log is a file that both append to.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use fuse_server::{
    Attr, AttrReply, Config, Entry, FallocateArgs, FileSystem, Mount, MountOptions, OpenArgs,
    OpenReply, ROOT_ID, ReadArgs, Request, Result, Session, WriteArgs,
};
use rustix::io::Errno;
use rustix::process::{Signal, set_parent_process_death_signal};

use super::image::leave;
use super::system::wait_for_mount;

const DISK_ID: u64 = 2;
const DISK_NAME: &[u8] = b"disk";
const FOREVER: Duration = Duration::from_secs(1 << 30);
const S_IFDIR: u32 = 0o040000;
const S_IFREG: u32 = 0o100000;

/// One entry of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// Bytes that reached the disk.
    Write {
        /// First byte.
        offset: u64,
        /// What was written.
        data: Vec<u8>,
    },
    /// A range that reads as zeros from now on.
    Zero {
        /// First byte.
        offset: u64,
        /// Number of bytes.
        length: u64,
    },
    /// All before it is durable.
    Flush,
    /// Step `.0` of the workload is about to begin; 0 before the first.
    Begin(usize),
    /// Step `.0` of the workload has returned.
    End(usize),
    /// Something that was done to another disk with the same log.
    Elsewhere,
}

/// The log of a disk, or of several with numbers. What is appended by one call stays together.
pub struct Log {
    file: File,
    /// The disk's.
    number: u8,
}

/// Kind, number of the disk, place, length.
const HEADER: usize = 18;

impl Log {
    /// A new one, or one more hold of it.
    ///
    /// # Errors
    /// What opening gives.
    pub fn open(path: &Path, number: u8) -> io::Result<Self> {
        let file = File::options().append(true).create(true).open(path)?;
        Ok(Self { file, number })
    }

    /// Adds a record.
    ///
    /// # Errors
    /// What writing gives.
    pub fn add(&self, record: &Record) -> io::Result<()> {
        match record {
            Record::Write { offset, data } => self.append(b'W', *offset, data.len() as u64, data),
            Record::Zero { offset, length } => self.append(b'Z', *offset, *length, &[]),
            Record::Flush => self.append(b'F', 0, 0, &[]),
            Record::Begin(step) => self.append(b'B', *step as u64, 0, &[]),
            Record::End(step) => self.append(b'E', *step as u64, 0, &[]),
            Record::Elsewhere => Ok(()),
        }
    }

    fn append(&self, kind: u8, place: u64, length: u64, data: &[u8]) -> io::Result<()> {
        let header = [&[kind, self.number][..], &place.to_le_bytes(), &length.to_le_bytes()];
        (&self.file).write_all(&[&header.concat(), data].concat())
    }

    /// What is in the log at `path`, as one of the disks has seen it.
    ///
    /// # Errors
    /// It cannot be read, or is no log.
    pub fn read(path: &Path, number: u8) -> io::Result<Vec<Record>> {
        let bytes = std::fs::read(path)?;
        let mut rest = bytes.as_slice();
        let mut records = Vec::new();
        while let Some((header, after)) = rest.split_first_chunk::<HEADER>() {
            let word = |at: usize| {
                let bytes = header.iter().skip(at).take(8).rev();
                bytes.fold(0, |word: u64, byte| word << 8 | u64::from(*byte))
            };
            let (place, length) = (word(2), word(10));
            rest = after;
            let own = header.get(1) == Some(&number);
            let record = match header.first() {
                Some(b'W') => {
                    let data = rest.split_at_checked(length as usize);
                    let (data, after) = data.ok_or(io::ErrorKind::UnexpectedEof)?;
                    rest = after;
                    Record::Write { offset: place, data: data.to_vec() }
                }
                Some(b'Z') => Record::Zero { offset: place, length },
                Some(b'F') => Record::Flush,
                Some(b'B') => Record::Begin(place as usize),
                Some(b'E') => Record::End(place as usize),
                _ => return Err(io::ErrorKind::InvalidData.into()),
            };
            let mark = matches!(record, Record::Begin(_) | Record::End(_));
            records.push(if own || mark { record } else { Record::Elsewhere });
        }
        Ok(records)
    }
}

/// The file system of one file.
struct Disk {
    image: File,
    size: u64,
    log: Log,
}

impl Disk {
    fn attr(&self, node: u64) -> Result<Attr> {
        let (mode, nlink, size) = match node {
            ROOT_ID => (S_IFDIR | 0o700, 2, 0),
            DISK_ID => (S_IFREG | 0o600, 1, self.size),
            _ => return Err(Errno::NOENT),
        };
        Ok(Attr { ino: node, mode, nlink, size, blksize: 4096, ..Attr::default() })
    }
}

fn errno(error: &io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}

impl FileSystem for Disk {
    fn lookup(&self, _: &Request, name: &[u8]) -> Result<Entry> {
        if name != DISK_NAME {
            return Err(Errno::NOENT);
        }
        let attr = self.attr(DISK_ID)?;
        Ok(Entry { node: DISK_ID, generation: 0, attr, entry_ttl: FOREVER, attr_ttl: FOREVER })
    }

    fn getattr(&self, req: &Request, _: Option<u64>) -> Result<AttrReply> {
        Ok(AttrReply { attr: self.attr(req.node)?, ttl: FOREVER })
    }

    fn open(&self, _: &Request, _: &OpenArgs) -> Result<OpenReply> {
        Ok(OpenReply::default())
    }

    fn read(&self, _: &Request, args: &ReadArgs, out: &mut [u8]) -> Result<usize> {
        let mut done = 0;
        while let Some(rest) = out.get_mut(done..).filter(|rest| !rest.is_empty()) {
            match self.image.read_at(rest, args.offset + done as u64) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(error) => return Err(errno(&error)),
            }
        }
        Ok(done)
    }

    fn write(&self, _: &Request, args: &WriteArgs, data: &[u8]) -> Result<usize> {
        if args.offset + data.len() as u64 > self.size {
            return Err(Errno::NOSPC);
        }
        self.image.write_all_at(data, args.offset).map_err(|error| errno(&error))?;
        let added = self.log.append(b'W', args.offset, data.len() as u64, data);
        added.map(|()| data.len()).map_err(|error| errno(&error))
    }

    fn fsync(&self, _: &Request, _: u64, _: bool) -> Result<()> {
        self.log.add(&Record::Flush).map_err(|error| errno(&error))
    }

    fn flush(&self, _: &Request, _: u64, _: u64) -> Result<()> {
        Ok(())
    }

    // Discards and zeroed ranges come as holes; both read as zeros.
    fn fallocate(&self, _: &Request, args: &FallocateArgs) -> Result<()> {
        let end = args.offset.checked_add(args.length).filter(|&end| end <= self.size);
        end.ok_or(Errno::NOSPC)?;
        zero(&self.image, args.offset, args.length).map_err(|error| errno(&error))?;
        let record = Record::Zero { offset: args.offset, length: args.length };
        self.log.add(&record).map_err(|error| errno(&error))
    }
}

/// Makes a range of a file read as zeros.
///
/// # Errors
/// What writing gives.
pub fn zero(file: &File, offset: u64, length: u64) -> io::Result<()> {
    use rustix::fs::FallocateFlags;
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    Ok(rustix::fs::fallocate(file, flags, offset, length)?)
}

/// Serves `image` as the file `disk` in the directory `dir`, until it is unmounted.
///
/// # Errors
/// The image cannot be opened, or FUSE not be mounted.
pub fn serve(image: &Path, dir: &Path, log: &Path, number: u8) -> io::Result<()> {
    let image = File::options().read(true).write(true).open(image)?;
    let size = image.metadata()?.len();
    let disk = Disk { image, size, log: Log::open(log, number)? };
    let options = MountOptions { source: "torture-disk".into(), ..MountOptions::default() };
    let mount = Mount::new(dir, &options).map_err(io::Error::other)?;
    let session = Session::new(mount, Arc::new(disk), &Config::default());
    session.map_err(io::Error::other)?.run().map_err(io::Error::other)
}

/// A served disk; unmounted when dropped.
pub struct Served {
    dir: PathBuf,
    log: PathBuf,
    server: Child,
}

impl Served {
    /// Serves `image` in the empty directory `dir`, in a process of its own that
    /// ends with this one. `log` is a new file, or that of other disks with other numbers.
    ///
    /// # Errors
    /// It does not mount.
    pub fn new(image: &Path, dir: &Path, log: &Path, number: u8) -> io::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("disk").arg(image).arg(dir).arg(log).arg(number.to_string());
        command.stdin(Stdio::null()).stdout(Stdio::null());
        // SAFETY: one system call between fork and exec, nothing else.
        unsafe {
            command.pre_exec(|| Ok(set_parent_process_death_signal(Some(Signal::KILL))?));
        }
        let server = command.spawn()?;
        let mut served = Self { dir: dir.to_owned(), log: log.to_owned(), server };
        wait_for_mount(dir, &mut served.server).inspect_err(|_| drop(served.server.kill()))?;
        Ok(served)
    }

    /// The file to put under a loop device.
    pub fn path(&self) -> PathBuf {
        self.dir.join("disk")
    }

    /// Its log.
    pub fn log(&self) -> &Path {
        &self.log
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        leave(&self.dir);
        let _ = self.server.wait();
    }
}
