//! What a commit comes to, as it is shown.

use std::collections::{HashMap, VecDeque};
use std::path::Path;

use mini_fo_core::{BaseState, Change, CommitEntry, CommitFate, CommitPlan};

use crate::cli::changes::base;
use crate::cli::changes::out::{Color, Out, size};
use crate::cli::changes::quote::quoted;
use crate::cli::changes::status::{line_of, object_with};

/// Behind what tells of a change itself: whether a part of it can go.
pub const IN_PARTS: &str = ",\"in_parts\":";

/// How it is told.
#[derive(Clone, Copy)]
pub struct Form {
    /// As objects.
    pub json: bool,
    /// Only trouble.
    pub quiet: bool,
    /// What would be, not what was.
    pub would: bool,
    /// As objects that tell whether a part can go.
    pub offers: bool,
}

/// A change, as it shows whatever becomes of it.
pub struct Line {
    path: Box<[u8]>,
    color: Color,
    word: String,
    text: Text,
    /// Where it was, if that is another path.
    from: Option<Box<[u8]>>,
}

enum Text {
    People(Vec<u8>),
    /// Before and behind the member that says what becomes of it.
    Object(String),
}

impl Line {
    /// To be made while the change is there.
    pub fn of(change: &Change<'_>, json: bool) -> Line {
        let (color, word, text) = line_of(change);
        let text = if json { Text::Object(object_with(change)) } else { Text::People(text) };
        Line { path: change.path.into(), color, word, text, from: change.from.map(Box::from) }
    }
}

impl Line {
    /// Where it is, and where it was, if that is another path.
    pub fn paths(&self) -> impl Iterator<Item = &[u8]> {
        [Some(&*self.path), self.from.as_deref()].into_iter().flatten()
    }

    /// As `mini_fo status --json` has it; nothing, if it was made for people.
    pub fn object(&self) -> String {
        match &self.text {
            Text::Object(text) => format!("{text}}}"),
            Text::People(_) => String::new(),
        }
    }

    /// Both show the same.
    pub fn says_as(&self, other: &Line) -> bool {
        let same = match (&self.text, &other.text) {
            (Text::People(one), Text::People(other)) => one == other,
            (Text::Object(one), Text::Object(other)) => one == other,
            _ => false,
        };
        same && (&self.path, &self.word, &self.from) == (&other.path, &other.word, &other.from)
    }
}

/// A line for each entry of a plan, which has them in the order of a walk; lines of one path
/// stay in their order.
pub fn in_order_of(lines: Vec<Line>, plan: &CommitPlan) -> Vec<Line> {
    let is_at = |(line, entry): (&Line, &CommitEntry)| line.path == entry.path;
    if lines.len() == plan.entries.len() && lines.iter().zip(&plan.entries).all(is_at) {
        return lines;
    }
    let mut by_path: HashMap<Box<[u8]>, VecDeque<Line>> = HashMap::new();
    for line in lines {
        by_path.entry(line.path.clone()).or_default().push_back(line);
    }
    let mut next = |entry: &CommitEntry| by_path.get_mut(&entry.path)?.pop_front();
    plan.entries.iter().filter_map(&mut next).collect()
}

/// How many changes become what.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sums {
    /// Asked for, and committed.
    pub goes: u64,
    /// Committed as well.
    pub follows: u64,
    /// Asked for, and not committed.
    pub held: u64,
    /// The base has something else.
    pub conflicts: u64,
    /// Given up for what the base has.
    pub dropped: u64,
    /// Not asked for.
    pub stays: u64,
    /// Of these, asked for, but open in a live mount.
    pub in_use: u64,
    /// Content that is written, in bytes.
    pub bytes: u64,
}

impl Sums {
    pub fn of(plan: &CommitPlan) -> Sums {
        let mut sums = Sums::default();
        for entry in &plan.entries {
            let count = match entry.fate {
                CommitFate::Goes | CommitFate::Part => &mut sums.goes,
                CommitFate::Follows => &mut sums.follows,
                CommitFate::Held => &mut sums.held,
                CommitFate::Conflict(_) => &mut sums.conflicts,
                CommitFate::Dropped(_) => &mut sums.dropped,
                CommitFate::Stays => &mut sums.stays,
            };
            *count += 1;
            if is_written(entry.fate) {
                sums.bytes = sums.bytes.saturating_add(entry.bytes);
            }
        }
        sums
    }

