//! Kills and fails the daemon at each of its storage calls, and checks the
//! tree against what the same calls do on an ordinary directory; cuts the power
//! below the storage, and checks what was promised.
//!
//! Needs root. `make torture` runs all of it, `make test` a selection.
#![warn(unsafe_op_in_unsafe_fn)]

mod calls;
mod commit;
mod cuts;
mod fault;
mod follow;
mod kill;
mod model;
mod mount;
mod ops;
mod place;
mod race;
mod report;
mod run;
mod scenario;
mod seccomp;
mod snapshot;
mod stop;
mod supervisor;
mod trial;
mod uring;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::run::{Kind, Options};

/// Kills and fails the daemon at each of its storage calls.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// List the scenarios
    List,
    /// List the storage calls of each scenario
    Calls(Options),
    /// Kill the daemon before each storage call, and after the last one
    Kill(Options),
    /// Let each storage call fail with EIO, or all from one on with ENOSPC
    Fault(Options),
    /// Hold one request at a storage call while another one is served
    Race(race::Options),
    /// Cut the power below the storage at moments of chance
    Cut(cuts::Options),
    /// Kill `mini_fo commit` at storage calls of chance, and what finishes it
    Commit(commit::Options),
    #[command(hide = true)]
    Disk(cuts::DiskOptions),
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::List => {
            for scenario in scenario::all() {
                println!("{}", scenario.name);
            }
            Ok(true)
        }
        Command::Calls(options) => run::all(Kind::Calls, &options),
        Command::Kill(options) => run::all(Kind::Kill, &options),
        Command::Fault(options) => run::all(Kind::Fault, &options),
        Command::Race(options) => race::run(&options),
        Command::Cut(options) => cuts::run(&options),
        Command::Commit(options) => commit::run(&options),
        Command::Disk(options) => cuts::serve_disk(&options),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("mini_fo_torture: {error}");
            ExitCode::FAILURE
        }
    }
}
