//! One tree with changes, and what a kill makes of its commit.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use super::scene;
use crate::cuts::dice::Dice;
use crate::mount::{Daemon, Ended, Layers, program};
use crate::scenario;
use crate::snapshot::Tree;
use crate::supervisor::Plan;

/// What is committed, in place of everything: such paths.
const PATHS: &[&str] = &["d", "e", "a", "new", "f", "full"];

/// So often in a row what finishes a commit is killed at most.
const KILLS_IN_A_ROW: usize = 3;

/// How a commit ends that nobody disturbs.
pub struct Expected {
    /// The base after it.
    base: Tree,
    /// Storage calls that it takes.
    calls: usize,
}

/// A place for it, gone when this is dropped.
pub struct Trial {
    root: PathBuf,
    layers: Layers,
    seed: u64,
    /// The root's time counts, too.
    strict: bool,
    /// What is committed; none: everything.
    paths: Vec<&'static str>,
}

/// What there was before a commit.
struct Before {
    base: Tree,
    view: Tree,
}

type Verdict<T> = Result<T, String>;

fn text(error: io::Error) -> String {
    error.to_string()
}

/// The first few of many lines.
fn brief(what: &str, found: Vec<String>) -> Verdict<()> {
    match found.len() {
        0 => Ok(()),
        many => Err(format!("{what}: {} ({many})", found[..many.min(6)].join("; "))),
    }
}

