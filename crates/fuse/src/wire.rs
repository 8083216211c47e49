//! Plain data to and from bytes: the one place that reinterprets memory.
//!
//! Requests carry no promise of alignment (their payload starts wherever the
//! fixed structure ends), so structures are copied out, never borrowed.

#![allow(unsafe_code)]

use std::mem::size_of;

/// Types for which every bit pattern is a value and which have no padding.
///
/// # Safety
///
/// Implementors must be `#[repr(C)]` or primitive, consist of integers or
/// arrays of integers only, and have no padding bytes between or after fields.
pub unsafe trait Pod: Copy + 'static {}

// SAFETY: any four bytes are a `u32`.
unsafe impl Pod for u32 {}

/// Copies a `T` out of the start of `bytes`; `None` if they are too few.
#[inline]
pub fn read<T: Pod>(bytes: &[u8]) -> Option<T> {
    if bytes.len() < size_of::<T>() {
        return None;
    }
    // SAFETY: the length was checked; `read_unaligned` asks for no alignment;
    // `Pod` says that any bytes are a valid `T`.
    Some(unsafe { std::ptr::read_unaligned(bytes.as_ptr().cast::<T>()) })
}

/// The bytes of a value.
#[inline]
pub fn bytes_of<T: Pod>(value: &T) -> &[u8] {
    // SAFETY: `Pod` has no padding, so all `size_of::<T>()` bytes are
    // initialised; they live as long as the borrow of `value`.
    unsafe { std::slice::from_raw_parts(std::ptr::from_ref(value).cast::<u8>(), size_of::<T>()) }
}

/// A value of zero bytes.
#[inline]
pub fn zeroed<T: Pod>() -> T {
    // SAFETY: `Pod` says that any bytes, also zeros, are a valid `T`.
    unsafe { std::mem::zeroed() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::abi::ForgetOne;

    #[test]
    fn reads_from_odd_addresses() {
        let one = ForgetOne { nodeid: 7, nlookup: u64::MAX - 1 };
        let mut bytes = vec![0xaa];
        bytes.extend_from_slice(bytes_of(&one));
        let back: ForgetOne = read(&bytes[1..]).unwrap();
        assert_eq!((back.nodeid, back.nlookup), (7, u64::MAX - 1));
    }

    #[test]
    fn too_few_bytes_are_refused() {
        assert!(read::<ForgetOne>(&[0; 15]).is_none());
        assert!(read::<ForgetOne>(&[0; 16]).is_some());
    }
}
