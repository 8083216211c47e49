//! Records and their lines.

use std::fmt::Write as _;

use crate::name::Name;
use crate::types::Timestamp;

/// What the index knows of a base object with several names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SharedRecord {
    /// Names of the base that still show it.
    pub left: u32,
    /// Its names in the base. This, its size and its time of modification tell
    /// it from another object with its number in a base that was made anew.
    pub nlink: u32,
    /// Its size in bytes.
    pub size: u64,
    /// Its time of modification.
    pub mtime: Timestamp,
    /// The change time that it shows as long as it lies in the base: that of
    /// the base, or when a name was removed.
    pub ctime: Timestamp,
}

/// What one line of META says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// `D`, `d`: the base entry of this name is hidden.
    Hide {
        /// The name.
        name: Box<[u8]>,
    },
    /// `R`, `r`: the directory shows another base directory.
    Redirect {
        /// Path from the root of the base, without a leading slash.
        path: Box<[u8]>,
        /// Name of the directory here.
        name: Box<[u8]>,
    },
    /// `i`: the entry shows this number.
    Identity {
        /// The number shown; 0: its own.
        ino: u64,
        /// `st_ino` of the storage entry for which this holds.
        storage_ino: u64,
        /// The name.
        name: Box<[u8]>,
    },
    /// `c`: the entry shows another ctime as long as its own is `real`.
    Ctime {
        /// The name, or `.`.
        name: Box<[u8]>,
        /// The ctime shown.
        shown: Timestamp,
        /// The ctime of the storage entry.
        real: Timestamp,
    },
    /// `o`: the entry shows this mode and these owners.
    Owner {
        /// The twelve permission bits.
        mode: u32,
        /// Owner.
        uid: u32,
        /// Group.
        gid: u32,
        /// The name, or `.`.
        name: Box<[u8]>,
    },
    /// `l`: what the index knows of a base object with several names.
    Shared {
        /// The number of the object.
        number: u64,
        /// See there.
        record: SharedRecord,
    },
    /// `a`: when the base object of this number was last read.
    Access {
        /// The number.
        number: u64,
        /// When.
        at: Timestamp,
    },
    /// `b`: the base that the storage was made for.
    Origin {
        /// `f_fsid` of its file system.
        fsid: u64,
        /// `st_ino` of its root.
        ino: u64,
        /// Its path.
        path: Box<[u8]>,
    },
    /// `f`: features that a writer must know.
    Features {
        /// Their words.
        words: Vec<Box<[u8]>>,
    },
}

/// What a line is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// A record.
    Record(Record),
    /// An extension that this version does not know.
    Unknown,
    /// Nothing.
    Empty,
    /// Damage, and what is wrong with it.
    Damaged(&'static str),
}

