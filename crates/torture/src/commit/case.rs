//! A tree with changes, a command that is disturbed, and what must be there afterwards.

use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;

use super::{deep, scene};
use crate::cuts::dice::Dice;
use crate::mount::{Daemon, Ended, Layers, program};
use crate::snapshot::{Times, Tree};
use crate::supervisor::Plan;

/// What the command is about, in place of everything: such paths.
const PATHS: &[&str] = &["d", "e", "a", "new", "f", "full"];

/// So often in a row what finishes a command is killed at most.
const KILLS_IN_A_ROW: usize = 3;

/// The command that is disturbed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// `mini_fo commit`.
    Commit,
    /// `mini_fo discard`.
    Discard,
}

impl What {
    /// As the command line has it.
    pub fn name(self) -> &'static str {
        match self {
            What::Commit => "commit",
            What::Discard => "discard",
        }
    }
}

/// How a command ends that nobody disturbs.
pub struct Expected {
    base: Tree,
    view: Tree,
    /// Storage calls that it takes.
    pub calls: usize,
}

/// What there was before it.
#[derive(Clone)]
pub struct Before {
    pub base: Tree,
    pub view: Tree,
}

/// Base and storage, and what is done with them.
#[derive(Clone)]
pub struct Case {
    pub what: What,
    pub layers: Layers,
    pub seed: u64,
    /// Times of directories count that a crash may move.
    pub strict: bool,
    /// All is in a directory of a base that is closed itself.
    pub deep: bool,
    /// What the command is about; none: everything.
    paths: Vec<&'static str>,
}

pub type Verdict<T> = Result<T, String>;

pub fn text(error: io::Error) -> String {
    error.to_string()
}

/// The first few of many lines.
pub fn brief(what: &str, found: Vec<String>) -> Verdict<()> {
    match found.len() {
        0 => Ok(()),
        many => Err(format!("{what}: {} ({many})", found[..many.min(6)].join("; "))),
    }
}

/// What one more, or less, name of an object shows.
fn is_count_alone(line: &str) -> bool {
    line.contains(": nlink ") && line.matches(" for ").count() == 1
}

impl Case {
    pub fn new(what: What, layers: Layers, seed: u64, (strict, deep): (bool, bool)) -> Case {
        let mut dice = Dice::new(seed ^ 0x7061_7468);
        let paths = match dice.chance(40) {
            true => PATHS.iter().copied().filter(|_| dice.chance(40)).collect(),
            false => Vec::new(),
        };
        Case { what, layers, seed, strict, deep, paths }
    }

    /// Makes all of it anew.
    pub fn prepare(&self) -> Verdict<Before> {
        self.empty()?;
        let Layers { base, mnt, .. } = &self.layers;
        let daemon = Daemon::start(&self.layers, "", false)?;
        scene::change(&deep::top(mnt, self.deep), &mut Dice::new(self.seed)).map_err(text)?;
        daemon.stop()?;
        Ok(Before { base: Tree::of(base), view: self.view()? })
    }

    /// The same about all of the tree.
    pub fn of_everything(self) -> Case {
        Case { paths: Vec::new(), ..self }
    }

    /// What a mount shows.
    pub fn view(&self) -> Verdict<Tree> {
        let daemon = Daemon::start(&self.layers, "", false)?;
        let view = Tree::of(&self.layers.mnt);
        daemon.stop()?;
        self.is_apart().map(|()| view)
    }

    /// Runs the command: with `abort`, that which takes it back.
    pub fn command(&self, abort: bool, plan: Plan) -> Verdict<Ended> {
        self.with(if abort { &["--abort"] } else { &["--yes"] }, plan)
    }

    pub fn with(&self, words: &[&str], plan: Plan) -> Verdict<Ended> {
        let abort = words.contains(&"--abort");
        let mut command = Command::new(program());
        command.arg(self.what.name()).args(words);
        if self.what == What::Discard && self.paths.is_empty() {
            command.arg("--all");
        }
        command.arg(&self.layers.storage);
        if !abort {
            command
                .args(self.paths.iter().map(|path| deep::top(Path::new(""), self.deep).join(path)));
        }
        Daemon::at_rest(command, &self.layers, false, plan)
    }

