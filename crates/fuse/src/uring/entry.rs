//! Memory in which the kernel puts a request and finds the answer.

#![allow(unsafe_code)]

use std::ffi::c_void;
use std::ptr::NonNull;

use rustix::io::Errno;
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous, munmap};

use crate::abi;
use crate::wire;

const PAGE: usize = 4096;
/// Where the description of the two buffers lies, behind the headers.
const IOVECS: usize = 512;
/// Memory besides the payload: the request's names while the answer is built
/// in the payload's place, or a short answer to a request that has data.
const ASIDE: usize = 64 * 1024;
/// The largest part of the payload that is worth keeping while idle.
const KEEP: usize = 64 * 1024;
/// Small requests in a row after which memory of large ones is given back.
const SMALL_RUN: u32 = 64;

/// One place for requests.
///
/// Between a command's submission and its completion the memory is the
/// kernel's: nothing here may be called then but `iovecs`.
pub(super) struct Entry {
    base: NonNull<u8>,
    payload: usize,
    touched: usize,
    small_run: u32,
}

// SAFETY: the mapping belongs to this value alone and may move with it.
unsafe impl Send for Entry {}

/// The memory of a request that has arrived.
pub(super) struct Parts<'a> {
    /// The fixed structure and what was there before it.
    pub(super) op: &'a [u8],
    /// The request's payload and the place for the answer's.
    pub(super) payload: &'a mut [u8],
    /// Scratch memory.
    pub(super) aside: &'a mut [u8],
}

impl Entry {
    /// Memory for payloads of `payload` bytes, none of it touched yet.
    pub(super) fn new(payload: usize) -> Result<Entry, Errno> {
        let payload = payload.next_multiple_of(PAGE);
        let len = PAGE + payload + ASIDE;
        // SAFETY: a new private mapping at an address of the kernel's choice;
        // advice on it changes no content.
        let base = unsafe {
            let prot = ProtFlags::READ | ProtFlags::WRITE;
            let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
            let base = mmap_anonymous(std::ptr::null_mut(), len, prot, flags)?;
            // A huge page would make the first small request cost 2 MiB.
            let _ = madvise(base, len, Advice::LinuxNoHugepage);
            base
        };
        let base = NonNull::new(base.cast()).ok_or(Errno::NOMEM)?;
        let entry = Entry { base, payload, touched: 0, small_run: 0 };
        let iovecs = [
            libc::iovec { iov_base: base.as_ptr().cast(), iov_len: IOVECS },
            libc::iovec { iov_base: entry.at(PAGE).cast(), iov_len: payload },
        ];
        // SAFETY: the place is within the first page and aligned.
        unsafe { entry.at(IOVECS).cast::<[libc::iovec; 2]>().write(iovecs) };
        Ok(entry)
    }

    fn at(&self, offset: usize) -> *mut u8 {
        self.base.as_ptr().wrapping_add(offset)
    }

    /// Address of the description of headers and payload.
    pub(super) fn iovecs(&self) -> u64 {
        self.at(IOVECS) as u64
    }

    /// Headers of the request that has arrived.
    pub(super) fn headers(&self) -> abi::UringReqHeader {
        // SAFETY: the first page is mapped and initialised (zeros by the
        // kernel); the header is plain data and lies at its start.
        unsafe { self.base.as_ptr().cast::<abi::UringReqHeader>().read() }
    }

    /// The request's memory, to serve it from.
    pub(super) fn parts(&mut self) -> Parts<'_> {
        let op = std::mem::offset_of!(abi::UringReqHeader, op_in);
        // SAFETY: three ranges of the mapping that do not overlap, all
        // initialised (zeros by the kernel), borrowed through `self`.
        unsafe {
            Parts {
                op: std::slice::from_raw_parts(self.at(op), 128),
                payload: std::slice::from_raw_parts_mut(self.at(PAGE), self.payload),
                aside: std::slice::from_raw_parts_mut(self.at(PAGE + self.payload), ASIDE),
            }
        }
    }

    /// Writes the headers of an answer, whose payload is there already.
    pub(super) fn set_answer(&mut self, unique: u64, error: i32, payload: usize) {
        let out =
            abi::OutHeader { len: (size_of::<abi::OutHeader>() + payload) as u32, error, unique };
        let at = std::mem::offset_of!(abi::UringReqHeader, ring_ent_in_out);
        // SAFETY: both structures lie within the first page, aligned to 8.
        unsafe {
            self.base.as_ptr().cast::<abi::OutHeader>().write(out);
            let place = self.at(at).cast::<abi::UringEntInOut>();
            let mut ent = place.read();
            ent.payload_sz = payload as u32;
            place.write(ent);
        }
    }

    /// Notes how much of the payload was used, and gives memory of large ones
    /// back once only small ones come.
    pub(super) fn used(&mut self, len: usize) {
        if len > KEEP {
            self.touched = self.touched.max(len);
            self.small_run = 0;
        } else if self.touched > KEEP {
            self.small_run += 1;
            if self.small_run == SMALL_RUN {
                (self.touched, self.small_run) = (0, 0);
                let from = self.at(PAGE + KEEP).cast::<c_void>();
                let len = self.payload.saturating_sub(KEEP);
                // SAFETY: whole pages within the mapping, whose content is of
                // no further use; they read as zeros afterwards.
                let _ = unsafe { madvise(from, len, Advice::LinuxDontNeed) };
            }
        }
    }

    /// Puts a request here as the kernel would.
    #[cfg(test)]
    pub(super) fn put(&mut self, header: &abi::InHeader, op: &[u8], payload: &[u8], said: u32) {
        let mut headers = abi::UringReqHeader::default();
        headers.in_out[..40].copy_from_slice(wire::bytes_of(header));
        headers.op_in[..op.len()].copy_from_slice(op);
        headers.ring_ent_in_out.payload_sz = said;
        headers.ring_ent_in_out.commit_id = header.unique;
        // SAFETY: the first page is ours and large enough.
        unsafe { self.base.as_ptr().cast::<abi::UringReqHeader>().write(headers) };
        self.parts().payload[..payload.len()].copy_from_slice(payload);
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        // SAFETY: exactly the mapping made in `new`, to which no reference is
        // left.
        let _ = unsafe { munmap(self.base.as_ptr().cast(), PAGE + self.payload + ASIDE) };
    }
}

/// The common header of a request.
pub(super) fn in_header(headers: &abi::UringReqHeader) -> abi::InHeader {
    wire::read(&headers.in_out).unwrap_or_default()
}
