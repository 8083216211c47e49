//! Steps that read and write data.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, PermissionsExt};

use rustix::fs::FallocateFlags;
use rustix::io::Errno;

use super::case::{Case, Step, at, bytes};
use super::maps::{Map, PAGE};
use super::ops::{Alloc, MODES, MapKind, Op};

/// A buffer as O_DIRECT wants it.
pub struct Aligned {
    bytes: Vec<u8>,
    start: usize,
    len: usize,
}

impl Aligned {
    pub fn new(len: usize) -> Aligned {
        let bytes = vec![0; len + PAGE];
        let start = bytes.as_ptr().align_offset(PAGE);
        Aligned { bytes, start, len }
    }

    pub fn get(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.start + self.len]
    }
}

/// How far apart copies inside the kernel may go wrong without saying so.
enum Copy {
    Range,
    Sendfile,
}

impl Case<'_> {
    pub fn data(&mut self, op: &Op) -> Step {
        match *op {
            Op::Write { fd, at, len } => self.write(fd, at, len as usize),
            Op::Fsync { fd } => match self.fds.get(&fd) {
                Some(fd) => at("fsync", fd.file.sync_all()),
                None => Ok(()),
            },
            Op::Uncache { fd } => self.uncache(fd),
            Op::Map { map, fd, page, kind } => self.map(map, fd, page as usize, kind),
            Op::MapWrite { map, at, len } => self.map_write(map, at as usize, len as usize),
            Op::Msync { map } => match self.maps.get(&map) {
                Some(map) if map.kind == MapKind::SharedWrite => at("msync", map.sync()),
                _ => Ok(()),
            },
            Op::Unmap { map } => {
                self.maps.remove(&map);
                Ok(())
            }
            Op::Ftruncate { fd, size } => self.ftruncate(fd, size),
            Op::Fallocate { fd, what, at, len } => self.fallocate(fd, what, at, len as usize),
            Op::CopyRange { from, to, at, to_at, len } => {
                self.copy(Copy::Range, (from, at), (to, to_at), len as usize)
            }
            Op::Sendfile { from, to, at, to_at, len } => {
                self.copy(Copy::Sendfile, (from, at), (to, to_at), len as usize)
            }
            Op::Fchmod { fd, mode } => self.fchmod(fd, MODES[mode as usize]),
            _ => Ok(()),
        }
    }

    fn write(&mut self, fd: u8, place: u32, len: usize) -> Step {
        let Some(fd) = self.fds.get(&fd).filter(|fd| fd.how.writes()) else { return Ok(()) };
        let (inode, how) = (fd.inode, fd.how);
        let mut place = self.near(inode, place);
        let mut len = len.min(self.model.inodes[inode].data.len() + 70_000);
        if how.appends() {
            place = self.model.inodes[inode].data.len();
        }
        if how.direct() {
            (place, len) = (place / PAGE * PAGE, len.next_multiple_of(PAGE));
        }
        let mut buffer = Aligned::new(len);
        buffer.get().copy_from_slice(&bytes(self.steps, len));
        at("write", fd.file.write_all_at(buffer.get(), place as u64))?;
        self.model.inodes[inode].write(place, buffer.get());
        Ok(())
    }

    /// Drops pages that the kernel keeps of a file.
    fn uncache(&self, fd: u8) -> Step {
        let Some(fd) = self.fds.get(&fd) else { return Ok(()) };
        let all = rustix::fs::fadvise(fd.file.as_fd(), 0, None, rustix::fs::Advice::DontNeed);
        at("fadvise", all.map_err(io::Error::from))
    }

    fn map(&mut self, slot: u8, fd: u8, page: usize, kind: MapKind) -> Step {
        self.maps.remove(&slot);
        let Some(fd) = self.fds.get(&fd).filter(|fd| fd.how.reads()) else { return Ok(()) };
        if kind == MapKind::SharedWrite && !fd.how.writes() {
            return Ok(());
        }
        let others = self.maps.values().any(|map| map.inode == fd.inode);
        if others && self.model.inodes[fd.inode].had_bits {
            return Ok(());
        }
        let pages = self.model.inodes[fd.inode].data.len() / PAGE + 2;
        let start = page % pages * PAGE;
        let map = at("mmap", Map::new(&fd.file, fd.inode, kind, start))?;
        self.maps.insert(slot, map);
        Ok(())
    }

    fn map_write(&mut self, slot: u8, place: usize, len: usize) -> Step {
        let Some(map) = self.maps.get_mut(&slot) else { return Ok(()) };
        let file = &mut self.model.inodes[map.inode];
        let end = map.end().min(file.data.len());
        if map.kind == MapKind::SharedRead || end <= map.start {
            return Ok(());
        }
        let place = map.start + place % (end - map.start);
        let fresh = bytes(self.steps, len.min(end - place));
        at("write to a mapping", map.write(place, &fresh))?;
        if map.kind == MapKind::SharedWrite {
            file.write(place, &fresh);
            return Ok(());
        }
        let first = place / PAGE * PAGE;
        for page in (first..place + fresh.len()).step_by(PAGE) {
            let held = map.private.entry(page).or_insert_with(|| {
                let mut held = file.data[page..(page + PAGE).min(file.data.len())].to_vec();
                held.resize(PAGE, 0);
                held
            });
            for (offset, byte) in held.iter_mut().enumerate() {
                let written = (page + offset).checked_sub(place).and_then(|i| fresh.get(i));
                *byte = written.copied().unwrap_or(*byte);
            }
        }
        Ok(())
    }

    fn ftruncate(&mut self, fd: u8, size: u32) -> Step {
        let Some(fd) = self.fds.get(&fd).filter(|fd| fd.how.writes()) else { return Ok(()) };
        let inode = fd.inode;
        let size = self.near(inode, size);
        at("ftruncate", fd.file.set_len(size as u64))?;
        self.truncated(inode, size);
        Ok(())
    }

    fn fallocate(&mut self, fd: u8, what: Alloc, place: u32, len: usize) -> Step {
        let Some(fd) = self.fds.get(&fd).filter(|fd| fd.how.writes()) else { return Ok(()) };
        let inode = fd.inode;
        let place = self.near(inode, place);
        let len = len.min(self.model.inodes[inode].data.len() + 70_000);
        let flags = match what {
            Alloc::Plain => FallocateFlags::empty(),
            Alloc::KeepSize => FallocateFlags::KEEP_SIZE,
            Alloc::Punch => FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE,
            Alloc::Zero => FallocateFlags::ZERO_RANGE,
            Alloc::ZeroKeepSize => FallocateFlags::ZERO_RANGE | FallocateFlags::KEEP_SIZE,
        };
        match rustix::fs::fallocate(&fd.file, flags, place as u64, len as u64) {
            Ok(()) => {}
            // Not every file system can do all of them.
            Err(Errno::OPNOTSUPP) if what != Alloc::Plain => return Ok(()),
            Err(errno) => return at("fallocate", Err(errno.into())),
        }
        let file = &mut self.model.inodes[inode];
        if matches!(what, Alloc::Plain | Alloc::Zero) {
            file.reach(place + len);
        }
        if matches!(what, Alloc::Punch | Alloc::Zero | Alloc::ZeroKeepSize) {
            file.zero(place, len);
        }
        file.mtime = None;
        Ok(())
    }

    fn copy(&mut self, how: Copy, from: (u8, u32), to: (u8, u32), len: usize) -> Step {
        let (Some(source), Some(target)) = (self.fds.get(&from.0), self.fds.get(&to.0)) else {
            return Ok(());
        };
        let able = source.how.reads() && target.how.writes() && !target.how.appends();
        if !able || source.inode == target.inode || source.how.direct() || target.how.direct() {
            return Ok(());
        }
        let (mut from_at, mut to_at) =
            (self.near(source.inode, from.1) as u64, self.near(target.inode, to.1) as u64);
        let data = &self.model.inodes[source.inode].data;
        let rest = data.get(from_at as usize..).unwrap_or_default();
        let fresh = rest[..len.min(rest.len())].to_vec();
        let (start, inode) = (to_at as usize, target.inode);
        let mut done = 0;
        while done < fresh.len() {
            let left = fresh.len() - done;
            let copied = match how {
                Copy::Range => rustix::fs::copy_file_range(
                    &source.file,
                    Some(&mut from_at),
                    &target.file,
                    Some(&mut to_at),
                    left,
                ),
                Copy::Sendfile => {
                    let seek = rustix::fs::SeekFrom::Start(to_at + done as u64);
                    rustix::fs::seek(&target.file, seek).and_then(|_| {
                        rustix::fs::sendfile(&target.file, &source.file, Some(&mut from_at), left)
                    })
                }
            };
            match at("copy between files", copied.map_err(io::Error::from))? {
                0 => return Err(format!("copying ended after {done} bytes of {}", fresh.len())),
                copied => done += copied,
            }
        }
        if !fresh.is_empty() {
            self.model.inodes[inode].write(start, &fresh);
        }
        Ok(())
    }

    fn fchmod(&mut self, fd: u8, mode: u32) -> Step {
        let Some(fd) = self.fds.get(&fd) else { return Ok(()) };
        at("fchmod", fd.file.set_permissions(std::fs::Permissions::from_mode(mode)))?;
        let inode = fd.inode;
        self.chmodded(inode, mode);
        Ok(())
    }

    /// Reads a part of an open file, past the position.
    pub fn read_part(fd: &super::case::Fd, from: usize, len: usize) -> io::Result<Vec<u8>> {
        let (first, end) = match fd.how.direct() {
            true => (from / PAGE * PAGE, (from + len).next_multiple_of(PAGE)),
            false => (from, from + len),
        };
        let mut buffer = Aligned::new(end - first);
        let mut done = 0;
        while done < end - first {
            match fd.file.read_at(&mut buffer.get()[done..], (first + done) as u64)? {
                0 => break,
                got => done += got,
            }
            // What follows an unaligned end is nothing.
            if fd.how.direct() && !done.is_multiple_of(PAGE) {
                break;
            }
        }
        let got = &buffer.get()[..done];
        let cut = got.get(from - first..).unwrap_or_default();
        Ok(cut[..cut.len().min(len)].to_vec())
    }
}
