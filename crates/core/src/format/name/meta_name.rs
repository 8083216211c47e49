//! What META is called in a storage, and the names that come with it.

use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::locks::{Mutex, Rank};
use thiserror::Error;

/// Name of the META file of a storage directory, if no other was chosen. Every name that
/// begins with it is reserved.
pub const META_NAME: &str = "META_dAfFgHE39ktF3HD2sr";

/// The name of a stage where the usual one cannot be made, because the base lies in a mount of
/// mini_fo, which keeps names of its own for itself. No layer shows it.
pub const STAGE_IN_A_MOUNT: &str = "META_of_commit_stage";

/// Longest name of META in bytes: those of unfinished work are longer, and have to be
/// names.
const LONGEST: usize = 200;

/// The name of META, and all that are made of it.
struct Names {
    meta: &'static str,
    index: &'static str,
    reserve: &'static str,
    lock: &'static str,
    commit: &'static str,
    stage: &'static str,
}

static DEFAULT: Names = Names {
    meta: META_NAME,
    index: "META_dAfFgHE39ktF3HD2sr_index",
    reserve: "META_dAfFgHE39ktF3HD2sr_reserve",
    lock: "META_dAfFgHE39ktF3HD2sr_lock",
    commit: "META_dAfFgHE39ktF3HD2sr_commit",
    stage: "META_dAfFgHE39ktF3HD2sr_stage",
};

/// Other names that this process has met. There are few: one for each storage at most.
static OTHERS: Mutex<Vec<&'static Names>, { Rank::MetaNames as u8 }> = Mutex::new(Vec::new());

/// What META is called in a storage. All names that begin with it are reserved there.
#[derive(Clone, Copy)]
pub struct MetaName(&'static Names);

/// Why something cannot be the name of META.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum BadMetaName {
    /// There is nothing in it.
    #[error("'' cannot be the name of META: it is empty")]
    Empty,
    /// No file can be called so, or it would not show on a screen.
    #[error(
        "'{0}' cannot be the name of META: it is to be the name of a file, without / and characters that do not show"
    )]
    NoName(String),
    /// With what is added to it no name would be left.
    #[error("'{0}' cannot be the name of META: it is longer than {LONGEST} bytes")]
    TooLong(String),
    /// mini_fo calls something else so.
    #[error(
        "'{0}' cannot be the name of META: names that begin with {META_NAME} belong to storages whose META is called that"
    )]
    Taken(String),
}

impl MetaName {
    /// The usual one.
    pub const DEFAULT: MetaName = MetaName(&DEFAULT);

    /// Another one.
    ///
    /// # Errors
    /// It cannot be one.
    pub fn new(text: &str) -> Result<MetaName, BadMetaName> {
        let bad = |text: &str| text.escape_debug().to_string();
        match text {
            META_NAME => return Ok(MetaName::DEFAULT),
            "" => return Err(BadMetaName::Empty),
            _ if text.len() > LONGEST => return Err(BadMetaName::TooLong(bad(text))),
            _ if text == "." || text == ".." || text.contains('/') || !shows_as_it_is(text) => {
                return Err(BadMetaName::NoName(bad(text)));
            }
            _ if text.starts_with(META_NAME) => return Err(BadMetaName::Taken(bad(text))),
            _ => {}
        }
        let mut others = OTHERS.lock();
        if let Some(known) = others.iter().find(|known| known.meta == text) {
            return Ok(MetaName(known));
        }
        let kept = |text: String| -> &'static str { text.leak() };
        let names = Box::leak(Box::new(Names {
            meta: kept(text.to_owned()),
            index: kept(format!("{text}_index")),
            reserve: kept(format!("{text}_reserve")),
            lock: kept(format!("{text}_lock")),
            commit: kept(format!("{text}_commit")),
            stage: kept(format!("{text}_stage")),
        }));
        others.push(names);
        Ok(MetaName(names))
    }

    /// The same of a name that is not known to be text.
    ///
    /// # Errors
    /// It cannot be one.
    pub fn of_bytes(bytes: &[u8]) -> Result<MetaName, BadMetaName> {
        match std::str::from_utf8(bytes) {
            Ok(text) => MetaName::new(text),
            Err(_) => Err(BadMetaName::NoName(bytes.escape_ascii().to_string())),
        }
    }

