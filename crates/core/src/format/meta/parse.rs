//! From lines to records.

use super::print;
use super::{Loss, RealmRecord, Record, SharedRecord};
use crate::format::identity::{BaseId, Realm};
use crate::format::name::Name;
use crate::format::time::Timestamp;

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
        b'w' => when(rest),
        b'd' | b'r' | b'h' | b'i' | b'c' | b'o' | b'n' | b'x' | b'u' | b'v' | b'y' | b'z'
        | b'p' | b's' | b'k' | b'q' | b'l' | b'm' | b'a' | b'b' | b'g' | b't' | b'f' => {
            extension(kind, rest)
        }
        _ => return Line::Unknown,
    };
    match parsed {
        Ok(record) => Line::Record(record),
        Err(reason) => Line::Damaged(reason),
    }
}

pub(in crate::format) type Parsed<T> = Result<T, &'static str>;

fn redirect_2005(rest: &[u8]) -> Parsed<Record> {
    let space = rest.iter().position(|byte| *byte == b' ').ok_or("the name is missing")?;
    let (path, name) = rest.split_at(space);
    Ok(Record::Redirect {
        path: base_path(path)?,
        name: entry_name(name.strip_prefix(b" ").unwrap_or_default())?,
    })
}

/// A record that holds under a condition. Its own line is the rest of this one.
fn when(rest: &[u8]) -> Parsed<Record> {
    let mut fields = rest.splitn(3, |byte| *byte == b' ');
    let mut field = || fields.next().ok_or("a field is missing");
    let arrived = match field()? {
        b"+" => true,
        b"-" => false,
        _ => return Err("a condition is malformed"),
    };
    let storage_ino = number(field()?, 10)?;
    let line = field()?;
    // Before it is read: each would need its own piece of the stack.
    if line.starts_with(b"w ") {
        return Err("a record cannot depend on a condition");
    }
    let record = match parse_line(line) {
        // One about one name.
        Line::Record(Record::Settled { .. } | Record::Ctime { .. } | Record::Print { .. }) => {
            return Err("a record cannot depend on a condition");
        }
        Line::Record(record) if record.name().is_some() => Box::new(record),
        Line::Damaged(reason) => return Err(reason),
        _ => return Err("a record cannot depend on a condition"),
    };
    Ok(Record::When { arrived, storage_ino, record })
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
        b'h' => Record::HideFar {
            at: timestamp(field()?)?,
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
            id: base_id(field()?)?,
            record: SharedRecord {
                left: narrow(number(field()?, 10)?)?,
                nlink: narrow(number(field()?, 10)?)?,
                size: number(field()?, 10)?,
                mtime: timestamp(field()?)?,
                ctime: timestamp(field()?)?,
            },
        },
        b'n' => Record::Device {
            kind: match field()? {
                b"c" => libc::S_IFCHR,
                b"b" => libc::S_IFBLK,
                b"p" => libc::S_IFIFO,
                b"s" => libc::S_IFSOCK,
                b"l" => libc::S_IFLNK,
                _ => return Err("a type of device is malformed"),
            },
            device: rustix::fs::makedev(
                narrow(number(field()?, 10)?)?,
                narrow(number(field()?, 10)?)?,
            ),
            name: entry_name(&unescape(field()?)?)?,
        },
        b'x' => {
            let name = entry_name(&unescape(field()?)?)?;
            let attribute = unescape(field()?)?.into();
            let value = fields.next().map(unescape).transpose()?.map(Into::into);
            if fields.next().is_some() {
                return Err("there is a field too many");
            }
            return Ok(Record::Xattr { attribute, value, name });
        }
        b'u' => Record::Unkept { name: entry_name(&unescape(field()?)?)? },
        b'v' => Record::Unredirect { name: entry_name(&unescape(field()?)?)? },
        b'y' => Record::Restored { name: entry_or_self(&unescape(field()?)?)? },
        b'p' => Record::Print {
            print: print::parse(&mut field)?,
            name: entry_or_self(&unescape(field()?)?)?,
        },
        b'z' => Record::Discard {
            path: match field()? {
                b"-" => None,
                path if path.starts_with(b"/") => Some(path_or_root(&unescape(path)?)?),
                _ => return Err("the path does not begin at the root"),
            },
        },
        b's' => Record::Settled { name: entry_name(&unescape(field()?)?)? },
        b'k' | b'q' => Record::Loss(Loss {
            id: base_id(field()?)?,
            dir: number(field()?, 10)?,
            name: entry_name(&unescape(field()?)?)?,
            decided: kind == b'q',
        }),
        b'm' => Record::Realm(RealmRecord {
            realm: match narrow(number(field()?, 10)?)? {
                0 => return Err("a file system has the number of the root's"),
                realm => Realm(realm),
            },
            fsid: number(field()?, 16)?,
            ino: number(field()?, 10)?,
            path: path_or_root(&unescape(field()?)?)?,
        }),
        b'a' => Record::Access { number: number(field()?, 10)?, at: timestamp(field()?)? },
        b'b' => Record::Origin {
            fsid: number(field()?, 16)?,
            ino: number(field()?, 10)?,
            path: unescape(field()?)?.into(),
        },
        b'g' => {
            let mut layers = Vec::new();
            while let Some(fsid) = fields.next().filter(|field| *field != b"-") {
                let mut field = || fields.next().ok_or("a field is missing");
                let (fsid, ino) = (number(fsid, 16)?, number(field()?, 10)?);
                layers.push((fsid, ino, unescape(field()?)?.into()));
            }
            return Ok(Record::Under { layers });
        }
        b't' => Record::Storage { ino: number(field()?, 10)?, born: timestamp(field()?)? },
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

fn path_or_root(path: &[u8]) -> Parsed<Box<[u8]>> {
    if path == b"/" { Ok(Box::default()) } else { base_path(path) }
}

/// `INO`, or `INO@REALM` where that is not the root's.
fn base_id(field: &[u8]) -> Parsed<BaseId> {
    let Some(at) = field.iter().position(|byte| *byte == b'@') else {
        return Ok(BaseId { realm: Realm::ROOT, ino: number(field, 10)? });
    };
    let (ino, realm) = field.split_at(at);
    let realm = narrow(number(realm.strip_prefix(b"@").unwrap_or_default(), 10)?)?;
    Ok(BaseId { realm: Realm(realm), ino: number(ino, 10)? })
}

pub(in crate::format) fn number(field: &[u8], radix: u32) -> Parsed<u64> {
    let text = std::str::from_utf8(field).map_err(|_| "a number is malformed")?;
    if text.starts_with('+') {
        return Err("a number is malformed");
    }
    u64::from_str_radix(text, radix).map_err(|_| "a number is malformed")
}

pub(in crate::format) fn narrow(number: u64) -> Parsed<u32> {
    u32::try_from(number).map_err(|_| "a number is too large")
}

/// Reads a time. `None`: it is malformed.
#[must_use]
pub fn parse_time(field: &[u8]) -> Option<Timestamp> {
    timestamp(field).ok()
}

pub(in crate::format) fn timestamp(field: &[u8]) -> Parsed<Timestamp> {
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

pub(in crate::format) fn unescape(field: &[u8]) -> Parsed<Vec<u8>> {
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
