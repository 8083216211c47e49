//! What mini_fo wants to reach, and whether it does.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::Report;
use super::text::short;

/// A bound on the median of mini_fo.
#[derive(Clone, Copy)]
enum Limit {
    /// So many times the median of a system.
    Times(f64, &'static str),
    /// Less than the median of a system.
    Below(&'static str),
    /// Microseconds.
    Micros(f64),
}

/// Some rows and what is wanted of them.
struct Goal {
    what: &'static str,
    /// The modes of mini_fo that it is for: the first one measured counts.
    ours: &'static [&'static str],
    /// All limits must hold, or one of them.
    all: bool,
    limits: &'static [Limit],
    rows: &'static [&'static str],
}

const ROOT: [&str; 2] = ["mini_fo-uring", "mini_fo-classic"];
const USER: [&str; 2] = ["mini_fo-user-uring", "mini_fo-user-classic"];

static GOALS: [Goal; 6] = [
    Goal {
        what: "open files, warm names and data: at most 1.05 times native, or 1.02 times overlayfs",
        ours: &ROOT,
        all: false,
        limits: &[Limit::Times(1.05, "native"), Limit::Times(1.02, "overlayfs")],
        rows: &[
            "one client: stat, warm",
            "one client: readdir, warm",
            "one client: readdir with lstat, warm",
            "one client: read 1 MiB base, first pass",
            "one client: read 1 MiB base, second pass",
            "one client: read 4 KiB base, random",
            "one client: write 1 MiB base, in order",
            "one client: write 4 KiB base, random",
            "one client: write 1 MiB storage, in order",
            "one client: read 1 MiB storage, in order",
            "one client: write 4 KiB storage, random",
            "one client: read 4 KiB storage, random",
            "trees: grep -r, second pass",
            "fio: read 128 KiB in order, cold",
            "fio: read 128 KiB in order, warm",
            "fio: write 128 KiB in order, copied file",
            "fio: read 4 KiB at random, cold",
            "fio: read 4 KiB at random, warm",
            "fio: write 4 KiB at random, copied file",
        ],
    },
    Goal {
        what: "open-read-close and cold stat: at most 2 times overlayfs",
        ours: &ROOT,
        all: true,
        limits: &[Limit::Times(2.0, "overlayfs")],
        rows: &[
            "one client: stat, cold",
            "one client: open-read-close base, cold",
            "one client: open-read-close base, warm",
            "one client: open-read-close storage",
        ],
    },
    Goal {
        what: "changes of names: at most 2.5 times overlayfs, and 3 times faster than fuse-overlayfs",
        ours: &ROOT,
        all: true,
        limits: &[Limit::Times(2.5, "overlayfs"), Limit::Times(1.0 / 3.0, "fuse-overlayfs")],
        rows: &[
            "one client: create-write-close",
            "one client: rename storage file",
            "one client: unlink storage file",
            "one client: unlink base file",
            "one client: mkdir",
            "one client: rmdir",
            "trees: untar the tree into it",
            "trees: rm -rf of what was untarred",
            "trees: rm -rf of a base subtree",
        ],
    },
    Goal {
        what: "copy-up: faster than overlayfs",
        ours: &ROOT,
        all: true,
        limits: &[Limit::Below("overlayfs")],
        rows: &[
            "one client: chmod base file",
            "one client: append to base file",
            "one client: rename base file",
            "trees: append one byte to the big base file",
            "trees: touch every file of a base subtree",
            "trees: chmod -R of a base subtree",
            "trees: sed -i over a base subtree",
            "trees: mv of a base directory",
        ],
    },
    Goal {
        what: "one byte into a 10 GiB base file: under 5 ms",
        ours: &ROOT,
        all: true,
        limits: &[Limit::Micros(5000.0)],
        rows: &["trees: write one byte into a 10 GiB base file"],
    },
    Goal {
        what: "changes by an ordinary user: 2 times faster than fuse-overlayfs",
        ours: &USER,
        all: true,
        limits: &[Limit::Times(0.5, "fuse-overlayfs-user")],
        rows: &[
            "one client: create-write-close",
            "one client: rewrite (truncating)",
            "one client: overwrite",
            "one client: rename storage file",
            "one client: unlink storage file",
            "one client: mkdir",
            "one client: rmdir",
            "one client: chmod base file",
            "one client: append to base file",
            "one client: rename base file",
            "one client: unlink base file",
            "trees: untar the tree into it",
            "trees: rm -rf of what was untarred",
            "trees: append one byte to the big base file",
            "trees: touch every file of a base subtree",
            "trees: chmod -R of a base subtree",
            "trees: sed -i over a base subtree",
            "trees: mv of a base directory",
            "trees: rm -rf of a base subtree",
        ],
    },
];

/// How one row stands to one goal.
struct Verdict {
    goal: &'static str,
    row: &'static str,
    ours: &'static str,
    /// Nothing when not everything was measured that decides it.
    met: Option<bool>,
    /// What was measured, for people.
    measured: Vec<String>,
}

