//! The stages: what is measured on one mount, and which tree it starts from.

use std::io;
use std::path::Path;

use crate::rows::{self, Scene, Size};
use crate::workloads::{fio, programs, trees};

/// Rows that build upon each other and are run together.
pub struct Group {
    /// Their names.
    pub rows: &'static [&'static str],
    /// Measures them.
    pub run: fn(&mut Scene) -> io::Result<()>,
}

/// What the times of a stage are shown in.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Of one operation.
    Micros,
    /// Of the whole.
    Seconds,
}

/// Rows measured on one mount, with fresh storage.
pub struct Stage {
    /// Its name, which also chooses rows.
    pub name: &'static str,
    /// How its times are shown.
    pub unit: Unit,
    /// The name of the tree it starts from.
    pub base: &'static str,
    /// Makes that tree; the path of a source archive, if there is one.
    pub make: fn(&Path, &Size, Option<&Path>) -> io::Result<()>,
    /// How many work at once.
    pub clients: usize,
    /// What it measures, in order.
    pub groups: &'static [Group],
}

/// How many work at once in the stage of several.
const CLIENTS: usize = 4;

/// All stages.
pub static STAGES: [Stage; 6] = [
    Stage {
        name: "one client",
        unit: Unit::Micros,
        base: "rows",
        make: |base, size, _| crate::tree::make(base, size),
        clients: 1,
        groups: &rows::GROUPS,
    },
    Stage {
        name: "4 clients",
        unit: Unit::Micros,
        base: "rows",
        make: |base, size, _| crate::tree::make(base, size),
        clients: CLIENTS,
        groups: &rows::GROUPS,
    },
    Stage {
        name: "trees",
        unit: Unit::Seconds,
        base: "trees",
        make: trees::make,
        clients: 1,
        groups: &trees::GROUPS,
    },
    Stage {
        name: "programs",
        unit: Unit::Seconds,
        base: "programs",
        make: |base, size, _| programs::make(base, size),
        clients: 1,
        groups: &programs::GROUPS,
    },
    Stage {
        name: "requests",
        unit: Unit::Micros,
        base: "rows",
        make: |base, size, _| crate::tree::make(base, size),
        // As many as each group says.
        clients: 1,
        groups: &rows::REQUESTS,
    },
    Stage {
        name: "fio",
        unit: Unit::Micros,
        base: "fio",
        make: |base, size, _| fio::make(base, size),
        clients: 1,
        groups: &fio::GROUPS,
    },
];

/// A row of a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// Which of [`STAGES`].
    pub stage: usize,
    /// Its name there.
    pub name: &'static str,
}

impl Row {
    /// Stage and name.
    pub fn full(self) -> String {
        full(STAGES.get(self.stage).map_or("", |stage| stage.name), self.name)
    }
}

fn full(stage: &str, row: &str) -> String {
    format!("{stage}: {row}")
}

/// Which rows are run, and which are shown.
pub struct Plan {
    only: Vec<String>,
}

impl Plan {
    /// Rows whose stage and name (`STAGE: NAME`) contain one of `only`, or all.
    pub fn of(only: &[String]) -> Self {
        Self { only: only.to_vec() }
    }

    /// The rows shown.
    pub fn rows(&self) -> Vec<Row> {
        let mut rows = Vec::new();
        for (n, stage) in STAGES.iter().enumerate() {
            let names = stage.groups.iter().flat_map(|group| group.rows);
            let wanted = names.filter(|name| self.wants(stage, name));
            rows.extend(wanted.map(|name| Row { stage: n, name }));
        }
        rows
    }

    fn wants(&self, stage: &Stage, row: &str) -> bool {
        let name = full(stage.name, row);
        self.only.is_empty() || self.only.iter().any(|text| name.contains(text.as_str()))
    }

    /// Runs every group of `stage` that has a row to show.
    ///
    /// # Errors
    /// The first operation that fails.
    pub fn run(&self, stage: &Stage, scene: &mut Scene) -> io::Result<()> {
        for group in stage.groups {
            if group.rows.iter().any(|row| self.wants(stage, row)) {
                // What the rows before have written is not written in these.
                rustix::fs::syncfs(std::fs::File::open(&scene.job.home)?)?;
                (group.run)(scene)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_one_meaning() {
        let rows = Plan::of(&[]).rows();
        for (n, row) in rows.iter().enumerate() {
            assert!(rows.iter().skip(n + 1).all(|other| other != row), "{}", row.full());
        }
    }

    #[test]
    fn rows_are_chosen_by_stage_and_by_name() {
        let of = |text: &str| Plan::of(&[text.to_string()]).rows();
        assert!(of("trees: ").iter().all(|row| row.stage == 2) && of("trees: ").len() > 9);
        assert_eq!(of("chmod base file").len(), 2);
        assert!(of("no such row").is_empty());
    }
}
