//! Where the cuts are made.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::mount::{MountFlags, mount};

use super::Options;
use super::check::{Judge, Order, View};
use super::dice::Dice;
use super::disk::Record;
use super::image::{self, FsKind, MountedImage, Remains, copy_sparse, last_flush, replay};
use super::loads::{self, BASE_STEPS, Load, SCENARIOS};
use super::model::Tree;
use super::observe::observe;
use super::op::Op;
use super::perform::perform;
use super::record::{Recording, Setting};
use super::system::{Live, Places, System};
use crate::mount::program;
use crate::place::own_namespace;
use crate::run::matches;

/// How many steps a mixture has.
const MIXTURE: usize = 90;
/// Where the tmpfs goes that holds everything; only this process sees it.
const WORK: &str = "/dev/shm";

/// Gives this process mounts of its own, and a tmpfs for everything, which is the result. To be
/// called while it has one thread.
///
/// # Errors
/// Without root.
pub fn prepare() -> io::Result<&'static Path> {
    own_namespace()?;
    mount("torture", WORK, "tmpfs", MountFlags::empty(), None)?;
    rustix::process::umask(rustix::fs::Mode::empty());
    Ok(Path::new(WORK))
}

/// What came of the cuts.
#[derive(Default)]
pub struct Tally {
    /// Nothing was wrong.
    passed: usize,
    /// Something was.
    pub failed: usize,
    /// In which workloads.
    kinds: BTreeMap<&'static str, usize>,
}

impl Tally {
    fn done(&self) -> usize {
        self.passed + self.failed
    }

    fn fail(&mut self, work: &'static str) {
        self.failed += 1;
        *self.kinds.entry(work).or_default() += 1;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)?;
        let kinds: Vec<_> =
            self.kinds.iter().map(|(name, count)| format!("{name} {count}")).collect();
        if kinds.is_empty() { Ok(()) } else { write!(f, " ({})", kinds.join(", ")) }
    }
}

