//! The trait that a file system implements.

use rustix::io::Errno;

use crate::args::{
    CopyFileRangeArgs, CreateArgs, FallocateArgs, IoctlArgs, LockArgs, MkdirArgs, MknodArgs,
    OpenArgs, ReadArgs, ReleaseArgs, RenameArgs, SetXattrArgs, StatxArgs, WriteArgs,
};
use crate::init::Negotiated;
use crate::notify::Notifier;
use crate::reply::{DirPlusSink, DirSink};
use crate::types::{
    AttrReply, Entry, FileLock, IoctlReply, OpenReply, Request, Result, SetAttr, StatFs, StatxReply,
};

/// A file system, served by a [`Session`](crate::Session).
///
/// Methods are called from several threads at once, each on the thread that
/// received the request, and answer by returning. A method that may take long
/// should enter a [`blocking_section`](crate::blocking_section) first.
///
/// # Nodes
///
/// The file system names its objects by 64-bit node ids of its own choice;
/// [`ROOT_ID`](crate::ROOT_ID) (1) is the root, 0 is none. What `stat` shows
/// as inode number is [`Attr::ino`](crate::Attr::ino) and need not be equal.
/// Each [`Entry`] returned (also by readdirplus) counts one lookup of its
/// node; the kernel gives them back through [`forget`](Self::forget). A node
/// must stay valid until its count is 0.
///
/// # Defaults
///
/// Methods that are not overridden answer ENOSYS unless their description
/// says otherwise. The kernel takes ENOSYS to several of them as "never ask
/// again".
///
/// # Errors and panics
///
/// The error number of a method is what the calling program sees. A panic is
/// caught, logged and answered with EIO; the mount lives on.
#[expect(unused_variables, reason = "defaults ignore their arguments")]
pub trait FileSystem: Send + Sync + 'static {
    /// The connection is up: what was negotiated, and a way to notify the
    /// kernel. Called once, before any other method. An error ends the session.
    fn init(&self, negotiated: &Negotiated, notifier: &Notifier) -> Result<()> {
        Ok(())
    }

    /// The file system is unmounted. Called once, after all other calls have
    /// returned and after all threads but the calling one have ended.
    fn destroy(&self) {}

    /// Serves a request, by `work`: for a file system that holds up requests at times. IOCTL
    /// does not come by this: whoever answers it may hold it up himself.
    ///
    /// An error is the answer, and nothing is served.
    fn serve(&self, work: &mut dyn FnMut()) -> Result<()> {
        work();
        Ok(())
    }

    /// A request gets this error: for a log that says why. `operation`: as the kernel
    /// calls it. The thread is the one that served it.
    fn failed(&self, req: &Request, operation: &'static str, errno: Errno) {}

    /// What is kept for requests and not needed now can be given back: none have come
    /// for seconds, or so many that what the first ones needed may not be needed again.
    /// Others may come while this goes on.
    fn give_back(&self) {}

    /// Looks up a name in directory `req.node`.
    ///
    /// Errors: ENOENT (or [`Entry::negative`]), ENAMETOOLONG.
    fn lookup(&self, req: &Request, name: &[u8]) -> Result<Entry> {
        Err(Errno::NOSYS)
    }

    /// The kernel gives back `count` lookups of `node`. Not sent for nodes
    /// that are known when the file system is unmounted.
    fn forget(&self, node: u64, count: u64) {}

    /// Many forgets at once, as (node, count). By default each is handed to
    /// [`forget`](Self::forget).
    fn batch_forget(&self, forgets: &mut dyn Iterator<Item = (u64, u64)>) {
        for (node, count) in forgets {
            self.forget(node, count);
        }
    }

    /// Attributes of a node; `fh` is the open file through which `fstat(2)`
    /// asked, if any.
    fn getattr(&self, req: &Request, fh: Option<u64>) -> Result<AttrReply> {
        Err(Errno::NOSYS)
    }

    /// Changes attributes and returns all of them.
    ///
    /// The change may be empty and must then succeed: under
    /// `HANDLE_KILLPRIV_V2` the kernel sends that before a passthrough write
    /// to a file with setuid or setgid. (Measured on 6.18.)
    fn setattr(&self, req: &Request, set: &SetAttr) -> Result<AttrReply> {
        Err(Errno::NOSYS)
    }

    /// Writes the target of a symbolic link into `out` and returns its length.
    fn readlink(&self, req: &Request, out: &mut [u8]) -> Result<usize> {
        Err(Errno::NOSYS)
    }

    /// Creates a regular file, device, FIFO or socket.
    fn mknod(&self, req: &Request, args: &MknodArgs<'_>) -> Result<Entry> {
        Err(Errno::NOSYS)
    }

    /// Creates a directory.
    fn mkdir(&self, req: &Request, args: &MkdirArgs<'_>) -> Result<Entry> {
        Err(Errno::NOSYS)
    }

    /// Creates a symbolic link `name` with content `target`.
    fn symlink(&self, req: &Request, name: &[u8], target: &[u8]) -> Result<Entry> {
        Err(Errno::NOSYS)
    }

    /// Removes a name that is not a directory.
    fn unlink(&self, req: &Request, name: &[u8]) -> Result<()> {
        Err(Errno::NOSYS)
    }

    /// Removes an empty directory. Errors: ENOTEMPTY.
    fn rmdir(&self, req: &Request, name: &[u8]) -> Result<()> {
        Err(Errno::NOSYS)
    }

    /// Renames; RENAME and RENAME2.
    fn rename(&self, req: &Request, args: &RenameArgs<'_>) -> Result<()> {
        Err(Errno::NOSYS)
    }

    /// Gives `node` a further name in directory `req.node`.
    fn link(&self, req: &Request, node: u64, new_name: &[u8]) -> Result<Entry> {
        Err(Errno::NOSYS)
    }

    /// Opens a file. ESTALE makes the kernel look the name up anew and try
    /// again. ENOSYS turns OPEN and RELEASE off for the whole mount.
    ///
    /// By default every file opens with handle 0.
    fn open(&self, req: &Request, args: &OpenArgs) -> Result<OpenReply> {
        Ok(OpenReply::default())
    }

    /// Creates a file and opens it. After ENOSYS the kernel uses MKNOD and OPEN.
    fn create(&self, req: &Request, args: &CreateArgs<'_>) -> Result<(Entry, OpenReply)> {
        Err(Errno::NOSYS)
    }

    /// Creates a file without a name in directory `req.node` (`O_TMPFILE`, 6.1).
    fn tmpfile(&self, req: &Request, args: &CreateArgs<'_>) -> Result<(Entry, OpenReply)> {
        Err(Errno::NOSYS)
    }

    /// Reads into `out`, which is as long as the request asks, and returns
    /// the number of bytes. Fewer than asked mean the end of the file, unless
    /// the file is open with `DIRECT_IO`.
    fn read(&self, req: &Request, args: &ReadArgs, out: &mut [u8]) -> Result<usize> {
        Err(Errno::NOSYS)
    }

    /// Writes `data` and returns the number of bytes written.
    fn write(&self, req: &Request, args: &WriteArgs, data: &[u8]) -> Result<usize> {
        Err(Errno::NOSYS)
    }

    /// A descriptor of the file was closed; others may remain.
    fn flush(&self, req: &Request, fh: u64, lock_owner: u64) -> Result<()> {
        Err(Errno::NOSYS)
    }

    /// The last reference to the open file is gone. The error is seen by
    /// nobody. By default succeeds.
    fn release(&self, req: &Request, args: &ReleaseArgs) -> Result<()> {
        Ok(())
    }

    /// Makes data (and, without `datasync`, attributes) durable.
    fn fsync(&self, req: &Request, fh: u64, datasync: bool) -> Result<()> {
        Err(Errno::NOSYS)
    }

    /// Opens a directory. ENOSYS turns OPENDIR and RELEASEDIR off and allows
    /// the kernel to cache listings; offsets must then not depend on handles.
    ///
    /// By default every directory opens with handle 0.
    fn opendir(&self, req: &Request, args: &OpenArgs) -> Result<OpenReply> {
        Ok(OpenReply::default())
    }

    /// Lists a directory into `sink` from `offset`: 0, or the offset that
    /// came with the entry after which to go on. No entry means the end.
    ///
    /// An error after entries were added is dropped; the kernel meets it when
    /// it asks for the next ones.
    fn readdir(&self, req: &Request, fh: u64, offset: u64, sink: &mut DirSink<'_>) -> Result<()> {
        Err(Errno::NOSYS)
    }

    /// As [`readdir`](Self::readdir), with attributes. Each entry added
    /// counts one lookup. Only used if
    /// [`InitFlags::DO_READDIRPLUS`](crate::InitFlags::DO_READDIRPLUS) was
    /// negotiated; there is no way back from ENOSYS to READDIR.
    fn readdirplus(
        &self,
        req: &Request,
        fh: u64,
        offset: u64,
        sink: &mut DirPlusSink<'_>,
    ) -> Result<()> {
        Err(Errno::NOSYS)
    }

    /// An open directory was closed. By default succeeds.
    fn releasedir(&self, req: &Request, args: &ReleaseArgs) -> Result<()> {
        Ok(())
    }

    /// Makes the entries of a directory durable.
    fn fsyncdir(&self, req: &Request, fh: u64, datasync: bool) -> Result<()> {
        Err(Errno::NOSYS)
    }

    /// Space and limits. By default zeros with names of 255 bytes.
    fn statfs(&self, req: &Request) -> Result<StatFs> {
        Ok(StatFs::default())
    }

    /// Sets an extended attribute. After ENOSYS all further ones fail with
    /// EOPNOTSUPP.
    fn setxattr(&self, req: &Request, args: &SetXattrArgs<'_>) -> Result<()> {
        Err(Errno::NOSYS)
    }

    /// Writes the value of an extended attribute into `out` and returns its
    /// length. An empty `out` asks for the length alone.
    ///
    /// Errors: ENODATA (no such attribute), ERANGE (`out` too short).
    fn getxattr(&self, req: &Request, name: &[u8], out: &mut [u8]) -> Result<usize> {
        Err(Errno::NOSYS)
    }

    /// Writes the names of the extended attributes into `out`, each followed
    /// by a NUL, and returns the length; otherwise as
    /// [`getxattr`](Self::getxattr).
    fn listxattr(&self, req: &Request, out: &mut [u8]) -> Result<usize> {
        Err(Errno::NOSYS)
    }

    /// Removes an extended attribute. Errors: ENODATA.
    fn removexattr(&self, req: &Request, name: &[u8]) -> Result<()> {
        Err(Errno::NOSYS)
    }

    /// Whether the caller may do what `mask` (`access(2)`) says. Not asked
    /// under the mount option `default_permissions`.
    fn access(&self, req: &Request, mask: u32) -> Result<()> {
        Err(Errno::NOSYS)
    }

    /// A restricted ioctl; output goes into `out`, as long as the command's
    /// encoding says. By default ENOTTY.
    fn ioctl(&self, req: &Request, args: &IoctlArgs<'_>, out: &mut [u8]) -> Result<IoctlReply> {
        Err(Errno::NOTTY)
    }

    /// Allocates, punches or zeroes a range. ENOSYS is told as EOPNOTSUPP.
    fn fallocate(&self, req: &Request, args: &FallocateArgs) -> Result<()> {
        Err(Errno::NOSYS)
    }

    /// `SEEK_DATA` and `SEEK_HOLE` (`whence`) from `offset`: the new offset.
    /// Errors: ENXIO (beyond the end). After ENOSYS the kernel takes the file
    /// for one without holes.
    fn lseek(&self, req: &Request, fh: u64, offset: u64, whence: u32) -> Result<u64> {
        Err(Errno::NOSYS)
    }

    /// Copies from file to file and returns the number of bytes; both
    /// COPY_FILE_RANGE and COPY_FILE_RANGE_64. After ENOSYS the kernel copies
    /// by reading and writing.
    fn copy_file_range(&self, req: &Request, args: &CopyFileRangeArgs) -> Result<u64> {
        Err(Errno::NOSYS)
    }

    /// Attributes with creation time (6.6). After ENOSYS the kernel uses
    /// GETATTR.
    fn statx(&self, req: &Request, args: &StatxArgs) -> Result<StatxReply> {
        Err(Errno::NOSYS)
    }

    /// Makes the whole file system durable. Sent to block-device and virtio
    /// file systems only.
    fn syncfs(&self, req: &Request) -> Result<()> {
        Err(Errno::NOSYS)
    }

    /// Tests for a lock that conflicts. Only used if
    /// [`InitFlags::POSIX_LOCKS`](crate::InitFlags::POSIX_LOCKS) was
    /// negotiated; otherwise the kernel keeps locks itself.
    fn getlk(&self, req: &Request, args: &LockArgs) -> Result<FileLock> {
        Err(Errno::NOSYS)
    }

    /// Sets or releases a lock; `wait` says whether to wait for it (in a
    /// [`blocking_section`](crate::blocking_section)). See
    /// [`getlk`](Self::getlk).
    fn setlk(&self, req: &Request, args: &LockArgs, wait: bool) -> Result<()> {
        Err(Errno::NOSYS)
    }
}
