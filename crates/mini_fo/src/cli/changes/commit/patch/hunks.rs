//! The hunks of one file, and which of them are picked.

use std::ops::Range;

use mini_fo_core::commit_steps::Hash;

use crate::cli::changes::diff::lines::Lines;
use crate::control::wire::{HashBytes, PickedPart};

/// One that is picked or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hunk {
    pub what: What,
    /// `None`: nobody has said so yet.
    pub picked: Option<bool>,
}

/// What is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// Owner, permissions and their like.
    Attributes,
    /// Some of the stretches that differ, which follow each other.
    Lines(Range<usize>),
}

/// All of a file.
pub struct Hunks<'t> {
    texts: &'t [Vec<u8>; 2],
    pub lines: Lines<'t>,
    pub list: Vec<Hunk>,
    /// The one that is asked about.
    at: usize,
}

impl<'t> Hunks<'t> {
    /// `attributes`: some differ.
    pub fn new(texts: &'t [Vec<u8>; 2], attributes: bool) -> Hunks<'t> {
        let lines = Lines::new(texts);
        let whats = attributes.then_some(What::Attributes).into_iter();
        let whats = whats.chain(lines.groups().into_iter().map(What::Lines));
        let list = whats.map(|what| Hunk { what, picked: None }).collect();
        Hunks { texts, lines, list, at: 0 }
    }

    /// The one that is asked about, and its number; `None`: all are decided.
    pub fn current(&self) -> Option<(usize, &Hunk)> {
        let hunk = self.list.get(self.at).filter(|hunk| hunk.picked.is_none())?;
        Some((self.at + 1, hunk))
    }

    /// It has several parts that can be picked each.
    pub fn can_split(&self) -> bool {
        let current = self.current().map(|(_, hunk)| &hunk.what);
        matches!(current, Some(What::Lines(range)) if range.len() > 1)
    }

    /// Makes a hunk of each of its parts.
    pub fn split(&mut self) {
        let Some(Hunk { what: What::Lines(range), .. }) = self.list.get(self.at) else { return };
        let one = |at| Hunk { what: What::Lines(at..at + 1), picked: None };
        let parts: Vec<Hunk> = range.clone().map(one).collect();
        self.list.splice(self.at..=self.at, parts);
    }

    /// Decides about the current one, and all behind it that are not decided with `rest`.
    pub fn decide(&mut self, picked: bool, rest: bool) {
        let count = if rest { usize::MAX } else { 1 };
        let open = self.list.iter_mut().skip(self.at).filter(|hunk| hunk.picked.is_none());
        open.take(count).for_each(|hunk| hunk.picked = Some(picked));
        self.at = self.next().or_else(|| self.first()).unwrap_or(self.list.len());
    }

    /// Leaves it for later: the next one that is not decided. `false`: there is none.
    pub fn go_on(&mut self) -> bool {
        let next = self.next();
        self.at = next.unwrap_or(self.at);
        next.is_some()
    }

    /// The one before.
    pub fn go_back(&mut self) -> bool {
        let earlier = self.list.iter().take(self.at).rposition(|hunk| hunk.picked.is_none());
        self.at = earlier.unwrap_or(self.at);
        earlier.is_some()
    }

    /// There is a further one that is not decided, before or behind.
    pub fn has(&self, behind: bool) -> bool {
        let open = |hunk: &Hunk| hunk.picked.is_none();
        match behind {
            true => self.next().is_some(),
            false => self.list.iter().take(self.at).any(open),
        }
    }

    fn next(&self) -> Option<usize> {
        let behind = self.list.iter().enumerate().skip(self.at + 1);
        behind.filter(|(_, hunk)| hunk.picked.is_none()).map(|(at, _)| at).next()
    }

    fn first(&self) -> Option<usize> {
        self.list.iter().position(|hunk| hunk.picked.is_none())
    }

    /// What has come of it.
    pub fn end(&self) -> End {
        let is_picked = |hunk: &&Hunk| hunk.picked == Some(true);
        let picked = self.list.iter().filter(is_picked).count();
        if picked == 0 || picked == self.list.len() {
            return if picked == 0 { End::Nothing } else { End::Whole };
        }
        let (before, after) = (ends(self.lines.before()), ends(self.lines.after()));
        let offset = |ends: &[u64], line: usize| match line.checked_sub(1) {
            Some(last) => ends.get(last).copied().unwrap_or(u64::MAX),
            None => 0,
        };
        let differing: Vec<_> = self.lines.differing().collect();
        let ranges = self.list.iter().filter(is_picked).filter_map(|hunk| match &hunk.what {
            What::Lines(range) => Some(range.clone()),
            What::Attributes => None,
        });
        let pieces = ranges.flat_map(|range| differing.get(range).unwrap_or_default());
        let pieces = pieces.map(|(old, new)| {
            let (from, to) = (offset(&before, old.start), offset(&before, old.end));
            [from, to, offset(&after, new.start), offset(&after, new.end)]
        });
        let [old, new] = self.texts;
        End::Part(PickedPart {
            pieces: pieces.collect(),
            before: HashBytes(Hash::of(old).0),
            after: HashBytes(Hash::of(new).0),
            attributes: self.list.iter().filter(is_picked).any(|it| it.what == What::Attributes),
        })
    }
}

/// What of a file is picked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    Nothing,
    Part(PickedPart),
    Whole,
}

