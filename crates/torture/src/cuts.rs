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
mod dice;
mod image;
mod loads;
mod model;
mod observe;
mod op;
mod perform;
mod record;
mod sys;
mod system;

use std::fs;
use std::io;

use clap::Args;

use self::bench::{Bench, Tally};
use self::image::FsKind;
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
    /// Only workloads whose name contains this; mixtures are called "mixed"
    #[arg(long)]
    only: Option<String>,
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

/// Runs them all; whether all was well.
///
/// # Errors
/// The test itself cannot work: no root, no mkfs, no program.
pub fn run(options: &Options) -> io::Result<bool> {
    let mut options = options.clone();
    if options.quick {
        // Each scenario once, and as many mixtures.
        (options.cuts, options.per_run) = (22, 1);
    }
    let bench = Bench::new(&options)?;
    let mut bad = 0;
    for &kind in &options.fs {
        let template = bench.template(kind)?;
        for &system in &options.system {
            let mut tally = Tally::default();
            bench.all(system, kind, &template, &mut tally)?;
            println!(
                "{} {}: {} passed, {} failed{}",
                kind.name(),
                system.name(),
                tally.passed,
                tally.failed,
                tally.kinds()
            );
            bad += tally.failed;
        }
        fs::remove_file(&template)?;
    }
    bench.base_is_as_it_was()?;
    Ok(bad == 0)
}