    /// Neither base nor storage would change.
    pub fn is_nothing(&self) -> bool {
        self.goes + self.follows + self.dropped == 0
    }

    /// "3 changes (1.2 MiB)"
    pub fn written(&self) -> String {
        format!("{} ({})", changes(self.goes + self.follows), size(self.bytes))
    }

    /// What is asked before the base is written.
    pub fn question(&self, base: &Path) -> String {
        let base = quoted_path(base);
        match (self.goes + self.follows, self.dropped) {
            (0, dropped) => format!("Give up {} for what {base} has?", changes(dropped)),
            (_, 0) => format!("Write {} into {base}?", self.written()),
            (_, dropped) => format!(
                "Write {} into {base}, and give up {dropped} for what that has?",
                self.written()
            ),
        }
    }

    /// The last line.
    pub fn tell(&self, form: Form, base: &Path, out: &mut Out<'_>) {
        if form.quiet {
            return;
        }
        let text = if form.json { self.object() } else { self.line(form.would, base) };
        // Nobody reads any more: what is done is done.
        let _ = out.put(text.as_bytes());
    }

    fn line(&self, would: bool, base: &Path) -> String {
        let gone = self.goes + self.follows;
        let mut parts = vec![match (gone, would) {
            (0, _) => "nothing to be committed".to_owned(),
            (_, true) if self.conflicts > 0 => format!("{} could be committed", self.written()),
            (_, true) => format!("{} would be committed", self.written()),
            (_, false) => format!("{} committed into {}", self.written(), quoted_path(base)),
        }];
        let more = [
            (self.follows, "not asked for and go along"),
            (self.conflicts, "in conflict with the base"),
            (self.dropped, "given up for what the base has"),
            (self.held, "held back"),
            (self.in_use, "open and not committed"),
            (self.stays.saturating_sub(self.in_use), "not asked for"),
        ];
        let more = more.iter().filter(|(count, _)| *count > 0);
        parts.extend(more.map(|(count, what)| format!("{count} {what}")));
        parts.join(", ") + "\n"
    }

    fn object(&self) -> String {
        let Sums { goes, follows, held, conflicts, dropped, stays, in_use, bytes } = self;
        let committed = goes + follows;
        format!(
            "{{\"kind\":\"totals\",\"committed\":{committed},\"follows\":{follows},\
             \"bytes\":{bytes},\"conflicts\":{conflicts},\"dropped\":{dropped},\"held\":{held},\
             \"stays\":{stays},\"in_use\":{in_use}}}\n"
        )
    }
}

/// "1 change", "3 changes"
pub fn changes(count: u64) -> String {
    if count == 1 { "1 change".to_owned() } else { format!("{count} changes") }
}

/// A path for people.
pub fn quoted_path(path: &Path) -> String {
    String::from_utf8_lossy(&quoted(path.as_os_str().as_encoded_bytes())).into_owned()
}

/// What a plan does at a path, above it or below it.
pub fn touches(plan: &CommitPlan, lines: &[Line], path: &[u8]) -> bool {
    use crate::cli::changes::discard::is_within;
    let meets = |other: &[u8]| is_within(other, path) || is_within(path, other);
    let going = plan.entries.iter().zip(lines).filter(|(entry, _)| is_written(entry.fate));
    let mut ends = going.map(|(entry, line)| (&*entry.path, line.from.as_deref()));
    ends.any(|(to, from)| meets(to) || from.is_some_and(meets))
}

/// The base gets something of it.
fn is_written(fate: CommitFate) -> bool {
    matches!(fate, CommitFate::Goes | CommitFate::Follows | CommitFate::Part)
}

/// Changes, and what becomes of them.
pub struct Listing<'a> {
    rows: Vec<(Row, &'a Line)>,
}

#[derive(Clone, Copy)]
struct Row {
    fate: CommitFate,
    in_parts: bool,
}

