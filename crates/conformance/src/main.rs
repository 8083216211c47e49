//! What programs rely on, one case per promise.
//!
//! `compare` sets up a plain ext4 directory, the kernel's overlayfs,
//! fuse-overlayfs and mini_fo, and prints which cases pass on which; `prepare`
//! and `run` do the same for any mounted directory.
mod cases;
mod compare;
mod kit;
mod report;
mod runner;
mod sys;
mod tree;

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::cases::Case;
use crate::kit::Place;
use crate::runner::{Runner, Verdict};

/// Tries on mounted directories what programs rely on.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// List the cases
    List(Filter),
    /// Make what the cases find, in a base that is not mounted yet
    Prepare {
        /// The base; for a plain file system, the directory itself
        base: PathBuf,
        #[command(flatten)]
        filter: Filter,
    },
    /// Run the cases on a mounted directory
    Run {
        /// Where the prepared base shows
        #[arg(long, value_name = "DIR")]
        merged: PathBuf,
        /// Shell command that unmounts and mounts again
        #[arg(long, value_name = "CMD")]
        remount: Option<String>,
        #[command(flatten)]
        limit: Limit,
        #[command(flatten)]
        filter: Filter,
    },
    /// Run the cases on ext4, overlayfs, fuse-overlayfs and mini_fo
    Compare(compare::Options),
    /// Run one case in this process
    #[command(hide = true)]
    Case {
        /// Its full name
        name: String,
        /// Its directory
        #[arg(long)]
        dir: PathBuf,
        /// As for `run`
        #[arg(long)]
        remount: Option<String>,
    },
}

/// Which cases.
#[derive(Args, Clone)]
struct Filter {
    /// Only cases whose name contains one of these
    #[arg(value_name = "FILTER")]
    names: Vec<String>,
}

impl Filter {
    fn cases(&self) -> Vec<Case> {
        let mut cases = cases::all();
        cases.retain(|case| {
            let name = case.full_name();
            self.names.is_empty() || self.names.iter().any(|part| name.contains(part.as_str()))
        });
        cases
    }
}

/// How long a case may take.
#[derive(Args, Clone, Copy)]
struct Limit {
    /// Seconds that a case may take
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    limit: u64,
}

impl Limit {
    fn time(self) -> Duration {
        Duration::from_secs(self.limit)
    }
}

fn main() -> ExitCode {
    match dispatch(Cli::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("mini_fo_conformance: {error}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(command: Command) -> io::Result<ExitCode> {
    match command {
        Command::List(filter) => {
            filter.cases().iter().for_each(|case| println!("{}", case.full_name()));
            Ok(ExitCode::SUCCESS)
        }
        Command::Prepare { base, filter } => {
            cases::populate(&base, &filter.cases())?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Run { merged, remount, limit, filter } => {
            let runner = Runner { merged, remount, limit: limit.time() };
            run(&runner, &filter.cases())
        }
        Command::Compare(options) => compare::compare(&options),
        Command::Case { name, dir, remount } => Ok(one(&name, Place { dir, remount })),
    }
}

fn run(runner: &Runner, cases: &[Case]) -> io::Result<ExitCode> {
    let mut failures = 0;
    for case in cases {
        let verdict = runner.run(case)?;
        failures += usize::from(verdict.is_failure());
        println!("{} {}{}", case.full_name(), verdict.word(), reason(&verdict));
    }
    println!("{} cases, {failures} failures", cases.len());
    Ok(if failures == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn reason(verdict: &Verdict) -> String {
    verdict.reason().map(|reason| format!(": {reason}")).unwrap_or_default()
}

/// One case; its failure goes to standard error.
fn one(name: &str, place: Place) -> ExitCode {
    let Some(case) = cases::all().into_iter().find(|case| case.full_name() == name) else {
        eprintln!("there is no case {name}");
        return ExitCode::FAILURE;
    };
    match (case.run)(&place) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{}", failure.text());
            ExitCode::from(failure.exit_code())
        }
    }
}
