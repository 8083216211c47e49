//! Answers: the buffer that one is built in, and listings of directories.

use std::time::Duration;

use rustix::io::Errno;

use crate::abi;
use crate::types::{Attr, Entry, StatFs, StatxReply, Timestamp};
use crate::wire::{self, Pod};

/// The body of an answer while it is being built: everything after the
/// `fuse_out_header`, which each transport puts where it belongs.
#[derive(Debug)]
pub struct ReplyBuf<'a> {
    body: &'a mut [u8],
    len: usize,
    error: Option<Errno>,
    entry: Option<u64>,
}

impl<'a> ReplyBuf<'a> {
    /// An empty, successful answer that may use all of `body`.
    pub fn new(body: &'a mut [u8]) -> ReplyBuf<'a> {
        ReplyBuf { body, len: 0, error: None, entry: None }
    }

    /// Bytes of the body that are to be sent.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the answer has no body.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The `error` field of the header: 0 or a negative error number.
    pub fn error(&self) -> i32 {
        self.error.map_or(0, |errno| -errno.raw_os_error())
    }

    /// The node that gains a lookup with this answer. If it does not reach
    /// the kernel, the lookup must be taken back.
    pub fn entry(&self) -> Option<u64> {
        self.entry
    }

    /// Makes this an error without body. What no program may see becomes
    /// something that it may (see `tellable`).
    pub fn fail(&mut self, errno: Errno) {
        self.len = 0;
        self.entry = None;
        self.error = Some(tellable(errno));
    }

    /// All of the body, to write into.
    pub(crate) fn space(&mut self) -> &mut [u8] {
        self.body
    }

    /// `size` bytes of the body after the first `at`; EIO if there are not so
    /// many.
    pub(crate) fn space_at(&mut self, at: usize, size: usize) -> Result<&mut [u8], Errno> {
        let end = at.checked_add(size).ok_or(Errno::IO)?;
        self.body.get_mut(at..end).ok_or(Errno::IO)
    }

    /// Declares the first `len` bytes of the body written.
    pub(crate) fn set_len(&mut self, len: usize) -> Result<(), Errno> {
        if len > self.body.len() {
            return Err(Errno::IO);
        }
        self.len = len;
        Ok(())
    }

    /// Appends a structure.
    pub(crate) fn push<T: Pod>(&mut self, value: &T) -> Result<(), Errno> {
        let at = self.len;
        self.space_at(at, size_of::<T>())?.copy_from_slice(wire::bytes_of(value));
        self.len = at + size_of::<T>();
        Ok(())
    }

    /// Appends an entry and notes the lookup that it counts.
    pub(crate) fn push_entry(&mut self, entry: &Entry) -> Result<(), Errno> {
        self.push(&entry_out(entry))?;
        self.entry = (entry.node != 0).then_some(entry.node);
        Ok(())
    }
}

/// `ENOTSUPP` of the kernel's inside, which some file systems let out.
const NOTSUPP: i32 = 524;

/// The error number that the kernel takes for an answer: 1 to 511. It refuses
/// the answer with any other one, and whoever asked would wait for ever.
pub(crate) fn tellable(errno: Errno) -> Errno {
    match errno.raw_os_error() {
        1..=511 => errno,
        NOTSUPP => Errno::OPNOTSUPP,
        number => {
            tracing::error!(number, "an error that cannot be told: EIO instead");
            Errno::IO
        }
    }
}

/// Where READDIR puts its entries.
#[derive(Debug)]
pub struct DirSink<'a> {
    out: &'a mut [u8],
    len: usize,
}

