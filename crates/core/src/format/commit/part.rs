//! A part of what has changed in a file: some of its lines, or its attributes alone.

use std::ops::Range;

use super::Path;
use crate::format::print::Hash;

/// What is taken of the change of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Where it is, in the tree and in the base.
    pub path: Path,
    /// What of the content: stretches of the base's, and what comes in their places; in order.
    pub pieces: Vec<Piece>,
    /// Hash of what the base has, as it was looked at.
    pub before: Hash,
    /// The same of what the tree shows.
    pub after: Hash,
    /// Owner, permissions, extended attributes, too.
    pub attributes: bool,
}

/// A stretch of a file that differs. Both are ranges of bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// In what the base has.
    pub before: Range<u64>,
    /// In what the tree shows.
    pub after: Range<u64>,
}

impl Part {
    /// Bytes that a file of so many will have.
    #[must_use]
    pub fn size_of(&self, before: u64) -> u64 {
        let len = |range: &Range<u64>| range.end.saturating_sub(range.start);
        self.pieces.iter().fold(before, |size, piece| {
            size.saturating_sub(len(&piece.before)).saturating_add(len(&piece.after))
        })
    }

    /// What it makes of a content. `None`: the pieces do not fit to it.
    #[must_use]
    pub fn apply(&self, before: &[u8], after: &[u8]) -> Option<Vec<u8>> {
        let (mut made, mut at) = (Vec::new(), 0);
        for piece in &self.pieces {
            made.extend(cut(before, &(at..piece.before.start))?);
            made.extend(cut(after, &piece.after)?);
            cut(before, &piece.before)?;
            at = piece.before.end;
        }
        made.extend(cut(before, &(at..before.len() as u64))?);
        Some(made)
    }
}

fn cut<'t>(text: &'t [u8], range: &Range<u64>) -> Option<&'t [u8]> {
    let (start, end) = (range.start.try_into().ok()?, range.end.try_into().ok()?);
    text.get::<Range<usize>>(start..end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(pieces: &[(Range<u64>, Range<u64>)]) -> Part {
        let piece = |(before, after): &(Range<u64>, Range<u64>)| Piece {
            before: before.clone(),
            after: after.clone(),
        };
        let hash = Hash([0; 16]);
        let pieces = pieces.iter().map(piece).collect();
        Part { path: Path::default(), pieces, before: hash, after: hash, attributes: false }
    }

    #[test]
    fn pieces_come_in_their_places() {
        let made = |pieces: &[_]| part(pieces).apply(b"one two", b"eins zwei");
        assert_eq!(made(&[]).unwrap(), b"one two");
        assert_eq!(made(&[(0..3, 0..4)]).unwrap(), b"eins two");
        assert_eq!(made(&[(0..3, 0..4), (3..7, 4..9)]).unwrap(), b"eins zwei");
        assert_eq!(made(&[(7..7, 4..9)]).unwrap(), b"one two zwei");
        assert_eq!(made(&[(0..0, 0..5), (3..7, 0..0)]).unwrap(), b"eins one");
        assert_eq!(part(&[(0..3, 0..4), (7..7, 4..9)]).size_of(7), 13);
    }

    #[test]
    fn what_does_not_fit_makes_nothing() {
        let made = |pieces: &[_]| part(pieces).apply(b"one two", b"eins zwei");
        for (before, after) in [(0..8, 0..1), (0..1, 0..10), (8..9, 0..1), (0..u64::MAX, 0..1)] {
            assert_eq!(made(&[(before, after)]), None);
        }
        let backward = Range { start: 3, end: 2 };
        assert_eq!(made(&[(backward.clone(), 0..1)]), None);
        assert_eq!(made(&[(0..1, backward)]), None);
        assert_eq!(made(&[(3..4, 0..1), (1..2, 0..1)]), None);
    }
}
