//! Programs that write all the time, and remember what they were told is done.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use super::case::Verdict;

/// How many work at once, each in a directory of its own.
const WORKERS: u32 = 3;

/// What their directories are called, and a digit.
const PREFIX: &str = "worker";

/// A difference between two trees is one of their work, or of the root's time.
pub fn is_of_workers(line: &str) -> bool {
    let line = line.trim_start_matches("./");
    line.starts_with(PREFIX) || line.contains(&format!(" ./{PREFIX}"))
}

/// What one has done.
#[derive(Clone, Copy, Default)]
struct Done {
    /// Lines that were appended to `log`.
    lines: u64,
    /// What `state` was replaced by the last time.
    state: u64,
    /// How often `a` was renamed to `b`, or back.
    moves: u64,
}

/// Programs at work.
pub struct Workers {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Done>>,
}

impl Workers {
    /// Begins in the tree at `root`.
    ///
    /// # Errors
    /// Their directories cannot be made.
    pub fn start(root: &Path) -> io::Result<Workers> {
        let stop = Arc::new(AtomicBool::new(false));
        let mut threads = Vec::new();
        for number in 0..WORKERS {
            let dir = dir_of(root, number);
            fs::create_dir(&dir)?;
            fs::create_dir(dir.join("a"))?;
            let stop = Arc::clone(&stop);
            threads.push(std::thread::spawn(move || {
                let mut done = Done::default();
                // The daemon is killed at some time.
                let _ = work(&dir, &stop, &mut done);
                done
            }));
        }
        Ok(Workers { stop, threads })
    }

    /// Ends them; the result is what they have done.
    pub fn stop(self) -> AllDone {
        self.stop.store(true, Ordering::Relaxed);
        AllDone(self.threads.into_iter().map(|one| one.join().unwrap_or_default()).collect())
    }
}

fn dir_of(root: &Path, number: u32) -> PathBuf {
    root.join(format!("{PREFIX}{number}"))
}

fn work(dir: &Path, stop: &AtomicBool, done: &mut Done) -> io::Result<()> {
    let open = || File::options().append(true).create(true).open(dir.join("log"));
    let mut log = open()?;
    while !stop.load(Ordering::Relaxed) {
        let next = done.lines + 1;
        log.write_all(format!("{next}\n").as_bytes())?;
        done.lines = next;
        if next.is_multiple_of(5) {
            log.sync_all()?;
        }
        if next.is_multiple_of(7) {
            drop(log);
            log = open()?;
        }
        if next.is_multiple_of(3) {
            let new = dir.join("new");
            fs::write(&new, (done.state + 1).to_string())?;
            fs::rename(&new, dir.join("state"))?;
            done.state += 1;
        }
        if next.is_multiple_of(4) {
            let (from, to) = if done.moves.is_multiple_of(2) { ("a", "b") } else { ("b", "a") };
            fs::write(dir.join(from).join("in"), done.moves.to_string())?;
            fs::rename(dir.join(from), dir.join(to))?;
            done.moves += 1;
        }
    }
    Ok(())
}

/// What all of them have done.
pub struct AllDone(Vec<Done>);

impl AllDone {
    /// All of it is in the tree at `root`, and nothing else but what was being done. `mounted`
    /// mounts that for a look.
    pub fn are_in(
        &self,
        root: &Path,
        mounted: impl FnOnce(&mut dyn FnMut() -> Verdict<()>) -> Verdict<()>,
    ) -> Verdict<()> {
        mounted(&mut || {
            for (number, done) in (0..).zip(&self.0) {
                let dir = dir_of(root, number);
                done.is_in(&dir).map_err(|wrong| format!("{}: {wrong}", dir.display()))?;
            }
            Ok(())
        })
    }
}

impl Done {
    fn is_in(&self, dir: &Path) -> Verdict<()> {
        let read = |name: &str| fs::read_to_string(dir.join(name)).unwrap_or_default();
        let log = read("log");
        let lines = log.lines().count() as u64;
        let expected: String = (1..=lines).map(|line| format!("{line}\n")).collect();
        if log != expected || !is_next(self.lines, lines) {
            let end = log.get(log.len().saturating_sub(40)..).unwrap_or_default();
            return Err(format!("log has {lines} lines, of {} told: {end:?}", self.lines));
        }
        let state: u64 = read("state").parse().unwrap_or_default();
        if !is_next(self.state, state) {
            return Err(format!("state is {state}, {} was told", self.state));
        }
        let (a, b) = (dir.join("a").exists(), dir.join("b").exists());
        let moves = if self.moves.is_multiple_of(2) == a { self.moves } else { self.moves + 1 };
        if a == b {
            return Err(format!("a and b are both there, or none, after {} moves", self.moves));
        }
        let inside = read(if a { "a/in" } else { "b/in" });
        let told = moves.checked_sub(1).map(|last| last.to_string()).unwrap_or_default();
        // The next one may have been written, or be about to.
        let fits = inside == told || inside == moves.to_string() || inside.is_empty();
        if fits { Ok(()) } else { Err(format!("in is {inside:?}, {told} was told")) }
    }
}

fn is_next(told: u64, found: u64) -> bool {
    found == told || found == told + 1
}
