//! Who passes what.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::io;
use std::path::Path;

use crate::cases::Case;
use crate::compare::Kind;
use crate::runner::Verdict;

/// Failures that are expected, with their reasons.
pub struct Known(BTreeMap<(String, String), String>);

impl Known {
    /// Reads lines of system, case and reason. A missing file has none.
    ///
    /// # Errors
    /// What reading it gives; EINVAL for a line without a reason.
    pub fn read(file: &Path) -> io::Result<Self> {
        let text = match fs::read_to_string(file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            text => text?,
        };
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        let parsed = lines.map(|line| {
            let mut words = line.splitn(3, ' ');
            let mut word = || words.next().map(str::trim).filter(|word| !word.is_empty());
            match (word(), word(), word()) {
                (Some(system), Some(case), Some(reason)) => {
                    Ok(((system.to_string(), case.to_string()), reason.to_string()))
                }
                _ => Err(io::Error::other(format!("{}: no reason: {line}", file.display()))),
            }
        });
        parsed.collect::<io::Result<_>>().map(Self)
    }

    fn reason(&self, kind: Kind, case: &Case) -> Option<&str> {
        self.0.get(&(kind.name().to_string(), case.full_name())).map(String::as_str)
    }
}

/// One system's results.
pub struct Column {
    /// The system.
    pub kind: Kind,
    /// In the order of the cases.
    pub verdicts: Vec<Verdict>,
}

/// All results.
pub struct Report {
    /// The rows.
    pub cases: Vec<Case>,
    /// The systems.
    pub columns: Vec<Column>,
}

impl Column {
    fn passed(&self) -> usize {
        self.verdicts.iter().filter(|&verdict| *verdict == Verdict::Passed).count()
    }

    fn failed(&self) -> usize {
        self.verdicts.iter().filter(|verdict| verdict.is_failure()).count()
    }
}