/// Where the cuts are made.
pub struct Bench<'a> {
    options: &'a Options,
    kind: FsKind,
    dir: PathBuf,
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
    /// Makes the base, and places for one kind of file system.
    ///
    /// # Errors
    /// The program is not there.
    pub fn new(options: &'a Options, kind: FsKind) -> io::Result<Self> {
        let mini_fo = fs::canonicalize(program())
            .map_err(|error| io::Error::other(format!("{}: {error}", program().display())))?;
        let dir = Path::new(WORK).join(kind.name());
        for part in ["", "base", "mnt", "disk", "fs"] {
            fs::create_dir(dir.join(part))?;
        }
        let places = Places {
            mini_fo,
            base: dir.join("base"),
            mountpoint: dir.join("mnt"),
            log: dir.join("log"),
        };
        let (base_ops, tree) = loads::base();
        populate(&places.base, &base_ops)?;
        let base = observe(&places.base)?;
        let bench = Self { options, kind, dir, places, base_ops, tree, base };
        bench.make_template()?;
        Ok(bench)
    }

    /// Proves that nothing was written to the base.
    ///
    /// # Errors
    /// Something was.
    pub fn base_is_as_it_was(&self) -> io::Result<()> {
        if observe(&self.places.base)? == self.base {
            return Ok(());
        }
        Err(io::Error::other("the base was written"))
    }

    /// The image that everything begins with.
    fn template(&self) -> PathBuf {
        self.dir.join("template.img")
    }

    /// A directory for each system.
    fn make_template(&self) -> io::Result<()> {
        self.kind.make(&self.template())?;
        let fs = MountedImage::new(self.kind, &self.template(), &self.dir.join("fs"))?;
        for dir in ["storage", "plain", "upper", "work", "others"] {
            let dir = fs.dir().join(dir);
            fs::create_dir(&dir)?;
            // As with an ordinary umask: this process has none.
            fs::set_permissions(&dir, Permissions::from_mode(0o755))?;
        }
        if self.kind == FsKind::Btrfs {
            let volume = fs.dir().join("others/volume");
            image::run(Command::new("btrfs").args(["subvolume", "create"]).arg(volume))?;
        }
        populate(&fs.dir().join("plain"), &self.base_ops)
    }

    /// As many cuts as are asked for.
    ///
    /// # Errors
    /// Something cannot be mounted before a cut.
    pub fn all(&self, system: System) -> io::Result<Tally> {
        let mut tally = Tally::default();
        for (turn, seed) in (self.options.seed..).enumerate() {
            if tally.done() >= self.options.cuts {
                break;
            }
            let work = self.work(turn, seed);
            let work = work.ok_or_else(|| io::Error::other("no workload has such a name"))?;
            let setting = Setting {
                system,
                kind: self.kind,
                options: work.options,
                places: &self.places,
                dir: &self.dir,
                template: &self.template(),
            };
            let recording = setting.record(self.tree.clone(), &work.ops)?;
            self.cuts(&setting, &work, seed, &recording, &mut tally)?;
        }
        Ok(tally)
    }

    /// The workload of a turn: the scenarios one after the other, a mixture after
    /// each of them.
    fn work(&self, turn: usize, seed: u64) -> Option<Work> {
        let mut chosen: Vec<Option<&loads::Scenario>> = Vec::new();
        let only = &self.options.only;
        let wanted = |name: &str| {
            let mut fits = only.iter().map(|glob| matches(glob.as_bytes(), name.as_bytes()));
            only.is_empty() || fits.any(|fits| fits)
        };
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
                ("mixed", if seed.is_multiple_of(2) { "" } else { "blocks_from=64K" })
            }
        };
        Some(Work { name, ops: load.history.ops, options })
    }

    /// The cuts of one run of a workload.
    fn cuts(
        &self,
        setting: &Setting<'_>,
        work: &Work,
        seed: u64,
        recording: &Recording,
        tally: &mut Tally,
    ) -> io::Result<()> {
        let mut dice = Dice::new(seed ^ 0x00c0_ffee);
        let (fs, system) = (setting.kind.name(), setting.system.name());
        let about = format!("{fs} {system} {} seed {seed}", work.name);
        let before = tally.failed;
        // overlayfs refuses some steps, which is no matter of cuts.
        if setting.system != System::Overlayfs {
            for failed in &recording.failed {
                tally.fail(work.name);
                println!("BAD {about}: {failed}");
            }
        }
        let left = self.options.cuts.saturating_sub(tally.done());
        for number in 0..self.options.per_run.min(left) {
            let cut = Cut::choose(setting.kind, recording, self.options.lie, &mut dice);
            let wrong = self.cut(setting, number, recording, &cut, &mut dice)?;
            if wrong.is_empty() {
                tally.passed += 1;
            } else {
                tally.fail(work.name);
                println!("BAD {about} {}: {}", cut.about(recording), shortened(&wrong));
            }
        }
        if self.options.verbose && tally.failed > before {
            for (step, op) in (1..).zip(&recording.history.ops) {
                println!("    {step:3} {op}");
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
        cut: &Cut,
        dice: &mut Dice,
    ) -> io::Result<Vec<String>> {
        // A file of its own for each: the cache of a loop device may outlive it.
        let path = setting.dir.join(format!("cut{number}.img"));
        let image = copy_sparse(setting.template, &path)?;
        let before = recording.records.get(..cut.at).unwrap_or(&recording.records);
        replay(&image, before, cut.durable, cut.remains, dice)?;
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

/// A moment at which the power goes.
struct Cut {
    /// Behind how many records.
    at: usize,
    /// How many of them are on the disk in any case.
    durable: usize,
    /// What is, of the others.
    remains: Remains,
    /// The last step that had returned.
    ended: usize,
    /// The last step that had begun.
    begun: usize,
}

impl Cut {
    /// Anywhere, or where a step has just ended; `lie`: the disk has forgotten
    /// what it had been told to keep.
    fn choose(kind: FsKind, recording: &Recording, lie: bool, dice: &mut Dice) -> Self {
        let (start, records) = (recording.start, &recording.records);
        let mut at = start + 1 + dice.below(records.len().saturating_sub(start));
        if dice.chance(40) {
            let rest = records.iter().enumerate().skip(at);
            let mut ends = rest.filter(|(_, record)| matches!(record, Record::End(_)));
            at = ends.next().map_or(at, |(place, _)| place + 1);
        }
        let mut durable = last_flush(records, at);
        let mut remains = Remains::choose(kind.sector(), dice);
        if lie {
            let earlier = start + dice.below(durable.saturating_sub(start));
            (durable, remains) = (last_flush(records, earlier), Remains::Some);
        }
        let (mut ended, mut begun) = (0, 0);
        for record in records.iter().take(at) {
            match record {
                Record::Begin(step) => begun = *step,
                Record::End(step) => ended = *step,
                _ => (),
            }
        }
        // The last ones may have failed, and then made no state.
        let begun = begun.min(recording.history.states.len() - 1);
        Self { at, durable, remains, ended, begun }
    }

    fn about(&self, recording: &Recording) -> String {
        let Self { at, remains, ended, begun, .. } = self;
        let total = recording.records.len();
        format!("cut {at}/{total} ({remains:?}) steps {ended}..{begun}")
    }
}

fn shortened(wrong: &[String]) -> String {
    let text = wrong.iter().take(5).cloned().collect::<Vec<_>>().join("; ");
    match wrong.len().saturating_sub(5) {
        0 => text,
        rest => format!("{text}; and {rest} more"),
    }
}

fn look(setting: &Setting<'_>, image: &Path, recording: &Recording, cut: &Cut) -> Vec<String> {
    let judge = Judge::new(&recording.history, cut.ended, cut.begun);
    let order = match setting.kind {
        FsKind::Ext4 | FsKind::Xfs => Order::Strict,
        FsKind::Btrfs => Order::Loose,
    };
    match view(setting, image) {
        Err(error) => vec![error.to_string()],
        Ok(found) if setting.is_volatile() => {
            let mut wrong = judge.volatile(order, &found.view);
            // Before its first change it may have left nothing.
            if !found.called_unclean && (cut.ended > 0 || !judge.against(0, &found.view).is_empty())
            {
                wrong.push("the storage is not called unclean".to_owned());
            }
            wrong
        }
        Ok(found) => judge.complaints(order, &found.view),
    }
}

/// What mounts after a cut find.
struct Found {
    view: View,
    /// All of them said that a volatile mount did not end cleanly.
    called_unclean: bool,
}

/// What is there after the cut; the same must be there after another mount, and
/// it must be possible to go on writing.
fn view(setting: &Setting<'_>, image: &Path) -> io::Result<Found> {
    let fs = MountedImage::new(setting.kind, image, &setting.dir.join("fs"))?;
    let live = mount_again(setting, fs.dir())?;
    let view = observe(live.root())?;
    let probe = live.root().join("probe");
    fs::write(&probe, "probe")
        .and_then(|()| fs::remove_file(&probe))
        .map_err(|error| io::Error::other(cannot_write(setting, &error)))?;
    drop(live);
    if setting.system == System::Plain {
        return Ok(Found { view, called_unclean: false });
    }
    let first = says_unclean(setting);
    let live = mount_again(setting, fs.dir())?;
    if observe(live.root())? != view {
        return Err(io::Error::other("another tree after another mount"));
    }
    drop(live);
    Ok(Found { view, called_unclean: first && says_unclean(setting) })
}

/// With what the log says: it may be that the storage was found damaged.
fn cannot_write(setting: &Setting<'_>, error: &io::Error) -> String {
    let log = fs::read_to_string(&setting.places.log).unwrap_or_default();
    format!("cannot go on writing: {error}; the log: {}", log.trim())
}

/// Mounts what a cut has left: what a volatile mount has left without that option.
fn mount_again(setting: &Setting<'_>, fs: &Path) -> io::Result<Live> {
    let volatile = setting.is_volatile();
    let options = setting.options.trim_end_matches(if volatile { ",volatile" } else { "" });
    Live::new(setting.system, setting.places, fs, options)
}

/// The mount that has ended said what a volatile one before it has left.
fn says_unclean(setting: &Setting<'_>) -> bool {
    let log = fs::read_to_string(&setting.places.log).unwrap_or_default();
    log.contains("a mount with -o volatile did not end cleanly")
}
