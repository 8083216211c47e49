//! Each storage call of an operation fails: once with EIO, or it and all later
//! ones that need room with ENOSPC.

use rustix::io::Errno;

use crate::calls::Call;
use crate::model::Found;
use crate::report::Judge;
use crate::run::Choice;
use crate::stop;
use crate::supervisor::Plan;
use crate::trial::{Run, Trial, Verdict};

/// What fails, and what is done afterwards.
#[derive(Clone, Copy)]
struct Series {
    what: &'static str,
    full: bool,
    /// The daemon is another one before the step is done again.
    remounted: bool,
}

const SERIES: [Series; 4] = [
    Series { what: "EIO", full: false, remounted: false },
    Series { what: "EIO+remount", full: false, remounted: true },
    Series { what: "ENOSPC", full: true, remounted: false },
    Series { what: "ENOSPC+remount", full: true, remounted: true },
];

/// Fails call after call.
pub fn all(trial: &Trial, judge: &Judge, choice: Choice) {
    let calls = match undisturbed(trial).and_then(|calls| trial.base().map(|()| calls)) {
        Ok(calls) => calls,
        Err(wrong) => return judge.tell("nothing", 0, None, Err(wrong)),
    };
    for series in SERIES {
        let growing = |k: &usize| calls.get(k - 1).is_some_and(|call| call.grows || !series.full);
        let points: Vec<usize> = (1..=calls.len()).filter(growing).collect();
        for index in choice.of(points.len()) {
            let Some(&k) = points.get(index - 1) else { continue };
            if stop::asked() {
                return;
            }
            let call = calls.get(k - 1);
            let outcome = one(trial, k, series).and_then(|()| trial.base());
            let outcome = outcome.or_else(|wrong| match call {
                Some(call) if only_a_time(call, &wrong) => Ok(()),
                _ => Err(wrong),
            });
            judge.tell(series.what, k, call.cloned(), outcome);
        }
    }
}

/// A change that stands is no failure because its directory could not be given a
/// time: that alone differs.
fn only_a_time(call: &Call, wrong: &str) -> bool {
    let differs = wrong.strip_prefix("told success, live: not state ");
    call.name == "utimensat"
        && differs.is_some_and(|found| !found.contains(';') && found.contains(": mtime Some"))
}

/// The calls of a run that nothing happens to, which must be in order.
fn undisturbed(trial: &Trial) -> Verdict<Vec<Call>> {
    let run = trial.run(Plan::Count)?;
    trial.all_done(&run)?;
    drop(run.actor);
    let all = trial.scenario.steps.len();
    let found = trial.state(&[all])?;
    trial.follow(run.daemon, found, false)?;
    Ok(run.record.calls)
}

fn one(trial: &Trial, k: usize, series: Series) -> Verdict<()> {
    let plan = if series.full { Plan::Full(k) } else { Plan::Fail(k, Errno::IO) };
    let mut run = trial.run(plan)?;
    if run.gave == Some(Ok(())) {
        return trial.all_done(&run);
    }
    let (done, all) = (run.done, trial.scenario.steps.len());
    let told = match run.gave {
        None => "told success".to_owned(),
        Some(gave) => format!("told {gave:?} of step {}", done + 1),
    };
    let found = trial.state(&[done]).map_err(|wrong| format!("{told}, live: {wrong}"))?;
    if !series.remounted {
        if done < all {
            go_on(trial, &mut run, found)
                .map_err(|wrong| format!("{told}, done again: {wrong}"))?;
        }
        drop(run.actor);
        return trial.follow(run.daemon, found, true).map_err(|wrong| format!("{told}, {wrong}"));
    }
    drop(run.actor);
    run.daemon.stop()?;
    let daemon = trial.mount()?;
    let found = trial.state(&[done]).map_err(|wrong| format!("{told}, remounted: {wrong}"))?;
    trial.follow(daemon, found, false).map_err(|wrong| format!("{told}, {wrong}"))
}

/// What failed is done again, and the rest.
fn go_on(trial: &Trial, run: &mut Run, from: Found) -> Verdict<()> {
    run.daemon.supervisor.be_patient();
    trial.go_on(run);
    trial.all_done(run)?;
    trial.all_there(from)
}