impl Trial {
    /// # Errors
    /// Those of making and mounting.
    pub fn new(on: Option<&Path>, seed: u64, strict: bool) -> io::Result<Trial> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let parent = on.map_or_else(std::env::temp_dir, Path::to_path_buf);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("mini_fo-commits-{}-{number}", std::process::id());
        let root = fs::canonicalize(parent)?.join(name);
        let [base, storage, mnt] = ["base", "storage", "mnt"].map(|name| root.join(name));
        fs::create_dir(&root)?;
        let mut dice = Dice::new(seed ^ 0x7061_7468);
        let paths = match dice.chance(40) {
            true => PATHS.iter().copied().filter(|_| dice.chance(40)).collect(),
            false => Vec::new(),
        };
        // From here on it is cleared away upon failure.
        let trial = Trial { root, layers: Layers { base, storage, mnt }, seed, strict, paths };
        if on.is_none() {
            let options = Some(c"size=64m,mode=755");
            mount("mini_fo_torture", &trial.root, "tmpfs", MountFlags::empty(), options)?;
        }
        Ok(trial)
    }

    /// Makes all of it anew.
    fn prepare(&self) -> Verdict<Before> {
        let Layers { base, storage, mnt } = &self.layers;
        for dir in [base, storage, mnt] {
            if dir.exists() {
                fs::remove_dir_all(dir).map_err(text)?;
            }
            fs::create_dir(dir).map_err(text)?;
        }
        scenario::fill(base).map_err(text)?;
        let daemon = Daemon::start(&self.layers, "", false)?;
        scene::change(mnt, &mut Dice::new(self.seed)).map_err(text)?;
        daemon.stop()?;
        Ok(Before { base: Tree::of(base), view: self.view()? })
    }

    /// What a mount shows.
    fn view(&self) -> Verdict<Tree> {
        let daemon = Daemon::start(&self.layers, "", false)?;
        let view = Tree::of(&self.layers.mnt);
        daemon.stop().map(|()| view)
    }

    fn commit(&self, words: &[&str], plan: Plan) -> Verdict<Ended> {
        let mut command = Command::new(program());
        command.arg("commit").args(words).arg(&self.layers.storage);
        if !words.contains(&"--abort") {
            command.args(&self.paths);
        }
        Daemon::at_rest(command, &self.layers, false, plan)
    }

    /// A commit that comes to its end.
    fn committed(&self) -> Verdict<Ended> {
        let ended = self.commit(&["--yes"], Plan::Count)?;
        match ended.code {
            Some(0) => Ok(ended),
            // All that was named has gone, or never came.
            Some(2) if ended.said.contains("nothing has changed there") => Ok(ended),
            code => Err(format!("the commit ended with {code:?}: {}", ended.said.trim())),
        }
    }

    /// What is committed without a kill, and that the tree shows the same after it.
    pub fn undisturbed(&self) -> Verdict<Expected> {
        let before = self.prepare()?;
        let ended = self.committed()?;
        let base = Tree::of(&self.layers.base);
        self.at_the_end(&before, &base)?;
        Ok(Expected { base, calls: ended.record.calls.len() })
    }

    /// Kills a commit once, and then what goes on with it; the result says what happened.
    pub fn killed(&self, expected: &Expected, dice: &mut Dice) -> Verdict<String> {
        let before = self.prepare()?;
        let at = 1 + dice.below(expected.calls);
        let ended = self.commit(&["--yes"], Plan::Kill(at))?;
        let mut story = format!("call {at} of {} ({})", expected.calls, self.hit(&ended));
        let outcome = self.goes_on(expected, &before, dice, &mut story);
        outcome.map(|()| story.clone()).map_err(|wrong| format!("{story}: {wrong}"))
    }

    /// What it was about to do when it was killed.
    fn hit(&self, ended: &Ended) -> String {
        ended.record.hit.as_ref().map_or("nothing".to_owned(), |call| {
            format!("{} {}", call.name, call.path.replace(&*self.root.to_string_lossy(), ""))
        })
    }

    /// What was killed is finished, or taken back and done again.
    fn goes_on(
        &self,
        expected: &Expected,
        before: &Before,
        dice: &mut Dice,
        story: &mut String,
    ) -> Verdict<()> {
        self.shows_or_refuses(before, story)?;
        let abort = dice.chance(50);
        let words: &[&str] = if abort { &["--abort"] } else { &["--yes"] };
        for _ in 0..dice.below(KILLS_IN_A_ROW + 1) {
            let at = 1 + dice.below(expected.calls);
            let ended = self.commit(words, Plan::Kill(at))?;
            story.push_str(&format!(", {} killed at {at} ({})", words[0], self.hit(&ended)));
            if !ended.record.killed {
                break;
            }
        }
        if abort {
            let ended = self.commit(words, Plan::Count)?;
            let too_late = ended.said.contains("cannot be taken back any more");
            match ended.code {
                Some(0) => self.is_untouched(before, expected)?,
                Some(2) if too_late => {}
                code => return Err(format!("--abort ended with {code:?}: {}", ended.said.trim())),
            }
            story.push_str(if too_late { ", too late to abort" } else { ", taken back" });
        }
        self.committed()?;
        let base = Tree::of(&self.layers.base);
        let found = base.differences(&expected.base, crate::snapshot::Times::Exact);
        brief("the base is not what a commit makes of it", self.times_apart(found, &base))?;
        self.at_the_end(before, &base)
    }

    /// In between the tree shows what it did, or nothing.
    fn shows_or_refuses(&self, before: &Before, story: &mut String) -> Verdict<()> {
        match self.view() {
            Ok(view) => {
                story.push_str(", can be mounted");
                // What gets one more name in the base already has it.
                let mut found = self.shown(&view, before);
                found
                    .retain(|line| !line.contains(": nlink ") || line.matches(" for ").count() > 1);
                brief("the tree after the kill", found)
            }
            Err(said) if said.contains("was interrupted") => Ok(()),
            Err(said) => Err(said),
        }
    }

    /// All is as it was: the very objects. Or it was done before it could be taken back.
    fn is_untouched(&self, before: &Before, expected: &Expected) -> Verdict<()> {
        let base = Tree::of(&self.layers.base);
        let mut found = base.exact_differences(&before.base);
        found.extend(base.replaced(&before.base));
        // When the stage has gone, the root gets its time back: a kill in between takes that.
        found.retain(|line| self.strict || !line.starts_with(".: "));
        let times = crate::snapshot::Times::Exact;
        if !found.is_empty() && base.differences(&expected.base, times).is_empty() {
            return Ok(());
        }
        brief("the base after --abort", found)?;
        brief("the tree after --abort", self.shown(&self.view()?, before))
    }

    /// The tree shows what it did, nothing is left, and of a whole commit the base is that.
    fn at_the_end(&self, before: &Before, base: &Tree) -> Verdict<()> {
        brief("the tree after the commit", self.shown(&self.view()?, before))?;
        if self.paths.is_empty() {
            let found = base.exact_differences(&before.view);
            brief("the base after the commit", self.times_apart(found, base))?;
            let mut command = Command::new(program());
            let output = command.arg("status").arg(&self.layers.storage).output().map_err(text)?;
            if output.status.code() != Some(0) {
                let said = String::from_utf8_lossy(&output.stdout).into_owned();
                return Err(format!("status after the commit: {}", said.trim()));
            }
        }
        let left = |dir: &Path, end: &str| -> Verdict<()> {
            for entry in fs::read_dir(dir).map_err(text)? {
                let name = entry.map_err(text)?.file_name();
                if name.to_string_lossy().ends_with(end) {
                    return Err(format!("{} is left in {}", name.display(), dir.display()));
                }
            }
            Ok(())
        };
        left(&self.layers.base, "_stage")?;
        left(&self.layers.storage, "_commit")
    }

    /// What a mount shows otherwise than before.
    fn shown(&self, view: &Tree, before: &Before) -> Vec<String> {
        self.times_apart(view.exact_differences(&before.view), view)
    }

    /// Without the times of directories: what is done in those of the storage that is nothing of
    /// the tree, as the journal in the root, is followed by the setting of its old times, and a
    /// kill in between moves what it shows.
    fn times_apart(&self, mut found: Vec<String>, tree: &Tree) -> Vec<String> {
        let time = |line: &String| {
            let (path, what) = line.split_once(": ").unwrap_or_default();
            let alone = what.starts_with("time ") || what.starts_with("mtime ");
            alone && tree.is_dir(path)
        };
        found.retain(|line| self.strict || !time(line));
        found
    }

    /// Copies base and storage to `target`.
    ///
    /// # Errors
    /// Those of cp(1).
    pub fn keep(&self, target: &Path) -> io::Result<()> {
        fs::create_dir_all(target)?;
        let mut copy = Command::new("cp");
        let layers = [&self.layers.base, &self.layers.storage];
        let status = copy.arg("-a").args(layers).arg(target).status()?;
        if status.success() { Ok(()) } else { Err(io::Error::other(status.to_string())) }
    }
}

impl Drop for Trial {
    fn drop(&mut self) {
        // Not mounted is as good.
        for point in [&self.layers.mnt, &self.root] {
            let _ = unmount(point, UnmountFlags::DETACH);
        }
        if let Err(error) = fs::remove_dir_all(&self.root) {
            eprintln!("cannot remove {}: {error}", self.root.display());
        }
    }
}
