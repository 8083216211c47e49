//! Memory for one request and its answer.

#![allow(unsafe_code)]

use std::ptr::NonNull;

use crate::abi;

const PAGE: usize = 4096;
/// The largest part of each buffer that is worth keeping while idle.
const KEEP: usize = 64 * 1024;
/// Small requests in a row after which memory of large ones is given back.
const SMALL_RUN: u32 = 64;

/// Memory for one request and its answer, touched only as far as used.
///
/// Both are laid out so that file data, read or written, begin on a page
/// boundary, as direct I/O below the file system may need.
#[derive(Debug)]
pub(crate) struct Buffers {
    base: NonNull<u8>,
    /// Bytes of the request area, a multiple of the page size.
    request: usize,
    /// Bytes of the answer area, a multiple of the page size.
    answer: usize,
    /// Most bytes touched since the memory was last given back.
    touched: usize,
    small_run: u32,
}

// SAFETY: the mapping belongs to this value alone and may move with it.
unsafe impl Send for Buffers {}

/// Where a request begins, so that the data of WRITE begin at a page.
const REQUEST_START: usize = PAGE - size_of::<abi::InHeader>() - size_of::<abi::WriteIn>();
/// Where an answer begins, so that its body begins at a page.
const ANSWER_START: usize = PAGE - size_of::<abi::OutHeader>();

impl Buffers {
    /// Buffers for requests with `most` bytes of data and answers with as many.
    /// Nothing is touched yet.
    pub(crate) fn new(most: usize) -> std::io::Result<Buffers> {
        // Extended attributes (64 KiB and two names) need room besides writes.
        let data = most.max(128 * 1024).next_multiple_of(PAGE);
        let (request, answer) = (PAGE + data + PAGE, PAGE + data);
        // SAFETY: a new private mapping at an address of the kernel's choice.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                request + answer,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(std::io::Error::last_os_error());
        }
        // A huge page would make the first small request cost 2 MiB.
        // SAFETY: exactly the mapping made above; advice changes no content.
        unsafe { libc::madvise(base, request + answer, libc::MADV_NOHUGEPAGE) };
        let base = NonNull::new(base.cast()).ok_or_else(std::io::Error::last_os_error)?;
        Ok(Buffers { base, request, answer, touched: 0, small_run: 0 })
    }

    /// The request area and the answer area, the latter from its header on.
    pub(crate) fn split(&mut self) -> (&mut [u8], &mut [u8]) {
        // SAFETY: the mapping has `request + answer` initialised bytes (zeros
        // by the kernel), is borrowed mutably through `self`, and the two
        // slices do not overlap.
        unsafe {
            let request = std::slice::from_raw_parts_mut(
                self.base.as_ptr().add(REQUEST_START),
                self.request - REQUEST_START,
            );
            let answer = std::slice::from_raw_parts_mut(
                self.base.as_ptr().add(self.request + ANSWER_START),
                self.answer - ANSWER_START,
            );
            (request, answer)
        }
    }

    /// Notes a request of `len` bytes (the longer of request and answer), and
    /// gives memory of large ones back once only small ones come.
    pub(crate) fn used(&mut self, len: usize) {
        if len > KEEP {
            self.touched = self.touched.max(len);
            self.small_run = 0;
        } else if self.touched > KEEP {
            self.small_run += 1;
            if self.small_run == SMALL_RUN {
                self.trim();
            }
        }
    }

    /// Whether memory of large requests is still held.
    pub(crate) fn are_large(&self) -> bool {
        self.touched > KEEP
    }

    /// Gives memory of large requests back.
    pub(crate) fn trim(&mut self) {
        for (start, size) in [(0, self.request), (self.request, self.answer)] {
            // SAFETY: whole pages within the mapping; their content is of no
            // further use, and they read as zeros afterwards.
            unsafe {
                let from = self.base.as_ptr().add(start + KEEP);
                libc::madvise(from.cast(), size - KEEP, libc::MADV_DONTNEED);
            }
        }
        self.touched = 0;
        self.small_run = 0;
    }
}

impl Drop for Buffers {
    fn drop(&mut self) {
        // SAFETY: exactly the mapping made in `new`, to which no reference is
        // left.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.request + self.answer) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_begin_on_pages() {
        let mut buffers = Buffers::new(1 << 20).unwrap();
        let (request, answer) = buffers.split();
        let data = request.as_ptr() as usize + 80;
        assert_eq!(data % PAGE, 0);
        assert!(request.len() >= 80 + (1 << 20));
        assert_eq!((answer.as_ptr() as usize + 16) % PAGE, 0);
        assert_eq!(answer.len(), 16 + (1 << 20));
    }

    #[test]
    fn trimmed_memory_reads_as_zeros() {
        let mut buffers = Buffers::new(1 << 20).unwrap();
        let last = {
            let (request, answer) = buffers.split();
            request.fill(7);
            answer.fill(7);
            answer.len() - 1
        };
        buffers.used(1 << 20);
        for _ in 0..SMALL_RUN {
            assert!(buffers.are_large());
            buffers.used(100);
        }
        assert!(!buffers.are_large());
        let (request, answer) = buffers.split();
        assert_eq!((request[0], answer[0], answer[last]), (7, 7, 0));
    }
}
