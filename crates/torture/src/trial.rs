//! One scenario on the mount: prepared, run up to what interrupts it, and
//! examined.

use rustix::io::Errno;

use crate::follow;
use crate::model::{Expected, Found, brief};
use crate::mount::{self, Daemon};
use crate::ops::{Actor, Op};
use crate::place::Place;
use crate::scenario::Scenario;
use crate::snapshot::{Times, Tree};
use crate::supervisor::{Plan, Record};

/// What is wrong, for people.
pub type Verdict<T> = Result<T, String>;

/// A scenario where it takes place.
pub struct Trial<'a> {
    pub place: &'a Place,
    pub scenario: &'a Scenario,
    pub expected: Expected,
    pub transport: &'static str,
}

/// How far the steps came.
pub struct Run<'a> {
    pub daemon: Daemon,
    pub actor: Actor<'a>,
    /// Steps that gave what they should.
    pub done: usize,
    /// What the next one gave instead.
    pub gave: Option<Result<(), Errno>>,
    pub record: Record,
}

impl<'a> Trial<'a> {
    /// Works out what is expected.
    ///
    /// # Errors
    /// A mistake of the scenario.
    pub fn new(
        place: &'a Place,
        scenario: &'a Scenario,
        transport: &'static str,
        strict_times: bool,
    ) -> Verdict<Trial<'a>> {
        let expected = Expected::of(scenario, &place.plain(), strict_times)?;
        Ok(Trial { place, scenario, expected, transport })
    }

    /// Mounts.
    pub fn mount(&self) -> Verdict<Daemon> {
        Daemon::start(&self.place.layers, &self.options(), self.scenario.poor)
    }

    fn options(&self) -> String {
        let further = self.scenario.options;
        let comma = if further.is_empty() { "" } else { "," };
        format!("noatime,transport={}{comma}{further}", self.transport)
    }

    /// Kills the next daemon, and the next ones, while they put in order what
    /// the last one left, each a call later.
    pub fn kill_recoveries(&self) -> Verdict<()> {
        const MOST: usize = 30;
        let (layers, options) = (&self.place.layers, self.options());
        for at in 1..=MOST {
            if !Daemon::kill_at_start(layers, &options, self.scenario.poor, at)? {
                return Ok(());
            }
        }
        Err(format!("after {MOST} mounts there is still something to be put in order"))
    }

    /// The paths that are discarded, if that is all that is done.
    pub fn discarded(&self) -> Option<&'static [&'static str]> {
        match self.scenario.steps[..] {
            [Op::Discard(paths, _)] => Some(paths),
            _ => None,
        }
    }

    /// The same from a storage that is not mounted any more.
    pub fn run_at_rest(&'a self, paths: &[&str], plan: Plan) -> Verdict<(Record, bool)> {
        let (daemon, actor) = self.prepared()?;
        drop(actor);
        daemon.stop()?;
        Daemon::discard_at_rest(&self.place.layers, paths, self.scenario.poor, plan)
    }

    /// From an empty storage to where the plan interrupts the steps.
    pub fn run(&'a self, plan: Plan) -> Verdict<Run<'a>> {
        let (daemon, actor) = self.prepared()?;
        daemon.supervisor.arm(plan);
        let mut run = Run { daemon, actor, done: 0, gave: None, record: Record::default() };
        self.go_on(&mut run);
        run.record = run.daemon.supervisor.disarm();
        match run.record.hung {
            true => Err(format!("the daemon hung at step {}", run.done + 1)),
            false => Ok(run),
        }
    }

    /// From an empty storage to the first step.
    fn prepared(&'a self) -> Verdict<(Daemon, Actor<'a>)> {
        self.place
            .reset(self.scenario.poor)
            .map_err(|error| format!("cannot empty the storage: {error}"))?;
        let mut daemon = self.mount()?;
        let mut actor = Actor::new(&self.place.layers.mnt);
        for op in &self.scenario.before {
            let options = match op {
                Op::Remount => Some(self.options()),
                Op::MountReadOnly => Some(self.options() + ",ro"),
                _ => None,
            };
            if let Some(options) = options {
                daemon.stop()?;
                daemon = Daemon::start(&self.place.layers, &options, self.scenario.poor)?;
            }
            actor.act(op).map_err(|errno| format!("preparing, {op:?}: {errno}"))?;
        }
        Ok((daemon, actor))
    }

    /// Does the steps that are left, until one gives what it should not.
    pub fn go_on(&self, run: &mut Run) {
        run.gave = None;
        let results = self.expected.results.iter();
        for (step, result) in self.scenario.steps.iter().zip(results).skip(run.done) {
            if run.daemon.supervisor.has_killed() {
                return;
            }
            let gave = run.actor.act(step);
            if gave != *result {
                run.gave = Some(gave);
                return;
            }
            run.done += 1;
        }
    }

    /// All the steps are done, or the one that is not is named.
    pub fn all_done(&self, run: &Run) -> Verdict<()> {
        let Some(step) = self.scenario.steps.get(run.done) else { return Ok(()) };
        let result = self.expected.results.get(run.done);
        Err(format!("{step:?} gave {:?}, expected {result:?}", run.gave))
    }

    /// What the mount shows now.
    pub fn tree(&self) -> Tree {
        Tree::of(&self.place.layers.mnt)
    }

    /// Which of these states the mount shows now.
    pub fn state(&self, accepted: &[usize]) -> Verdict<Found> {
        self.expected.state_of(&self.tree(), accepted)
    }

    /// The mount shows the last state, after the rest was done on `from`.
    pub fn all_there(&self, from: Found) -> Verdict<()> {
        let Some(last) = self.expected.states.last() else { return Ok(()) };
        let times = if from.exact { Times::Exact } else { Times::Any };
        let found = self.tree().differences(last, times);
        if found.is_empty() { Ok(()) } else { Err(brief(&found)) }
    }

    /// Goes on to work on state `from`, with the remaining steps done or not,
    /// and examines that and what comes of it at the next mount.
    pub fn follow(&self, daemon: Daemon, from: Found, rest: bool) -> Verdict<()> {
        let later = self.expected.later(from.index, rest)?;
        let times = if from.exact { Times::Exact } else { Times::Any };
        let mnt = &self.place.layers.mnt;
        let told = follow::work(mnt, &self.scenario.touched());
        let odd: Vec<String> = told
            .iter()
            .zip(&later.told)
            .filter(|(told, expected)| told != expected)
            .map(|(told, expected)| format!("{told}, expected {expected}"))
            .collect();
        if !odd.is_empty() || told.len() != later.told.len() {
            return Err(format!("work that followed: {}", brief(&odd)));
        }
        let examine = |when: &str| {
            let found = self.tree().differences(&later.tree, times);
            if found.is_empty() { Ok(()) } else { Err(format!("{when}: {}", brief(&found))) }
        };
        examine("after the work that followed")?;
        daemon.stop()?;
        let daemon = self.mount()?;
        examine("after the work that followed and a remount")?;
        daemon.stop()?;
        match mount::check(&self.place.layers)? {
            // It may tell of files that need the base, which is no fault.
            (0, _) => Ok(()),
            (FOUND, said) if said.lines().all(harmless) => Ok(()),
            (code, said) => Err(format!("check ended with {code}: {}", said.trim())),
        }
    }

    /// The base is what it was.
    pub fn base(&self) -> Verdict<()> {
        self.place.base_changes().map_or(Ok(()), Err)
    }
}

/// Exit code of a check that has found something.
pub const FOUND: i32 = 11;

/// What a crash may leave: unfinished work, and whiteouts of an emptied directory
/// that has lost its base (docs/FORMAT.md, section 4).
pub fn harmless(line: &str) -> bool {
    let harmless = [
        "unfinished",
        "problem",
        "data of their own",
        "it was deleted, and is not in the base any more",
    ];
    harmless.iter().any(|text| line.contains(text))
}
