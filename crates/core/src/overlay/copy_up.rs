//! Copy-up: giving a base object its storage entry.

use std::sync::Arc;

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{FileType, Mode, OFlags, Statx};
use rustix::io::Errno;

use super::{Overlay, find};
use crate::dirs::Dir;
use crate::meta::{self, Record};
use crate::name::{META_NAME, temp_name};
use crate::node::{BaseRef, Link, Node};
use crate::sys::{self, Result, Spot};
use crate::types::{SetTime, Timestamp};

/// Largest piece that one call copies, so that a signal can end it.
const PIECE: u64 = 1 << 30;

/// A copy that has no name yet.
enum Fresh {
    /// An unnamed file.
    Unnamed(OwnedFd),
    /// Something under a reserved name of the directory.
    Temp(Vec<u8>),
}

impl Overlay {
    /// Makes sure that a node lies in the storage, with all directories above
    /// it. `truncate`: its data is not wanted.
    ///
    /// No `mutate` or `place` may be held. Nothing is done where it lies there.
    pub(super) fn copy_up(&self, node: &Arc<Node>, truncate: bool) -> Result<()> {
        if node.in_storage() {
            return Ok(());
        }
        // From the top down; a loop, because trees may be thousands deep.
        let mut chain = vec![Arc::clone(node)];
        while let Some(parent) = chain.last().and_then(|node| node.parent()) {
            if parent.in_storage() {
                break;
            }
            chain.push(parent);
        }
        while let Some(node) = chain.pop() {
            let _lock = node.copy_up.lock();
            if !node.in_storage() {
                self.copy_up_one(&node, truncate)?;
            }
        }
        Ok(())
    }

    fn copy_up_one(&self, node: &Arc<Node>, truncate: bool) -> Result<()> {
        self.check_writable()?;
        let link = node.place.read().names.first().cloned();
        let Some(link) = link else {
            return self.copy_up_nameless(node, truncate);
        };
        let parent = self.dir(&link.parent)?;
        if node.is_dir() {
            return self.copy_up_dir(node, &link, &parent);
        }
        let dir = parent.writable()?;
        let (fresh, stat) = self.copy_of(node, dir, truncate)?;
        let _lock = parent.mutate.lock();
        let mut place = node.place.write();
        if !place.names.first().is_some_and(|now| Arc::ptr_eq(now, &link)) {
            // Unlinked meanwhile: what was copied lives on without a name.
            if let Fresh::Unnamed(fd) = fresh {
                place.held = Some(Arc::new(fd));
                node.set_in_storage();
            }
            return Ok(());
        }
        let shown = stat.stx_ctime.into();
        let published = parent.unseen(
            |dir| publish(&fresh, dir, &link.name),
            |real| vec![ctime_record(&link.name, shown, *real)],
        );
        if published.is_err() {
            discard(&fresh, dir);
        }
        published?;
        place.base = BaseRef::None;
        node.set_in_storage();
        Ok(())
    }

    /// Makes the skeleton of a directory and opens it.
    fn copy_up_dir(&self, node: &Arc<Node>, link: &Link, parent: &Dir) -> Result<()> {
        let own = self.dir(node)?;
        let base = own.base.as_ref().ok_or(Errno::NOENT)?;
        let dir = parent.writable()?;
        let stat = sys::stat_fd(base)?;
        let temp = temp_name();
        rustix::fs::mkdirat(dir, &temp, Mode::from_raw_mode(0o700))?;
        let fresh = Fresh::Temp(temp);
        let opened = self.fill_dir(base.as_fd(), dir, &fresh, &stat);
        let fd = opened.inspect_err(|_| discard(&fresh, dir))?;
        let lock = parent.mutate.lock();
        let place = node.place.write();
        let published = parent.unseen(|dir| publish(&fresh, dir, &link.name), |_| Vec::new());
        if published.is_err() {
            discard(&fresh, dir);
        }
        published?;
        let real = sys::stat_fd(&fd)?.stx_ctime.into();
        own.set_storage(fd);
        node.set_in_storage();
        drop((lock, place));
        let _own_lock = own.mutate.lock();
        own.append(&[ctime_record(b".", stat.stx_ctime.into(), real)])
    }

    /// META is made before the mode is set: a directory that is not writable
    /// would not take it any more.
    fn fill_dir(
        &self,
        base: BorrowedFd<'_>,
        dir: BorrowedFd<'_>,
        fresh: &Fresh,
        stat: &Statx,
    ) -> Result<OwnedFd> {
        let Fresh::Temp(temp) = fresh else {
            return Err(Errno::INVAL);
        };
        let fd = sys::open_dir(dir, temp)?;
        meta::open_for_append(fd.as_fd())?;
        copy_attributes(Spot::Fd(base), Spot::Fd(fd.as_fd()), stat)?;
        Ok(fd)
    }

