//! Compares a native directory, the kernel's overlayfs, fuse-overlayfs and
//! mini_fo, each on its own copy of one tree, on one file system.
//!
//! Times are microseconds per operation. `docs/BENCHMARKS.md` says how to read
//! them.
#![forbid(unsafe_code)]

mod report;
mod rows;
mod stats;
mod systems;
mod tree;

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use crate::report::{About, Report};
use crate::rows::{Plan, Scene};
use crate::systems::{Kind, Places, Programs, WorkDir};
use crate::tree::Size;

/// Compares mini_fo with a native directory, overlayfs and fuse-overlayfs.
#[derive(Parser)]
#[command(version)]
struct Cli {
    /// Where to work: all systems lie on this directory's file system
    #[arg(long, value_name = "DIR", default_value = "target/bench-work")]
    dir: PathBuf,
    /// How often everything is measured
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Files per directory, and operations per row on them
    #[arg(long, value_name = "N", default_value_t = 400, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    ops: u32,
    /// Only rows whose name contains TEXT; may be repeated
    #[arg(long, value_name = "TEXT")]
    only: Vec<String>,
    /// The systems to compare
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_enum)]
    fs: Vec<Kind>,
    /// Two rounds of few operations: does it run?
    #[arg(long)]
    quick: bool,
    /// Write everything measured to FILE as JSON too
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

impl Cli {
    fn rounds(&self) -> usize {
        if self.quick { 2 } else { self.rounds as usize }
    }

    fn size(&self) -> Size {
        match self.quick {
            true => Size { files: 50, big: 8 << 20 },
            false => Size { files: self.ops as usize, big: 64 << 20 },
        }
    }
}

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mini_fo_bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> io::Result<()> {
    let plan = Plan::new(&cli.only)?;
    let programs = Programs::find();
    let kinds = systems::usable(&cli.fs, &programs)?;
    let size = cli.size();
    // Dropped last, after every mount below it.
    let work = WorkDir::create(&cli.dir)?;
    for &kind in &kinds {
        tree::make(&Places::of(&work, kind).base, size)?;
    }
    let mut report = Report::new(&kinds, &plan);
    for round in 0..cli.rounds() {
        for turn in 0..kinds.len() {
            // Whoever comes first in a round is not always the same one.
            let Some(&kind) = kinds.get((round + turn) % kinds.len()) else { continue };
            eprintln!("round {} of {}: {}", round + 1, cli.rounds(), kind.name());
            // What one system cannot do says nothing against the numbers of the others.
            let places = Places::of(&work, kind);
            if let Err(error) = one(&places, kind, &programs, size, &plan, &mut report) {
                let failure = format!("round {}: {}: {error}", round + 1, kind.name());
                eprintln!("mini_fo_bench: {failure}");
                report.failures.push(failure);
            }
        }
    }
    report.about = About::new(&programs, cli.rounds(), size);
    print!("{}", report.text());
    if let Some(file) = &cli.json {
        std::fs::write(file, report.json())
            .map_err(|e| systems::within(&file.display().to_string(), &e))?;
    }
    match report.failures.len() {
        0 => Ok(()),
        some => Err(io::Error::other(format!("{some} rounds are not complete"))),
    }
}

/// Mounts one system afresh and measures every row of the plan on it.
fn one(
    places: &Places,
    kind: Kind,
    programs: &Programs,
    size: Size,
    plan: &Plan,
    report: &mut Report,
) -> io::Result<()> {
    let mounted = systems::mount(kind, places, programs)?;
    if kind == Kind::MiniFo {
        report.idle_kib.extend(systems::resident_kib(programs, &places.mountpoint));
    }
    tree::read(&places.base)?;
    systems::forget_names(&places.base)?;
    let mut scene = Scene::new(&places.mountpoint, size);
    let outcome = plan.run(&mut scene);
    report.add(kind, &scene.times);
    outcome?;
    if kind == Kind::MiniFo {
        report.busy_kib.extend(systems::resident_kib(programs, &places.mountpoint));
    }
    mounted.unmount()
}
