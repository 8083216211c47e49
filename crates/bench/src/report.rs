//! What was measured, and its forms: a table for people, JSON for programs, a
//! picture, and whether the goals are met.

mod goals;
mod json;
mod svg;
mod text;

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::client::Outcome;
use crate::rows::Size;
use crate::stages::{Plan, Row};
use crate::stats::Summary;
use crate::systems::{Programs, SYSTEMS, System, Usage};

/// Everything measured so far.
pub struct Report {
    systems: Vec<&'static System>,
    rows: Vec<Row>,
    /// Row, system, microseconds of one round.
    times: Vec<(Row, &'static System, f64)>,
    /// Stage, system and what its daemon has used in one round.
    pub usages: Vec<(usize, &'static System, Usage)>,
    /// What was left out, and why.
    pub notes: Vec<String>,
    /// What went wrong, and in which round of which system.
    pub failures: Vec<String>,
    /// The machine and the sizes: names and values.
    pub about: Value,
}

impl Report {
    /// An empty report on the plan's rows.
    pub fn new(systems: &[&'static System], plan: &Plan) -> Self {
        Self {
            systems: systems.to_vec(),
            rows: plan.rows(),
            times: Vec::new(),
            usages: Vec::new(),
            notes: Vec::new(),
            failures: Vec::new(),
            about: Value::Null,
        }
    }

    /// Adds one round of one system.
    pub fn add(&mut self, stage: usize, system: &'static System, outcome: &Outcome) {
        for (name, micros) in &outcome.times {
            // Rows that came along with others are not shown.
            let row = self.rows.iter().find(|row| row.stage == stage && row.name == name);
            if let Some(&row) = row {
                self.times.push((row, system, *micros));
            }
        }
        for skipped in &outcome.skipped {
            let note = format!("{}: {skipped}", system.name);
            if !self.notes.contains(&note) {
                self.notes.push(note);
            }
        }
    }

    fn values(&self, row: Row, system: &System) -> Vec<f64> {
        let of_row = self.times.iter().filter(|(r, s, _)| *r == row && *s == system);
        of_row.map(|&(_, _, time)| time).collect()
    }

    fn summary(&self, row: Row, system: &System) -> Option<Summary> {
        Summary::of(&self.values(row, system))
    }

    /// The median in microseconds, by names.
    fn median(&self, row: &str, system: &str) -> Option<f64> {
        let row = self.rows.iter().find(|known| known.full() == row)?;
        let system = self.systems.iter().find(|known| known.name == system)?;
        Some(self.summary(*row, system)?.median)
    }

    /// What the daemon of `system` has used in the rounds of `stage`.
    fn usage(&self, stage: usize, system: &System) -> Option<(Summary, Summary)> {
        let of = |value: fn(&Usage) -> f64| {
            let ours = self.usages.iter().filter(|(n, s, _)| *n == stage && *s == system);
            Summary::of(&ours.map(|(_, _, usage)| value(usage)).collect::<Vec<_>>())
        };
        // KiB stay far below 2^52.
        Some((of(|usage| usage.cpu)?, of(|usage| usage.peak_kib as f64)?))
    }

    /// A table of each stage, the daemons, what is missing, and the goals.
    pub fn text(&self) -> String {
        text::text(self) + &goals::text(self)
    }

    /// Everything, with the single rounds.
    pub fn json(&self) -> String {
        format!("{:#}\n", json::json(self))
    }

    /// A picture of the medians.
    pub fn svg(&self) -> String {
        svg::svg(self)
    }
}

/// The systems and rows there are, one a line.
pub fn list() -> String {
    let mut out = String::new();
    for system in &SYSTEMS {
        // Writing to a string does not fail.
        let _ = writeln!(out, "system  {}", system.name);
    }
    for row in Plan::of(&[]).rows() {
        let _ = writeln!(out, "row     {}", row.full());
    }
    out
}

/// What the numbers were measured with and on.
pub fn about(rounds: usize, size: &Size, programs: &Programs, archive: Option<&Path>) -> Value {
    let system = rustix::system::uname();
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cpu = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split(':').nth(1));
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let memory = memory.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = memory.and_then(|text| text.split_whitespace().next()?.parse::<u64>().ok());
    json!({
        "kernel": system.release().to_string_lossy(),
        "machine": system.machine().to_string_lossy(),
        "processor": cpu.map(str::trim),
        "processors": std::thread::available_parallelism().map_or(0, usize::from),
        "memory_mib": kib.map(|kib| kib >> 10),
        "seconds_since_1970": std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH).map_or(0, |time| time.as_secs()),
        "rounds": rounds,
        "size": size.encode(),
        "sources": archive.map_or("generated".into(), |file| file.display().to_string()),
        "mini_fo_binary_bytes": fs::metadata(&programs.mini_fo).ok().map(|meta| meta.len()),
    })
}

#[cfg(test)]
fn example() -> Report {
    let named = |name: &str| SYSTEMS.iter().find(|system| system.name == name).unwrap();
    let names = ["native", "overlayfs", "fuse-overlayfs", "mini_fo-uring"];
    let systems: Vec<_> = names.map(named).into();
    let mut report = Report::new(&systems, &Plan::of(&["mkdir".into(), "grep".into()]));
    for (system, time) in systems.iter().zip([1.0, 2.0, 8.0, 4.0]) {
        for factor in [1.0, 0.5, 1.5] {
            let times = [("mkdir", 10.0), ("grep -r, second pass", 1e6), ("unknown", 1.0)];
            let times = times.map(|(row, micros)| (row.to_string(), micros * time * factor));
            for stage in 0..crate::stages::STAGES.len() {
                let outcome = Outcome { times: times.to_vec(), ..Outcome::default() };
                report.add(stage, system, &outcome);
            }
        }
    }
    let usage = Usage { cpu: 1.5, peak_kib: 2048 };
    report.usages.push((0, named("mini_fo-uring"), usage));
    report.about = json!({"rounds": 3});
    report.notes.push("fio <& co>: \"not\" installed".into());
    report
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_are_found_by_names() {
        let report = example();
        assert_eq!(report.median("one client: mkdir", "overlayfs"), Some(20.0));
        assert_eq!(report.median("trees: grep -r, second pass", "native"), Some(1e6));
        assert_eq!(report.median("one client: rmdir", "native"), None);
        assert_eq!(report.median("one client: mkdir", "unionfs-fuse"), None);
    }

    #[test]
    fn what_is_skipped_is_noted_once() {
        let mut report = example();
        let outcome = Outcome { skipped: vec!["git: none".into()], ..Outcome::default() };
        report.add(3, &SYSTEMS[0], &outcome);
        report.add(3, &SYSTEMS[0], &outcome);
        assert_eq!(report.notes.iter().filter(|note| *note == "native: git: none").count(), 1);
    }

    #[test]
    fn the_list_names_everything() {
        let list = list();
        assert!(list.contains("mini_fo-classic-cached\n") && list.contains("fio: read 4 KiB"));
    }
}
