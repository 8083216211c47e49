//! Mappings that are read and written by system calls, so that a page that
//! cannot be had is an error and not a signal.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use super::ops::MapKind;

pub const PAGE: usize = 4096;

/// Pages that are mapped at a time.
const PAGES: usize = 4;

/// Some pages of a file in memory.
pub struct Map {
    address: *mut libc::c_void,
    pub inode: usize,
    pub kind: MapKind,
    /// Where in the file it begins, in bytes.
    pub start: usize,
    /// Pages that a private mapping has written, by their place in the file.
    pub private: BTreeMap<usize, Vec<u8>>,
}

impl Map {
    pub fn new(file: &File, inode: usize, kind: MapKind, start: usize) -> io::Result<Map> {
        let write = if kind == MapKind::SharedRead { 0 } else { libc::PROT_WRITE };
        let share = if kind == MapKind::Private { libc::MAP_PRIVATE } else { libc::MAP_SHARED };
        // SAFETY: a new mapping at an address of the kernel's choice; no Rust
        // reference into it is ever made.
        let address = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                PAGES * PAGE,
                libc::PROT_READ | write,
                share,
                file.as_raw_fd(),
                start as libc::off_t,
            )
        };
        if address == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Map { address, inode, kind, start, private: BTreeMap::new() })
    }

    /// Where in the file it ends, in bytes.
    pub fn end(&self) -> usize {
        self.start + PAGES * PAGE
    }

    fn part(&self, at: usize, len: usize) -> libc::iovec {
        assert!(at >= self.start && at + len <= self.end());
        let address = self.address.cast::<u8>().wrapping_add(at - self.start);
        libc::iovec { iov_base: address.cast(), iov_len: len }
    }

    /// Reads, with `at` counted from the beginning of the file.
    pub fn read(&self, at: usize, len: usize) -> io::Result<Vec<u8>> {
        let mut out = vec![0_u8; len];
        let mine = libc::iovec { iov_base: out.as_mut_ptr().cast(), iov_len: len };
        let there = self.part(at, len);
        // SAFETY: both ranges belong to this process; the kernel checks the
        // mapped one and answers EFAULT for what cannot be had.
        let got = unsafe {
            libc::process_vm_readv(libc::getpid(), &raw const mine, 1, &raw const there, 1, 0)
        };
        complete(got, len).map(|()| out)
    }

    /// Writes, with `at` counted from the beginning of the file.
    pub fn write(&self, at: usize, bytes: &[u8]) -> io::Result<()> {
        let mine = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
        let there = self.part(at, bytes.len());
        // SAFETY: as above; `bytes` is only read.
        let put = unsafe {
            libc::process_vm_writev(libc::getpid(), &raw const mine, 1, &raw const there, 1, 0)
        };
        complete(put, bytes.len())
    }

    pub fn sync(&self) -> io::Result<()> {
        // SAFETY: the range is exactly this mapping.
        match unsafe { libc::msync(self.address, PAGES * PAGE, libc::MS_SYNC) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

fn complete(done: isize, len: usize) -> io::Result<()> {
    match usize::try_from(done) {
        Ok(done) if done == len => Ok(()),
        Ok(done) => Err(io::Error::other(format!("{done} bytes of {len}: the rest is not there"))),
        Err(_) => Err(io::Error::last_os_error()),
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        // SAFETY: the range is exactly this mapping, and nobody keeps a pointer into it.
        unsafe { libc::munmap(self.address, PAGES * PAGE) };
    }
}