/// Where each line ends, in bytes.
fn ends(lines: &[&[u8]]) -> Vec<u64> {
    let mut at = 0;
    let add = |line: &&[u8]| {
        at += line.len() as u64;
        at
    };
    lines.iter().map(add).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two stretches near each other, and one far away.
    fn texts() -> [Vec<u8>; 2] {
        let text = |changed: [&str; 3]| {
            let lines = (0..30).map(|n| match n {
                2 => format!("{}\n", changed[0]),
                4 => format!("{}\n", changed[1]),
                20 => format!("{}\n", changed[2]),
                n => format!("line {n}\n"),
            });
            lines.collect::<String>().into_bytes()
        };
        [text(["a", "b", "c"]), text(["A", "B and more", "C"])]
    }

    fn made(hunks: &Hunks<'_>, texts: &[Vec<u8>; 2]) -> String {
        let End::Part(part) = hunks.end() else { panic!("{:?}", hunks.list) };
        let mut made = texts[0].clone();
        for [from, to, start, end] in
            part.pieces.iter().rev().map(|piece| piece.map(|n| n as usize))
        {
            made.splice(from..to, texts[1][start..end].iter().copied());
        }
        String::from_utf8(made).unwrap()
    }

    #[test]
    fn some_are_picked() {
        let texts = texts();
        let mut hunks = Hunks::new(&texts, true);
        assert_eq!(hunks.list.len(), 3, "{:?}", hunks.list);
        assert!(!hunks.can_split() && hunks.has(true) && !hunks.has(false));
        hunks.decide(false, false);
        assert!(hunks.can_split());
        hunks.split();
        assert_eq!((hunks.list.len(), hunks.current().unwrap().0), (4, 2));
        hunks.decide(false, false);
        hunks.decide(true, false);
        assert!(!hunks.can_split() && !hunks.go_on() && !hunks.go_back());
        hunks.decide(false, false);
        assert!(hunks.current().is_none());
        let made = made(&hunks, &texts);
        assert_eq!(
            made,
            String::from_utf8(texts[0].clone()).unwrap().replace("b\n", "B and more\n")
        );
    }

    #[test]
    fn all_or_nothing_is_no_part() {
        let texts = texts();
        for (picked, end) in [(true, End::Whole), (false, End::Nothing)] {
            let mut hunks = Hunks::new(&texts, false);
            hunks.decide(picked, true);
            assert!(hunks.current().is_none());
            assert_eq!(hunks.end(), end);
        }
    }

    #[test]
    fn what_was_left_is_asked_about_again() {
        let texts = texts();
        let mut hunks = Hunks::new(&texts, true);
        assert!(hunks.go_on() && hunks.go_on() && !hunks.go_on());
        assert!(hunks.go_back() && hunks.has(false));
        hunks.decide(true, true);
        assert_eq!(hunks.current().unwrap().0, 1, "the first is left");
        hunks.decide(false, false);
        assert!(hunks.current().is_none());
    }
}
