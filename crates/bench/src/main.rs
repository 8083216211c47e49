//! Compares a native directory, the kernel's overlayfs, other union file
//! systems in user space and mini_fo in each of its modes, all over one tree,
//! on one file system.
//!
//! `docs/BENCHMARKS.md` says what is measured and how to read it.
#![forbid(unsafe_code)]

mod cage;
mod client;
mod report;
mod rows;
mod stages;
mod stats;
mod systems;
mod tree;
mod work;
mod workloads;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

use clap::Parser;

use crate::client::Job;
use crate::report::Report;
use crate::rows::Size;
use crate::stages::{Plan, STAGES, Stage};
use crate::systems::{Programs, System, within};
use crate::work::{NOBODY, Places, WorkDir, base_of, forget};
use crate::workloads::trees;

/// Compares mini_fo with a native directory and other union file systems.
#[derive(Parser)]
#[command(version)]
struct Cli {
    /// Where to work: all systems lie on this directory's file system
    #[arg(long, value_name = "DIR", default_value = "target/bench-work")]
    dir: PathBuf,
    /// How often everything is measured [default: 3; with --quick 1]
    #[arg(long, value_name = "N", overrides_with = "rounds", value_parser = clap::value_parser!(u32).range(1..))]
    rounds: Option<u32>,
    /// Files per directory of the single operations, and operations per row
    #[arg(long, value_name = "N", default_value_t = 400, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    ops: u32,
    /// Only rows whose "STAGE: NAME" contains TEXT; may be repeated
    #[arg(long, value_name = "TEXT")]
    only: Vec<String>,
    /// The systems to compare; "mini_fo" means all its modes
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    fs: Vec<String>,
    /// Small trees, one round, and only some modes if --fs does not name others:
    /// does it run?
    #[arg(long, conflicts_with = "full")]
    quick: bool,
    /// Large trees and files: takes hours and 30 GiB
    #[arg(long)]
    full: bool,
    /// An archive of source code to work with, instead of generated files
    /// [default: what scripts/bench-setup.sh has fetched]
    #[arg(long, value_name = "TAR")]
    sources: Option<PathBuf>,
    /// Write everything measured to FILE as JSON too
    #[arg(long, value_name = "FILE", overrides_with = "json")]
    json: Option<PathBuf>,
    /// Draw the medians to FILE as an SVG picture
    #[arg(long, value_name = "FILE", overrides_with = "svg")]
    svg: Option<PathBuf>,
    /// List the systems and the rows, and do nothing
    #[arg(long)]
    list: bool,
    /// What a client process is started with
    #[arg(long, value_name = "JOB", hide = true)]
    client: Option<String>,
    /// Clear what a run in --dir has left
    #[arg(long, hide = true)]
    sweep: bool,
}

impl Cli {
    fn rounds(&self) -> usize {
        self.rounds.map_or(if self.quick { 1 } else { 3 }, |rounds| rounds as usize)
    }

    /// The names of the systems asked for; none: all.
    fn systems(&self) -> Vec<String> {
        match self.quick && self.fs.is_empty() {
            true => systems::QUICK.iter().map(|name| name.to_string()).collect(),
            false => self.fs.clone(),
        }
    }

    fn size(&self) -> Size {
        let ops = self.ops as usize;
        match (self.quick, self.full) {
            (true, _) => Size::quick(),
            (_, true) => Size::full(ops),
            _ => Size::usual(ops),
        }
    }

