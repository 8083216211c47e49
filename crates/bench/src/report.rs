//! The report: a table for people, JSON for programs.

use std::fmt::Write as _;
use std::fs;

use serde_json::{Value, json};

use crate::rows::Plan;
use crate::stats::Summary;
use crate::systems::{Kind, Programs};
use crate::tree::Size;

/// What the numbers were measured with.
#[derive(Default)]
pub struct About {
    rounds: usize,
    files: usize,
    big: usize,
    binary_bytes: Option<u64>,
}

impl About {
    /// Looks at the binary measured.
    pub fn new(programs: &Programs, rounds: usize, size: Size) -> Self {
        let binary_bytes = fs::metadata(&programs.mini_fo).ok().map(|meta| meta.len());
        Self { rounds, files: size.files, big: size.big, binary_bytes }
    }
}

/// Everything measured so far.
pub struct Report {
    kinds: Vec<Kind>,
    rows: Vec<&'static str>,
    /// Row, system, microseconds per operation of one round.
    times: Vec<(&'static str, Kind, f64)>,
    /// Resident memory of the mini_fo daemon just mounted, per round.
    pub idle_kib: Vec<u64>,
    /// The same after all rows.
    pub busy_kib: Vec<u64>,
    /// What went wrong, and in which round of which system.
    pub failures: Vec<String>,
    /// Filled in at the end.
    pub about: About,
}

impl Report {
    /// An empty report on the plan's rows.
    pub fn new(kinds: &[Kind], plan: &Plan) -> Self {
        Self {
            kinds: kinds.to_vec(),
            rows: plan.rows(),
            times: Vec::new(),
            idle_kib: Vec::new(),
            busy_kib: Vec::new(),
            failures: Vec::new(),
            about: About::default(),
        }
    }

    /// Adds one round of one system.
    pub fn add(&mut self, kind: Kind, times: &[(&'static str, f64)]) {
        self.times.extend(times.iter().map(|&(row, time)| (row, kind, time)));
    }

    fn values(&self, row: &str, kind: Kind) -> Vec<f64> {
        let of_row = self.times.iter().filter(|(r, k, _)| *r == row && *k == kind);
        of_row.map(|&(_, _, time)| time).collect()
    }

    fn summary(&self, row: &str, kind: Kind) -> Option<Summary> {
        Summary::of(&self.values(row, kind))
    }

    /// Median of mini_fo over median of `other`.
    fn ratio(&self, row: &str, other: Kind) -> Option<f64> {
        let ours = self.summary(row, Kind::MiniFo)?.median;
        Some(ours / self.summary(row, other)?.median)
    }

    fn peers(&self) -> Vec<Kind> {
        let ours = self.kinds.contains(&Kind::MiniFo);
        self.kinds.iter().copied().filter(|&kind| ours && kind != Kind::MiniFo).collect()
    }

    /// A Markdown table, its columns aligned, and what else there is to say.
    pub fn text(&self) -> String {
        let mut lines = vec![self.head()];
        lines.extend(self.rows.iter().map(|row| self.line(row)));
        let columns = lines.iter().map(Vec::len).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns)
            .map(|n| lines.iter().filter_map(|l| l.get(n)).map(|c| c.chars().count()).max())
            .map(Option::unwrap_or_default)
            .collect();
        let rule = widths.iter().enumerate().map(|(n, &width)| match n {
            0 => "-".repeat(width),
            _ => format!("{}:", "-".repeat(width.saturating_sub(1))),
        });
        lines.insert(1, rule.collect());
        let mut out = String::new();
        for line in &lines {
            for (n, (cell, &width)) in line.iter().zip(&widths).enumerate() {
                // Writing to a string does not fail.
                let _ = match n {
                    0 => write!(out, "| {cell:<width$} |"),
                    _ => write!(out, " {cell:>width$} |"),
                };
            }
            out.push('\n');
        }
        out + &self.remarks()
    }

    fn head(&self) -> Vec<String> {
        let mut cells = vec!["µs per operation: median (min..max)".to_string()];
        cells.extend(self.kinds.iter().map(|kind| kind.name().to_string()));
        cells.extend(self.peers().iter().map(|kind| format!("mini_fo/{}", kind.name())));
        cells
    }

    fn line(&self, row: &str) -> Vec<String> {
        let mut cells = vec![row.to_string()];
        cells.extend(self.kinds.iter().map(|&kind| match self.summary(row, kind) {
            Some(s) => format!("{} ({}..{})", short(s.median), short(s.min), short(s.max)),
            None => String::new(),
        }));
        cells.extend(self.peers().iter().map(|&kind| match self.ratio(row, kind) {
            // A mark for what is slower than the peer that plays by the same rules.
            Some(ratio) if kind == Kind::FuseOverlayfs && ratio >= 1.005 => {
                format!("**{ratio:.2}**")
            }
            Some(ratio) => format!("{ratio:.2}"),
            None => String::new(),
        }));
        cells
    }

    fn remarks(&self) -> String {
        let About { rounds, files, big, binary_bytes } = self.about;
        let mut out = format!(
            "\n{rounds} rounds; {files} files per directory; large file {} MiB. \
             In bold: slower than fuse-overlayfs.\n",
            big >> 20
        );
        if let Some(bytes) = binary_bytes {
            let _ = writeln!(out, "mini_fo: binary {} KiB", bytes >> 10);
        }
        for (what, values) in [("just mounted", &self.idle_kib), ("after all rows", &self.busy_kib)]
        {
            if let (Some(low), Some(high)) = (values.iter().min(), values.iter().max()) {
                let _ = writeln!(out, "mini_fo: resident memory {what} {low}..{high} KiB");
            }
        }
        for failure in &self.failures {
            let _ = writeln!(out, "Not complete: {failure}");
        }
        out
    }

    /// Everything, with the single rounds.
    pub fn json(&self) -> String {
        let rows: Vec<Value> = self.rows.iter().map(|row| self.json_row(row)).collect();
        let all = json!({
            "unit": "microseconds per operation",
            "rounds": self.about.rounds,
            "files": self.about.files,
            "large_file_bytes": self.about.big,
            "mini_fo_binary_bytes": self.about.binary_bytes,
            "mini_fo_idle_kib": self.idle_kib,
            "mini_fo_busy_kib": self.busy_kib,
            "failures": self.failures,
            "rows": rows,
        });
        format!("{all:#}\n")
    }

    fn json_row(&self, row: &str) -> Value {
        let mut systems = serde_json::Map::new();
        for &kind in &self.kinds {
            let Some(s) = self.summary(row, kind) else { continue };
            let item = json!({
                "median": s.median, "min": s.min, "max": s.max, "rounds": self.values(row, kind),
                "mini_fo_ratio": self.ratio(row, kind),
            });
            systems.insert(kind.name().to_string(), item);
        }
        json!({"row": row, "systems": systems})
    }
}

/// A time with three digits or so.
fn short(time: f64) -> String {
    match time {
        t if t < 10.0 => format!("{t:.2}"),
        t if t < 100.0 => format!("{t:.1}"),
        t => format!("{t:.0}"),
    }
}
