//! The lines of records.

use std::fmt::Write as _;

use super::{Loss, RealmRecord, Record, SharedRecord, print};
use crate::format::identity::{BaseId, Realm};
use crate::format::time::Timestamp;

impl Record {
    /// Appends the line of this record, newline included.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Record::Hide { name } if name.contains(&b'\n') => line(out, "d", &[&escape(name)]),
            Record::Hide { name } => line(out, "D", &[name]),
            Record::Redirect { path, name } => {
                let rooted = [b"/", &**path].concat();
                let plain =
                    !name.contains(&b'\n') && !path.iter().any(|b| matches!(b, b' ' | b'\n'));
                if plain {
                    line(out, "R", &[&rooted, name]);
                } else {
                    line(out, "r", &[&escape(&rooted), &escape(name)]);
                }
            }
            Record::HideFar { at, path, name } => {
                line(
                    out,
                    &format!("h {}", time_text(*at)),
                    &[&escape(&[b"/", &**path].concat()), &escape(name)],
                );
            }
            Record::Identity { ino, storage_ino, name } => {
                line(out, &format!("i {ino} {storage_ino}"), &[&escape(name)]);
            }
            Record::Ctime { name, shown, real } => {
                line(
                    out,
                    &format!("c {} {}", time_text(*shown), time_text(*real)),
                    &[&escape(name)],
                );
            }
            Record::Owner { mode, uid, gid, name } => {
                line(out, &format!("o {mode:04o} {uid} {gid}"), &[&escape(name)]);
            }
            Record::Device { kind, device, name } => {
                let kind = match *kind {
                    libc::S_IFBLK => 'b',
                    libc::S_IFIFO => 'p',
                    libc::S_IFSOCK => 's',
                    libc::S_IFLNK => 'l',
                    _ => 'c',
                };
                let (major, minor) = (rustix::fs::major(*device), rustix::fs::minor(*device));
                line(out, &format!("n {kind} {major} {minor}"), &[&escape(name)]);
            }
            Record::Xattr { attribute, value: None, name } => {
                line(out, "x", &[&escape(name), &escape(attribute)]);
            }
            Record::Xattr { attribute, value: Some(value), name } => {
                line(out, "x", &[&escape(name), &escape(attribute), &escape(value)]);
            }
            Record::Unkept { name } => line(out, "u", &[&escape(name)]),
            Record::Unredirect { name } => line(out, "v", &[&escape(name)]),
            Record::Restored { name } => line(out, "y", &[&escape(name)]),
            Record::Print { print, name } => {
                line(out, &format!("p {}", print::text(print)), &[&escape(name)]);
            }
            Record::Discard { path: None } => line(out, "z", &[b"-"]),
            Record::Discard { path: Some(path) } => {
                line(out, "z", &[&escape(&[b"/", &**path].concat())]);
            }
            Record::When { arrived, storage_ino, record } => {
                let sign = if *arrived { '+' } else { '-' };
                out.extend_from_slice(format!("w {sign} {storage_ino} ").as_bytes());
                record.encode(out);
            }
            Record::Settled { name } => line(out, "s", &[&escape(name)]),
            Record::Loss(Loss { id, dir, name, decided }) => {
                let kind = if *decided { 'q' } else { 'k' };
                line(out, &format!("{kind} {} {dir}", id_text(*id)), &[&escape(name)]);
            }
            Record::Shared { id, record } => {
                let SharedRecord { left, nlink, size, mtime, ctime } = record;
                let (mtime, ctime) = (time_text(*mtime), time_text(*ctime));
                let id = id_text(*id);
                line(out, &format!("l {id} {left} {nlink} {size} {mtime} {ctime}"), &[]);
            }
            Record::Realm(RealmRecord { realm, fsid, ino, path }) => {
                let rooted = [b"/", &**path].concat();
                line(out, &format!("m {} {fsid:016x} {ino}", realm.0), &[&escape(&rooted)]);
            }
            Record::Access { number, at } => {
                line(out, &format!("a {number} {}", time_text(*at)), &[]);
            }
            Record::Origin { fsid, ino, path } => {
                line(out, &format!("b {fsid:016x} {ino}"), &[&escape(path)]);
            }
            Record::Under { layers } if layers.is_empty() => line(out, "g -", &[]),
            Record::Under { layers } => {
                let text = |(fsid, ino, path): &(u64, u64, Box<[u8]>)| {
                    let numbers = format!("{fsid:016x} {ino} ").into_bytes();
                    [numbers, escape(path)].concat()
                };
                let layers: Vec<Vec<u8>> = layers.iter().map(text).collect();
                let fields: Vec<&[u8]> = layers.iter().map(Vec::as_slice).collect();
                line(out, "g", &fields);
            }
            Record::Storage { ino, born } => {
                line(out, &format!("t {ino} {}", time_text(*born)), &[]);
            }
            Record::Features { words } => {
                let words: Vec<Vec<u8>> = words.iter().map(|word| escape(word)).collect();
                let fields: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
                line(out, "f", &fields);
            }
        }
    }
}

fn line(out: &mut Vec<u8>, start: &str, fields: &[&[u8]]) {
    out.extend_from_slice(start.as_bytes());
    for field in fields {
        out.push(b' ');
        out.extend_from_slice(field);
    }
    out.push(b'\n');
}

/// A base object as META writes it: `INO`, or `INO@REALM`.
fn id_text(id: BaseId) -> String {
    match id.realm {
        Realm::ROOT => id.ino.to_string(),
        Realm(realm) => format!("{}@{realm}", id.ino),
    }
}

/// A time as META writes it: seconds, a dot, nine digits.
#[must_use]
pub fn time_text(at: Timestamp) -> String {
    format!("{}.{:09}", at.sec, at.nsec)
}

/// A field of a line: blanks, control characters and the backslash as `\\xHH`.
pub(in crate::format) fn escape(field: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(field.len());
    for &byte in field {
        if byte <= 0x20 || byte == 0x7f || byte == b'\\' {
            let mut code = String::new();
            // Writing to a string cannot fail.
            let _ = write!(code, "\\x{byte:02x}");
            out.extend_from_slice(code.as_bytes());
        } else {
            out.push(byte);
        }
    }
    out
}
