//! Lines written and read.

use proptest::prelude::*;

use super::super::{Line, Record, parse_line};
use super::{any_record, hide, identity, lines, redirect};
use crate::format::print::{Hash, Print};
use crate::format::time::Timestamp;

proptest! {
    #[test]
    fn what_is_written_is_read(records in prop::collection::vec(any_record(), 1..20)) {
        let bytes = lines(&records);
        prop_assert_eq!(bytes.last(), Some(&b'\n'));
        let read: Vec<Line> = bytes
            .strip_suffix(b"\n").unwrap()
            .split(|byte| *byte == b'\n')
            .map(parse_line)
            .collect();
        let expected: Vec<Line> = records.into_iter().map(Line::Record).collect();
        prop_assert_eq!(read, expected);
    }

    #[test]
    fn any_line_can_be_read(line in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse_line(&line);
    }

    #[test]
    fn any_line_of_a_known_kind_can_be_read(
        kind in prop::sample::select(&b"DRdricobfyzp"[..]),
        rest in prop::collection::vec(prop::sample::select(&b"0123456789. \\xaf/-+\0\xff"[..]), 0..60),
    ) {
        let _ = parse_line(&[&[kind, b' '], &*rest].concat());
    }

    #[test]
    fn a_line_cut_short_or_changed_never_panics(
        record in any_record(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut line = lines(&[record]);
        line.pop();
        let at = at.index(line.len());
        let _ = parse_line(line.get(..at).unwrap());
        if let Some(place) = line.get_mut(at) {
            *place = byte;
        }
        let _ = parse_line(&line);
    }

    #[test]
    fn the_old_reader_understands(records in prop::collection::vec(any_record(), 0..30)) {
        let expected: Vec<Old> = records.iter().filter_map(shown_to_the_old_reader).collect();
        prop_assert_eq!(old_reader(&lines(&records)), expected);
    }
}

/// What the reader of 2005 takes from META: D and R lines and nothing else.
#[derive(Debug, PartialEq, Eq)]
enum Old {
    Deleted(Vec<u8>),
    Renamed(Vec<u8>, Vec<u8>),
}

fn old_reader(meta: &[u8]) -> Vec<Old> {
    let mut found = Vec::new();
    for line in meta.split_inclusive(|byte| *byte == b'\n') {
        match line.strip_suffix(b"\n") {
            Some([b'D', _, name @ ..]) => found.push(Old::Deleted(name.to_vec())),
            Some([b'R', _, rest @ ..]) => {
                let mut halves = rest.splitn(2, |byte| *byte == b' ');
                let mut half = || halves.next().unwrap_or_default().to_vec();
                found.push(Old::Renamed(half(), half()));
            }
            _ => {}
        }
    }
    found
}

/// Names that a line of 2005 cannot hold go to lines that it skips.
fn shown_to_the_old_reader(record: &Record) -> Option<Old> {
    match record {
        Record::Hide { name } if !name.contains(&b'\n') => Some(Old::Deleted(name.to_vec())),
        Record::Redirect { path, name }
            if !name.contains(&b'\n') && !path.contains(&b' ') && !path.contains(&b'\n') =>
        {
            Some(Old::Renamed([b"/", &**path].concat(), name.to_vec()))
        }
        _ => None,
    }
}

fn print(mode: u32, hash: Option<u128>, name: &[u8]) -> Record {
    let (mtime, hash) = (Timestamp { sec: 4, nsec: 5 }, hash.map(|h| Hash(h.to_be_bytes())));
    let print = Print { mode, uid: 1, gid: 2, size: 3, mtime, hash, since: None };
    Record::Print { print, name: name.into() }
}

/// A hash of a later version is none, and no damage.
#[test]
fn a_hash_that_is_not_known_is_none() {
    for hash in ["-", "y12", "x12", "blake3:00"] {
        let line = format!("p f 0644 1 2 3 4.000000005 {hash} a");
        let expected = print(libc::S_IFREG | 0o644, None, b"a");
        assert_eq!(parse_line(line.as_bytes()), Line::Record(expected), "{hash}");
    }
    for bad in ["p x 0644 1 2 3 4.000000005 - a", "p f 0644 1 2 3 4.000000005 a", "p "] {
        assert!(matches!(parse_line(bad.as_bytes()), Line::Damaged(_)), "{bad}");
    }
}

/// Each record and the line that the specification gives for it.
#[test]
fn lines_as_specified() {
    let time = |sec, nsec| Timestamp { sec, nsec };
    let name = |name: &[u8]| Box::<[u8]>::from(name);
    let cases: Vec<(Record, &[u8])> = vec![
        (hide(b"a"), b"D a\n"),
        (hide(b"two words  and a tab\t"), b"D two words  and a tab\t\n"),
        (hide(b" leading"), b"D  leading\n"),
        (hide(b"back\\slash\xff"), b"D back\\slash\xff\n"),
        (hide(b"new\nline"), b"d new\\x0aline\n"),
        (redirect(b"old/path", b"new"), b"R /old/path new\n"),
        (Record::Restored { name: name(b"a b") }, b"y a\\x20b\n"),
        (Record::Restored { name: name(b".") }, b"y .\n"),
        (Record::Discard { path: Some(name(b"a/b c")) }, b"z /a/b\\x20c\n"),
        (Record::Discard { path: Some(name(b"")) }, b"z /\n"),
        (Record::Discard { path: None }, b"z -\n"),
        (
            print(libc::S_IFREG | 0o4755, Some(0xab), b"a b"),
            b"p f 4755 1 2 3 4.000000005 x000000000000000000000000000000ab a\\x20b\n",
        ),
        (print(libc::S_IFDIR | 0o7, None, b"."), b"p d 0007 1 2 3 4.000000005 - .\n"),
        (redirect(b"old", b"new name"), b"R /old new name\n"),
        (redirect(b"old", b" new"), b"R /old  new\n"),
        (redirect(b"old name", b"new"), b"r /old\\x20name new\n"),
        (redirect(b"old", b"n\new"), b"r /old n\\x0aew\n"),
        (identity(7, 99, b"a b"), b"i 7 99 a\\x20b\n"),
        (identity(0, 1, b"\\\x7f\x01"), b"i 0 1 \\x5c\\x7f\\x01\n"),
        (
            Record::Ctime { name: name(b"."), shown: time(1, 5), real: time(-2, 999_999_999) },
            b"c 1.000000005 -2.999999999 .\n",
        ),
        (
            Record::Owner { mode: 0o755, uid: 0, gid: u32::MAX, name: name(b".") },
            b"o 0755 0 4294967295 .\n",
        ),
        (
            Record::Origin { fsid: 0xab, ino: 2, path: name(b"/my base") },
            b"b 00000000000000ab 2 /my\\x20base\n",
        ),
        (
            Record::Under { layers: vec![(0xab, 2, name(b"/a b")), (0, 3, name(b"/c"))] },
            b"g 00000000000000ab 2 /a\\x20b 0000000000000000 3 /c\n",
        ),
        (Record::Storage { ino: 12, born: time(3, 4) }, b"t 12 3.000000004\n"),
        (Record::Features { words: vec![name(b"one"), name(b"two")] }, b"f one two\n"),
    ];
    for (record, line) in cases {
        assert_eq!(
            lines(std::slice::from_ref(&record)).escape_ascii().to_string(),
            line.escape_ascii().to_string()
        );
        assert_eq!(parse_line(line.strip_suffix(b"\n").unwrap()), Line::Record(record));
    }
}

#[test]
fn lines_of_2005() {
    let cases: [(&[u8], Record); 7] = [
        (b"D name with spaces ", hide(b"name with spaces ")),
        (b"D \\x41", hide(b"\\x41")),
        (b"D D", hide(b"D")),
        (b"R /a/b c", redirect(b"a/b", b"c")),
        (b"R a/b c", redirect(b"a/b", b"c")),
        (b"R /a b c d", redirect(b"a", b"b c d")),
        (b"R /a\\x20 b", redirect(b"a\\x20", b"b")),
    ];
    for (line, record) in cases {
        assert_eq!(parse_line(line), Line::Record(record), "{}", line.escape_ascii());
    }
}

#[test]
fn what_is_not_known_is_skipped() {
    assert_eq!(parse_line(b""), Line::Empty);
    for line in [&b"e anything"[..], b"Q \0\xff", b"j ", b"e 1 2"] {
        assert_eq!(parse_line(line), Line::Unknown, "{}", line.escape_ascii());
    }
}
