//! What was promised: the states that the same calls go through on an ordinary
//! directory.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rustix::io::Errno;

use crate::follow;
use crate::ops::Actor;
use crate::scenario::{self, Scenario};
use crate::snapshot::{Times, Tree};

/// The states of one scenario, and what each step gives.
pub struct Expected {
    scenario: Scenario,
    plain: PathBuf,
    /// Before the first step, and after each.
    pub states: Vec<Tree>,
    pub results: Vec<Result<(), Errno>>,
    /// Whether a file is open before each step.
    pub holds: Vec<bool>,
    later: Mutex<BTreeMap<(usize, bool), Later>>,
    /// Directories may not show that something was copied up in them.
    strict_times: bool,
}

/// What comes of going on to work.
#[derive(Clone, Debug)]
pub struct Later {
    pub tree: Tree,
    pub told: Vec<String>,
}

impl Expected {
    /// Does it all in the empty directory `plain`.
    ///
    /// # Errors
    /// What a preparation met: a mistake of the scenario.
    pub fn of(scenario: &Scenario, plain: &Path, strict_times: bool) -> Result<Expected, String> {
        let mut expected = Expected {
            scenario: scenario.clone(),
            plain: plain.to_path_buf(),
            states: Vec::new(),
            results: Vec::new(),
            holds: Vec::new(),
            later: Mutex::default(),
            strict_times,
        };
        let mut actor = prepared(scenario, plain)?;
        expected.states.push(Tree::of(plain));
        for step in &scenario.steps {
            expected.holds.push(actor.holds());
            expected.results.push(actor.act(step));
            expected.states.push(Tree::of(plain));
        }
        drop(actor);
        Ok(expected)
    }

    /// What the tree is after the work that follows on state `from`; with the
    /// steps that are left done first, or without.
    ///
    /// # Errors
    /// The plain directory cannot be used.
    pub fn later(&self, from: usize, rest: bool) -> Result<Later, String> {
        let mut known = self.later.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(later) = known.get(&(from, rest)) {
            return Ok(later.clone());
        }
        let mut actor = prepared(&self.scenario, &self.plain)?;
        let count = if rest { self.scenario.steps.len() } else { from };
        for step in self.scenario.steps.iter().take(count) {
            // What it gives is known.
            let _ = actor.act(step);
        }
        drop(actor);
        let told = follow::work(&self.plain, &self.scenario.touched());
        let later = Later { tree: Tree::of(&self.plain), told };
        known.insert((from, rest), later.clone());
        Ok(later)
    }

    /// Which of these states `tree` is, and whether to the last time of
    /// modification. A copy-up that was interrupted has moved the time of its
    /// directory, which no order of calls avoids; that is told when it is asked
    /// for alone. So has a write that failed, of its file.
    ///
    /// # Errors
    /// None of them: what is different from each.
    pub fn state_of(&self, tree: &Tree, accepted: &[usize]) -> Result<Found, String> {
        let last = accepted.last().copied().unwrap_or(0);
        let times = accepted.iter().copied().chain([last + 1]);
        let trees: Vec<&Tree> = times.filter_map(|index| self.states.get(index)).collect();
        let strict = self.strict_times;
        let mut texts = Vec::new();
        for times in [Times::Exact, Times::Interrupted { trees: &trees, strict }] {
            texts.clear();
            for &index in accepted {
                let Some(state) = self.states.get(index) else { continue };
                let found = tree.differences(state, times);
                if found.is_empty() {
                    return Ok(Found { index, exact: matches!(times, Times::Exact) });
                }
                texts.push(format!("state {index}: {}", brief(&found)));
            }
        }
        Err(format!("not {}", texts.join("\n      nor ")))
    }
}

/// A state that was recognised.
#[derive(Clone, Copy, Debug)]
pub struct Found {
    pub index: usize,
    /// The times of modification are those of the state, too.
    pub exact: bool,
}

/// An actor in `plain`, after the preparations.
fn prepared<'a>(scenario: &Scenario, plain: &'a Path) -> Result<Actor<'a>, String> {
    empty(plain).and_then(|()| scenario::fill(plain)).map_err(|e| e.to_string())?;
    let mut actor = Actor::new(plain);
    for op in &scenario.before {
        actor.act(op).map_err(|errno| format!("{op:?} on a plain directory: {errno}"))?;
    }
    Ok(actor)
}

/// The first of some lines.
pub fn brief(lines: &[String]) -> String {
    const SHOWN: usize = 4;
    let mut text = lines.iter().take(SHOWN).cloned().collect::<Vec<_>>().join("; ");
    if lines.len() > SHOWN {
        text.push_str(&format!("; and {} more", lines.len() - SHOWN));
    }
    text
}

/// Removes all that is in a directory, and what the directory was given.
fn empty(dir: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        match entry.file_type()?.is_dir() {
            true => fs::remove_dir_all(entry.path())?,
            false => fs::remove_file(entry.path())?,
        }
    }
    use std::os::unix::fs::PermissionsExt;
    for name in ["user.mood", "user.colour", "system.posix_acl_default"] {
        // Not there is as good.
        let _ = rustix::fs::lremovexattr(dir, name);
    }
    std::os::unix::fs::chown(dir, Some(0), Some(0))?;
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755))
}
