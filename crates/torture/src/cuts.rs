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

mod check;
mod dice;
mod image;
mod loads;
mod model;
mod observe;
mod perform;
mod record;
mod sys;
mod system;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Args;
use rustix::mount::{MountFlags, mount};

use self::check::{Judge, Order, View};
use self::dice::Dice;
use self::image::{FsKind, MountedImage, Remains, copy_sparse, replay};
use self::loads::{BASE_STEPS, Load, SCENARIOS};
use self::model::{Op, Tree};
use self::observe::observe;
use self::perform::perform;
use self::record::{Recording, Setting};
use self::system::{Live, Places, System};
use crate::blockdev::Record;
use crate::mount::program;
use crate::place::own_namespace;

/// How many steps a mixture has.
const MIXTURE: usize = 90;
/// Where the tmpfs goes that holds everything; only this process sees it.
const WORK: &str = "/dev/shm";

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
        (options.cuts, options.per_run) = (24, 2);
    }
    let bench = Bench::new(&options)?;
    let mut bad = 0;
    for &kind in &options.fs {
        let template = bench.template(kind)?;
        for &system in &options.system {
            let mut tally = Tally::default();
            bench.all(system, kind, &template, &mut tally)?;
            println!(
                "{} {}: {} passed, {} failed",
                kind.name(),
                system.name(),
                tally.passed,
                tally.failed
            );
            bad += usize::from(system == System::MiniFo) * tally.failed;
        }
        fs::remove_file(&template)?;
    }
    bench.base_is_as_it_was()?;
    Ok(bad == 0)
}

#[derive(Default)]
struct Tally {
    passed: usize,
    failed: usize,
}

/// Where the cuts are made.
struct Bench<'a> {
    options: &'a Options,
    places: Places,
    base_ops: Vec<Op>,
    tree: Tree,
    base: View,
}

/// A workload with its name and the options that mini_fo gets.
struct Work {
    name: &'static str,
    ops: Vec<Op>,
    options: &'static str,
}

impl<'a> Bench<'a> {
    fn new(options: &'a Options) -> io::Result<Self> {
        let mini_fo = fs::canonicalize(program())
            .map_err(|error| io::Error::other(format!("{}: {error}", program().display())))?;
        own_namespace()?;
        mount("torture", WORK, "tmpfs", MountFlags::empty(), None)?;
        rustix::process::umask(rustix::fs::Mode::empty());
        let work = Path::new(WORK);
        for dir in ["base", "mnt", "disk", "fs", "run"] {
            fs::create_dir(work.join(dir))?;
        }
        let places = Places {
            mini_fo,
            base: work.join("base"),
            mountpoint: work.join("mnt"),
            log: work.join("log"),
        };
        let (base_ops, tree) = loads::base();
        populate(&places.base, &base_ops)?;
        let base = observe(&places.base)?;
        Ok(Self { options, places, base_ops, tree, base })
    }

    fn base_is_as_it_was(&self) -> io::Result<()> {
        if observe(&self.places.base)? == self.base {
            return Ok(());
        }
        Err(io::Error::other("the base was written"))
    }

    /// An image with a directory for each system.
    fn template(&self, kind: FsKind) -> io::Result<PathBuf> {
        let work = Path::new(WORK);
        let image = work.join(format!("{}.img", kind.name()));
        kind.make(&image)?;
        let fs = MountedImage::new(kind, &image, &work.join("fs"))?;
        for dir in ["storage", "plain", "upper", "work", "others"] {
            fs::create_dir(fs.dir().join(dir))?;
        }
        if kind == FsKind::Btrfs {
            let volume = fs.dir().join("others/volume");
            image::run(Command::new("btrfs").args(["subvolume", "create"]).arg(volume))?;
        }
        populate(&fs.dir().join("plain"), &self.base_ops)?;
        Ok(image)
    }

    fn all(
        &self,
        system: System,
        kind: FsKind,
        template: &Path,
        tally: &mut Tally,
    ) -> io::Result<()> {
        let mut seed = self.options.seed;
        let mut turn = 0;
        while tally.passed + tally.failed < self.options.cuts {
            let Some(work) = self.work(turn, seed) else { break };
            turn += 1;
            seed += 1;
            let setting = Setting {
                system,
                kind,
                options: work.options,
                places: &self.places,
                dir: Path::new(WORK),
                template,
            };
            let recording = setting.record(self.tree.clone(), &work.ops)?;
            self.cuts(&setting, &work, seed - 1, &recording, tally)?;
        }
        Ok(())
    }

    /// The workload of a turn: the scenarios one after the other, a mixture after
    /// each of them.
    fn work(&self, turn: usize, seed: u64) -> Option<Work> {
        let mut chosen: Vec<Option<&loads::Scenario>> = Vec::new();
        let wanted = |name: &str| self.options.only.as_ref().is_none_or(|part| name.contains(part));
        for scenario in SCENARIOS {
            chosen.extend(wanted(scenario.name).then_some(Some(scenario)));
            chosen.extend(wanted("mixed").then_some(None));
        }
        let scenario = *chosen.get(turn % chosen.len().max(1))?;
        let mut load = Load::new(self.tree.clone(), Dice::new(seed));
        let (name, options) = match scenario {
            Some(scenario) => {
                (scenario.steps)(&mut load);
                (scenario.name, scenario.options)
            }
            None => {
                load.mix(MIXTURE);
                ("mixed", if seed % 2 == 0 { "" } else { "blocks_from=64K" })
            }
        };
        Some(Work { name, ops: load.history.ops, options })
    }

