//! A case in a place of its own, and kills of its command.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use super::case::{Case, Expected, Verdict, What};
use crate::cuts::dice::Dice;
use crate::mount::Layers;
use crate::supervisor::Plan;

/// A place for it, gone when this is dropped.
pub struct Trial {
    root: PathBuf,
    pub case: Case,
}

impl Trial {
    /// # Errors
    /// Those of making and mounting.
    pub fn new(what: What, on: Option<&Path>, seed: u64, how: (bool, bool)) -> io::Result<Trial> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let parent = on.map_or_else(std::env::temp_dir, Path::to_path_buf);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("mini_fo-commits-{}-{number}", std::process::id());
        let root = fs::canonicalize(parent)?.join(name);
        let [base, storage, mnt] = ["base", "storage", "mnt"].map(|name| root.join(name));
        fs::create_dir(&root)?;
        // From here on it is cleared away upon failure.
        let case = Case::new(what, Layers { base, storage, mnt }, seed, how);
        let trial = Trial { root, case };
        if on.is_none() {
            let options = Some(c"size=64m,mode=755");
            mount("mini_fo_torture", &trial.root, "tmpfs", MountFlags::empty(), options)?;
        }
        Ok(trial)
    }

    /// What comes of it without a kill.
    pub fn undisturbed(&self) -> Verdict<Expected> {
        let before = self.case.prepare()?;
        let ended = self.case.done()?;
        self.case.expected(&before, &ended)
    }

    /// Kills a command once, and then what goes on with it; the result says what happened.
    pub fn killed(&self, expected: &Expected, dice: &mut Dice) -> Verdict<String> {
        let before = self.case.prepare()?;
        let at = 1 + dice.below(expected.calls);
        let ended = self.case.command(false, Plan::Kill(at))?;
        let mut story = format!("call {at} of {} ({})", expected.calls, self.case.hit(&ended));
        let whole = !ended.record.killed;
        let outcome = self.case.goes_on(expected, &before, whole, (dice, &mut story));
        outcome.map(|()| story.clone()).map_err(|wrong| format!("{story}: {wrong}"))
    }

    /// Lets one of its calls fail, or all from one on that need room, and then finishes it or
    /// takes it back; the result says what happened.
    pub fn failed(&self, expected: &Expected, dice: &mut Dice) -> Verdict<String> {
        let before = self.case.prepare()?;
        let at = 1 + dice.below(expected.calls);
        let (plan, what) = failure(at, dice);
        let ended = self.case.command(false, plan)?;
        let hit = self.case.hit(&ended);
        let said = format!("{:?} {}", ended.code, ended.said.trim());
        let mut story = format!("call {at} of {} ({hit}): {what}: {said}", expected.calls);
        // What the storage holds on to is an object of its own by then.
        if ended.said.contains("does not let its own of these go") {
            return Ok(story);
        }
        let outcome = self.case.is_as_told(expected, &before, &ended).and_then(|()| {
            let whole = ended.code == Some(0);
            self.case.goes_on(expected, &before, whole, (dice, &mut story))
        });
        outcome.map(|()| story.clone()).map_err(|wrong| format!("{story}: {wrong}"))
    }
}

/// What fails at a call of this number, and what that is called.
pub fn failure(at: usize, dice: &mut Dice) -> (Plan, String) {
    let errors = [Errno::IO, Errno::NOSPC, Errno::DQUOT, Errno::PERM, Errno::ACCESS];
    match dice.pick(&errors) {
        Some(errno) if dice.chance(75) => (Plan::Fail(at, *errno), errno.to_string()),
        _ => (Plan::Full(at), "no room from there on".to_owned()),
    }
}

impl Drop for Trial {
    fn drop(&mut self) {
        // Not mounted is as good.
        for point in [&self.case.layers.mnt, &self.root] {
            let _ = unmount(point, UnmountFlags::DETACH);
        }
        let _ = super::deep::close(&self.case.layers.base, false);
        if let Err(error) = fs::remove_dir_all(&self.root) {
            eprintln!("cannot remove {}: {error}", self.root.display());
        }
    }
}
