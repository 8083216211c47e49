//! The options that say how owners are translated.
#![forbid(unsafe_code)]

use std::ffi::OsStr;

use thiserror::Error;

use super::{Ids, Range, Side};
use crate::exit::{Failure, code};
use crate::options::{Ids as Opt, OptionError};

/// Why the value of such an option is refused.
#[derive(Debug, Error, PartialEq, Eq)]
pub(super) enum Refused {
    #[error("'{0}' is not INSIDE:OUTSIDE:COUNT, for example 0:100000:65536")]
    Shape(String),
    #[error("'{0}' is not a number from 0 to 4294967294")]
    Number(String),
    #[error("'{0}' has a count of 0: leave it out, or count from 1")]
    Empty(String),
    #[error("'{0}' goes beyond the last id, 4294967294: choose a smaller count")]
    Beyond(String),
    #[error("'{0}' and '{1}' overlap in the ids {2}: every id can be in one range only")]
    Overlap(String, String, &'static str),
}

/// The options of one mount, gathered.
#[derive(Debug, Default)]
pub struct IdOptions {
    uid: Gathered,
    gid: Gathered,
}

/// What was said of one kind of ids: option and meaning.
type Gathered = Option<(&'static str, Side)>;

impl IdOptions {
    /// Takes an option with its value.
    ///
    /// # Errors
    /// The value is malformed, or contradicts what was said before.
    pub fn take(&mut self, opt: Opt, value: Option<&OsStr>) -> Result<(), Failure> {
        let text = value.unwrap_or_default().to_string_lossy();
        let refused = |name, why| Failure::new(code::USAGE, format!("option '{name}': {why}"));
        let map = |name| ranges(&text).map(Side::Map).map_err(|why| refused(name, why));
        let one = |name| number(&text).map(Side::Squash).map_err(|why| refused(name, why));
        match opt {
            Opt::UidMap => say(&mut self.uid, "uidmap", map("uidmap")?),
            Opt::GidMap => say(&mut self.gid, "gidmap", map("gidmap")?),
            Opt::SquashUid => say(&mut self.uid, "squash_to_uid", one("squash_to_uid")?),
            Opt::SquashGid => say(&mut self.gid, "squash_to_gid", one("squash_to_gid")?),
            Opt::SquashRoot => {
                say(&mut self.uid, "squash_to_root", Side::Squash(0))?;
                say(&mut self.gid, "squash_to_root", Side::Squash(0))
            }
        }
    }

    /// What they come to.
    pub fn ids(self) -> Ids {
        let side = |gathered: Gathered| gathered.map(|(_, side)| side).unwrap_or_default();
        Ids { uid: side(self.uid), gid: side(self.gid) }
    }
}

fn say(slot: &mut Gathered, name: &'static str, side: Side) -> Result<(), Failure> {
    match slot {
        Some((_, before)) if *before == side => Ok(()),
        Some((before, _)) if *before == name => Err(OptionError::Twice(name).into()),
        Some((before, _)) => {
            let text = format!("options '{before}' and '{name}' exclude each other: give one");
            Err(Failure::new(code::USAGE, text))
        }
        None => {
            *slot = Some((name, side));
            Ok(())
        }
    }
}

/// Reads `INSIDE:OUTSIDE:COUNT[/INSIDE:OUTSIDE:COUNT...]`.
pub(super) fn ranges(text: &str) -> Result<Vec<Range>, Refused> {
    let mut known: Vec<(Range, &str)> = Vec::new();
    for piece in text.split('/') {
        let range = range(piece)?;
        for (other, written) in &known {
            let overlap = |ids| Err(Refused::Overlap((*written).to_owned(), piece.to_owned(), ids));
            if meet((range.inside, range.count), (other.inside, other.count)) {
                return overlap("inside");
            }
            if meet((range.outside, range.count), (other.outside, other.count)) {
                return overlap("outside");
            }
        }
        known.push((range, piece));
    }
    Ok(known.into_iter().map(|(range, _)| range).collect())
}

fn range(piece: &str) -> Result<Range, Refused> {
    let mut words = piece.split(':');
    let (Some(inside), Some(outside), Some(count), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(Refused::Shape(piece.to_owned()));
    };
    let (inside, outside, count) = (number(inside)?, number(outside)?, word(count)?);
    if count == 0 {
        return Err(Refused::Empty(piece.to_owned()));
    }
    // The last id, u32::MAX, means "none" in system calls.
    let fits = |first: u32| first.checked_add(count).is_some();
    if !fits(inside) || !fits(outside) {
        return Err(Refused::Beyond(piece.to_owned()));
    }
    Ok(Range { inside, outside, count })
}

/// An id.
fn number(text: &str) -> Result<u32, Refused> {
    word(text)
        .ok()
        .filter(|&number| number != u32::MAX)
        .ok_or_else(|| Refused::Number(text.to_owned()))
}

/// 32 bits: an id, or how many there are.
fn word(text: &str) -> Result<u32, Refused> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let number = if digits { text.parse().ok() } else { None };
    number.ok_or_else(|| Refused::Number(text.to_owned()))
}

/// Whether two runs, first id and count, have an id in common.
fn meet(a: (u32, u32), b: (u32, u32)) -> bool {
    a.0 < b.0.saturating_add(b.1) && b.0 < a.0.saturating_add(a.1)
}