impl Record {
    /// The entry that it speaks of.
    pub fn name(&self) -> Option<&[u8]> {
        match self {
            Record::Hide { name }
            | Record::Redirect { name, .. }
            | Record::Identity { name, .. }
            | Record::Ctime { name, .. }
            | Record::Owner { name, .. } => Some(name),
            Record::Shared { .. }
            | Record::Access { .. }
            | Record::Origin { .. }
            | Record::Features { .. } => None,
        }
    }

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
            Record::Identity { ino, storage_ino, name } => {
                line(out, &format!("i {ino} {storage_ino}"), &[&escape(name)]);
            }
            Record::Ctime { name, shown, real } => {
                line(out, &format!("c {} {}", time(*shown), time(*real)), &[&escape(name)]);
            }
            Record::Owner { mode, uid, gid, name } => {
                line(out, &format!("o {mode:04o} {uid} {gid}"), &[&escape(name)]);
            }
            Record::Shared { number, record } => {
                let SharedRecord { left, nlink, size, mtime, ctime } = record;
                let (mtime, ctime) = (time(*mtime), time(*ctime));
                line(out, &format!("l {number} {left} {nlink} {size} {mtime} {ctime}"), &[]);
            }
            Record::Access { number, at } => {
                line(out, &format!("a {number} {}", time(*at)), &[]);
            }
            Record::Origin { fsid, ino, path } => {
                line(out, &format!("b {fsid:016x} {ino}"), &[&escape(path)]);
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

fn time(at: Timestamp) -> String {
    format!("{}.{:09}", at.sec, at.nsec)
}

fn escape(field: &[u8]) -> Vec<u8> {
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

/// Reads one line, without its newline.
#[must_use]
pub fn parse_line(line: &[u8]) -> Line {
    let (kind, rest) = match line {
        [] => return Line::Empty,
        // Space that was given to the file before a crash, and never written.
        _ if line.iter().all(|byte| *byte == 0) => return Line::Empty,
        [kind, b' ', rest @ ..] if kind.is_ascii_alphabetic() => (*kind, rest),
        _ => return Line::Damaged("it does not begin with a letter and a space"),
    };
    let parsed = match kind {
        b'D' => entry_name(rest).map(|name| Record::Hide { name }),
        b'R' => redirect_2005(rest),
        b'd' | b'r' | b'i' | b'c' | b'o' | b'l' | b'a' | b'b' | b'f' => extension(kind, rest),
        _ => return Line::Unknown,
    };
    match parsed {
        Ok(record) => Line::Record(record),
        Err(reason) => Line::Damaged(reason),
    }
}

type Parsed<T> = Result<T, &'static str>;

fn redirect_2005(rest: &[u8]) -> Parsed<Record> {
    let space = rest.iter().position(|byte| *byte == b' ').ok_or("the name is missing")?;
    let (path, name) = rest.split_at(space);
    Ok(Record::Redirect {
        path: base_path(path)?,
        name: entry_name(name.strip_prefix(b" ").unwrap_or_default())?,
    })
}

fn extension(kind: u8, rest: &[u8]) -> Parsed<Record> {
    let mut fields = rest.split(|byte| *byte == b' ');
    let mut field = || fields.next().ok_or("a field is missing");
    let record = match kind {
        b'd' => Record::Hide { name: entry_name(&unescape(field()?)?)? },
        b'r' => Record::Redirect {
            path: base_path(&unescape(field()?)?)?,
            name: entry_name(&unescape(field()?)?)?,
        },
        b'i' => Record::Identity {
            ino: number(field()?, 10)?,
            storage_ino: number(field()?, 10)?,
            name: entry_name(&unescape(field()?)?)?,
        },
        b'c' => Record::Ctime {
            shown: timestamp(field()?)?,
            real: timestamp(field()?)?,
            name: entry_or_self(&unescape(field()?)?)?,
        },
        b'o' => Record::Owner {
            mode: narrow(number(field()?, 8)?)? & 0o7777,
            uid: narrow(number(field()?, 10)?)?,
            gid: narrow(number(field()?, 10)?)?,
            name: entry_or_self(&unescape(field()?)?)?,
        },
        b'l' => Record::Shared {
            number: number(field()?, 10)?,
            record: SharedRecord {
                left: narrow(number(field()?, 10)?)?,
                nlink: narrow(number(field()?, 10)?)?,
                size: number(field()?, 10)?,
                mtime: timestamp(field()?)?,
                ctime: timestamp(field()?)?,
            },
        },
        b'a' => Record::Access { number: number(field()?, 10)?, at: timestamp(field()?)? },
        b'b' => Record::Origin {
            fsid: number(field()?, 16)?,
            ino: number(field()?, 10)?,
            path: unescape(field()?)?.into(),
        },
        _ => {
            let words = fields.map(|word| Ok(unescape(word)?.into())).collect::<Parsed<_>>()?;
            return Ok(Record::Features { words });
        }
    };
    if fields.next().is_some() { Err("there is a field too many") } else { Ok(record) }
}

fn entry_name(name: &[u8]) -> Parsed<Box<[u8]>> {
    match Name::new(name) {
        Ok(_) => Ok(name.into()),
        Err(_) if name.is_empty() => Err("the name is missing"),
        Err(_) => Err("the name cannot be one of a directory entry"),
    }
}

fn entry_or_self(name: &[u8]) -> Parsed<Box<[u8]>> {
    if name == b"." { Ok(name.into()) } else { entry_name(name) }
}

/// A path in the base, without its leading slash.
fn base_path(path: &[u8]) -> Parsed<Box<[u8]>> {
    let path = path.strip_prefix(b"/").unwrap_or(path);
    if path.split(|byte| *byte == b'/').any(|name| Name::new(name).is_err()) {
        return Err("the path is not one of a base directory");
    }
    Ok(path.into())
}

fn number(field: &[u8], radix: u32) -> Parsed<u64> {
    let text = std::str::from_utf8(field).map_err(|_| "a number is malformed")?;
    if text.starts_with('+') {
        return Err("a number is malformed");
    }
    u64::from_str_radix(text, radix).map_err(|_| "a number is malformed")
}

fn narrow(number: u64) -> Parsed<u32> {
    u32::try_from(number).map_err(|_| "a number is too large")
}

fn timestamp(field: &[u8]) -> Parsed<Timestamp> {
    let malformed = "a time is malformed";
    let text = std::str::from_utf8(field).map_err(|_| malformed)?;
    let (sec, nsec) = text.split_once('.').ok_or(malformed)?;
    if sec.starts_with('+') || nsec.len() != 9 || !nsec.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(malformed);
    }
    Ok(Timestamp {
        sec: sec.parse().map_err(|_| malformed)?,
        nsec: nsec.parse().map_err(|_| malformed)?,
    })
}

fn unescape(field: &[u8]) -> Parsed<Vec<u8>> {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        let (code, tail) = match rest {
            [b'x', high, low, tail @ ..] => ([*high, *low], tail),
            _ => return Err("an escape is malformed"),
        };
        let code = number(&code, 16).ok().and_then(|code| u8::try_from(code).ok());
        out.push(code.ok_or("an escape is malformed")?);
        rest = tail;
    }
    Ok(out)
}
