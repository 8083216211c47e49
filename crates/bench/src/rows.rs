//! The latencies of single operations, and the scene that everything is
//! measured in.

mod changes;
mod data;
mod names;
mod requests;

use std::ffi::CString;
use std::io;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::client::{self, Job};
use crate::stages::Group;
use crate::systems::within;

/// The rows of both stages of latencies.
pub static GROUPS: [Group; 9] = [
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

/// The rows of single requests that are asked for again and again.
pub static REQUESTS: [Group; 3] = [
    Group { rows: &requests::ALONE, run: requests::alone },
    Group { rows: &requests::BESIDE, run: requests::beside },
    Group { rows: &requests::CROWD, run: requests::crowd },
];

/// How large everything is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Size {
    /// Files in each directory of the latencies, and operations of most rows.
    pub files: usize,
    /// Bytes of the large file there, a multiple of 1 MiB.
    pub big: usize,
    /// Files of the source tree that is generated; of Debian's, at most.
    pub sources: usize,
    /// Files of each subtree that is changed.
    pub part: usize,
    /// Bytes of the file that one byte is appended to.
    pub append: usize,
    /// Files in the git repository.
    pub repository: usize,
    /// Modules in the crate that is built.
    pub modules: usize,
    /// Bytes of each file of fio.
    pub fio: usize,
}

impl Size {
    /// Enough to see whether it runs.
    pub fn quick() -> Self {
        Self {
            files: 40,
            big: 4 << 20,
            sources: 200,
            part: 40,
            append: 4 << 20,
            repository: 100,
            modules: 1,
            fio: 4 << 20,
        }
    }

    /// What fits into twenty minutes.
    pub fn usual(files: usize) -> Self {
        Self {
            files,
            big: 64 << 20,
            sources: 3000,
            part: 400,
            append: 128 << 20,
            repository: 2000,
            modules: 6,
            fio: 64 << 20,
        }
    }

    /// Large trees and files.
    pub fn full(files: usize) -> Self {
        Self {
            sources: 25_000,
            part: 1500,
            append: 1 << 30,
            repository: 5000,
            modules: 60,
            fio: 256 << 20,
            ..Self::usual(files)
        }
    }

    /// For people and for a client.
    pub fn encode(&self) -> Value {
        json!({
            "files": self.files, "big": self.big, "sources": self.sources, "part": self.part,
            "append": self.append, "repository": self.repository, "modules": self.modules,
            "fio": self.fio,
        })
    }

    /// What [`Size::encode`] made.
    pub fn decode(value: &Value) -> Option<Self> {
        let number = |key: &str| value[key].as_u64().and_then(|n| usize::try_from(n).ok());
        Some(Self {
            files: number("files")?,
            big: number("big")?,
            sources: number("sources")?,
            part: number("part")?,
            append: number("append")?,
            repository: number("repository")?,
            modules: number("modules")?,
            fio: number("fio")?,
        })
    }
}

/// Bytes that every client has at hand.
pub const BLOCK: usize = 1 << 20;

/// A mounted tree, and how many work in it at once.
pub struct Scene {
    /// What is to be done.
    pub job: Job,
    clients: usize,
}

impl Scene {
    /// `clients` at once in the tree of `job`.
    pub fn new(job: Job, clients: usize) -> Self {
        Self { job, clients: clients.max(1) }
    }

    /// A path in the tree.
    pub fn at(&self, name: &str) -> PathBuf {
        self.job.root.join(name)
    }

    fn path(&self, name: &str) -> io::Result<CString> {
        use std::os::unix::ffi::OsStrExt;
        Ok(CString::new(self.at(name).as_os_str().as_bytes())?)
    }

    /// The paths `PREFIX0`, `PREFIX1` and so on: made before the clock runs.
    fn paths(&self, prefix: &str) -> io::Result<Vec<CString>> {
        (0..self.job.size.files).map(|i| self.path(&format!("{prefix}{i}"))).collect()
    }

    /// Times `op` on each item; with several clients each takes its part of
    /// them, and the time is what one operation took one of them, on average.
    fn each<T: Sync>(
        &mut self,
        row: &'static str,
        items: &[T],
        op: impl Fn(&T, &mut [u8]) -> rustix::io::Result<()> + Sync,
    ) -> io::Result<()> {
        let parts: Vec<&[T]> = items.chunks(items.len().div_ceil(self.clients).max(1)).collect();
        let barrier = Barrier::new(parts.len());
        let one = |part: &[T]| -> rustix::io::Result<Duration> {
            let mut block = vec![b'w'; BLOCK];
            barrier.wait();
            let start = Instant::now();
            part.iter().try_for_each(|item| op(item, &mut block))?;
            Ok(start.elapsed())
        };
        let times: Vec<_> = match parts.as_slice() {
            [whole] => vec![one(whole)],
            parts => thread::scope(|scope| {
                let clients: Vec<_> = parts.iter().map(|part| scope.spawn(|| one(part))).collect();
                clients.into_iter().map(|client| client.join()).collect::<Result<_, _>>()
            })
            .map_err(|_| io::Error::other("a client fell over"))?,
        };
        let mut sum = 0.0;
        for (time, part) in times.into_iter().zip(&parts) {
            let time = time.map_err(|error| within(row, &error.into()))?;
            // Counts stay far below 2^52.
            sum += time.as_secs_f64() * 1e6 / part.len() as f64;
        }
        client::report(row, sum / parts.len().max(1) as f64)
    }

    /// Times something that happens once.
    ///
    /// # Errors
    /// What `op` says; nobody listens.
    pub fn once(&self, row: &str, op: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let start = Instant::now();
        op().map_err(|error| within(row, &error))?;
        client::report(row, start.elapsed().as_secs_f64() * 1e6)
    }

    /// Times a shell script in the tree, whose output goes nowhere.
    ///
    /// # Errors
    /// It does not succeed; nobody listens.
    pub fn shell(&self, row: &str, script: &str) -> io::Result<()> {
        let mut command = Command::new("sh");
        command.args(["-euc", script]).current_dir(&self.job.root).stdin(Stdio::null());
        command.stdout(Stdio::null());
        self.once(row, || {
            let status = command.status()?;
            if status.success() { Ok(()) } else { Err(io::Error::other(status.to_string())) }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_arrive_as_they_were_sent() {
        for size in [Size::quick(), Size::usual(7), Size::full(9)] {
            assert_eq!(Size::decode(&size.encode()), Some(size));
            assert_eq!(size.big % BLOCK + size.append % BLOCK + size.fio % BLOCK, 0);
        }
    }
}
