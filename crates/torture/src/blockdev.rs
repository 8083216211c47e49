//! A disk that keeps a log: one file served through FUSE, to be put under a
//! loop device. The log holds every write and flush in the order in which they
//! were served, and the marks that a workload sets in between.
//!
//! A write is answered only after it is in the log, and a flush (the loop driver
//! sends it as fsync) only after all writes that were answered before it: so
//! what a file system may rely on after a flush is what lies before it in the
//! log. FUA does not exist on a loop device; the block layer sends a flush behind
//! such a write.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use fuse_server::{
    Attr, AttrReply, Config, Entry, FallocateArgs, FileSystem, Mount, MountOptions, OpenArgs,
    OpenReply, ROOT_ID, ReadArgs, Request, Result, Session, StopHandle, WriteArgs,
};
use rustix::io::Errno;

const DISK_ID: u64 = 2;
const DISK_NAME: &[u8] = b"disk";
const FOREVER: Duration = Duration::from_secs(1 << 30);
const S_IFDIR: u32 = 0o040000;
const S_IFREG: u32 = 0o100000;

/// One line of the log.
#[derive(Clone, Debug)]
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
    /// Step `.0` of the workload is about to begin.
    Begin(usize),
    /// Step `.0` of the workload has returned.
    End(usize),
}

/// The log of a disk, shared by the disk and the workload.
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Vec<Record>>>);

impl Log {
    /// Adds a record, and says how many there are now.
    pub fn add(&self, record: Record) -> usize {
        let mut records = self.lock();
        records.push(record);
        records.len()
    }

    /// How many records there are.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// The records so far; the log is empty afterwards.
    pub fn take(&self) -> Vec<Record> {
        std::mem::take(&mut *self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Record>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
        self.log.add(Record::Write { offset: args.offset, data: data.to_vec() });
        Ok(data.len())
    }

    fn fsync(&self, _: &Request, _: u64, _: bool) -> Result<()> {
        self.log.add(Record::Flush);
        Ok(())
    }

    fn flush(&self, _: &Request, _: u64, _: u64) -> Result<()> {
        Ok(())
    }

    // Discards and zeroed ranges come as holes; both read as zeros.
    fn fallocate(&self, _: &Request, args: &FallocateArgs) -> Result<()> {
        let end = args.offset.checked_add(args.length).filter(|&end| end <= self.size);
        end.ok_or(Errno::NOSPC)?;
        zero(&self.image, args.offset, args.length).map_err(|error| errno(&error))?;
        self.log.add(Record::Zero { offset: args.offset, length: args.length });
        Ok(())
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

/// A served disk; unmounted when dropped.
pub struct Served {
    path: PathBuf,
    log: Log,
    stop: StopHandle,
    server: Option<JoinHandle<()>>,
}

impl Served {
    /// Serves `image` as the file [`Served::path`] in the empty directory `dir`.
    ///
    /// # Errors
    /// The image cannot be opened, or FUSE not be mounted.
    pub fn new(image: &Path, dir: &Path) -> io::Result<Self> {
        let image = File::options().read(true).write(true).open(image)?;
        let size = image.metadata()?.len();
        let log = Log::default();
        let disk = Disk { image, size, log: log.clone() };
        let options = MountOptions { source: "torture-disk".into(), ..MountOptions::default() };
        let mount = Mount::new(dir, &options).map_err(io::Error::other)?;
        let session = Session::new(mount, Arc::new(disk), &Config::default());
        let session = session.map_err(io::Error::other)?;
        let stop = session.stop_handle();
        let server = std::thread::spawn(move || {
            if let Err(error) = session.run() {
                eprintln!("the logging disk ended: {error}");
            }
        });
        Ok(Self { path: dir.join("disk"), log, stop, server: Some(server) })
    }

    /// The file to put under a loop device.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its log.
    pub fn log(&self) -> &Log {
        &self.log
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.stop.stop();
        if let Some(server) = self.server.take() {
            let _ = server.join();
        }
    }
}