    fn cuts(
        &self,
        setting: &Setting<'_>,
        work: &Work,
        seed: u64,
        recording: &Recording,
        tally: &mut Tally,
    ) -> io::Result<()> {
        let mut dice = Dice::new(seed ^ 0x00c0_ffee);
        let mut shown = false;
        let about =
            format!("{} {} {} seed {seed}", setting.kind.name(), setting.system.name(), work.name);
        if setting.system != System::Overlayfs {
            for failed in &recording.failed {
                tally.failed += 1;
                println!("BAD {about}: {failed}");
            }
        }
        let left = self.options.cuts.saturating_sub(tally.passed + tally.failed);
        for number in 0..self.options.per_run.min(left) {
            let cut = choose(recording, &mut dice);
            let remains = Remains::choose(setting.kind.sector(), &mut dice);
            let wrong = self.cut(setting, number, recording, cut, remains, &mut dice)?;
            if wrong.is_empty() {
                tally.passed += 1;
                continue;
            }
            tally.failed += 1;
            let (ended, begun) = steps(recording, cut);
            let rest = wrong.len().saturating_sub(5);
            let mut text = wrong.iter().take(5).cloned().collect::<Vec<_>>().join("; ");
            if rest > 0 {
                text += &format!("; and {rest} more");
            }
            let total = recording.records.len();
            println!("BAD {about} cut {cut}/{total} ({remains:?}) steps {ended}..{begun}: {text}");
            if self.options.verbose && !shown {
                shown = true;
                for (step, op) in (1..).zip(&recording.history.ops) {
                    println!("    {step:3} {op}");
                }
            }
        }
        Ok(())
    }

    /// Makes one cut; says what is wrong.
    fn cut(
        &self,
        setting: &Setting<'_>,
        number: usize,
        recording: &Recording,
        cut: usize,
        remains: Remains,
        dice: &mut Dice,
    ) -> io::Result<Vec<String>> {
        // A file of its own for each: the cache of a loop device may outlive it.
        let path = setting.dir.join(format!("cut{number}.img"));
        let image = copy_sparse(setting.template, &path)?;
        replay(&image, &recording.records, cut, remains, dice)?;
        drop(image);
        let wrong = look(setting, &path, recording, cut);
        fs::remove_file(&path)?;
        Ok(wrong)
    }
}

/// Makes the base's content in a directory.
fn populate(dir: &Path, ops: &[Op]) -> io::Result<()> {
    ops.iter().zip(BASE_STEPS..).try_for_each(|(op, step)| perform(dir, op, step))
}

/// Behind which record to cut: anywhere, or where a step has just ended.
fn choose(recording: &Recording, dice: &mut Dice) -> usize {
    let (start, total) = (recording.start, recording.records.len());
    let anywhere = start + 1 + dice.below(total.saturating_sub(start));
    if dice.chance(60) {
        return anywhere;
    }
    let rest = recording.records.iter().enumerate().skip(anywhere);
    let mut ends = rest.filter(|(_, record)| matches!(record, Record::End(_)));
    ends.next().map_or(anywhere, |(place, _)| place + 1)
}

/// The last step that had returned, and the last one that had begun.
fn steps(recording: &Recording, cut: usize) -> (usize, usize) {
    let (mut ended, mut begun) = (0, 0);
    for record in recording.records.iter().take(cut) {
        match record {
            Record::Begin(step) => begun = *step,
            Record::End(step) => ended = *step,
            _ => (),
        }
    }
    (ended, begun)
}

fn look(setting: &Setting<'_>, image: &Path, recording: &Recording, cut: usize) -> Vec<String> {
    let (ended, begun) = steps(recording, cut);
    let begun = begun.min(recording.history.states.len() - 1);
    let judge = Judge::new(&recording.history, ended, begun);
    let order = match setting.kind {
        FsKind::Ext4 | FsKind::Xfs => Order::Strict,
        FsKind::Btrfs => Order::Loose,
    };
    match view(setting, image) {
        Ok(seen) => judge.complaints(order, &seen),
        Err(error) => vec![error.to_string()],
    }
}

/// What is there after the cut; the same must be there after another mount, and
/// it must be possible to go on writing.
fn view(setting: &Setting<'_>, image: &Path) -> io::Result<View> {
    let fs = MountedImage::new(setting.kind, image, &setting.dir.join("fs"))?;
    let live = Live::new(setting.system, setting.places, fs.dir(), setting.options)?;
    let seen = observe(live.root())?;
    let probe = live.root().join("probe");
    fs::write(&probe, "probe")
        .and_then(|()| fs::remove_file(&probe))
        .map_err(|error| io::Error::other(format!("cannot go on writing: {error}")))?;
    drop(live);
    if setting.system == System::Plain {
        return Ok(seen);
    }
    let live = Live::new(setting.system, setting.places, fs.dir(), setting.options)?;
    if observe(live.root())? != seen {
        return Err(io::Error::other("another tree after another mount"));
    }
    Ok(seen)
}
