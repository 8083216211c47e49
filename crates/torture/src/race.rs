//! Two requests at the same time: one is held at a storage call, and what the
//! other is told meanwhile must hold.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;

use crate::calls::Call;
use crate::mount::{self, Daemon};
use crate::place::{self, Place};
use crate::report::{Judge, Report};
use crate::run::Transport;
use crate::supervisor::{Plan, Record, Which};
use crate::uring::Uring;

/// A directory of the base, and what changes its META.
const DIR: &str = "d";

/// How long a request gets that need not wait.
const SOON: Duration = Duration::from_secs(2);

/// How long any may take.
const PATIENCE: Duration = Duration::from_secs(15);

/// How requests come, and where the storage is.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// How requests come to the daemon
    #[arg(long, value_enum, default_value = "classic")]
    transport: Transport,
    /// Have the storage in this directory instead of on tmpfs
    #[arg(long, value_name = "DIR")]
    on: Option<PathBuf>,
}

/// What is synced.
#[derive(Clone, Copy, Debug)]
enum Target {
    /// A file of the directory, by its name.
    File(&'static str),
    /// The directory itself.
    Dir,
}

/// A call that is held while somebody else syncs.
struct Case {
    name: &'static str,
    /// Who is held, and at what.
    first: Target,
    held: Which,
    /// Who comes meanwhile.
    second: Target,
}

const META_SYNC: Which = Which { name: "fdatasync", path_end: "/d/META_dAfFgHE39ktF3HD2sr" };
const META_WRITE: Which = Which { name: "pwrite64", ..META_SYNC };

const CASES: &[Case] = &[
    Case {
        name: "two_files",
        first: Target::File("a"),
        held: META_SYNC,
        second: Target::File("b"),
    },
    Case {
        name: "file_and_directory",
        first: Target::File("a"),
        held: META_SYNC,
        second: Target::Dir,
    },
    Case {
        name: "directory_and_file",
        first: Target::Dir,
        held: META_SYNC,
        second: Target::File("b"),
    },
    Case { name: "two_of_the_directory", first: Target::Dir, held: META_SYNC, second: Target::Dir },
];

/// Runs all; whether all was well.
///
/// # Errors
/// It cannot be done here.
pub fn run(options: &Options) -> io::Result<bool> {
    if !mount::program().exists() {
        let path = mount::program().display();
        return Err(io::Error::other(format!("{path} is not there: build it, or set MINI_FO")));
    }
    place::own_namespace()?;
    let _switched = match options.transport {
        Transport::Classic => None,
        _ => Some(Uring::on()?),
    };
    let place = Place::new(options.on.as_deref())?;
    let report = Report::default();
    for &transport in options.transport.names() {
        let tell = |scenario, outcome| {
            let judge = Judge { report: &report, scenario, transport, keep: &|_| {} };
            judge.tell("race", 0, None, outcome);
        };
        for case in CASES {
            tell(case.name, two_syncs(&place, transport, case));
        }
        tell("sync_in_a_write", sync_and_append(&place, transport, META_WRITE));
        tell("write_in_a_sync", sync_and_append(&place, transport, META_SYNC));
    }
    Ok(report.finish())
}

/// A mount with records in META of the directory that no sync has seen, and two
/// files there whose data is as new.
fn begin(place: &Place, transport: &str) -> Result<Daemon, String> {
    let failed = |error: io::Error| format!("preparing: {error}");
    place.reset(false).map_err(failed)?;
    let daemon = Daemon::start(&place.layers, &format!("noatime,transport={transport}"), false)?;
    let dir = place.layers.mnt.join(DIR);
    let prepared = ["a", "b"]
        .iter()
        .try_for_each(|name| fs::write(dir.join(name), name))
        .and_then(|()| fs::remove_file(dir.join("one")));
    prepared.map_err(failed)?;
    Ok(daemon)
}

/// A request in a thread of its own; its end is told.
fn request(work: impl FnOnce() -> io::Result<()> + Send + 'static) -> Receiver<io::Result<()>> {
    let (done, told) = mpsc::channel();
    // It ends with the mount at the latest.
    thread::spawn(move || done.send(work()));
    told
}

fn sync(dir: &Path, target: Target) -> Receiver<io::Result<()>> {
    let path = match target {
        Target::File(name) => dir.join(name),
        Target::Dir => dir.to_path_buf(),
    };
    request(move || File::open(path)?.sync_all())
}

fn finished(told: &Receiver<io::Result<()>>, what: &str) -> Result<(), String> {
    match told.recv_timeout(PATIENCE) {
        Ok(outcome) => outcome.map_err(|error| format!("{what}: {error}")),
        Err(_) => Err(format!("{what} does not end")),
    }
}

/// Who comes second is not told that META and his own data are safe before
/// they are: by a call of his own, or by waiting for the first.
fn two_syncs(place: &Place, transport: &str, case: &Case) -> Result<(), String> {
    let daemon = begin(place, transport)?;
    let supervisor = &daemon.supervisor;
    let dir = place.layers.mnt.join(DIR);
    supervisor.arm(Plan::Hold(case.held));
    let first = sync(&dir, case.first);
    until_held(&daemon)?;
    let before = supervisor.record().calls.len();
    let second = sync(&dir, case.second);
    let early = second.recv_timeout(SOON);
    let record = supervisor.record();
    supervisor.release();
    if let Ok(outcome) = early {
        outcome.map_err(|error| format!("the second sync: {error}"))?;
        let own = record.calls.get(before..).unwrap_or_default();
        safe(own, case.second)?;
    } else {
        finished(&second, "the second sync")?;
    }
    finished(&first, "the first sync")?;
    let record = supervisor.disarm();
    for target in [case.first, case.second] {
        safe(&record.calls, target)?;
    }
    daemon.stop()
}

/// These calls bring META and what was asked for to the device.
fn safe(calls: &[Call], target: Target) -> Result<(), String> {
    if !calls.iter().any(|call| META_SYNC.is(call)) {
        return Err(format!("told safe, and META was not synced: {}", names(calls)));
    }
    let end = match target {
        Target::File(name) => format!("/{DIR}/{name}"),
        Target::Dir => format!("/{DIR}"),
    };
    let synced = |call: &Call| call.name.ends_with("sync") && call.path.ends_with(&end);
    match calls.iter().any(synced) {
        true => Ok(()),
        false => Err(format!("told safe, and {end} was not synced: {}", names(calls))),
    }
}

fn names(calls: &[Call]) -> String {
    let names: Vec<_> = calls.iter().map(|call| format!("{} {}", call.name, call.path)).collect();
    names.join(", ")
}

/// A record comes into META while somebody syncs there, or somebody syncs while
/// it is written: who syncs afterwards is told nothing before it is safe. `held`:
/// the write, or the sync.
fn sync_and_append(place: &Place, transport: &str, held: Which) -> Result<(), String> {
    let daemon = begin(place, transport)?;
    let supervisor = &daemon.supervisor;
    let dir = place.layers.mnt.join(DIR);
    supervisor.arm(Plan::Hold(held));
    let gone = dir.join("two");
    let remove = || request(move || fs::remove_file(gone));
    let (first, second) = if held == META_SYNC {
        let first = sync(&dir, Target::File("a"));
        until_held(&daemon)?;
        (first, remove())
    } else {
        let first = remove();
        until_held(&daemon)?;
        (first, sync(&dir, Target::File("a")))
    };
    // It may wait for the first, or not.
    let early = second.recv_timeout(SOON / 2);
    let before = supervisor.record().calls.len();
    supervisor.release();
    finished(&first, "what was held")?;
    match early {
        Ok(outcome) => outcome.map_err(|error| format!("what came between: {error}"))?,
        Err(_) => finished(&second, "what came between")?,
    }
    finished(&sync(&dir, Target::File("b")), "the sync after")?;
    let Record { calls, .. } = supervisor.disarm();
    let after = calls.get(before..).unwrap_or_default();
    match after.iter().any(|call| META_SYNC.is(call)) {
        true => daemon.stop(),
        false => Err(format!("told safe, and META was not synced again: {}", names(&calls))),
    }
}

fn until_held(daemon: &Daemon) -> Result<(), String> {
    let begun = Instant::now();
    while !daemon.supervisor.is_holding() {
        if begun.elapsed() > PATIENCE {
            let calls = daemon.supervisor.disarm().calls;
            return Err(format!("nothing came that could be held: {}", names(&calls)));
        }
        thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}
