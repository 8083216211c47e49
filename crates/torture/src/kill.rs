//! The daemon is killed before each storage call of an operation, and after
//! the last one.

use crate::calls::Call;
use crate::model::{Found, brief};
use crate::mount::{self, Daemon};
use crate::ops::Actor;
use crate::report::Judge;
use crate::run::Choice;
use crate::snapshot::Times;
use crate::stop;
use crate::supervisor::Plan;
use crate::trial::{FOUND, Trial, Verdict, harmless};

/// Kills at call after call.
pub fn all(trial: &Trial, judge: &Judge, choice: Choice) {
    // How many calls there are may differ a little from run to run: more than
    // are counted here come at the end.
    let calls = match trial.run(Plan::Count) {
        Ok(run) => run.record.calls.len(),
        Err(wrong) => return judge.tell("kill", 0, None, Err(wrong)),
    };
    for k in choice.of(calls + 1) {
        if stop::asked() {
            return;
        }
        let mut call = None;
        let outcome = one(trial, k, &mut call).and_then(|()| trial.base());
        judge.tell("kill", k, call, outcome);
    }
    let Some(paths) = trial.discarded() else { return };
    let calls = match trial.run_at_rest(paths, Plan::Count) {
        Ok((record, _)) => record.calls.len(),
        Err(wrong) => return judge.tell("kill at rest", 0, None, Err(wrong)),
    };
    for k in choice.of(calls + 1) {
        if stop::asked() {
            return;
        }
        let mut call = None;
        let outcome = one_at_rest(trial, paths, k, &mut call).and_then(|()| trial.base());
        judge.tell("kill at rest", k, call, outcome);
    }
}

/// The command is killed, on a storage that is not mounted.
fn one_at_rest(trial: &Trial, paths: &[&str], k: usize, call: &mut Option<Call>) -> Verdict<()> {
    let (record, good) = trial.run_at_rest(paths, Plan::Kill(k))?;
    *call = record.hit.clone();
    if !record.killed && !good {
        return Err("the command failed".to_owned());
    }
    let accepted: &[usize] = if record.killed { &[0, 1] } else { &[1] };
    unfinished_work_only(trial)?;
    if k.is_multiple_of(3) {
        trial.kill_recoveries()?;
    } else if k.is_multiple_of(2) {
        // The next command finishes it, too.
        let (_, good) = Daemon::discard_at_rest(
            &trial.place.layers,
            &["nothing"],
            trial.scenario.poor,
            Plan::Count,
        )?;
        if !good {
            return Err("the next command failed".to_owned());
        }
    }
    let daemon = trial.mount()?;
    let found = trial.state(accepted)?;
    trial.follow(daemon, found, false)
}

fn one(trial: &Trial, k: usize, call: &mut Option<Call>) -> Verdict<()> {
    let run = trial.run(Plan::Kill(k))?;
    *call = run.record.hit.clone();
    let end = !run.record.killed;
    let done = run.done;
    let finished = if end { trial.all_done(&run) } else { Ok(()) };
    drop(run.actor);
    run.daemon.kill()?;
    finished?;
    let accepted = if end { vec![done] } else { vec![done, done + 1] };
    unfinished_work_only(trial)?;
    if k.is_multiple_of(3) {
        trial.kill_recoveries()?;
    }

    let daemon = trial.mount()?;
    let tree = trial.tree();
    let found = trial.expected.state_of(&tree, &accepted)?;
    daemon.stop()?;
    let daemon = trial.mount()?;
    let changed = trial.tree().differences(&tree, Times::Exact);
    if !changed.is_empty() {
        return Err(format!("changed by one more remount: {}", brief(&changed)));
    }
    // Half of the points go on with what was interrupted; the other half does
    // on the other transport.
    let held = trial.expected.holds.get(found.index).copied().unwrap_or(true);
    let other = usize::from(trial.transport == "uring");
    let again = !held && (k + other).is_multiple_of(2);
    if again {
        again_from(trial, &daemon, found).map_err(|wrong| format!("done again: {wrong}"))?;
    }
    trial.follow(daemon, found, again)
}

/// `check` may find what a crash leaves, and nothing else.
fn unfinished_work_only(trial: &Trial) -> Verdict<()> {
    let (code, said) = mount::check(&trial.place.layers)?;
    match code {
        0 => Ok(()),
        FOUND if said.lines().all(harmless) => Ok(()),
        _ => Err(format!("check after the kill ended with {code}: {}", said.trim())),
    }
}

/// Does the steps from a state on.
fn again_from(trial: &Trial, daemon: &Daemon, from: Found) -> Verdict<()> {
    daemon.supervisor.be_patient();
    let mut actor = Actor::new(&trial.place.layers.mnt);
    let steps = trial.scenario.steps.iter().zip(&trial.expected.results);
    for (step, result) in steps.skip(from.index) {
        let gave = actor.act(step);
        if gave != *result {
            return Err(format!("{step:?} gave {gave:?}, expected {result:?}"));
        }
    }
    drop(actor);
    trial.all_there(from)
}