impl Report {
    fn failures<'a>(&'a self, column: &'a Column) -> impl Iterator<Item = (&'a Case, &'a Verdict)> {
        self.cases.iter().zip(&column.verdicts).filter(|(_, verdict)| verdict.is_failure())
    }

    /// Failures that nobody expects, of those that must pass.
    fn unexpected(&self, known: &Known) -> Vec<String> {
        let held = self.columns.iter().filter(|column| column.kind.is_held_to_it());
        held.flat_map(|column| {
            self.failures(column)
                .filter(|(case, _)| known.reason(column.kind, case).is_none())
                .map(|(case, _)| format!("{} {}", column.kind.name(), case.full_name()))
        })
        .collect()
    }

    /// What the plain directory refuses to this user is asked of nobody.
    pub fn leave_out_what_is_refused_natively(&mut self, known: &Known) {
        let native = self.columns.iter().find(|column| column.kind == Kind::Native);
        let refused: Vec<usize> = native.map_or(Vec::new(), |native| {
            let results = self.cases.iter().zip(&native.verdicts).enumerate();
            results
                .filter(|(_, (case, verdict))| {
                    !matches!(verdict, Verdict::Passed)
                        && known.reason(Kind::Native, case).is_none()
                })
                .map(|(row, _)| row)
                .collect()
        });
        for column in &mut self.columns {
            for &row in &refused {
                if let Some(verdict) = column.verdicts.get_mut(row) {
                    *verdict = Verdict::Skipped("refused to this user natively".into());
                }
            }
        }
    }

    /// Nothing failed that nobody expects.
    pub fn is_good(&self, known: &Known) -> bool {
        self.unexpected(known).is_empty()
    }

    /// Exceptions that are none.
    fn needless(&self, known: &Known) -> Vec<String> {
        let passed = self.columns.iter().flat_map(|column| {
            let results = self.cases.iter().zip(&column.verdicts);
            results
                .filter(|&(case, verdict)| {
                    *verdict == Verdict::Passed && known.reason(column.kind, case).is_some()
                })
                .map(|(case, _)| format!("{} {}", column.kind.name(), case.full_name()))
        });
        passed.collect()
    }

    /// For a terminal.
    pub fn text(&self, known: &Known) -> String {
        let width = self.cases.iter().map(|case| case.full_name().len()).max().unwrap_or(0);
        let mut text = format!("{:width$}", "");
        for column in &self.columns {
            let _ = write!(text, "  {:>14}", column.kind.name());
        }
        text.push('\n');
        for (row, case) in self.cases.iter().enumerate() {
            let _ = write!(text, "{:width$}", case.full_name());
            for column in &self.columns {
                let word = column.verdicts.get(row).map_or("", Verdict::word);
                let _ = write!(text, "  {word:>14}");
            }
            text.push('\n');
        }
        for column in &self.columns {
            let _ = writeln!(text, "\n{}: {}", column.kind.name(), counts(column));
            for (case, verdict) in self.failures(column) {
                let reason = verdict.reason().unwrap_or_default();
                let mark = if known.reason(column.kind, case).is_some() { " (known)" } else { "" };
                let _ = writeln!(text, "  {}{mark}: {reason}", case.full_name());
            }
        }
        for (title, list) in [
            ("unexpected failures", self.unexpected(known)),
            ("known exceptions that pass", self.needless(known)),
        ] {
            if !list.is_empty() {
                let _ = writeln!(text, "\n{title}:\n  {}", list.join("\n  "));
            }
        }
        text
    }

    /// A row for each group: how many of its cases pass.
    fn groups(&self, text: &mut String) {
        let mut groups: Vec<&str> = self.cases.iter().map(|case| case.group).collect();
        groups.dedup();
        for group in groups {
            let rows = || self.cases.iter().enumerate().filter(|(_, case)| case.group == group);
            let passed = self.columns.iter().map(|column| {
                let row_passed = |row: usize| column.verdicts.get(row) == Some(&Verdict::Passed);
                rows().filter(|&(row, _)| row_passed(row)).count().to_string()
            });
            let passed: Vec<_> = passed.collect();
            let _ = writeln!(text, "| `{group}` ({}) | {} |", rows().count(), passed.join(" | "));
        }
    }

    /// For a document: what passes of each group, one table for each group,
    /// and the known exceptions.
    pub fn markdown(&self, known: &Known) -> String {
        let mut text = String::new();
        let names: Vec<_> = self.columns.iter().map(|column| column.kind.name()).collect();
        let head = |text: &mut String, first: &str| {
            let _ = writeln!(text, "| {first} | {} |", names.join(" | "));
            let _ = writeln!(text, "| --- |{}", " --- |".repeat(names.len()));
        };
        head(&mut text, "passed");
        self.groups(&mut text);
        for (what, count) in [
            ("passed", Column::passed as fn(&Column) -> usize),
            ("failed", Column::failed as fn(&Column) -> usize),
        ] {
            let counts: Vec<_> = self.columns.iter().map(|c| count(c).to_string()).collect();
            let counts = counts.join(" | ");
            let _ = writeln!(text, "| all {} cases: {what} | {counts} |", self.cases.len());
        }
        let mut group = "";
        for (row, case) in self.cases.iter().enumerate() {
            if case.group != group {
                group = case.group;
                text.push('\n');
                head(&mut text, &format!("`{group}::`"));
            }
            let words = self.columns.iter().map(|column| match column.verdicts.get(row) {
                Some(Verdict::Passed) => "yes",
                Some(Verdict::Skipped(_)) | None => "-",
                Some(Verdict::Failed(_)) => "**no**",
                Some(Verdict::Hung) => "**hangs**",
            });
            let words: Vec<_> = words.collect();
            let _ = writeln!(text, "| `{}` | {} |", case.name, words.join(" | "));
        }
        let held = self.columns.iter().filter(|column| column.kind.is_held_to_it());
        let exceptions = held.flat_map(|column| {
            let failures = self.failures(column);
            failures.filter_map(|(case, _)| {
                let reason = known.reason(column.kind, case)?;
                Some(format!("- {}, `{}`: {reason}\n", column.kind.name(), case.full_name()))
            })
        });
        let exceptions: String = exceptions.collect();
        if exceptions.is_empty() {
            text
        } else {
            format!("{text}\nKnown exceptions:\n\n{exceptions}")
        }
    }
}

fn counts(column: &Column) -> String {
    let skipped = column.verdicts.len() - column.passed() - column.failed();
    format!("{} passed, {} failed, {skipped} skipped", column.passed(), column.failed())
}
