//! Every kind of damage is recognised.

use super::super::{Line, parse_line};

const NO_START: &str = "it does not begin with a letter and a space";
const NO_NAME: &str = "the name is missing";
const BAD_NAME: &str = "the name cannot be one of a directory entry";
const BAD_PATH: &str = "the path is not one of a base directory";
const NO_FIELD: &str = "a field is missing";
const TOO_MANY: &str = "there is a field too many";
const BAD_NUMBER: &str = "a number is malformed";
const LARGE: &str = "a number is too large";
const BAD_TIME: &str = "a time is malformed";
const NO_CONDITION: &str = "a record cannot depend on a condition";
const BAD_ESCAPE: &str = "an escape is malformed";

fn check(cases: &[(&[u8], &str)]) {
    for (line, reason) in cases {
        match parse_line(line) {
            Line::Damaged(found) => assert_eq!(found, *reason, "{}", line.escape_ascii()),
            other => panic!("{}: {other:?}", line.escape_ascii()),
        }
    }
}

#[test]
fn of_the_start() {
    check(&[
        (b"D", NO_START),
        (b"Dname", NO_START),
        (b"D\tname", NO_START),
        (b" ", NO_START),
        (b" D name", NO_START),
        (b"1 name", NO_START),
        (b"\xff name", NO_START),
        (b"\0\0\0\0D a", NO_START),
        (b"#comment", NO_START),
    ]);
}

#[test]
fn of_names() {
    let long = [b"D ", &[b'n'; 256][..]].concat();
    let long_escaped = [b"d ", "\\x0a".repeat(256).as_bytes()].concat();
    check(&[
        (b"D ", NO_NAME),
        (b"D .", BAD_NAME),
        (b"D ..", BAD_NAME),
        (b"D a/b", BAD_NAME),
        (b"D a\0b", BAD_NAME),
        (&long, BAD_NAME),
        (b"d ", NO_NAME),
        (b"d .", BAD_NAME),
        (b"d a\\x2fb", BAD_NAME),
        (b"d \\x00", BAD_NAME),
        (b"d \\x2e\\x2e", BAD_NAME),
        (&long_escaped, BAD_NAME),
        (b"i 1 2 .", BAD_NAME),
        (b"c 1.000000000 2.000000000 ..", BAD_NAME),
        (b"o 0755 0 0 ..", BAD_NAME),
    ]);
}

/// A condition in a condition, as deep as a line is long: none needs more of the
/// stack than the first.
#[test]
fn of_conditions() {
    let deep = [&b"w + 0 ".repeat(600_000)[..], b"D a"].concat();
    check(&[
        (b"w", NO_START),
        (b"w + 7", NO_FIELD),
        (b"w * 7 D a", "a condition is malformed"),
        (b"w + x D a", BAD_NUMBER),
        (b"w + 7 D ", NO_NAME),
        (b"w + 7 w + 7 D a", NO_CONDITION),
        (b"w + 7 s a", NO_CONDITION),
        (b"w + 7 c 1.000000000 2.000000000 a", NO_CONDITION),
        (b"w + 7 a 1 1.000000000", NO_CONDITION),
        (b"w + 7 e a", NO_CONDITION),
        (&deep, NO_CONDITION),
    ]);
}

#[test]
fn of_redirects() {
    check(&[
        (b"R ", NO_NAME),
        (b"R /a", NO_NAME),
        (b"R /a ", NO_NAME),
        (b"R  a", BAD_PATH),
        (b"R / a", BAD_PATH),
        (b"R //a b", BAD_PATH),
        (b"R /a/ b", BAD_PATH),
        (b"R /a//c b", BAD_PATH),
        (b"R /../a b", BAD_PATH),
        (b"R ../../etc b", BAD_PATH),
        (b"R /a/./c b", BAD_PATH),
        (b"R /a\0 b", BAD_PATH),
        (b"R /a ..", BAD_NAME),
        (b"R /a b/c", BAD_NAME),
        (b"r /a", NO_FIELD),
        (b"r /a b c", TOO_MANY),
        (b"r /a/\\x2e\\x2e b", BAD_PATH),
        (b"r /a/\\x2e\\x2e\\x2fc b", BAD_PATH),
        (b"r /a \\x2e", BAD_NAME),
    ]);
}

#[test]
fn of_fields_and_numbers() {
    check(&[
        (b"i 1 2", NO_FIELD),
        (b"i 1", NO_FIELD),
        (b"i 1 2 a b", TOO_MANY),
        (b"i x 2 a", BAD_NUMBER),
        (b"i -1 2 a", BAD_NUMBER),
        (b"i +1 2 a", BAD_NUMBER),
        (b"i  2 a", BAD_NUMBER),
        (b"i 18446744073709551616 2 a", BAD_NUMBER),
        (b"i \xff 2 a", BAD_NUMBER),
        (b"o 0855 0 0 .", BAD_NUMBER),
        (b"o 0755 4294967296 0 .", LARGE),
        (b"o 0755 0 -1 .", BAD_NUMBER),
        (b"o 0755 0 0", NO_FIELD),
        (b"o 0755 0 0 . .", TOO_MANY),
        (b"b 12g 1 /base", BAD_NUMBER),
        (b"b 0x1 1 /base", BAD_NUMBER),
        (b"b 00000000000000ab 1", NO_FIELD),
        (b"b 00000000000000ab 1 /my base", TOO_MANY),
    ]);
}

#[test]
fn of_times_and_escapes() {
    check(&[
        (b"c 1 2.000000000 .", BAD_TIME),
        (b"c 1.5 2.000000000 .", BAD_TIME),
        (b"c 1.0000000000 2.000000000 .", BAD_TIME),
        (b"c 1.-00000001 2.000000000 .", BAD_TIME),
        (b"c +1.000000000 2.000000000 .", BAD_TIME),
        (b"c 1.000000000 .000000000 .", BAD_TIME),
        (b"c 1.000000000 99999999999999999999.000000000 .", BAD_TIME),
        (b"c 1.000000000 2.000000000", NO_FIELD),
        (b"d a\\", BAD_ESCAPE),
        (b"d a\\x", BAD_ESCAPE),
        (b"d a\\x4", BAD_ESCAPE),
        (b"d a\\xg0", BAD_ESCAPE),
        (b"d a\\x+1", BAD_ESCAPE),
        (b"d a\\n", BAD_ESCAPE),
        (b"d a\\X41", BAD_ESCAPE),
        (b"f \\", BAD_ESCAPE),
    ]);
}
