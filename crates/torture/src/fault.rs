//! Each storage call of an operation fails: once with EIO, or it and all later
//! ones that need room with ENOSPC.

use rustix::io::Errno;

use crate::calls::Call;
use crate::report::{Point, Report};
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

/// Fails call after call; `keep` is told of each bad point.
pub fn all(trial: &Trial, report: &Report, at: Option<usize>, keep: &dyn Fn(&Point)) {
    let judge = |what, at, call: Option<Call>, outcome: Verdict<()>| {
        let (scenario, transport) = (trial.scenario.name, trial.transport);
        let point = Point { what, scenario, transport, at, call };
        match outcome.and_then(|()| trial.base()) {
            Ok(()) => report.passed(),
            Err(wrong) => {
                report.failed(&point, &wrong);
                keep(&point);
            }
        }
    };
    let calls = match undisturbed(trial) {
        Ok(calls) => calls,
        Err(wrong) => return judge("nothing", 0, None, Err(wrong)),
    };
    for series in SERIES {
        for (index, call) in calls.iter().enumerate() {
            let k = index + 1;
            let left_out = series.full && !call.grows || at.is_some_and(|at| at != k);
            if !left_out {
                judge(series.what, k, Some(call.clone()), one(trial, k, series));
            }
        }
    }
}

/// The calls of a run that nothing happens to, which must be in order.
fn undisturbed(trial: &Trial) -> Verdict<Vec<Call>> {
    let run = trial.run(Plan::Count)?;
    trial.all_done(&run)?;
    drop(run.actor);
    let all = trial.scenario.steps.len();
    trial.state(&[all])?;
    trial.follow(run.daemon, all, false)?;
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
    trial.state(&[done]).map_err(|wrong| format!("{told}, live: {wrong}"))?;
    if !series.remounted {
        if done < all {
            go_on(trial, &mut run).map_err(|wrong| format!("{told}, done again: {wrong}"))?;
        }
        drop(run.actor);
        return trial.follow(run.daemon, done, true).map_err(|wrong| format!("{told}, {wrong}"));
    }
    drop(run.actor);
    run.daemon.stop()?;
    let daemon = trial.mount()?;
    trial.state(&[done]).map_err(|wrong| format!("{told}, remounted: {wrong}"))?;
    trial.follow(daemon, done, false).map_err(|wrong| format!("{told}, {wrong}"))
}

/// What failed is done again, and the rest.
fn go_on(trial: &Trial, run: &mut Run) -> Verdict<()> {
    run.daemon.supervisor.be_patient();
    trial.go_on(run);
    trial.all_done(run)?;
    trial.state(&[trial.scenario.steps.len()]).map(|_| ())
}
