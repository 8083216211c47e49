//! Many requests of one kind by clients that may run on every CPU: how long each
//! takes, alone, beside programs that never rest, and with many clients at once.

use std::ffi::{CStr, CString};
use std::io;
use std::process::{Child, Command, Stdio};
use std::sync::Barrier;
use std::thread;
use std::time::Instant;

use rustix::fs::{AtFlags, CWD, StatxFlags, statx};

use super::Scene;
use super::names::open_read_close;
use crate::client;
use crate::stats::Summary;
use crate::systems::within;

pub const ALONE: [&str; 6] = [
    "statx, forced: median",
    "statx, forced: mean",
    "statx, forced: longest",
    "open-read-close: median",
    "open-read-close: mean",
    "open-read-close: longest",
];
pub const BESIDE: [&str; 6] = [
    "beside 4 loops: statx, forced: median",
    "beside 4 loops: statx, forced: mean",
    "beside 4 loops: statx, forced: longest",
    "beside 4 loops: open-read-close: median",
    "beside 4 loops: open-read-close: mean",
    "beside 4 loops: open-read-close: longest",
];
pub const CROWD: [&str; 6] = [
    "8 clients: statx, forced: median",
    "8 clients: statx, forced: mean",
    "8 clients: statx, forced: longest",
    "8 clients: open-read-close: median",
    "8 clients: open-read-close: mean",
    "8 clients: open-read-close: longest",
];

/// Endless loops beside a client.
const LOOPS: usize = 4;
/// Clients of a crowd.
const CLIENTS: usize = 8;
/// Requests for each file that the directories of other rows have.
const REPEATS: usize = 50;
/// Requests before the clock runs.
const WARM: usize = 200;

type Op = fn(&CStr) -> rustix::io::Result<()>;

pub fn alone(scene: &mut Scene) -> io::Result<()> {
    both(scene, ALONE, 1)
}

pub fn beside(scene: &mut Scene) -> io::Result<()> {
    let _loops = Loops::start()?;
    both(scene, BESIDE, 1)
}

pub fn crowd(scene: &mut Scene) -> io::Result<()> {
    both(scene, CROWD, CLIENTS)
}

fn both(scene: &Scene, rows: [&'static str; 6], clients: usize) -> io::Result<()> {
    let [median, mean, longest, open_median, open_mean, open_longest] = rows;
    measure(scene, [median, mean, longest], clients, ask)?;
    measure(scene, [open_median, open_mean, open_longest], clients, open_read_close)
}

/// Asks the server for attributes, whatever the kernel knows.
fn ask(path: &CStr) -> rustix::io::Result<()> {
    statx(CWD, path, AtFlags::STATX_FORCE_SYNC, StatxFlags::BASIC_STATS).map(drop)
}

/// Times `op` for each client on a file of its own.
fn measure(scene: &Scene, rows: [&str; 3], clients: usize, op: Op) -> io::Result<()> {
    let files = scene.job.size.files.max(1);
    let paths: Vec<CString> = (0..clients)
        .map(|n| scene.path(&format!("open/f{}", n % files)))
        .collect::<Result<_, _>>()?;
    let (times, barrier) = (files * REPEATS / clients, Barrier::new(clients));
    let results: Vec<_> = thread::scope(|scope| {
        let barrier = &barrier;
        let all: Vec<_> = paths
            .iter()
            .map(|path| scope.spawn(move || repeat(path, times, op, barrier)))
            .collect();
        all.into_iter().map(|client| client.join()).collect::<Result<_, _>>()
    })
    .map_err(|_| io::Error::other("a client fell over"))?;
    let mut micros = Vec::with_capacity(times * clients);
    for result in results {
        micros.extend(result.map_err(|error| within(rows[0], &error.into()))?);
    }
    let summary = Summary::of(&micros).ok_or_else(|| io::Error::other("nothing was measured"))?;
    // Counts stay far below 2^52.
    let mean = micros.iter().sum::<f64>() / micros.len() as f64;
    for (row, value) in rows.into_iter().zip([summary.median, mean, summary.max]) {
        client::report(row, value)?;
    }
    Ok(())
}

/// What `op` takes each of many times, in microseconds.
fn repeat(path: &CStr, times: usize, op: Op, barrier: &Barrier) -> rustix::io::Result<Vec<f64>> {
    let mut micros = Vec::with_capacity(times);
    let warm = (0..WARM).try_for_each(|_| op(path));
    // The others wait for this one, whatever happened.
    barrier.wait();
    warm?;
    for _ in 0..times {
        let start = Instant::now();
        op(path)?;
        micros.push(start.elapsed().as_secs_f64() * 1e6);
    }
    Ok(micros)
}

/// Programs that never rest, until dropped.
struct Loops(Vec<Child>);

impl Loops {
    fn start() -> io::Result<Loops> {
        let mut loops = Loops(Vec::new());
        for _ in 0..LOOPS {
            let mut shell = Command::new("sh");
            shell.args(["-c", "while :; do :; done"]).stdin(Stdio::null());
            loops.0.push(shell.spawn()?);
        }
        Ok(loops)
    }
}

impl Drop for Loops {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_request_counts_once() {
        let barrier = Barrier::new(1);
        let took = repeat(c"/", 3, ask, &barrier).unwrap();
        assert!(took.len() == 3 && took.iter().all(|&micros| micros > 0.0), "{took:?}");
        assert!(repeat(c"/no such file", 3, ask, &barrier).is_err());
    }

    #[test]
    fn loops_end() {
        let loops = Loops::start().unwrap();
        let pids: Vec<u32> = loops.0.iter().map(Child::id).collect();
        assert_eq!(pids.len(), LOOPS);
        drop(loops);
        for pid in pids {
            assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists(), "{pid}");
        }
    }
}
