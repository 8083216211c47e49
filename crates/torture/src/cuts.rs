//! Power cuts: a workload runs on a disk that logs its writes and flushes; then
//! the disk is rebuilt as it may have been at some moment, mounted, and compared
//! with what the workload was promised.
//!
//! What a disk may hold at a cut: everything up to the last flush before it, and
//! of the later writes none, all, some, or some sectors. Which trees may then be
//! seen is said in [`check`]. A plain directory and the kernel's overlayfs can be
//! put to the same test, as a measure of the criterion.
//!
//! Everything lies in a tmpfs in a mount namespace of this process; daemons end
//! with it, loop devices with their mounts. So nothing is left behind, whatever
//! ends it.

mod bench;
mod check;
pub mod dice;
pub mod disk;
pub mod image;
mod loads;
mod model;
mod observe;
mod op;
mod perform;
mod record;
mod sys;
mod system;

use std::io;
use std::path::PathBuf;

use clap::Args;

use self::bench::Bench;
pub use self::bench::prepare;
use self::image::FsKind;
use self::loads::SCENARIOS;
use self::system::System;

/// Cuts the power below the storage
#[derive(Args, Clone)]
pub struct Options {
    /// File systems to have the storage on
    #[arg(long, value_delimiter = ',', default_value = "ext4,xfs,btrfs")]
    fs: Vec<FsKind>,
    /// What to test; plain and overlayfs are a measure of the test itself
    #[arg(long, value_delimiter = ',', default_value = "mini_fo")]
    system: Vec<System>,
    /// Cuts for each file system and system
    #[arg(long, default_value_t = 300)]
    cuts: usize,
    /// Cuts for each run of a workload
    #[arg(long, default_value_t = 10)]
    per_run: usize,
    /// The first seed; each run of a workload has the next one
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Workloads with such names alone; * stands for anything, "mixed" for mixtures
    #[arg(long, value_name = "GLOB")]
    only: Vec<String>,
    /// List the workloads
    #[arg(long)]
    list: bool,
    /// A few cuts of each, in less than a minute
    #[arg(long)]
    quick: bool,
    /// Let the disk forget what was flushed: to see that this test sees it
    #[arg(long)]
    lie: bool,
    /// Print the steps of a workload that shows something bad
    #[arg(short, long)]
    verbose: bool,
}

/// Serves a disk that keeps a log
#[derive(Args)]
pub struct DiskOptions {
    /// What it holds
    image: PathBuf,
    /// Where to mount it
    dir: PathBuf,
    /// The log
    log: PathBuf,
    /// What it is called there
    number: u8,
}

/// Serves it until it is unmounted.
///
/// # Errors
/// It does not mount.
pub fn serve_disk(options: &DiskOptions) -> io::Result<bool> {
    disk::serve(&options.image, &options.dir, &options.log, options.number).map(|()| true)
}

/// Runs them all; whether all was well.
///
/// # Errors
/// The test itself cannot work: no root, no mkfs, no program.
pub fn run(options: &Options) -> io::Result<bool> {
    if options.list {
        SCENARIOS.iter().for_each(|scenario| println!("{}", scenario.name));
        println!("mixed");
        return Ok(true);
    }
    let mut options = options.clone();
    if options.quick {
        // Each scenario once, and as many mixtures, a few cuts of each.
        let per_run = 3;
        (options.cuts, options.per_run) = (2 * SCENARIOS.len() * per_run, per_run);
    }
    prepare()?;
    std::thread::scope(|scope| {
        let one = |kind| all(&options, kind);
        let threads: Vec<_> =
            options.fs.iter().map(|&kind| scope.spawn(move || one(kind))).collect();
        let joined = threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or(Err(io::Error::other("a panic"))));
        let outcomes: Vec<io::Result<bool>> = joined.collect();
        outcomes.into_iter().try_fold(true, |all, one| Ok(one? && all))
    })
}

/// Everything on one kind of file system.
fn all(options: &Options, kind: FsKind) -> io::Result<bool> {
    let bench = Bench::new(options, kind)?;
    let mut well = true;
    for &system in &options.system {
        let tally = bench.all(system)?;
        println!("{} {}: {tally}", kind.name(), system.name());
        well &= tally.failed == 0;
    }
    bench.base_is_as_it_was()?;
    Ok(well)
}