    /// It is not the usual one.
    #[must_use]
    pub fn is_chosen(self) -> bool {
        self != MetaName::DEFAULT
    }

    /// The name of META.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.0.meta
    }

    /// Its bytes.
    #[must_use]
    pub fn as_bytes(self) -> &'static [u8] {
        self.0.meta.as_bytes()
    }

    /// The directory in a storage that holds copied-up base objects with several names.
    #[must_use]
    pub fn index(self) -> &'static str {
        self.0.index
    }

    /// The directory in a storage that holds space back for deletions.
    #[must_use]
    pub fn reserve(self) -> &'static str {
        self.0.reserve
    }

    /// The file in a storage on NFS that is locked for other machines.
    #[must_use]
    pub fn lock(self) -> &'static str {
        self.0.lock
    }

    /// The file in a storage that tells of a commit that goes on.
    #[must_use]
    pub fn commit(self) -> &'static str {
        self.0.commit
    }

    /// The directory in a base in which a commit gathers what comes and goes.
    #[must_use]
    pub fn stage(self) -> &'static str {
        self.0.stage
    }

    /// A name belongs to mini_fo and is never shown: META itself, what is called after
    /// it, and unfinished work.
    #[must_use]
    pub fn reserves(self, name: &[u8]) -> bool {
        name.starts_with(self.as_bytes())
    }

    /// A reserved name is that of unfinished work: what [`MetaName::temp`] makes, and
    /// nothing else. Other files may begin with the name, which somebody has put there:
    /// these stay.
    #[must_use]
    pub fn is_leftover(self, name: &[u8]) -> bool {
        let rest = name.strip_prefix(self.as_bytes()).and_then(|rest| rest.strip_prefix(b"."));
        let fields: Vec<&[u8]> = rest.unwrap_or_default().split(|byte| *byte == b'-').collect();
        let [process, nanos, count] = fields.as_slice() else { return false };
        // As long as there was no other name, a clock that was not set made it shorter.
        let whole = nanos.len() == NANOS || !self.is_chosen() && is_number(nanos, NANOS);
        is_number(process, 8) && whole && nanos.iter().all(is_digit) && is_number(count, 8)
    }

    /// A reserved name that nothing else uses: process, time and a counter.
    #[must_use]
    pub fn temp(self) -> Vec<u8> {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let count = COUNTER.fetch_add(1, Ordering::Relaxed);
        let nanos = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_nanos());
        self.temp_of(std::process::id(), nanos as u64, count)
    }

    fn temp_of(self, process: u32, nanos: u64, count: u32) -> Vec<u8> {
        format!("{self}.{process:x}-{nanos:0NANOS$x}-{count:x}").into_bytes()
    }
}

/// Digits of the time in a reserved name.
const NANOS: usize = 16;

