//! The daemon is killed before each storage call of an operation, and after
//! the last one.

use crate::calls::Call;
use crate::mount;
use crate::report::{Point, Report};
use crate::supervisor::Plan;
use crate::trial::{Trial, Verdict};

/// Kills at call after call; `keep` is told of each bad point.
pub fn all(trial: &Trial, report: &Report, at: Option<usize>, keep: &dyn Fn(&Point)) {
    for k in at.unwrap_or(1).. {
        let mut call = None;
        let mut end = false;
        let outcome = one(trial, k, &mut call, &mut end).and_then(|()| trial.base());
        let point = Point {
            what: "kill",
            scenario: trial.scenario.name,
            transport: trial.transport,
            at: k,
            call,
        };
        match outcome {
            Ok(()) => report.passed(),
            Err(wrong) => {
                report.failed(&point, &wrong);
                keep(&point);
            }
        }
        if end || point.call.is_none() || at.is_some() {
            return;
        }
    }
}

fn one(trial: &Trial, k: usize, call: &mut Option<Call>, end: &mut bool) -> Verdict<()> {
    let run = trial.run(Plan::Kill(k))?;
    *call = run.record.hit.clone();
    *end = !run.record.killed;
    let done = run.done;
    let finished = if *end { trial.all_done(&run) } else { Ok(()) };
    drop(run.actor);
    run.daemon.kill()?;
    finished?;
    let accepted = if *end { vec![done] } else { vec![done, done + 1] };
    unfinished_work_only(trial)?;

    let daemon = trial.mount()?;
    let state = trial.state(&accepted)?;
    daemon.stop()?;
    let daemon = trial.mount()?;
    trial.state(&[state]).map_err(|wrong| format!("after one more remount: {wrong}"))?;
    // Half of the points go on with what was interrupted.
    let held = trial.expected.holds.get(state).copied().unwrap_or(true);
    let again = !held && (k + trial.transport.len()) % 2 == 0;
    if again {
        again_from(trial, &daemon, state).map_err(|wrong| format!("done again: {wrong}"))?;
    }
    trial.follow(daemon, state, again)
}

/// `check` may find what a crash leaves, and nothing else.
fn unfinished_work_only(trial: &Trial) -> Verdict<()> {
    const FOUND: i32 = 11;
    let (code, said) = mount::check(&trial.place.layers)?;
    let harmless = |line: &str| line.contains("unfinished") || line.contains("problem");
    match code {
        0 => Ok(()),
        FOUND if said.lines().all(harmless) => Ok(()),
        _ => Err(format!("check after the kill ended with {code}: {}", said.trim())),
    }
}

/// Does the steps from `state` on.
fn again_from(trial: &Trial, daemon: &mount::Daemon, state: usize) -> Verdict<()> {
    daemon.supervisor.be_patient();
    let mut actor = crate::ops::Actor::new(&trial.place.layers.mnt);
    let steps = trial.scenario.steps.iter().zip(&trial.expected.results);
    for (step, result) in steps.skip(state) {
        let gave = actor.act(step);
        if gave != *result {
            return Err(format!("{step:?} gave {gave:?}, expected {result:?}"));
        }
    }
    drop(actor);
    trial.state(&[trial.scenario.steps.len()]).map(|_| ())
}