impl<'a> DirSink<'a> {
    /// A listing of at most `out.len()` bytes.
    pub fn new(out: &'a mut [u8]) -> DirSink<'a> {
        DirSink { out, len: 0 }
    }

    /// Adds an entry. `kind` holds the type bits of `st_mode` (0: unknown);
    /// `next` is the offset by which the listing goes on after this entry,
    /// which must not be 0.
    ///
    /// Returns `false` if there is no more room: the entry was not added, and
    /// the method is to return.
    #[must_use]
    pub fn add(&mut self, ino: u64, next: u64, kind: u32, name: &[u8]) -> bool {
        put_dirent(self.out, &mut self.len, &[], &dirent(ino, next, kind, name), name)
    }

    /// Whether an entry with this name still finds room.
    pub fn fits(&self, name: &[u8]) -> bool {
        abi::dirent_size(name.len()) <= self.out.len() - self.len
    }

    /// Bytes used.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing was added.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// Where READDIRPLUS puts its entries.
#[derive(Debug)]
pub struct DirPlusSink<'a> {
    out: &'a mut [u8],
    len: usize,
}

impl<'a> DirPlusSink<'a> {
    /// A listing of at most `out.len()` bytes.
    pub fn new(out: &'a mut [u8]) -> DirPlusSink<'a> {
        DirPlusSink { out, len: 0 }
    }

    /// Whether an entry with this name still finds room. To be asked before
    /// a lookup is counted for the entry.
    pub fn fits(&self, name: &[u8]) -> bool {
        abi::direntplus_size(name.len()) <= self.out.len() - self.len
    }

    /// Adds an entry with its node, which gains one lookup. `next` as in
    /// [`DirSink::add`]; number and type are those of `entry.attr`.
    ///
    /// Returns `false` if there is no more room: nothing was added, and no
    /// lookup counted.
    #[must_use]
    pub fn add(&mut self, entry: &Entry, next: u64, name: &[u8]) -> bool {
        let dirent = dirent(entry.attr.ino, next, entry.attr.mode, name);
        put_dirent(self.out, &mut self.len, wire::bytes_of(&entry_out(entry)), &dirent, name)
    }

    /// Adds an entry without node: no lookup is counted, and the kernel learns
    /// number and type only. For `.` and `..`, and where attributes would be
    /// costly.
    #[must_use]
    pub fn add_name(&mut self, ino: u64, next: u64, kind: u32, name: &[u8]) -> bool {
        let none = abi::EntryOut::default();
        let dirent = dirent(ino, next, kind, name);
        put_dirent(self.out, &mut self.len, wire::bytes_of(&none), &dirent, name)
    }

    /// Bytes used.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing was added.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

fn dirent(ino: u64, next: u64, kind: u32, name: &[u8]) -> abi::Dirent {
    abi::Dirent {
        ino,
        off: next,
        namelen: name.len() as u32,
        // DT_* are the type bits of st_mode moved down.
        r#type: (kind >> 12) & 0o17,
    }
}

/// Writes `prefix`, `dirent` and `name`, padded with zeros to 8 bytes.
fn put_dirent(
    out: &mut [u8],
    len: &mut usize,
    prefix: &[u8],
    dirent: &abi::Dirent,
    name: &[u8],
) -> bool {
    let header = wire::bytes_of(dirent);
    let used = prefix.len() + header.len() + name.len();
    let padded = used.next_multiple_of(8);
    let Some(place) = len.checked_add(padded).and_then(|end| out.get_mut(*len..end)) else {
        return false;
    };
    let (a, rest) = place.split_at_mut(prefix.len());
    let (b, rest) = rest.split_at_mut(header.len());
    let (c, padding) = rest.split_at_mut(name.len());
    a.copy_from_slice(prefix);
    b.copy_from_slice(header);
    c.copy_from_slice(name);
    padding.fill(0);
    *len += padded;
    true
}

/// The kernel's packing of a device number (`new_encode_dev`).
pub(crate) fn encode_dev(dev: u64) -> u32 {
    let (major, minor) = (libc::major(dev), libc::minor(dev));
    (minor & 0xff) | (major << 8) | ((minor & !0xff) << 12)
}

/// The device number, as `makedev(3)` packs it, of the kernel's packing.
pub(crate) fn decode_dev(dev: u32) -> u64 {
    libc::makedev((dev >> 8) & 0xfff, (dev & 0xff) | ((dev >> 12) & 0xf_ff00))
}

pub(crate) fn attr_out(attr: &Attr) -> abi::Attr {
    abi::Attr {
        ino: attr.ino,
        size: attr.size,
        blocks: attr.blocks,
        // Seconds before 1970 travel as the two's complement.
        atime: attr.atime.sec as u64,
        mtime: attr.mtime.sec as u64,
        ctime: attr.ctime.sec as u64,
        atimensec: attr.atime.nsec,
        mtimensec: attr.mtime.nsec,
        ctimensec: attr.ctime.nsec,
        mode: attr.mode,
        nlink: attr.nlink,
        uid: attr.uid,
        gid: attr.gid,
        rdev: encode_dev(attr.rdev),
        blksize: attr.blksize,
        flags: attr.flags,
    }
}

pub(crate) fn entry_out(entry: &Entry) -> abi::EntryOut {
    abi::EntryOut {
        nodeid: entry.node,
        generation: entry.generation,
        entry_valid: entry.entry_ttl.as_secs(),
        attr_valid: entry.attr_ttl.as_secs(),
        entry_valid_nsec: entry.entry_ttl.subsec_nanos(),
        attr_valid_nsec: entry.attr_ttl.subsec_nanos(),
        attr: attr_out(&entry.attr),
    }
}

pub(crate) fn attr_reply_out(attr: &Attr, ttl: Duration) -> abi::AttrOut {
    abi::AttrOut {
        attr_valid: ttl.as_secs(),
        attr_valid_nsec: ttl.subsec_nanos(),
        dummy: 0,
        attr: attr_out(attr),
    }
}

pub(crate) fn statfs_out(st: &StatFs) -> abi::StatfsOut {
    abi::StatfsOut {
        st: abi::Kstatfs {
            blocks: st.blocks,
            bfree: st.bfree,
            bavail: st.bavail,
            files: st.files,
            ffree: st.ffree,
            bsize: st.bsize,
            namelen: st.namelen,
            frsize: st.frsize,
            ..abi::Kstatfs::default()
        },
    }
}

pub(crate) fn statx_out(reply: &StatxReply) -> abi::StatxOut {
    let attr = &reply.attr;
    let mut mask = libc::STATX_BASIC_STATS;
    if reply.btime.is_some() {
        mask |= libc::STATX_BTIME;
    }
    abi::StatxOut {
        attr_valid: reply.ttl.as_secs(),
        attr_valid_nsec: reply.ttl.subsec_nanos(),
        stat: abi::Statx {
            mask,
            blksize: attr.blksize,
            attributes: reply.attributes,
            nlink: attr.nlink,
            uid: attr.uid,
            gid: attr.gid,
            mode: attr.mode as u16,
            ino: attr.ino,
            size: attr.size,
            blocks: attr.blocks,
            attributes_mask: reply.attributes_mask,
            atime: sx_time(attr.atime),
            btime: sx_time(reply.btime.unwrap_or_default()),
            ctime: sx_time(attr.ctime),
            mtime: sx_time(attr.mtime),
            rdev_major: libc::major(attr.rdev),
            rdev_minor: libc::minor(attr.rdev),
            ..abi::Statx::default()
        },
        ..abi::StatxOut::default()
    }
}

fn sx_time(time: Timestamp) -> abi::SxTime {
    abi::SxTime { tv_sec: time.sec, tv_nsec: time.nsec, __reserved: 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_errors_that_the_kernel_takes_are_told() {
        let told = |number| {
            let mut body = [0; 8];
            let mut reply = ReplyBuf::new(&mut body);
            reply.fail(Errno::from_raw_os_error(number));
            reply.error()
        };
        assert_eq!((told(1), told(libc::ENOSPC), told(511)), (-1, -libc::ENOSPC, -511));
        assert_eq!(told(524), -libc::EOPNOTSUPP);
        assert_eq!((told(512), told(521), told(529), told(4095)), (-5, -5, -5, -5));
    }
}
