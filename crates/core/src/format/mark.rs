//! The mark of a partial file: an extended attribute (`Own::Partial`) of its
//! storage file.

use crate::format::meta;
use crate::format::time::Timestamp;

/// Where the data is that a storage file has not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    /// Names its map; any number that no other has.
    pub map: u64,
    /// Size of the base file in bytes.
    pub size: u64,
    /// Its time of modification. This and its size tell it from what a base that was
    /// made anew has in its place ...
    pub mtime: Timestamp,
    /// ... and this, where it is known.
    pub file: Option<BaseFile>,
    /// 512-byte units that it occupies, which the mount goes on to show.
    pub blocks: u64,
    /// The storage file has not got its size and this time of modification yet:
    /// the base file is another one than the file was made for, and the end of
    /// the daemon may come in between.
    pub unfinished: Option<Timestamp>,
    /// Its path in the base, without a leading slash.
    pub path: Vec<u8>,
}

/// What tells a base file from another one of its size and time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BaseFile {
    /// Its `st_ino`.
    pub ino: u64,
    /// Its change time; 0 where the file system has none that lasts.
    pub ctime: Timestamp,
    /// Its file system; 0 where that has no number which lasts.
    pub fsid: u64,
}

impl BaseFile {
    /// Nothing says that these are two.
    pub fn agrees(&self, other: &BaseFile) -> bool {
        let fsid = self.fsid == other.fsid || self.fsid == 0 || other.fsid == 0;
        self.ino == other.ino && self.ctime == other.ctime && fsid
    }
}

impl Mark {
    /// The time of modification that the file shows once `new` is its mark, of
    /// which the storage has `stored`: that of the base file, unless a user has
    /// set another one.
    pub fn shown(&self, new: &Mark, stored: Timestamp) -> Timestamp {
        let now = self.unfinished.unwrap_or(stored);
        // Some file systems keep seconds only.
        let same = now == self.mtime || now.nsec == 0 && now.sec == self.mtime.sec;
        if same { new.mtime } else { now }
    }

    /// The value of the attribute.
    pub fn encode(&self) -> Vec<u8> {
        let Mark { map, size, mtime, blocks, file, unfinished, path } = self;
        let version = match (file, unfinished) {
            (None, None) => 1,
            (None, Some(_)) => 2,
            (Some(_), None) => 3,
            (Some(_), Some(_)) => 4,
        };
        let of = |BaseFile { ino, ctime, fsid }: &BaseFile| {
            format!("{ino} {} {fsid:016x} ", meta::time_text(*ctime))
        };
        let shown = unfinished.map(|time| format!("{} ", meta::time_text(time)));
        let (mtime, shown) = (meta::time_text(*mtime), shown.unwrap_or_default());
        let of = file.as_ref().map(of).unwrap_or_default();
        let start = format!("{version} {map:016x} {size} {mtime} {blocks} {of}{shown}/");
        [start.as_bytes(), path].concat()
    }

    /// `None`: it is damaged, or of a later version.
    pub fn parse(value: &[u8]) -> Option<Mark> {
        let (unfinished, told) = match value.first_chunk()? {
            b"1 " => (false, false),
            b"2 " => (true, false),
            b"3 " => (false, true),
            b"4 " => (true, true),
            _ => return None,
        };
        let count = 6 + usize::from(unfinished) + 3 * usize::from(told);
        let mut fields = value.splitn(count, |byte| *byte == b' ').skip(1);
        let mut field = || std::str::from_utf8(fields.next()?).ok();
        let (map, size) = (u64::from_str_radix(field()?, 16).ok()?, field()?.parse().ok()?);
        let (mtime, blocks) = (meta::parse_time(field()?.as_bytes())?, field()?.parse().ok()?);
        let mut file = None;
        if told {
            let (ino, ctime) = (field()?.parse().ok()?, meta::parse_time(field()?.as_bytes())?);
            file = Some(BaseFile { ino, ctime, fsid: u64::from_str_radix(field()?, 16).ok()? });
        }
        let shown = if unfinished { Some(meta::parse_time(field()?.as_bytes())?) } else { None };
        let path = fields.next()?.strip_prefix(b"/")?.to_vec();
        Some(Mark { map, size, mtime, blocks, file, unfinished: shown, path })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_reads_as_it_was_written() {
        let mtime = Timestamp { sec: -5, nsec: 7 };
        for path in [&b"a"[..], b"dir/with space/\xff\n\\x", b"x"] {
            let ctime = Timestamp { sec: 8, nsec: 2 };
            let told = BaseFile { ino: u64::MAX, ctime, fsid: 0xabc };
            for file in [None, Some(told)] {
                for unfinished in [None, Some(Timestamp { sec: 9, nsec: 1 })] {
                    let (path, file, size) = (path.into(), file.clone(), 1 << 40);
                    let mark =
                        Mark { map: 0xfeed, size, mtime, blocks: 12, file, unfinished, path };
                    assert_eq!(Mark::parse(&mark.encode()), Some(mark));
                }
            }
        }
        for bad in [
            &b""[..],
            b"1",
            b"3 0 0 0.000000000 0 /a",
            b"4 0 0 0.000000000 0 1 0.000000000 0 /a",
            b"5 0 0 0.000000000 0 /a",
            b"2 0 0 0.000000000 0 /a",
            b"1 0 0 0.000000000 0 a",
            b"1 x",
        ] {
            assert_eq!(Mark::parse(bad), None);
        }
    }
}
