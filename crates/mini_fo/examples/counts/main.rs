//! Counts what operations cost: the requests that the kernel sends to the
//! daemon, and the system calls that the daemon makes for them.
//!
//! `make counts`, or `counts MINI_FO [DIRECTORY [OPTIONS]]`: mounts a tree made
//! below DIRECTORY, runs each row some times while strace(1) watches the
//! daemon, and prints two tables. Times of a traced program say nothing, so
//! none are shown; the counts are exact. Needs the rights to mount and to trace.

mod rows;
mod trace;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rows::{Row, Scene, TIMES};
use trace::Tally;

/// After a row: for what the kernel sends without being waited for.
const SETTLE: Duration = Duration::from_millis(80);

/// Others on the machine may drop the kernel's caches at any time: of so many
/// series each row shows the one with the fewest requests.
const SERIES: usize = 3;

fn main() -> std::io::Result<()> {
    let mut args = std::env::args_os().skip(1);
    let Some(program) = args.next() else {
        eprintln!("usage: counts MINI_FO [DIRECTORY [OPTIONS]]");
        std::process::exit(2);
    };
    let dir = args.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let options = args.next().unwrap_or_else(|| "transport=classic,nobtime".into());
    let mut least = series(Path::new(&program), &dir, &options)?;
    for _ in 1..SERIES {
        let again = series(Path::new(&program), &dir, &options)?;
        for (kept, tally) in least.iter_mut().zip(again) {
            if tally.weight() < kept.weight() {
                *kept = tally;
            }
        }
    }
    print_tables(&least);
    Ok(())
}

fn series(program: &Path, dir: &Path, options: &OsStr) -> std::io::Result<Vec<Tally>> {
    let work = tempfile::Builder::new().prefix("mini_fo-counts").tempdir_in(dir)?;
    let scene = Scene::make(work.path())?;
    rows::all().iter().try_for_each(|row| row.make_base(&scene))?;
    let mounted = Mounted::new(program, &scene, options)?;
    let traces = work.path().join("traces");
    std::fs::create_dir(&traces)?;
    let mut strace = attach(mounted.daemon.id(), &traces)?;
    let periods: std::io::Result<Vec<_>> = rows::all().iter().map(|row| run(row, &scene)).collect();
    // It lets go of the daemon, which goes on.
    Command::new("kill").arg(strace.id().to_string()).status()?;
    strace.wait()?;
    drop(mounted);
    trace::read(&traces, &periods?)
}

/// From when to when, in seconds of the clock that strace shows.
type Period = (f64, f64);

fn run(row: &Row, scene: &Scene) -> std::io::Result<Period> {
    let error = |e: std::io::Error| std::io::Error::other(format!("{}: {e}", row.name));
    (row.prepare)(&scene.mounted(row)).map_err(error)?;
    std::thread::sleep(SETTLE);
    let begin = now();
    for nth in 0..TIMES {
        (row.run)(&scene.mounted(row), nth).map_err(error)?;
    }
    std::thread::sleep(SETTLE);
    let end = now();
    (row.finish)();
    Ok((begin, end))
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

/// A mount, gone when dropped.
struct Mounted {
    daemon: Child,
    point: PathBuf,
}

impl Mounted {
    fn new(program: &Path, scene: &Scene, options: &std::ffi::OsStr) -> std::io::Result<Mounted> {
        let daemon = Command::new(program)
            .args(["mount", "--foreground", "-o"])
            .arg(options)
            .args([&scene.base, &scene.point])
            .arg("--storage")
            .arg(&scene.storage)
            .stderr(Stdio::null())
            .spawn()?;
        let mounted = Mounted { daemon, point: scene.point.clone() };
        for _ in 0..500 {
            if mounted.point.join("stat cold").exists() {
                return Ok(mounted);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Err(std::io::Error::other("the mount did not come"))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.point).status();
        let _ = self.daemon.wait();
    }
}

/// strace(1) on all threads, one file for each: so no call is split in two.
fn attach(pid: u32, traces: &Path) -> std::io::Result<Child> {
    let child = Command::new("strace")
        .args(["-ff", "-ttt", "-T", "-y", "-xx", "-s", "64", "-o"])
        .arg(traces.join("of"))
        .args(["-p", &pid.to_string()])
        .stderr(Stdio::null())
        .spawn()?;
    let threads = std::fs::read_dir(format!("/proc/{pid}/task"))?.count();
    for _ in 0..500 {
        if std::fs::read_dir(traces)?.count() >= threads {
            std::thread::sleep(SETTLE);
            return Ok(child);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Err(std::io::Error::other("strace did not attach"))
}

fn print_tables(tallies: &[Tally]) {
    let rows = rows::all();
    println!("| operation | requests | |\n| --- | ---: | --- |");
    for (row, tally) in rows.iter().zip(tallies) {
        println!("| {} | {} | {} |", row.name, total(&tally.requests), list(&tally.requests));
    }
    println!("\n| operation | system calls | | of the transport |\n| --- | ---: | --- | --- |");
    for (row, tally) in rows.iter().zip(tallies) {
        let (calls, all) = (list(&tally.calls), total(&tally.calls));
        println!("| {} | {all} | {calls} | {} |", row.name, list(&tally.transport));
    }
}

fn each(count: u32) -> String {
    let each = f64::from(count) / f64::from(TIMES);
    let text = format!("{each:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn total(counts: &BTreeMap<String, u32>) -> String {
    each(counts.values().sum())
}

/// Most frequent ones first; a single one without its number.
fn list(counts: &BTreeMap<String, u32>) -> String {
    let mut counts: Vec<_> = counts.iter().collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    let show = |(name, count): (&String, &u32)| match each(*count).as_str() {
        "1" => name.clone(),
        each => format!("{each} {name}"),
    };
    counts.into_iter().map(show).collect::<Vec<_>>().join(", ")
}