fn is_digit(byte: &u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

/// A number in hexadecimal digits, written as short as can be.
fn is_number(text: &[u8], most: usize) -> bool {
    let short = text.len() == 1 || text.first().is_some_and(|first| *first != b'0');
    short && text.len() <= most && text.iter().all(is_digit)
}

/// Whoever reads it sees what it is: nothing in it is invisible, turns the direction of
/// what follows, or ends a line.
fn shows_as_it_is(text: &str) -> bool {
    let plain = |c: &char| !matches!(c, '\'' | '"' | '\\');
    let letters: String = text.chars().filter(plain).collect();
    letters.escape_debug().eq(letters.chars())
}

impl Default for MetaName {
    fn default() -> Self {
        MetaName::DEFAULT
    }
}

impl PartialEq for MetaName {
    fn eq(&self, other: &Self) -> bool {
        self.0.meta == other.0.meta
    }
}

impl Eq for MetaName {}

impl fmt::Display for MetaName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for MetaName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::name::{NAME_MAX, Name};

    #[test]
    fn reserved_is_what_begins_with_the_name_of_meta() {
        let chosen = MetaName::new("_mini").unwrap();
        for meta in [MetaName::DEFAULT, chosen] {
            assert!(meta.reserves(meta.as_bytes()));
            assert!(meta.reserves(format!("{meta}.x").as_bytes()));
            assert!(meta.reserves(meta.index().as_bytes()));
            assert!(meta.reserves(meta.reserve().as_bytes()));
            let shorter = meta.as_bytes().split_last().unwrap().1;
            assert!(!meta.reserves(shorter));
            assert!(!meta.reserves(format!("x{meta}").as_bytes()));
        }
        assert!(!chosen.reserves(META_NAME.as_bytes()));
        assert!(!MetaName::DEFAULT.reserves(META_NAME.to_lowercase().as_bytes()));
    }

    #[test]
    fn temporary_names_are_reserved_valid_and_differ() {
        for meta in [MetaName::DEFAULT, MetaName::new(&"m".repeat(LONGEST)).unwrap()] {
            let names: std::collections::HashSet<_> = (0..1000).map(|_| meta.temp()).collect();
            assert_eq!(names.len(), 1000);
            for name in &names {
                assert!(meta.reserves(name) && meta.is_leftover(name));
                assert!(Name::new(name).unwrap().as_bytes().len() < NAME_MAX);
                assert_ne!(name, meta.as_bytes());
            }
        }
    }

    #[test]
    fn what_others_have_called_so_is_no_leftover() {
        let meta = MetaName::new("config").unwrap();
        let theirs = [
            "",
            ".txt",
            ".1-2",
            ".2024-01-02",
            ".1-2-3",
            ".1-18ab0123456789ab-0-4",
            ".1-18ab0123456789ab-",
            ".1-18ab0123456789ab-0.gz",
            ".01-18ab0123456789ab-0",
            ".1-18AB0123456789ab-0",
            ".1-18ab0123456789abc-0",
            ".123456789-18ab0123456789ab-0",
            "1-18ab0123456789ab-0",
            "-1-18ab0123456789ab-0",
            "_index",
            "_index.1-18ab0123456789ab-0",
        ];
        for end in theirs {
            assert!(!meta.is_leftover(format!("config{end}").as_bytes()), "{end}");
        }
        assert!(!meta.is_leftover(b"x") && !meta.is_leftover(b".1-18ab0123456789ab-0"));
        assert!(meta.is_leftover(b"config.1f-18ab0123456789ab-0"));
        // Also by a clock that was not set. Earlier versions wrote that shorter.
        for nanos in [0, 77, u64::MAX] {
            assert!(meta.is_leftover(&meta.temp_of(u32::MAX, nanos, u32::MAX)));
        }
        let usual =
            |end: &str| MetaName::DEFAULT.is_leftover(format!("{META_NAME}{end}").as_bytes());
        assert!(usual(".1-2-3") && usual(".1f-18ab0123456789ab-a0"));
        for end in
            ["", "_storage", "_index", ".1", ".x", ".1-2", ".2024-01-02", ".1-2-3-4", "x.1-2-3"]
        {
            assert!(!usual(end), "{end}");
        }
    }

    #[test]
    fn names_that_cannot_be_are_refused_by_name() {
        let long = "x".repeat(LONGEST + 1);
        let hidden = ["a\u{202e}b", "\u{2066}a", "a\u{200b}", "\u{feff}a", "a\u{2028}", "a\u{85}"];
        let plain =
            ["", ".", "..", "/", "a/b", "a\nb", "a\u{7f}", &long, MetaName::DEFAULT.index()];
        for bad in plain.into_iter().chain(hidden) {
            let error = MetaName::new(bad).unwrap_err().to_string();
            assert!(error.contains(&format!("'{}'", bad.escape_debug())), "{error}");
        }
        assert!(MetaName::of_bytes(b"\xff").unwrap_err().to_string().contains("\\xff"));
        for good in [META_NAME, "META", ".meta", "-", "...", "\u{e4} b", "a\u{308}", "it's\"\\"] {
            let meta = MetaName::new(good).unwrap();
            assert_eq!((meta.as_str(), meta.is_chosen()), (good, good != META_NAME));
            assert_eq!(MetaName::of_bytes(good.as_bytes()), Ok(meta));
        }
        // It is kept once.
        let twice = [(); 2].map(|()| MetaName::new("twice").unwrap().as_str().as_ptr());
        assert_eq!(twice[0], twice[1]);
    }
}
