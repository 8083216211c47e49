//! Two texts side by side.

use serde_json::{Value, json};

use super::text;
use crate::cli::changes::diff::lines::Lines;

/// Rows that are sent at most.
const MOST: usize = 20_000;

/// What is told of the last line, where that may be all that differs.
const UNENDED: &str = " [no newline at the end]";

/// Rows of a comparison, for the page: `["=", line, line, text]` of what is the same,
/// `["~", line, text, line, text]` of what differs, where a side may be null,
/// `["@", count]` for lines that are the same and not shown.
pub struct Rows {
    pub rows: Vec<Value>,
    /// There are more of them.
    pub cut: bool,
}

/// Puts them side by side, with so many lines around what differs.
pub fn rows(lines: &Lines<'_>, context: usize) -> Rows {
    let (before, after) = (lines.before(), lines.after());
    let mut out = Rows { rows: Vec::new(), cut: false };
    let (mut old, mut new, mut follows) = (0, 0, false);
    for (gone, come) in lines.differing() {
        out.same((before, &mut old, &mut new), gone.start, context, follows);
        let count = gone.len().max(come.len());
        for at in 0..count {
            let side = |lines: &[&[u8]], range: &std::ops::Range<usize>| match range.len() > at {
                true => {
                    let line = lines.get(range.start + at).copied().unwrap_or_default();
                    let unended = if line.ends_with(b"\n") { "" } else { UNENDED };
                    (json!(range.start + at + 1), json!(text::line(line) + unended))
                }
                false => (Value::Null, Value::Null),
            };
            let ((n, a), (m, b)) = (side(before, &gone), side(after, &come));
            out.push(json!(["~", n, a, m, b]));
        }
        (old, new, follows) = (gone.end, come.end, true);
        if out.cut {
            return out;
        }
    }
    let rest = before.len().saturating_sub(old);
    let shown = rest.min(context);
    out.lines((before, &mut old, &mut new), shown);
    out.hidden(rest - shown);
    out
}

impl Rows {
    fn push(&mut self, row: Value) {
        if self.rows.len() < MOST { self.rows.push(row) } else { self.cut = true }
    }

    fn hidden(&mut self, count: usize) {
        if count > 0 {
            self.push(json!(["@", count]));
        }
    }

    /// What is the same, up to a line: its ends.
    fn same(
        &mut self,
        (before, old, new): (&[&[u8]], &mut usize, &mut usize),
        until: usize,
        context: usize,
        follows: bool,
    ) {
        let all = until.saturating_sub(*old);
        let first = if follows { context.min(all) } else { 0 };
        let last = context.min(all - first);
        self.lines((before, old, new), first);
        let hidden = all - first - last;
        self.hidden(hidden);
        (*old, *new) = (*old + hidden, *new + hidden);
        self.lines((before, old, new), last);
    }

    fn lines(&mut self, (before, old, new): (&[&[u8]], &mut usize, &mut usize), count: usize) {
        for _ in 0..count {
            let line = before.get(*old).copied().unwrap_or_default();
            self.push(json!(["=", *old + 1, *new + 1, text::line(line)]));
            (*old, *new) = (*old + 1, *new + 1);
            if self.cut {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(before: &str, after: &str, context: usize) -> String {
        let texts = [before, after].map(|text| text.as_bytes().to_vec());
        let rows = rows(&Lines::new(&texts), context);
        assert!(!rows.cut);
        rows.rows.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn lines_stand_beside_each_other() {
        let expected = "[\"@\",1]\n[\"=\",2,2,\"b\"]\n[\"~\",3,\"c\",3,\"C\"]\n\
                        [\"~\",null,null,4,\"D\"]\n[\"=\",4,5,\"e\"]\n[\"@\",1]";
        assert_eq!(shown("a\nb\nc\ne\nf\n", "a\nb\nC\nD\ne\nf\n", 1), expected);
        assert_eq!(shown("", "x", 3), "[\"~\",null,null,1,\"x [no newline at the end]\"]");
        assert_eq!(shown("x\n", "", 3), "[\"~\",1,\"x\",null,null]");
        let two = shown("1\n2\n3\n4\n5\n", "x\n2\n3\n4\ny\n", 1);
        assert!(two.contains("[\"=\",2,2,\"2\"]\n[\"@\",1]\n[\"=\",4,4,\"4\"]"), "{two}");
    }

    #[test]
    fn there_is_an_end() {
        let texts = [Vec::new(), b"x\n".repeat(MOST + 1)];
        let rows = rows(&Lines::new(&texts), 3);
        assert!(rows.cut && rows.rows.len() == MOST);
    }
}