/// Whether `limit` holds, and what was measured.
fn judge(limit: Limit, ours: f64, peer: impl Fn(&str) -> Option<f64>) -> Option<(bool, String)> {
    let ratio = |name: &str| Some(ours / peer(name).filter(|&time| time > 0.0)?);
    match limit {
        Limit::Times(most, name) => {
            let ratio = ratio(name)?;
            Some((ratio <= most, format!("{} × {name} (at most {most:.2})", short(ratio))))
        }
        Limit::Below(name) => {
            let ratio = ratio(name)?;
            Some((ratio < 1.0, format!("{} × {name} (below 1)", short(ratio))))
        }
        Limit::Micros(most) => Some((ours < most, format!("{} ms", short(ours / 1000.0)))),
    }
}

fn decide(goal: &Goal, row: &'static str, report: &Report) -> Option<Verdict> {
    let of = |name: &&'static str| Some((*name, report.median(row, name)?));
    let (name, ours) = goal.ours.iter().find_map(of)?;
    let mut measured = Vec::new();
    let mut held = Vec::new();
    for &limit in goal.limits {
        let outcome = judge(limit, ours, |peer| report.median(row, peer));
        held.push(outcome.as_ref().map(|(held, _)| *held));
        measured.extend(outcome.map(|(_, text)| text));
    }
    let met = match goal.all {
        true if held.contains(&Some(false)) => Some(false),
        false if held.contains(&Some(true)) => Some(true),
        _ if held.contains(&None) => None,
        all => Some(all),
    };
    Some(Verdict { goal: goal.what, row, ours: name, met, measured })
}

fn verdicts(report: &Report) -> Vec<Verdict> {
    let rows = GOALS.iter().flat_map(|goal| goal.rows.iter().map(move |&row| (goal, row)));
    rows.filter_map(|(goal, row)| decide(goal, row, report)).collect()
}

/// What is met and what is not, for people.
pub fn text(report: &Report) -> String {
    let verdicts = verdicts(report);
    let met = verdicts.iter().filter(|verdict| verdict.met == Some(true)).count();
    let decided = verdicts.iter().filter(|verdict| verdict.met.is_some()).count();
    let mut out = format!("\nGoals: {met} of {decided} met\n");
    for goal in &GOALS {
        let of_goal: Vec<_> = verdicts.iter().filter(|verdict| verdict.goal == goal.what).collect();
        let Some(first) = of_goal.first() else { continue };
        // Writing to a string does not fail.
        let _ = writeln!(out, "\n{} ({})", goal.what, first.ours);
        for verdict in of_goal {
            let word = match verdict.met {
                Some(true) => "met",
                Some(false) => "MISSED",
                None => "open",
            };
            let _ =
                writeln!(out, "  {word:<6}  {:<48} {}", verdict.row, verdict.measured.join(", "));
        }
    }
    out
}

/// The same for programs.
pub fn json(report: &Report) -> Vec<Value> {
    let item = |verdict: &Verdict| {
        json!({
            "goal": verdict.goal, "row": verdict.row, "system": verdict.ours,
            "met": verdict.met, "measured": verdict.measured,
        })
    };
    verdicts(report).iter().map(item).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stages::Plan;

    #[test]
    fn goals_are_about_rows_and_systems_that_exist() {
        let rows: Vec<String> = Plan::of(&[]).rows().iter().map(|row| row.full()).collect();
        let systems: Vec<&str> = crate::systems::SYSTEMS.iter().map(|s| s.name).collect();
        for goal in &GOALS {
            for row in goal.rows {
                assert!(rows.iter().any(|known| known == row), "{row}");
            }
            for limit in goal.limits {
                if let Limit::Times(_, name) | Limit::Below(name) = limit {
                    assert!(systems.contains(name), "{name}");
                }
            }
            assert!(goal.ours.iter().all(|name| systems.contains(name)));
        }
    }

    #[test]
    fn limits_are_judged_by_ratios() {
        let peer = |name: &str| (name == "native").then_some(10.0);
        let judged = |limit| judge(limit, 20.0, peer).map(|(held, _)| held);
        assert_eq!(judged(Limit::Times(2.0, "native")), Some(true));
        assert_eq!(judged(Limit::Times(1.9, "native")), Some(false));
        assert_eq!(judged(Limit::Below("native")), Some(false));
        assert_eq!(judged(Limit::Times(1.0, "overlayfs")), None);
        assert_eq!(judged(Limit::Micros(21.0)), Some(true));
    }

    /// In the example mini_fo takes 4, overlayfs 2 and fuse-overlayfs 8.
    #[test]
    fn one_missed_limit_misses_a_goal_of_all() {
        let report = super::super::example();
        let verdicts = verdicts(&report);
        let of = |row: &str| verdicts.iter().find(|verdict| verdict.row == row).unwrap();
        let mkdir = of("one client: mkdir");
        assert_eq!(mkdir.met, Some(false));
        assert_eq!(mkdir.measured.len(), 2);
        assert_eq!(of("trees: grep -r, second pass").met, Some(false));
        assert!(text(&report).contains("MISSED  one client: mkdir"), "{}", text(&report));
        assert!(text(&report).contains("Goals: 0 of 2 met"));
    }
}
