//! The rows: what is measured, in which order.

mod changes;
mod data;
mod names;

use std::ffi::CString;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::tree::Size;

/// Rows that build upon each other and are run together.
struct Group {
    rows: &'static [&'static str],
    run: fn(&mut Scene) -> io::Result<()>,
}

const GROUPS: [Group; 9] = [
    Group { rows: &names::STAT, run: names::stat },
    Group { rows: &names::ABSENT, run: names::absent },
    Group { rows: &names::OPEN, run: names::open },
    Group { rows: &names::LIST, run: names::list },
    Group { rows: &changes::STORAGE, run: changes::storage },
    Group { rows: &changes::DIRS, run: changes::dirs },
    Group { rows: &changes::BASE, run: changes::base },
    Group { rows: &data::BASE, run: data::base },
    Group { rows: &data::STORAGE, run: data::storage },
];

/// Which rows are run, and which are shown.
pub struct Plan {
    only: Vec<String>,
}

impl Plan {
    /// Rows whose name contains one of `only`, or all.
    ///
    /// # Errors
    /// No row's does.
    pub fn new(only: &[String]) -> io::Result<Self> {
        let plan = Self { only: only.to_vec() };
        if plan.rows().is_empty() {
            return Err(io::Error::other("no row has such a name"));
        }
        Ok(plan)
    }

    /// The names of the rows shown.
    pub fn rows(&self) -> Vec<&'static str> {
        GROUPS.iter().flat_map(|group| group.rows).copied().filter(|row| self.wants(row)).collect()
    }

    fn wants(&self, row: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|text| row.contains(text.as_str()))
    }

    /// Runs every group that has a row to show.
    ///
    /// # Errors
    /// The first operation that fails.
    pub fn run(&self, scene: &mut Scene) -> io::Result<()> {
        for group in GROUPS.iter().filter(|group| group.rows.iter().any(|row| self.wants(row))) {
            (group.run)(scene)?;
        }
        Ok(())
    }
}

/// A mounted system and what has been measured on it.
pub struct Scene {
    root: PathBuf,
    size: Size,
    /// Row and microseconds per operation.
    pub times: Vec<(&'static str, f64)>,
}

impl Scene {
    /// Nothing measured yet.
    pub fn new(root: &Path, size: Size) -> Self {
        Self { root: root.to_path_buf(), size, times: Vec::new() }
    }

    fn path(&self, name: &str) -> io::Result<CString> {
        use std::os::unix::ffi::OsStrExt;
        Ok(CString::new(self.root.join(name).as_os_str().as_bytes())?)
    }

    /// The paths `PREFIX0`, `PREFIX1` and so on: made before the clock runs.
    fn paths(&self, prefix: &str) -> io::Result<Vec<CString>> {
        (0..self.size.files).map(|i| self.path(&format!("{prefix}{i}"))).collect()
    }

    /// Times `op` on each item.
    fn each<T>(
        &mut self,
        row: &'static str,
        items: impl ExactSizeIterator<Item = T>,
        mut op: impl FnMut(T) -> rustix::io::Result<()>,
    ) -> io::Result<()> {
        let count = items.len().max(1);
        let start = Instant::now();
        for item in items {
            op(item).map_err(|e| crate::systems::within(row, &e.into()))?;
        }
        // Counts stay far below 2^52.
        let per_op = start.elapsed().as_secs_f64() * 1e6 / count as f64;
        self.times.push((row, per_op));
        Ok(())
    }
}
