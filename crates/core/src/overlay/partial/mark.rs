//! The mark of a partial file: an extended attribute (`Own::Partial`) of its
//! storage file.

use rustix::fs::Statx;

use crate::meta;
use crate::types::Timestamp;

/// Where the data is that a storage file has not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    /// Names its map; any number that no other has.
    pub map: u64,
    /// Size of the base file in bytes. This and its time of modification tell
    /// it from what a base that was made anew has in its place.
    pub size: u64,
    /// See above.
    pub mtime: Timestamp,
    /// 512-byte units that it occupies, which the mount goes on to show.
    pub blocks: u64,
    /// The storage file has not got its size and this time of modification yet:
    /// the base file is another one than the file was made for, and the end of
    /// the daemon may come in between.
    pub unfinished: Option<Timestamp>,
    /// Its path in the base, without a leading slash.
    pub path: Vec<u8>,
}

impl Mark {
    /// The base file with these attributes is the one that was marked.
    pub fn is_of(&self, base: &Statx) -> bool {
        base.stx_size == self.size && self.mtime == base.stx_mtime.into()
    }

    /// The value of the attribute.
    pub fn encode(&self) -> Vec<u8> {
        let Mark { map, size, mtime, blocks, unfinished, path } = self;
        let version = if unfinished.is_some() { 2 } else { 1 };
        let shown = unfinished.map(|time| format!("{} ", meta::time_text(time)));
        let (mtime, shown) = (meta::time_text(*mtime), shown.unwrap_or_default());
        let start = format!("{version} {map:016x} {size} {mtime} {blocks} {shown}/");
        [start.as_bytes(), path].concat()
    }

    /// `None`: it is damaged, or of a later version.
    pub fn parse(value: &[u8]) -> Option<Mark> {
        let unfinished = value.starts_with(b"2 ");
        let count = if unfinished { 7 } else { 6 };
        let mut fields = value.splitn(count, |byte| *byte == b' ');
        let mut field = || std::str::from_utf8(fields.next()?).ok();
        if !matches!(field()?, "1" | "2") {
            return None;
        }
        let (map, size) = (u64::from_str_radix(field()?, 16).ok()?, field()?.parse().ok()?);
        let (mtime, blocks) = (meta::parse_time(field()?.as_bytes())?, field()?.parse().ok()?);
        let shown = if unfinished { Some(meta::parse_time(field()?.as_bytes())?) } else { None };
        let path = fields.next()?.strip_prefix(b"/")?.to_vec();
        Some(Mark { map, size, mtime, blocks, unfinished: shown, path })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_reads_as_it_was_written() {
        let mtime = Timestamp { sec: -5, nsec: 7 };
        for path in [&b"a"[..], b"dir/with space/\xff\n\\x", b"x"] {
            for unfinished in [None, Some(Timestamp { sec: 9, nsec: 1 })] {
                let path = path.into();
                let mark = Mark { map: 0xfeed, size: 1 << 40, mtime, blocks: 12, unfinished, path };
                assert_eq!(Mark::parse(&mark.encode()), Some(mark));
            }
        }
        for bad in [
            &b""[..],
            b"1",
            b"3 0 0 0.000000000 0 /a",
            b"2 0 0 0.000000000 0 /a",
            b"1 0 0 0.000000000 0 a",
            b"1 x",
        ] {
            assert_eq!(Mark::parse(bad), None);
        }
    }
}