    /// An open file whose name is gone gets a storage file without one.
    fn copy_up_nameless(&self, node: &Arc<Node>, truncate: bool) -> Result<()> {
        if node.is_dir() {
            return Err(Errno::NOENT);
        }
        let (fresh, _) = self.copy_of(node, self.anywhere(), truncate)?;
        match fresh {
            Fresh::Unnamed(fd) => {
                let mut place = node.place.write();
                place.held = Some(Arc::new(fd));
                node.set_in_storage();
                Ok(())
            }
            Fresh::Temp(_) => {
                discard(&fresh, self.anywhere());
                Err(Errno::STALE)
            }
        }
    }

    /// A finished copy of a base object that is no directory.
    fn copy_of(
        &self,
        node: &Arc<Node>,
        dir: BorrowedFd<'_>,
        truncate: bool,
    ) -> Result<(Fresh, Statx)> {
        let source = self.at(node, |spot, _| sys::hold(spot))?;
        let from = Spot::Fd(source.as_fd());
        let stat = sys::stat(from)?;
        if find::kind(&stat) != libc::S_IFREG {
            return Ok((copy_special(from, dir, &stat)?, stat));
        }
        let (fresh, fd) = new_file(dir)?;
        let to = Spot::Fd(fd.as_fd());
        let filled = if truncate { Ok(()) } else { self.copy_data(from, &fd, &stat) }
            .and_then(|()| copy_attributes(from, to, &stat));
        filled.inspect_err(|_| discard(&fresh, dir))?;
        Ok(match fresh {
            Fresh::Unnamed(_) => (Fresh::Unnamed(fd), stat),
            temp @ Fresh::Temp(_) => (temp, stat),
        })
    }

    fn copy_data(&self, from: Spot<'_>, to: &OwnedFd, stat: &Statx) -> Result<()> {
        if stat.stx_size == 0 {
            return Ok(());
        }
        let source = sys::open_untraced(from, OFlags::RDONLY | OFlags::NONBLOCK)?;
        if rustix::fs::ioctl_ficlone(to, &source).is_ok() {
            return Ok(());
        }
        let _slow = self.slow_if(stat.stx_size);
        copy_extents(&source, to, stat.stx_size)?;
        if self.volatile {
            return Ok(());
        }
        // The name must not reach the disk before the data does.
        match sys::flush_range(to) {
            Err(Errno::INVAL | Errno::SPIPE | Errno::NOSYS) => rustix::fs::fdatasync(to),
            other => other,
        }
    }
}

fn ctime_record(name: &[u8], shown: Timestamp, real: Timestamp) -> Record {
    Record::Ctime { name: name.into(), shown, real }
}

/// A new, empty file: unnamed if the file system can, else under a reserved
/// name. Its descriptor comes apart.
fn new_file(dir: BorrowedFd<'_>) -> Result<(Fresh, OwnedFd)> {
    match sys::create_unnamed(dir, 0o600) {
        Ok(fd) => {
            let own = rustix::io::fcntl_dupfd_cloexec(&fd, 0)?;
            Ok((Fresh::Unnamed(own), fd))
        }
        Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL | Errno::NOENT) => {
            let temp = temp_name();
            let fd = sys::create(dir, &temp, OFlags::RDWR, 0o600)?;
            Ok((Fresh::Temp(temp), fd))
        }
        Err(errno) => Err(errno),
    }
}

/// A copy of a symlink, FIFO, socket or device, under a reserved name.
fn copy_special(from: Spot<'_>, dir: BorrowedFd<'_>, stat: &Statx) -> Result<Fresh> {
    let temp = temp_name();
    let kind = find::kind(stat);
    if kind == libc::S_IFLNK {
        rustix::fs::symlinkat(&*sys::read_link(from)?, dir, &temp)?;
    } else {
        let device = rustix::fs::makedev(stat.stx_rdev_major, stat.stx_rdev_minor);
        let mode = Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(dir, &temp, FileType::from_raw_mode(kind), mode, device)?;
    }
    let copied = copy_attributes(from, Spot::At(dir, &temp), stat);
    let fresh = Fresh::Temp(temp);
    copied.inspect_err(|_| discard(&fresh, dir))?;
    Ok(fresh)
}

