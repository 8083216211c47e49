//! Which lines of a text differ.

use std::ops::Range;

use imara_diff::{Algorithm, Hunk, InternedInput};
use rustix::io::Result;

use super::body::Body;
use crate::cli::changes::out::{Color, Out};

/// Larger files are not compared line by line, nor are texts of more lines: both are in
/// memory for that.
pub const MOST_BYTES: u64 = 8 << 20;
const MOST_LINES: usize = 1_000_000;

/// So many bytes tell whether a file is a text, as for git.
const LOOKED_AT: usize = 8000;

/// Lines that are shown around what differs.
const CONTEXT: u32 = 3;

/// The lines of two texts, and which of them differ.
pub struct Lines<'t> {
    before: Vec<&'t [u8]>,
    after: Vec<&'t [u8]>,
    hunks: Vec<Hunk>,
}

impl<'t> Lines<'t> {
    /// Two texts. `None`: one of them is none, or too large.
    pub fn load(before: &Body, after: &Body) -> Result<Option<[Vec<u8>; 2]>> {
        for body in [before, after] {
            if body.size() > MOST_BYTES || !is_text(&body.beginning(LOOKED_AT)?) {
                return Ok(None);
            }
        }
        let (Some(before), Some(after)) = (before.load(MOST_BYTES)?, after.load(MOST_BYTES)?)
        else {
            return Ok(None);
        };
        let texts = [before, after];
        Ok(are_texts(&texts).then_some(texts))
    }

    /// Compares them.
    pub fn new(texts: &'t [Vec<u8>; 2]) -> Lines<'t> {
        let [before, after] = texts;
        let split = |text: &'t [u8]| text.split_inclusive(|byte| *byte == b'\n').collect();
        let mut input = InternedInput::default();
        let (before, after): (Vec<&[u8]>, Vec<&[u8]>) = (split(before), split(after));
        input.update_before(before.iter().copied());
        input.update_after(after.iter().copied());
        let mut diff = imara_diff::Diff::compute(Algorithm::Histogram, &input);
        diff.postprocess_lines(&input);
        let hunks = diff.hunks().collect();
        Lines { before, after, hunks }
    }

    /// All lines of what was there, each with its end.
    pub fn before(&self) -> &[&'t [u8]] {
        &self.before
    }

    /// The same of what is there.
    pub fn after(&self) -> &[&'t [u8]] {
        &self.after
    }

    /// The lines that differ: those that were there, and those that are there instead.
    pub fn differing(&self) -> impl Iterator<Item = (Range<usize>, Range<usize>)> {
        let wide = |range: &Range<u32>| range.start as usize..range.end as usize;
        self.hunks.iter().map(move |hunk| (wide(&hunk.before), wide(&hunk.after)))
    }

    /// How many lines were added, and how many deleted.
    pub fn counts(&self) -> (u32, u32) {
        let count = |range: &Range<u32>| range.end - range.start;
        let added = self.hunks.iter().map(|hunk| count(&hunk.after)).sum();
        (added, self.hunks.iter().map(|hunk| count(&hunk.before)).sum())
    }

    /// How much of the larger text is in both, in percent.
    pub fn similarity(&self) -> u64 {
        let bytes = |lines: &[&[u8]]| lines.iter().map(|line| line.len() as u64).sum::<u64>();
        let (before, after) = (bytes(&self.before), bytes(&self.after));
        let gone: u64 = self.hunks.iter().map(|hunk| bytes(part(&self.before, &hunk.before))).sum();
        before.saturating_sub(gone) * 100 / before.max(after).max(1)
    }

    /// Writes what differs as git does.
    pub fn write(&self, out: &mut Out) -> bool {
        self.groups().into_iter().all(|group| self.write_group(group, out))
    }

    /// What git shows as one hunk: which of [`Lines::differing`].
    pub fn groups(&self) -> Vec<Range<usize>> {
        let mut groups: Vec<Range<usize>> = Vec::new();
        let mut end = 0;
        for (at, hunk) in self.hunks.iter().enumerate() {
            match groups.last_mut() {
                Some(last) if hunk.before.start - end <= 2 * CONTEXT => last.end = at + 1,
                _ => groups.push(at..at + 1),
            }
            end = hunk.before.end;
        }
        groups
    }

    /// Writes some that follow each other as one hunk. Lines that differ are no context.
    pub fn write_group(&self, group: Range<usize>, out: &mut Out) -> bool {
        let earlier = group.start.checked_sub(1).and_then(|at| self.hunks.get(at));
        let later = self.hunks.get(group.end);
        let group = self.hunks.get(group).unwrap_or_default();
        let (Some(first), Some(last)) = (group.first(), group.last()) else { return true };
        let begin = earlier.map_or(0, |earlier| earlier.before.end);
        let lead = first.before.start.saturating_sub(begin).min(CONTEXT);
        let all = u32::try_from(self.before.len()).unwrap_or(u32::MAX);
        let all = later.map_or(all, |later| later.before.start);
        let tail = all.saturating_sub(last.before.end).min(CONTEXT);
        let before = first.before.start - lead..last.before.end + tail;
        let after = first.after.start - lead..last.after.end + tail;
        let head = format!("@@ -{} +{} @@\n", numbers(&before), numbers(&after));
        if !out.put_colored(Color::Cyan, head.as_bytes()) {
            return false;
        }
        let mut at = before.start;
        for hunk in group {
            let done = lines(b' ', None, part(&self.before, &(at..hunk.before.start)), out)
                && lines(b'-', Some(Color::Red), part(&self.before, &hunk.before), out)
                && lines(b'+', Some(Color::Green), part(&self.after, &hunk.after), out);
            if !done {
                return false;
            }
            at = hunk.before.end;
        }
        lines(b' ', None, part(&self.before, &(at..before.end)), out)
    }
}

/// Both can be compared line by line.
pub fn are_texts(texts: &[Vec<u8>; 2]) -> bool {
    let lines = |text: &Vec<u8>| text.iter().filter(|byte| **byte == b'\n').count();
    texts.iter().all(|text| is_text(text) && lines(text) < MOST_LINES)
}

fn is_text(bytes: &[u8]) -> bool {
    !bytes.get(..LOOKED_AT).unwrap_or(bytes).contains(&0)
}

fn part<'p, 't>(lines: &'p [&'t [u8]], range: &Range<u32>) -> &'p [&'t [u8]] {
    lines.get(range.start as usize..range.end as usize).unwrap_or_default()
}

/// First line and count; of no lines, the line before.
fn numbers(range: &Range<u32>) -> String {
    match range.end - range.start {
        0 => format!("{},0", range.start),
        1 => format!("{}", range.start + 1),
        count => format!("{},{count}", range.start + 1),
    }
}

fn lines(sign: u8, color: Option<Color>, lines: &[&[u8]], out: &mut Out) -> bool {
    lines.iter().all(|line| {
        let (text, ended) = match line.strip_suffix(b"\n") {
            Some(text) => (text, true),
            None => (*line, false),
        };
        let text = [&[sign], text].concat();
        let put = match color {
            Some(color) => out.put_colored(color, &text),
            None => out.put(&text),
        };
        put && out.put(if ended { b"\n" } else { b"\n\\ No newline at end of file\n" })
    })
}
