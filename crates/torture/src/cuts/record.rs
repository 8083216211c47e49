//! Runs a workload on a logging disk.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::check::Judge;
use super::disk::{Log, Record, Served};
use super::image::{FsKind, MountedImage, copy_sparse, run};
use super::model::{History, Tree};
use super::observe::observe;
use super::op::Op;
use super::perform::perform;
use super::sys::write_back;
use super::system::{Live, Places, System};

/// What a workload left behind.
pub struct Recording {
    /// The steps that succeeded, and their states.
    pub history: History,
    /// The log from the mount of the file system to the end of the workload.
    pub records: Vec<Record>,
    /// Where in it the first step begins.
    pub start: usize,
    /// Steps that failed.
    pub failed: Vec<String>,
}

/// How to run one.
pub struct Setting<'a> {
    /// What is tested.
    pub system: System,
    /// Where its storage is.
    pub kind: FsKind,
    /// Options for mini_fo.
    pub options: &'a str,
    /// Where everything is.
    pub places: &'a Places,
    /// A directory for images.
    pub dir: &'a Path,
    /// The image to begin with.
    pub template: &'a Path,
}

impl Setting<'_> {
    /// Nothing was ordered.
    pub fn is_volatile(&self) -> bool {
        self.system == System::MiniFo && self.options.ends_with(",volatile")
    }

    /// Does the steps, as far as they make sense and succeed.
    ///
    /// # Errors
    /// Something cannot be mounted.
    pub fn record(&self, tree: Tree, ops: &[Op]) -> io::Result<Recording> {
        let image = self.dir.join("recording.img");
        copy_sparse(self.template, &image)?;
        let recording = self.run_on(&image, tree, ops);
        fs::remove_file(&image)?;
        fs::remove_file(self.log())?;
        recording
    }

    fn log(&self) -> PathBuf {
        self.dir.join("recording.log")
    }

    fn run_on(&self, image: &Path, tree: Tree, ops: &[Op]) -> io::Result<Recording> {
        // Dropped from the last to the first.
        let served = Served::new(image, &self.dir.join("disk"), &self.log(), 0)?;
        let fs = MountedImage::new(self.kind, &served.path(), &self.dir.join("fs"))?;
        let live = Live::new(self.system, self.places, fs.dir(), self.options)?;
        let log = Log::open(served.log(), 0)?;
        log.add(&Record::Begin(0))?;
        let run = Run { setting: self, fs: fs.dir(), root: live.root(), log };
        let mut history = History::new(tree);
        let mut failed = Vec::new();
        for op in ops {
            run.step(op, &mut history, &mut failed)?;
        }
        let records = Log::read(served.log(), 0)?;
        let start = records.iter().position(|record| *record == Record::Begin(0)).unwrap_or(0);
        if let Some(step) = unflushed(&history, &records) {
            return Err(io::Error::other(format!("no flush reached the disk in step {step}")));
        }
        // What was wrong before the cut is no matter of the cut.
        let last = history.states.len() - 1;
        let wrong = Judge::new(&history, last, last).against(last, &observe(live.root())?);
        failed.extend(wrong.into_iter().map(|what| format!("without a cut: {what}")));
        drop(live);
        drop(fs);
        Ok(Recording { history, records, start, failed })
    }
}

/// A commit during which no flush came: this disk would then be no measure.
fn unflushed(history: &History, records: &[Record]) -> Option<usize> {
    let commits = (1..).zip(&history.ops).filter(|(_, op)| **op == Op::Commit);
    let mut steps = commits.map(|(step, _)| step);
    steps.find(|&step| {
        let begun = |record: &&Record| !matches!(record, Record::Begin(begun) if *begun == step);
        let ended = |record: &&Record| !matches!(record, Record::End(ended) if *ended == step);
        let mut during = records.iter().skip_while(begun).take_while(ended);
        !during.any(|record| matches!(record, Record::Flush))
    })
}

struct Run<'a> {
    setting: &'a Setting<'a>,
    fs: &'a Path,
    root: &'a Path,
    log: Log,
}

impl Run<'_> {
    fn step(&self, op: &Op, history: &mut History, failed: &mut Vec<String>) -> io::Result<()> {
        let step = history.next();
        // The others know no such thing.
        if matches!(op, Op::Discard(..)) && self.setting.system != System::MiniFo {
            return Ok(());
        }
        if history.last().clone().apply(op, step).is_err() {
            return Ok(());
        }
        self.log.add(&Record::Begin(step))?;
        let done = perform(self.root, op, step).and_then(|()| self.beside(op, step));
        match done.and_then(|()| history.push(op.clone())) {
            Ok(()) => self.log.add(&Record::End(step))?,
            Err(error) => failed.push(format!("{op}: {error}")),
        }
        Ok(())
    }

    /// What others do.
    fn beside(&self, op: &Op, step: usize) -> io::Result<()> {
        match op {
            Op::Sync => Ok(rustix::fs::syncfs(File::open(self.fs)?)?),
            Op::Commit => self.commit(step),
            Op::Writeback(which) => self.write_back(*which),
            Op::Pause(millis) => {
                std::thread::sleep(Duration::from_millis(*millis));
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// The journal, and what it takes along. btrfs commits for a snapshot of
    /// another subvolume; an fsync there has a log of its own.
    fn commit(&self, step: usize) -> io::Result<()> {
        let others = self.fs.join("others");
        if self.setting.kind == FsKind::Btrfs && !step.is_multiple_of(3) {
            let mut command = Command::new("btrfs");
            command.args(["subvolume", "snapshot"]).arg(others.join("volume"));
            return run(command.arg(others.join(format!("snapshot{step}"))));
        }
        let file = File::create(others.join(format!("file{step}")))?;
        file.sync_all()
    }

    /// All data, or that of one file.
    fn write_back(&self, which: u64) -> io::Result<()> {
        let mut files = Vec::new();
        files_below(&self.setting.system.storage(self.fs), &mut files)?;
        files.sort();
        let one = usize::try_from(which / 4).unwrap_or(0) % files.len().max(1);
        for (place, path) in files.iter().enumerate() {
            if which.is_multiple_of(4) || place == one {
                write_back(&File::open(path)?)?;
            }
        }
        Ok(())
    }
}

fn files_below(dir: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        match entry.file_type()? {
            kind if kind.is_dir() => files_below(&entry.path(), files)?,
            kind if kind.is_file() => files.push(entry.path()),
            _ => (),
        }
    }
    Ok(())
}