/// Owner, mode, extended attributes and times, in the order in which one does
/// not undo the other.
fn copy_attributes(from: Spot<'_>, to: Spot<'_>, stat: &Statx) -> Result<()> {
    match sys::set_owner(to, Some(stat.stx_uid), Some(stat.stx_gid)) {
        // A user cannot give files away: the copy is theirs (SEMANTICS.md).
        Err(Errno::PERM | Errno::INVAL) => {}
        other => other?,
    }
    if find::kind(stat) != libc::S_IFLNK {
        sys::set_mode(to, u32::from(stat.stx_mode) & 0o7777)?;
    }
    sys::copy_xattrs(from, to, |_| false)?;
    let keep = |time: rustix::fs::StatxTimestamp| Some(SetTime::At(time.into()));
    sys::set_times(to, keep(stat.stx_atime), keep(stat.stx_mtime))
}

/// Gives a copy its name. The result is its ctime from then on.
fn publish(fresh: &Fresh, dir: BorrowedFd<'_>, name: &[u8]) -> Result<Timestamp> {
    match fresh {
        Fresh::Unnamed(fd) => sys::link_fd(fd.as_fd(), dir, name)?,
        Fresh::Temp(temp) => {
            let flags = rustix::fs::RenameFlags::NOREPLACE;
            match rustix::fs::renameat_with(dir, temp, dir, name, flags) {
                // Some file systems know no flags; nothing else writes here.
                Err(Errno::INVAL) => rustix::fs::renameat(dir, temp, dir, name)?,
                other => other?,
            }
        }
    }
    Ok(sys::stat(Spot::At(dir, name))?.stx_ctime.into())
}

/// Removes a copy that will not be used. Failures leave a reserved name, which
/// the next mount removes.
fn discard(fresh: &Fresh, dir: BorrowedFd<'_>) {
    if let Fresh::Temp(temp) = fresh {
        let removed = rustix::fs::unlinkat(dir, temp, rustix::fs::AtFlags::empty());
        if removed == Err(Errno::ISDIR) {
            if let Ok(fd) = sys::open_dir(dir, temp) {
                let _ = rustix::fs::unlinkat(fd, META_NAME, rustix::fs::AtFlags::empty());
            }
            let _ = rustix::fs::unlinkat(dir, temp, rustix::fs::AtFlags::REMOVEDIR);
        }
    }
}

/// Copies what is data and leaves holes as they are.
fn copy_extents(from: &OwnedFd, to: &OwnedFd, size: u64) -> Result<()> {
    use rustix::fs::{SeekFrom, seek};
    rustix::fs::ftruncate(to, size)?;
    let mut at = 0;
    while at < size {
        let start = match seek(from, SeekFrom::Data(at)) {
            Ok(start) => start,
            Err(Errno::NXIO) => return Ok(()),
            // A file system that knows no holes.
            Err(Errno::INVAL | Errno::OPNOTSUPP) => at,
            Err(errno) => return Err(errno),
        };
        let end = match seek(from, SeekFrom::Hole(start)) {
            Ok(end) => end.min(size),
            Err(_) => size,
        };
        copy_range(from, to, start, end)?;
        at = end.max(start + 1);
    }
    Ok(())
}

fn copy_range(from: &OwnedFd, to: &OwnedFd, start: u64, end: u64) -> Result<()> {
    let (mut source, mut target) = (start, start);
    while source < end {
        let want = usize::try_from((end - source).min(PIECE)).unwrap_or(usize::MAX);
        match rustix::fs::copy_file_range(from, Some(&mut source), to, Some(&mut target), want) {
            Ok(0) => return Ok(()),
            Ok(_) | Err(Errno::INTR) => {}
            Err(Errno::XDEV | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                return copy_buffered(from, to, source, end);
            }
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

fn copy_buffered(from: &OwnedFd, to: &OwnedFd, mut at: u64, end: u64) -> Result<()> {
    let len = usize::try_from((end - at).min(1 << 20)).unwrap_or(1 << 20);
    let mut buf = vec![0; len];
    while at < end {
        let got = match rustix::io::pread(from, &mut buf, at) {
            Ok(0) => return Ok(()),
            Err(Errno::INTR) => continue,
            other => other?,
        };
        let mut rest = buf.get(..got).unwrap_or_default();
        while !rest.is_empty() {
            match rustix::io::pwrite(to, rest, at) {
                Ok(0) => return Err(Errno::IO),
                Ok(put) => {
                    at += put as u64;
                    rest = rest.get(put..).unwrap_or_default();
                }
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
    }
    Ok(())
}
