//! Prints: what a change was made from, as the layers below had it then (docs/FORMAT.md,
//! section 2, `p`).

use rustix::fs::Statx;
use twox_hash::xxhash3_128::Hasher as Xxh3;

use crate::format::time::Timestamp;

/// What an entry of the layers below was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Print {
    /// Type and permission bits, as `st_mode`.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Size in bytes, of a device its number (see [`Print::of`]), of a directory 0.
    pub size: u64,
    /// Time of modification.
    pub mtime: Timestamp,
    /// Of its content, where that was read.
    pub hash: Option<Hash>,
    /// When this was recorded, of a directory: what has changed below it is later.
    pub since: Option<Timestamp>,
}

impl Print {
    /// There was nothing.
    pub const NOTHING: Print = Print {
        mode: 0,
        uid: 0,
        gid: 0,
        size: 0,
        mtime: Timestamp { sec: 0, nsec: 0 },
        hash: None,
        since: None,
    };

    /// What the attributes tell.
    #[must_use]
    pub fn of(stat: &Statx) -> Print {
        let size = match u32::from(stat.stx_mode) & libc::S_IFMT {
            libc::S_IFDIR => 0,
            libc::S_IFCHR | libc::S_IFBLK => {
                u64::from(stat.stx_rdev_major) << 32 | u64::from(stat.stx_rdev_minor)
            }
            _ => stat.stx_size,
        };
        Print {
            mode: stat.stx_mode.into(),
            uid: stat.stx_uid,
            gid: stat.stx_gid,
            size,
            mtime: stat.stx_mtime.into(),
            hash: None,
            since: None,
        }
    }

    /// The same, to be recorded now.
    #[must_use]
    pub fn taken(stat: &Statx) -> Print {
        let print = Print::of(stat);
        let since = (print.kind() == libc::S_IFDIR).then(Timestamp::now);
        Print { since, ..print }
    }

    /// Its type, as in `st_mode`; 0: there was nothing.
    #[must_use]
    pub fn kind(&self) -> u32 {
        self.mode & libc::S_IFMT
    }
}

/// A hash by which two contents are told apart: XXH3 of 128 bits. Not one that withstands
/// somebody who makes up content for it, which would hide his own change alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hash(pub [u8; 16]);

/// Makes one of pieces.
pub(crate) struct Hasher(Xxh3);

impl Hasher {
    pub fn new() -> Hasher {
        Hasher(Xxh3::new())
    }

    pub fn add(&mut self, piece: &[u8]) {
        self.0.write(piece);
    }

    pub fn end(&self) -> Hash {
        Hash(self.0.finish_128().to_be_bytes())
    }
}

impl Hash {
    /// That of all these bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Hash {
        Hash(twox_hash::XxHash3_128::oneshot(bytes).to_be_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the reference implementation has them.
    #[test]
    fn hashes_are_those_of_xxh3() {
        let empty = 0x99aa_06d3_0147_98d8_6001_c324_468d_497f_u128;
        assert_eq!(Hash::of(b""), Hash(empty.to_be_bytes()));
        let mut pieces = Hasher::new();
        let bytes: Vec<u8> = (0..10_000_u32).map(|n| (n * 7) as u8).collect();
        bytes.chunks(999).for_each(|piece| pieces.add(piece));
        assert_eq!(pieces.end(), Hash::of(&bytes));
    }
}
