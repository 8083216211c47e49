//! `mini_fo commit` is killed at storage calls of chance, or the power is cut below base and
//! storage, and so is what comes after it: at the end the base is what a commit makes of it that
//! nobody disturbed, or what it was, and the tree shows the same all the time. The same of
//! `mini_fo discard` at rest, of which everything is forgotten or nothing.

mod apart;
mod case;
mod cuts;
mod deep;
mod disks;
mod live;
mod scene;
mod trial;
mod workers;

use std::io;
use std::path::PathBuf;

use clap::Args;

use crate::cuts::dice::Dice;
use crate::cuts::image::FsKind;
use crate::{mount, place, stop};
use case::What;
use trial::Trial;

/// Kills of one tree with changes.
const KILLS_OF_ONE: usize = 5;

/// What is run, and where.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// How often the command is killed, not counting the killing of what finishes it
    #[arg(long, default_value_t = 25)]
    kills: usize,
    /// Cut the power so often on each file system, in place of kills
    #[arg(long, default_value_t = 0)]
    cuts: usize,
    /// Let storage calls fail so often, in place of kills
    #[arg(long, default_value_t = 0)]
    faults: usize,
    /// File systems for the cuts
    #[arg(long, value_delimiter = ',', default_value = "ext4,xfs,btrfs")]
    fs: Vec<FsKind>,
    /// Disturb `mini_fo discard`, on a storage that is not mounted, in place of commits
    #[arg(long)]
    discard: bool,
    /// Commit a mount in which programs work, and kill its daemon, or let its calls fail
    #[arg(long, conflicts_with_all = ["cuts", "discard"])]
    live: bool,
    /// Have everything in a directory of a base of which nobody can write the root
    #[arg(long, conflicts_with = "live")]
    deep: bool,
    /// Let the disks forget what was flushed: to see that this test sees it
    #[arg(long)]
    lie: bool,
    /// The same one gives the same trees and kills
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Have base and storage in this directory instead of on tmpfs
    #[arg(long, value_name = "DIR")]
    on: Option<PathBuf>,
    /// Copy base and storage of bad kills to directories in this one
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// Also tell where directories of the tree show the time of a kill
    #[arg(long)]
    strict_times: bool,
    /// Tell of each kill
    #[arg(short, long)]
    verbose: bool,
}

impl Options {
    /// Times count, and all is deep.
    fn how(&self) -> (bool, bool) {
        (self.strict_times, self.deep)
    }

    fn what(&self) -> What {
        if self.discard { What::Discard } else { What::Commit }
    }
}

/// Runs them; whether all was well.
///
/// # Errors
/// It cannot be done here.
pub fn run(options: &Options) -> io::Result<bool> {
    if !mount::program().exists() {
        let path = mount::program().display();
        return Err(io::Error::other(format!("{path} is not there: build it, or set MINI_FO")));
    }
    stop::listen();
    let well = match options {
        Options { live: true, .. } => all_live(options)?,
        Options { cuts: 1.., .. } => all_cuts(options)?,
        _ => all_kills(options)?,
    };
    if stop::asked() {
        return Err(io::Error::other("ended before all was done"));
    }
    Ok(well)
}

fn all_cuts(options: &Options) -> io::Result<bool> {
    let dir = crate::cuts::prepare()?;
    let mut well = true;
    for &kind in &options.fs {
        // What is mounted is known to all by its path, also who runs the same elsewhere.
        let name = format!("{}-{}", kind.name(), std::process::id());
        let (_, bad) = cuts::all(options, kind, &dir.join(name))?;
        well &= bad == 0;
    }
    Ok(well)
}

fn all_live(options: &Options) -> io::Result<bool> {
    place::own_namespace()?;
    let (mut good, mut bad) = (0, 0);
    let fails = options.faults > 0;
    let count = if fails { options.faults } else { options.kills };
    for seed in (options.seed..).take(count) {
        if stop::asked() {
            break;
        }
        let on = options.on.as_deref();
        let mut trial = Trial::new(What::Commit, on, seed, options.how())?;
        trial.case = trial.case.clone().of_everything();
        let outcome = trial.case.live(&mut Dice::new(seed), fails);
        tell(options, &trial, (seed, 0), &outcome);
        *(if outcome.is_ok() { &mut good } else { &mut bad }) += 1;
    }
    let what = if fails { "calls that failed" } else { "kills of the daemon" };
    println!("{good} {what} in live commits passed, {bad} failed");
    Ok(bad == 0)
}

fn all_kills(options: &Options) -> io::Result<bool> {
    place::own_namespace()?;
    let what = options.what();
    let fails = options.faults > 0;
    let (count, word) = if fails { (options.faults, "faults") } else { (options.kills, "kills") };
    let (mut good, mut bad, mut seed) = (0, 0, options.seed);
    while good + bad < count && !stop::asked() {
        let trial = Trial::new(what, options.on.as_deref(), seed, options.how())?;
        match trial.undisturbed() {
            Ok(expected) => {
                let mut dice = Dice::new(seed ^ 0x6b69_6c6c);
                for at in 0..KILLS_OF_ONE.min(count - good - bad) {
                    if stop::asked() {
                        break;
                    }
                    let outcome = match fails {
                        true => trial.failed(&expected, &mut dice),
                        false => trial.killed(&expected, &mut dice),
                    };
                    tell(options, &trial, (seed, at), &outcome);
                    *(if outcome.is_ok() { &mut good } else { &mut bad }) += 1;
                }
            }
            // The directory that all is in is closed for times, too.
            Err(wrong) if options.deep && wrong.contains("chattr +i") => {}
            Err(wrong) => {
                tell(options, &trial, (seed, 0), &Err(format!("undisturbed: {wrong}")));
                bad += 1;
            }
        }
        seed += 1;
    }
    println!("{good} {word} of a {} passed, {bad} failed", what.name());
    Ok(bad == 0)
}

fn tell(
    options: &Options,
    trial: &Trial,
    (seed, at): (u64, usize),
    outcome: &Result<String, String>,
) {
    let what = options.what().name();
    match outcome {
        Ok(said) if options.verbose => println!("ok  {what} --seed {seed}, {at}: {said}"),
        Ok(_) => {}
        Err(wrong) => {
            println!("BAD {what} --seed {seed}, {at}\n      {wrong}");
            if let Some(keep) = &options.keep
                && let Err(error) = trial.case.keep(&keep.join(format!("{what}-{seed}-{at}")))
            {
                eprintln!("cannot keep it: {error}");
            }
        }
    }
}
