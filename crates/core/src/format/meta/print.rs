//! What a change was made from, as META writes it: TYPE MODE UID GID SIZE MTIME HASH.

use super::line::time_text;
use super::parse::{Parsed, narrow, number, timestamp};
use crate::format::print::{Hash, Print};

/// The fields.
pub(in crate::format) fn text(print: &Print) -> String {
    let Print { mode, uid, gid, size, mtime, hash, since } = print;
    let kind = match print.kind() {
        libc::S_IFDIR => 'd',
        libc::S_IFLNK => 'l',
        libc::S_IFCHR => 'c',
        libc::S_IFBLK => 'b',
        libc::S_IFIFO => 'p',
        libc::S_IFSOCK => 's',
        libc::S_IFREG => 'f',
        _ => '-',
    };
    let hash = match (hash, since) {
        (Some(hash), _) => format!("x{:032x}", u128::from_be_bytes(hash.0)),
        (None, Some(since)) => format!("t{}", time_text(*since)),
        (None, None) => "-".to_owned(),
    };
    format!("{kind} {:04o} {uid} {gid} {size} {} {hash}", mode & 0o7777, time_text(*mtime))
}

/// Reads the fields.
pub(in crate::format) fn parse<'a>(field: &mut impl FnMut() -> Parsed<&'a [u8]>) -> Parsed<Print> {
    let kind = match field()? {
        b"f" => libc::S_IFREG,
        b"d" => libc::S_IFDIR,
        b"l" => libc::S_IFLNK,
        b"c" => libc::S_IFCHR,
        b"b" => libc::S_IFBLK,
        b"p" => libc::S_IFIFO,
        b"s" => libc::S_IFSOCK,
        b"-" => 0,
        _ => return Err("a type is malformed"),
    };
    let print = Print {
        mode: kind | narrow(number(field()?, 8)?)? & 0o7777,
        uid: narrow(number(field()?, 10)?)?,
        gid: narrow(number(field()?, 10)?)?,
        size: number(field()?, 10)?,
        mtime: timestamp(field()?)?,
        hash: None,
        since: None,
    };
    Ok(match field()? {
        [b'x', digits @ ..] if digits.len() == 32 => {
            let text = std::str::from_utf8(digits).map_err(|_| "a hash is malformed")?;
            let hash = u128::from_str_radix(text, 16).map_err(|_| "a hash is malformed")?;
            Print { hash: Some(Hash(hash.to_be_bytes())), ..print }
        }
        // No time, or none that this version knows.
        [b't', time @ ..] => Print { since: timestamp(time).ok(), ..print },
        // None, or one of a later version.
        _ => print,
    })
}