impl<'a> Listing<'a> {
    /// The plan has one entry for each line.
    pub fn of(plan: &CommitPlan, lines: &'a [Line]) -> Listing<'a> {
        let wanted = |(entry, _): &(&CommitEntry, &Line)| entry.fate != CommitFate::Stays;
        let row = |entry: &CommitEntry| Row { fate: entry.fate, in_parts: entry.in_parts };
        let rows = plan.entries.iter().zip(lines).filter(wanted);
        Listing { rows: rows.map(|(entry, line)| (row(entry), line)).collect() }
    }

    /// What goes, then what does not, and why.
    pub fn show(&self, form: Form, out: &mut Out<'_>) {
        if form.json {
            for (row, line) in &self.rows {
                line.as_object(*row, form.offers, out);
            }
            return;
        }
        for (row, line) in &self.rows {
            if let CommitFate::Conflict(state) = row.fate {
                let mut text = b"mini_fo: ".to_vec();
                text.extend(&*quoted(&line.path));
                text.extend(format!(": {}\n", conflict(state)).bytes());
                out.complain(&text);
            }
        }
        if form.quiet {
            return;
        }
        self.lines("", "", is_written, out);
        let given_up = "given up for what the base has:\n";
        self.lines(given_up, "  ", |fate| matches!(fate, CommitFate::Dropped(_)), out);
        let held = "stays in the storage, for it belongs together with what was not asked for:\n";
        self.lines(held, "  ", |fate| fate == CommitFate::Held, out);
    }

    fn lines(&self, title: &str, indent: &str, of: impl Fn(CommitFate) -> bool, out: &mut Out<'_>) {
        let mut title = Some(title);
        for (row, line) in self.rows.iter().filter(|(row, _)| of(row.fate)) {
            let title = title.take().unwrap_or_default();
            // Nobody reads any more: what is decided does not change by that.
            let _ = out.put(title.as_bytes())
                && out.put(indent.as_bytes())
                && line.for_people(row.fate, out);
        }
    }
}

impl Line {
    fn for_people(&self, fate: CommitFate, out: &mut Out<'_>) -> bool {
        let Text::People(text) = &self.text else { return true };
        let end: &[u8] = match fate {
            CommitFate::Follows => b"  [goes along]\n",
            CommitFate::Part => b"  [a part of it]\n",
            _ => b"\n",
        };
        let text = text.strip_suffix(b"\n").unwrap_or(text);
        out.put_colored(self.color, self.word.as_bytes()) && out.put(text) && out.put(end)
    }

    fn as_object(&self, row: Row, offers: bool, out: &mut Out<'_>) {
        let Text::Object(text) = &self.text else { return };
        let word = match row.fate {
            CommitFate::Goes => "goes",
            CommitFate::Follows => "follows",
            CommitFate::Part => "part",
            CommitFate::Held => "held",
            CommitFate::Conflict(_) => "conflict",
            CommitFate::Dropped(_) => "dropped",
            CommitFate::Stays => "stays",
        };
        // As above.
        let parts = match offers {
            true => format!("{IN_PARTS}{}", row.in_parts),
            false => String::new(),
        };
        let _ = out.put(format!("{text}{parts},\"fate\":\"{word}\"}}\n").as_bytes());
    }
}

/// What the base has, in words.
pub fn conflict(state: BaseState) -> String {
    match state {
        BaseState::Changed(changes) => base::differs(&changes),
        _ => "base changed".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_comes_to_is_told_in_a_line() {
        let base = Path::new("/srv/base");
        let sums = Sums { goes: 2, follows: 1, bytes: 1 << 20, ..Sums::default() };
        assert_eq!(sums.question(base), "Write 3 changes (1.0 MiB) into /srv/base?");
        assert_eq!(
            sums.line(false, base),
            "3 changes (1.0 MiB) committed into /srv/base, 1 not asked for and go along\n"
        );
        let one = Sums { goes: 1, held: 2, stays: 3, ..Sums::default() };
        assert_eq!(
            one.line(true, base),
            "1 change (0 B) would be committed, 2 held back, 3 not asked for\n"
        );
        let dropped = Sums { dropped: 1, ..Sums::default() };
        assert_eq!(dropped.question(base), "Give up 1 change for what /srv/base has?");
        assert!(!dropped.is_nothing() && Sums::default().is_nothing());
        assert_eq!(Sums::default().line(false, base), "nothing to be committed\n");
        let both = Sums { dropped: 2, ..one };
        assert_eq!(
            both.question(base),
            "Write 1 change (0 B) into /srv/base, and give up 2 for what that has?"
        );
    }
}