    /// The command comes to its end.
    pub fn done(&self) -> Verdict<Ended> {
        let ended = self.command(false, Plan::Count)?;
        match ended.code {
            Some(0) => Ok(ended),
            // All that was named has gone, or never came.
            Some(2) if ended.said.contains("nothing has changed there") => Ok(ended),
            code => Err(format!("it ended with {code:?}: {}", ended.said.trim())),
        }
    }

    /// What is there after a command that nobody has disturbed, if that is right.
    pub fn expected(&self, before: &Before, ended: &Ended) -> Verdict<Expected> {
        let base = Tree::of(&self.layers.base);
        let view = self.view()?;
        match self.what {
            What::Commit => self.at_the_end(before, &base)?,
            What::Discard => self.only_read(before)?,
        }
        Ok(Expected { base, view, calls: ended.record.calls.len() })
    }

    /// What it was about to do when it was killed.
    pub fn hit(&self, ended: &Ended) -> String {
        ended.record.hit.as_ref().map_or("nothing".to_owned(), |call| {
            let root = self.layers.mnt.parent().unwrap_or(&self.layers.mnt);
            format!("{} {}", call.name, call.path.replace(&*root.to_string_lossy(), ""))
        })
    }

    /// What was interrupted is finished, or taken back and done again. `ended`: it was not.
    pub fn goes_on(
        &self,
        expected: &Expected,
        before: &Before,
        ended: bool,
        (dice, story): (&mut Dice, &mut String),
    ) -> Verdict<()> {
        match self.what {
            What::Commit => self.commit_goes_on(expected, before, (dice, story)),
            What::Discard => self.discard_goes_on(expected, before, ended, (dice, story)),
        }
    }

    /// What a command has said that had trouble is true.
    pub fn is_as_told(&self, expected: &Expected, before: &Before, ended: &Ended) -> Verdict<()> {
        let base = Tree::of(&self.layers.base);
        let untouched = ["nothing was changed", "all was taken back"];
        if self.what == What::Discard {
            return self.only_read(before);
        }
        if ended.said.contains("out of the base could be removed") {
            return self.clear_remains().map_err(text);
        }
        if ended.code == Some(0) {
            let found = base.differences(&expected.base, Times::Exact);
            return brief("it was told done, but the base", self.times_apart(found, &base));
        }
        if untouched.iter().any(|words| ended.said.contains(words)) {
            let mut found = base.exact_differences(&before.base);
            found.extend(base.replaced(&before.base));
            // Times of directories may be what has failed.
            found = self.times_apart(found, &base);
            // So may the removal of the stage have.
            found.retain(|line| !line.contains("_stage"));
            return brief("it was told untouched, but the base", found);
        }
        Ok(())
    }

