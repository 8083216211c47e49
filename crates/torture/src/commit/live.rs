//! Live commits of a mount in which programs work, until its daemon is killed at a storage call
//! of chance, or that call fails: what a program has written is there when the commit was
//! finished, or taken back, and all else of the base is what it was or what it is to be.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::case::{Before, Case, Verdict, brief, text};
use super::trial::failure;
use super::workers::{Workers, is_of_workers};
use crate::cuts::dice::Dice;
use crate::mount::{Daemon, program};
use crate::snapshot::Tree;
use crate::supervisor::Plan;

/// So many commits end before nobody is killed.
const COMMITS: usize = 6;

/// A commit that takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// So many storage calls there are at most before a kill.
const CALLS: usize = 1500;

/// How it is mounted: the ways of data differ.
const OPTIONS: &[&str] = &["", "nopassthrough", "blocks_from=4K", "nopassthrough,blocks_from=4K"];

impl Case {
    /// A mount, programs, commits, a kill or a call that `fails`, and what comes after it; the
    /// result says what happened.
    pub fn live(&self, dice: &mut Dice, fails: bool) -> Verdict<String> {
        self.empty()?;
        let options = dice.pick(OPTIONS).copied().unwrap_or_default();
        let daemon = Daemon::start(&self.layers, options, false)?;
        let before = self.changed(dice)?;
        let workers = Workers::start(&self.layers.mnt).map_err(text)?;
        let at = 1 + dice.below(CALLS);
        let (plan, what) = match fails {
            true => failure(at, dice),
            false => (Plan::Kill(at), "kill".to_owned()),
        };
        let mut story = format!("options {options:?}, call {at}: {what}");
        daemon.supervisor.arm(plan);
        let commits = self.until_disturbed(&daemon, &mut story);
        let killed = daemon.supervisor.has_killed();
        let done = workers.stop();
        let record = daemon.supervisor.disarm();
        match killed {
            true => daemon.kill()?,
            false => daemon.stop()?,
        }
        if let Some(hit) = &record.hit {
            let root = self.layers.mnt.parent().unwrap_or(&self.layers.mnt);
            let path = hit.path.replace(&*root.to_string_lossy(), "");
            story.push_str(&format!(", hit {} {path}", hit.name));
        }
        story.push_str(&format!(", {} commits", commits.as_ref().map_or(0, |commits| *commits)));
        let outcome = commits.and_then(|_| {
            self.after_kill(&before, (dice, &mut story))?;
            done.are_in(&self.layers.mnt, |looks| {
                let daemon = Daemon::start(&self.layers, "", false)?;
                let seen = looks();
                daemon.stop().and(seen)
            })?;
            self.all_of_it(&before)
        });
        outcome.map(|()| story.clone()).map_err(|wrong| format!("{story}: {wrong}"))
    }

    /// Makes changes in the mount that nobody touches any more.
    fn changed(&self, dice: &mut Dice) -> Verdict<Before> {
        let base = Tree::of(&self.layers.base);
        super::scene::change(&self.layers.mnt, dice).map_err(text)?;
        Ok(Before { base, view: Tree::of(&self.layers.mnt) })
    }

    /// Commits again and again; the result is how often.
    fn until_disturbed(&self, daemon: &Daemon, story: &mut String) -> Verdict<usize> {
        for count in 0..COMMITS {
            daemon.supervisor.be_patient();
            let mut command = Command::new(program());
            command.args(["commit", "--yes", "-q"]).arg(&self.layers.mnt);
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
            let ended = wait(command.spawn().map_err(text)?, daemon)?;
            match ended {
                _ if daemon.supervisor.has_killed() => return Ok(count),
                (Some(0), _) => {}
                (_, said) if daemon.supervisor.has_hit() => {
                    story.push_str(&format!(", told: {}", said.trim()));
                    return Ok(count);
                }
                (code, said) => return Err(format!("it ended with {code:?}: {}", said.trim())),
            }
        }
        Ok(COMMITS)
    }

    /// What was interrupted is finished, or taken back: all of it or nothing is in the base.
    fn after_kill(&self, before: &Before, (dice, story): (&mut Dice, &mut String)) -> Verdict<()> {
        let begun = fs::read_dir(&self.layers.storage)
            .map_err(text)?
            .flatten()
            .any(|entry| entry.file_name().to_string_lossy().ends_with("_commit"));
        if begun {
            let abort = dice.chance(50);
            let ended = self.command(abort, Plan::Count)?;
            match ended.code {
                Some(0) => story.push_str(if abort { ", taken back" } else { ", finished" }),
                Some(2) if ended.said.contains("cannot be taken back any more") => {
                    story.push_str(", too late to abort");
                    self.finished()?;
                }
                code => return Err(format!("it ended with {code:?}: {}", ended.said.trim())),
            }
        }
        let base = Tree::of(&self.layers.base);
        let apart = |found: Vec<String>| -> Vec<String> {
            let found = self.times_apart(found, &base).into_iter();
            found.filter(|line| !is_of_workers(line)).collect()
        };
        let old = apart(base.exact_differences(&before.base));
        let new = apart(base.exact_differences(&before.view));
        story.push_str(if new.is_empty() { ", all in the base" } else { ", nothing in the base" });
        if old.is_empty() { Ok(()) } else { brief("the base is neither before nor after", new) }
    }

    fn finished(&self) -> Verdict<()> {
        let ended = self.command(false, Plan::Count)?;
        match ended.code {
            Some(0) => Ok(()),
            code => Err(format!("it cannot be finished: {code:?} {}", ended.said.trim())),
        }
    }

    /// At the end everything is committed, and the base is what a mount shows.
    fn all_of_it(&self, before: &Before) -> Verdict<()> {
        let view = self.view()?;
        let mut found = self.shown(&view, before);
        found.retain(|line| !is_of_workers(line));
        brief("the tree after it", found)?;
        let ended = self.command(false, Plan::Count)?;
        if ended.code == Some(1) && ended.said.contains("base changed") {
            // What was moved there and back has a new time of change.
            self.with(&["--yes", "--ours"], Plan::Count)?;
        }
        self.at_the_end(&Before { view, ..before.clone() }, &Tree::of(&self.layers.base))
    }

    /// Base and storage anew.
    pub fn empty(&self) -> Verdict<()> {
        for dir in [&self.layers.base, &self.layers.storage, &self.layers.mnt] {
            if dir.exists() {
                super::deep::remove(dir).map_err(text)?;
            }
            fs::create_dir(dir).map_err(text)?;
        }
        let (base, top) = (&self.layers.base, super::deep::top(&self.layers.base, self.deep));
        if self.deep {
            super::deep::make(&top).map_err(text)?;
        }
        crate::scenario::fill(&top).map_err(text)?;
        super::deep::close(base, self.deep).or_else(|error| match self.deep {
            true => Err(text(error)),
            false => Ok(()),
        })
    }
}

/// How the command ended: by which code, and with which words.
fn wait(mut command: Child, daemon: &Daemon) -> Verdict<(Option<i32>, String)> {
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE && !daemon.supervisor.has_hung() {
        if command.try_wait().map_err(text)?.is_some() {
            let output = command.wait_with_output().map_err(text)?;
            return Ok((
                output.status.code(),
                String::from_utf8_lossy(&output.stderr).into_owned(),
            ));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    daemon.supervisor.kill();
    let _ = command.kill().and_then(|()| command.wait());
    Err("the commit hangs".to_owned())
}
