//! The numbers that storage objects show (docs/FORMAT.md, section 5). Those of base
//! objects: `identity.rs`.

use rustix::fs::{Statx, StatxFlags};

/// Marks the numbers of objects that exist in the storage only.
pub(crate) const STORAGE_BIT: u64 = 1 << 62;

/// Bits of a number that are kept where 22 more have to tell something else.
pub(crate) const INO_BITS: u32 = 40;

/// 2^64 divided by the golden ratio: near values become far ones.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// 22 bits made of a value.
pub(crate) fn spread(value: u64) -> u64 {
    value.wrapping_mul(SPREAD) >> (64 - (62 - INO_BITS))
}

pub(crate) fn with_upper(ino: u64, upper: u64) -> u64 {
    upper << INO_BITS | ino & ((1 << INO_BITS) - 1)
}

/// The number shown for an object that only the storage has: its own, and
/// bits of its time of birth, because storage file systems give the numbers of
/// deleted files away again.
pub(crate) fn storage_ino(stat: &Statx) -> u64 {
    let mut born = stat.stx_ino >> INO_BITS;
    if stat.stx_mask & StatxFlags::BTIME.bits() != 0 {
        let (sec, nsec) = (stat.stx_btime.tv_sec, stat.stx_btime.tv_nsec);
        born ^= (sec as u64).wrapping_mul(1_000_000_000).wrapping_add(nsec.into());
    }
    STORAGE_BIT | with_upper(stat.stx_ino, spread(born))
}