    fn archive(&self) -> Option<PathBuf> {
        let fetched = if self.full { "sources-full.tar" } else { "sources.tar" };
        match &self.sources {
            Some(file) => Some(file.clone()),
            // Small, whatever there is.
            None if self.quick => None,
            None => Some(Path::new("target/peers").join(fetched)).filter(|file| file.is_file()),
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
    if let Some(job) = &cli.client {
        return client::serve(job);
    }
    if cli.sweep {
        return work::sweep(&cli.dir);
    }
    if cli.list {
        print!("{}", report::list());
        return Ok(());
    }
    let plan = Plan::of(&cli.only);
    if plan.rows().is_empty() {
        return Err(io::Error::other("no row has such a name; --list shows them"));
    }
    match cage::inside() {
        None => Err(cage::enter(&cli.dir)),
        Some(caged) => compare(cli, &plan, caged),
    }
}

/// Everything that a round needs.
struct Run<'a> {
    cli: &'a Cli,
    work: WorkDir,
    programs: Programs,
    size: Size,
    stages: Vec<usize>,
}

fn compare(cli: &Cli, plan: &Plan, caged: bool) -> io::Result<()> {
    let mut programs = Programs::find()?;
    let (systems, notes) = systems::usable(&cli.systems(), &programs)?;
    for note in &notes {
        eprintln!("left out: {note}");
    }
    let mut report = Report::new(&systems, plan);
    report.notes = notes;
    report.about = report::about(cli.rounds(), &cli.size(), &programs, cli.archive().as_deref());
    // Dropped last, after every mount below it.
    let work = WorkDir::create(&cli.dir, caged)?;
    if caged {
        work::share_programs(&work, &mut programs)?;
        if systems.iter().any(|system| system.rings()) {
            work.switch_rings_on()?;
        }
    }
    let mut stages: Vec<usize> = plan.rows().iter().map(|row| row.stage).collect();
    stages.dedup();
    let run = Run { cli, work, programs, size: cli.size(), stages };
    run.make_bases(&systems)?;
    for round in 0..cli.rounds() {
        for turn in 0..systems.len() {
            // Whoever comes first in a round is not always the same one.
            let Some(&system) = systems.get((round + turn) % systems.len()) else { continue };
            let start = Instant::now();
            run.one(system, round, &mut report);
            let (round, seconds) = (round + 1, start.elapsed().as_secs());
            eprintln!("round {round} of {}: {}: {seconds} s", cli.rounds(), system.name);
        }
    }
    finish(cli, &report)
}

fn finish(cli: &Cli, report: &Report) -> io::Result<()> {
    let files = [(&cli.json, Report::json as fn(&Report) -> String), (&cli.svg, Report::svg)];
    for (file, content) in files {
        if let Some(file) = file {
            std::fs::write(file, content(report))
                .map_err(|error| within(&file.display().to_string(), &error))?;
        }
    }
    // A reader that has seen enough is no error.
    let _ = io::stdout().write_all(report.text().as_bytes());
    match report.failures.len() {
        0 => Ok(()),
        some => Err(io::Error::other(format!("{some} failures: the rounds are not complete"))),
    }
}

impl Run<'_> {
    /// For a whole copy of the huge file.
    fn has_room(&self) -> bool {
        let room = rustix::fs::statvfs(self.work.join("").as_path());
        room.is_ok_and(|fs| fs.f_bavail.saturating_mul(fs.f_frsize) > trees::HUGE_BYTES * 6 / 5)
    }

    /// Makes the trees, for root and for the ordinary user.
    fn make_bases(&self, systems: &[&'static System]) -> io::Result<()> {
        let archive = self.cli.archive();
        let user = systems.iter().find(|system| system.user && systems::is_root());
        for stage in self.stages.iter().filter_map(|&n| STAGES.get(n)) {
            let base = base_of(&self.work, false, stage.base);
            if base.exists() {
                continue;
            }
            eprintln!("making the tree '{}'", stage.base);
            std::fs::create_dir_all(&base)?;
            (stage.make)(&base, &self.size, archive.as_deref())?;
            let sources = base.join("src");
            if sources.exists() {
                let mut tar = Command::new("tar");
                tar.arg("-cf").arg(self.work.join("sources.tar")).arg("-C").arg(&base).arg("src");
                systems::succeed(&mut tar)?;
            }
            if user.is_some() {
                let copy = base_of(&self.work, true, stage.base);
                std::fs::create_dir_all(&copy)?;
                systems::succeed(Command::new("cp").arg("-a").arg(base.join(".")).arg(&copy))?;
                let owner = format!("{NOBODY}:{NOBODY}");
                systems::succeed(Command::new("chown").arg("-hR").arg(owner).arg(&copy))?;
            }
        }
        Ok(())
    }

    /// Measures all stages on one system. What it cannot do says nothing
    /// against the numbers of the others.
    fn one(&self, system: &'static System, round: usize, report: &mut Report) {
        for &n in &self.stages {
            let Some(stage) = STAGES.get(n) else { continue };
            if let Err(error) = self.stage(system, n, stage, report) {
                let (round, name) = (round + 1, system.name);
                let failure = format!("round {round}: {name}: {}: {error}", stage.name);
                eprintln!("mini_fo_bench: {failure}");
                report.failures.push(failure);
            }
        }
    }

    /// Mounts `system` afresh and has a client measure one stage on it.
    fn stage(
        &self,
        system: &'static System,
        n: usize,
        stage: &Stage,
        report: &mut Report,
    ) -> io::Result<()> {
        let places = Places::of(&self.work, system, stage.base);
        let mounted = systems::mount(system, &places, &self.programs)?;
        places.make_home(system)?;
        if stage.base == "rows" {
            // The disk is out of the comparison of single operations.
            tree::read(if system.family == systems::Family::Native {
                &places.mountpoint
            } else {
                &places.base
            })?;
        }
        forget(&places.home, 2)?;
        let job = Job {
            stage: n,
            root: places.mountpoint.clone(),
            home: places.home.clone(),
            shared: self.work.join(""),
            size: self.size,
            only: self.cli.only.clone(),
            spare_huge: system.copies_holes() && !(self.cli.full && self.has_room()),
            toolchain: self.programs.toolchain.clone(),
        };
        let outcome = client::run(&job, system, &self.programs)?;
        if let Some(usage) = mounted.usage() {
            report.usages.push((n, system, usage));
        }
        report.add(n, system, &outcome);
        mounted.unmount()?;
        outcome.failure.map_or(Ok(()), |failure| Err(io::Error::other(failure)))
    }
}
