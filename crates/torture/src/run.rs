//! All chosen scenarios, several at a time.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use clap::{Args, ValueEnum};

use crate::place::{self, Place};
use crate::report::{Judge, Point, Report};
use crate::scenario::{self, Scenario};
use crate::stop;
use crate::supervisor::Plan;
use crate::trial::Trial;
use crate::uring::Uring;
use crate::{fault, kill, mount};

/// What happens to the daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Nothing; its calls are listed.
    Calls,
    Kill,
    Fault,
}

/// How requests come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Transport {
    Classic,
    Uring,
    Both,
}

impl Transport {
    /// As options of mini_fo call them.
    pub fn names(self) -> &'static [&'static str] {
        match self {
            Transport::Classic => &["classic"],
            Transport::Uring => &["uring"],
            Transport::Both => &["classic", "uring"],
        }
    }
}

/// What is run, and where.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// Scenarios with such names alone; * stands for anything
    #[arg(long, value_name = "GLOB")]
    only: Vec<String>,
    /// A selection for each day
    #[arg(long)]
    quick: bool,
    /// How requests come to the daemon
    #[arg(long, value_enum, default_value = "classic")]
    transport: Transport,
    /// This storage call alone, counted from 1
    #[arg(long, value_name = "N")]
    at: Option<usize>,
    /// Also tell of directories that show the time of a copy-up in them
    #[arg(long)]
    strict_times: bool,
    /// Scenarios at the same time
    #[arg(long, default_value_t = 2)]
    jobs: usize,
    /// Have the storage in this directory instead of on tmpfs
    #[arg(long, value_name = "DIR")]
    on: Option<PathBuf>,
    /// Copy base and storage of bad points to directories in this one
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
}

/// Runs them; whether all was well.
///
/// # Errors
/// It cannot be done here.
pub fn all(kind: Kind, options: &Options) -> io::Result<bool> {
    if !mount::program().exists() {
        let path = mount::program().display();
        return Err(io::Error::other(format!("{path} is not there: build it, or set MINI_FO")));
    }
    stop::listen();
    place::own_namespace()?;
    let _switched = match options.transport {
        Transport::Classic => None,
        _ => Some(Uring::on()?),
    };
    let scenarios: Vec<Scenario> =
        scenario::all().into_iter().filter(|scenario| is_chosen(scenario, options)).collect();
    let scenarios: Vec<Scenario> = scenarios
        .into_iter()
        .filter(|scenario| kind != Kind::Fault || !scenario.kills_only)
        .collect();
    let work: Vec<(&Scenario, &'static str)> = scenarios
        .iter()
        .flat_map(|scenario| options.transport.names().iter().map(move |name| (scenario, *name)))
        .collect();
    let report = Report::default();
    let next = AtomicUsize::new(0);
    let worker = || -> io::Result<()> {
        let place = Place::new(options.on.as_deref())?;
        while let Some(&(scenario, transport)) = work.get(next.fetch_add(1, Ordering::Relaxed)) {
            if stop::asked() {
                break;
            }
            one(kind, &place, scenario, transport, options, &report);
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..options.jobs.max(1)).map(|_| scope.spawn(worker)).collect();
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().unwrap_or(Err(io::Error::other("a panic"))))
    })?;
    let good = report.finish();
    if stop::asked() {
        return Err(io::Error::other("ended before all was done"));
    }
    Ok(good)
}

fn one(
    kind: Kind,
    place: &Place,
    scenario: &Scenario,
    transport: &'static str,
    options: &Options,
    report: &Report,
) {
    let keep = |point: &Point| {
        if let Some(directory) = &options.keep
            && let Err(error) = place.keep(&kept(directory, point))
        {
            eprintln!("cannot keep it: {error}");
        }
    };
    let judge = Judge { report, scenario: scenario.name, transport, keep: &keep };
    let trial = match Trial::new(place, scenario, transport, options.strict_times) {
        Ok(trial) => trial,
        Err(wrong) => return judge.tell("scenario", 0, None, Err(wrong)),
    };
    let choice = match (options.at, options.quick) {
        (Some(at), _) => Choice::One(at),
        (None, true) => Choice::Few(if kind == Kind::Kill { 7 } else { 3 }),
        (None, false) => Choice::All,
    };
    match kind {
        Kind::Calls => judge.tell("calls", 0, None, list(&trial)),
        Kind::Kill => kill::all(&trial, &judge, choice),
        Kind::Fault => fault::all(&trial, &judge, choice),
    }
}

/// Prints the calls of an undisturbed run.
fn list(trial: &Trial) -> Result<(), String> {
    let run = trial.run(Plan::Count)?;
    let mut text = format!("{} [{}]\n", trial.scenario.name, trial.transport);
    for (index, call) in run.record.calls.iter().enumerate() {
        text.push_str(&format!("{:4} {} {}\n", index + 1, call.name, call.path));
    }
    print!("{text}");
    trial.all_done(&run)
}

/// Which points of a series are tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    All,
    One(usize),
    /// So many: most of them the last, which are the operation itself, the
    /// others spread over the copies that it needs first.
    Few(usize),
}

impl Choice {
    /// The chosen ones of 1 to `count`.
    pub fn of(self, count: usize) -> Vec<usize> {
        match self {
            Choice::One(at) => (1..=count).filter(|&k| k == at).collect(),
            Choice::Few(few) if few < count => {
                let spread = few / 4;
                let last = count - (few - spread);
                (0..spread).map(|i| 1 + i * last / spread).chain(last + 1..=count).collect()
            }
            _ => (1..=count).collect(),
        }
    }
}

fn kept(directory: &Path, point: &Point) -> PathBuf {
    let Point { what, scenario, transport, at, .. } = point;
    directory.join(format!("{what}-{scenario}-{at}-{transport}"))
}

fn is_chosen(scenario: &Scenario, options: &Options) -> bool {
    let named = options.only.is_empty()
        || options.only.iter().any(|glob| matches(glob.as_bytes(), scenario.name.as_bytes()));
    named && (scenario.quick || !options.quick)
}

/// Whether `name` is what `glob` says.
pub fn matches(glob: &[u8], name: &[u8]) -> bool {
    match (glob.split_first(), name.split_first()) {
        (None, None) => true,
        (Some((b'*', rest)), _) => {
            matches(rest, name) || name.split_first().is_some_and(|(_, name)| matches(glob, name))
        }
        (Some((g, glob)), Some((n, name))) => g == n && matches(glob, name),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::{Choice, matches};

    #[test]
    fn names_are_chosen_by_stars() {
        for (glob, name, expected) in [
            ("rename_*", "rename_dir", true),
            ("*dir", "rename_dir", true),
            ("*me*ir", "rename_dir", true),
            ("rename", "rename_dir", false),
            ("", "rename_dir", false),
            ("*", "", true),
        ] {
            assert_eq!(matches(glob.as_bytes(), name.as_bytes()), expected, "{glob} {name}");
        }
    }

    #[test]
    fn the_last_points_are_among_the_chosen() {
        assert_eq!(Choice::All.of(3), [1, 2, 3]);
        assert_eq!(Choice::One(2).of(3), [2]);
        assert_eq!(Choice::One(4).of(3), [0; 0]);
        assert_eq!(Choice::Few(4).of(3), [1, 2, 3]);
        assert_eq!(Choice::Few(4).of(20), [1, 18, 19, 20]);
        assert_eq!(Choice::Few(8).of(20), [1, 8, 15, 16, 17, 18, 19, 20]);
    }
}