    /// Takes away what a commit has told that it could not.
    fn clear_remains(&self) -> io::Result<()> {
        for entry in fs::read_dir(deep::top(&self.layers.base, self.deep))? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with("META_") {
                fs::remove_dir_all(entry.path())?;
            }
        }
        Ok(())
    }

    fn killed_again(
        &self,
        abort: bool,
        expected: &Expected,
        (dice, story): (&mut Dice, &mut String),
    ) -> Verdict<()> {
        for _ in 0..dice.below(KILLS_IN_A_ROW + 1) {
            let at = 1 + dice.below(expected.calls);
            let ended = self.command(abort, Plan::Kill(at))?;
            let what = if abort { "--abort" } else { "again" };
            story.push_str(&format!(", {what} killed at {at} ({})", self.hit(&ended)));
            if !ended.record.killed {
                break;
            }
        }
        Ok(())
    }

    fn commit_goes_on(
        &self,
        expected: &Expected,
        before: &Before,
        (dice, story): (&mut Dice, &mut String),
    ) -> Verdict<()> {
        self.shows_or_refuses(before, story)?;
        let abort = dice.chance(50);
        self.killed_again(abort, expected, (dice, story))?;
        if abort {
            let ended = self.command(true, Plan::Count)?;
            let too_late = ended.said.contains("cannot be taken back any more");
            match ended.code {
                Some(0) => self.is_untouched(before, expected)?,
                Some(2) if too_late => {}
                code => return Err(format!("--abort ended with {code:?}: {}", ended.said.trim())),
            }
            story.push_str(if too_late { ", too late to abort" } else { ", taken back" });
            // What was moved there and back has a new time of change, which may be all that
            // tells whether it has changed.
            let ended = self.command(false, Plan::Count)?;
            if ended.code == Some(1) && ended.said.contains("base changed") {
                story.push_str(", in conflict by times of change");
                self.with(&["--yes", "--ours"], Plan::Count)?;
            }
        }
        self.done()?;
        let base = Tree::of(&self.layers.base);
        let found = base.differences(&expected.base, Times::Exact);
        brief("the base is not what a commit makes of it", self.times_apart(found, &base))?;
        self.at_the_end(before, &base)
    }

    /// Everything, or nothing of it, is forgotten; the base was only read.
    fn discard_goes_on(
        &self,
        expected: &Expected,
        before: &Before,
        ended: bool,
        (dice, story): (&mut Dice, &mut String),
    ) -> Verdict<()> {
        let view = self.view()?;
        let gone = self.times_apart(view.differences(&expected.view, Times::Any), &view);
        let stays = self.shown(&view, before);
        story.push_str(if gone.is_empty() { ", done" } else { ", nothing of it" });
        if !gone.is_empty() && (ended || !stays.is_empty()) {
            return brief("after the discard", gone);
        }
        self.killed_again(false, expected, (dice, story))?;
        self.done()?;
        let view = self.view()?;
        let found = view.differences(&expected.view, Times::Any);
        brief("the tree at the end", self.times_apart(found, &view))?;
        self.only_read(before)
    }

    fn only_read(&self, before: &Before) -> Verdict<()> {
        let base = Tree::of(&self.layers.base);
        if base.is_untouched_since(&before.base) {
            return Ok(());
        }
        Err(format!("THE BASE WAS CHANGED: {}", base.exact_differences(&before.base).join("; ")))
    }

    /// In between the tree shows what it did, or nothing.
    fn shows_or_refuses(&self, before: &Before, story: &mut String) -> Verdict<()> {
        match self.view() {
            Ok(view) => {
                story.push_str(", can be mounted");
                // What gets one more name in the base already has it.
                let mut found = self.shown(&view, before);
                found.retain(|line| !is_count_alone(line));
                brief("the tree after it", found)
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
        let above = if self.deep { "./in: " } else { ".: " };
        found.retain(|line| self.strict || !line.starts_with(above));
        if !found.is_empty() && base.differences(&expected.base, Times::Exact).is_empty() {
            return Ok(());
        }
        brief("the base after --abort", found)?;
        brief("the tree after --abort", self.shown(&self.view()?, before))
    }

    /// The tree shows what it did, nothing is left, and of a whole commit the base is that.
    pub fn at_the_end(&self, before: &Before, base: &Tree) -> Verdict<()> {
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
        left(&deep::top(&self.layers.base, self.deep), "_stage")?;
        left(&self.layers.storage, "_commit")
    }

    /// What a mount shows otherwise than before.
    pub fn shown(&self, view: &Tree, before: &Before) -> Vec<String> {
        self.times_apart(view.exact_differences(&before.view), view)
    }

    /// Without the times of directories: what is done in those of the storage that is nothing of
    /// the tree, as the journal in the root, is followed by the setting of its old times, and a
    /// kill in between moves what it shows.
    pub fn times_apart(&self, mut found: Vec<String>, tree: &Tree) -> Vec<String> {
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
