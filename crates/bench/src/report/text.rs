//! The table for people.

use std::fmt::Write as _;

use super::Report;
use crate::stages::{Row, STAGES, Stage, Unit};
use crate::stats::Summary;

/// Markdown tables, their columns aligned, and what else there is to say.
pub fn text(report: &Report) -> String {
    let mut out = String::new();
    for (n, stage) in STAGES.iter().enumerate() {
        let rows: Vec<Row> = report.rows.iter().copied().filter(|row| row.stage == n).collect();
        if rows.is_empty() {
            continue;
        }
        let mut lines = vec![head(report, stage)];
        lines.extend(rows.iter().map(|&row| line(report, stage, row)));
        // Writing to a string does not fail.
        let _ = writeln!(out, "{}", table(lines));
    }
    out.push_str(&daemons(report));
    out.push_str(&remarks(report));
    out
}

fn head(report: &Report, stage: &Stage) -> Vec<String> {
    let unit = match stage.unit {
        Unit::Micros => "µs per operation",
        Unit::Seconds => "seconds",
    };
    let mut cells = vec![format!("{}: {unit}", stage.name)];
    cells.extend(report.systems.iter().map(|system| system.short.to_string()));
    cells
}

fn line(report: &Report, stage: &Stage, row: Row) -> Vec<String> {
    let mut cells = vec![row.name.to_string()];
    let factor = if stage.unit == Unit::Seconds { 1e-6 } else { 1.0 };
    let of = |system| report.summary(row, system);
    cells.extend(
        report
            .systems
            .iter()
            .map(|system| of(system).map_or(String::new(), |summary| cell(&summary, factor))),
    );
    cells
}

fn cell(summary: &Summary, factor: f64) -> String {
    let median = short(summary.median * factor);
    match summary.rounds {
        // One round says nothing of the spread.
        1 => median,
        _ => format!("{median} ±{:.0}%", summary.spread() * 100.0),
    }
}

/// A number with three digits or so.
pub fn short(number: f64) -> String {
    match number {
        n if n < 0.0995 => format!("{n:.4}"),
        n if n < 0.995 => format!("{n:.3}"),
        n if n < 9.95 => format!("{n:.2}"),
        n if n < 99.5 => format!("{n:.1}"),
        n => format!("{n:.0}"),
    }
}

/// Lines of cells as a Markdown table: the first line is the head.
pub fn table(mut lines: Vec<Vec<String>>) -> String {
    let columns = lines.iter().map(Vec::len).max().unwrap_or(0);
    let widest = |n: usize| {
        let cells = lines.iter().filter_map(|line| line.get(n));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0).max(3)
    };
    let widths: Vec<usize> = (0..columns).map(widest).collect();
    let rule = widths.iter().enumerate().map(|(n, &width)| match n {
        0 => "-".repeat(width),
        _ => format!("{}:", "-".repeat(width.saturating_sub(1))),
    });
    lines.insert(1.min(lines.len()), rule.collect());
    let mut out = String::new();
    for line in &lines {
        for (n, (cell, &width)) in line.iter().zip(&widths).enumerate() {
            let _ = match n {
                0 => write!(out, "| {cell:<width$} |"),
                _ => write!(out, " {cell:>width$} |"),
            };
        }
        out.push('\n');
    }
    out
}

fn daemons(report: &Report) -> String {
    let mut lines = vec![vec!["daemons: CPU seconds, peak MiB".to_string()]];
    let measured = |n: usize| report.usages.iter().any(|(stage, ..)| *stage == n);
    let stages: Vec<usize> = (0..STAGES.len()).filter(|&n| measured(n)).collect();
    for stage in stages.iter().filter_map(|&n| STAGES.get(n)) {
        lines.iter_mut().for_each(|line| line.push(stage.name.to_string()));
    }
    for system in &report.systems {
        let of = |&n: &usize| report.usage(n, system);
        if stages.iter().all(|n| of(n).is_none()) {
            continue;
        }
        let mut cells = vec![system.name.to_string()];
        cells.extend(stages.iter().map(|n| {
            of(n).map_or(String::new(), |(cpu, peak)| {
                format!("{}, {}", short(cpu.median), short(peak.max / 1024.0))
            })
        }));
        lines.push(cells);
    }
    if lines.len() == 1 { String::new() } else { table(lines) + "\n" }
}

fn remarks(report: &Report) -> String {
    let mut out = String::from(
        "Medians of the rounds; ± half of what lies between the fastest and the slowest.\n",
    );
    for system in report.systems.iter().filter(|system| system.short != system.name) {
        let _ = writeln!(out, "{}: {}", system.short, system.description());
    }
    for (name, value) in report.about.as_object().into_iter().flatten() {
        let _ = writeln!(out, "{}: {value}", name.replace('_', " "));
    }
    for note in &report.notes {
        let _ = writeln!(out, "Left out: {note}");
    }
    for failure in &report.failures {
        let _ = writeln!(out, "Not complete: {failure}");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let text = table(vec![vec!["µs".into(), "a".into()], vec!["x".into(), "12.50".into()]]);
        assert_eq!(text, "| µs  |     a |\n| --- | ----: |\n| x   | 12.50 |\n");
    }

    #[test]
    fn numbers_have_three_digits() {
        let of = [0.0123, 0.1234, 1.234, 12.34, 123.4].map(short);
        assert_eq!(of, ["0.0123", "0.123", "1.23", "12.3", "123"]);
    }

    #[test]
    fn every_stage_has_its_table() {
        let text = text(&super::super::example());
        assert!(text.contains("| one client: µs per operation |"), "{text}");
        assert!(text.contains("| trees: seconds "), "{text}");
        assert!(text.contains("10.0 ±50%") && text.contains(" 4.00 ±50%"), "{text}");
        assert!(text.contains("| mini_fo-uring ") && text.contains("1.50, 2.00"), "{text}");
        assert!(text.contains("Left out: fio <& co>") && !text.contains("unknown"), "{text}");
    }
}
