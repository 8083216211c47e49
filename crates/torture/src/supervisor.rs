//! The thread that is asked at each storage call of one daemon.

use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::calls::Call;
use crate::seccomp::{Listener, Stopped};

/// How long a daemon may be silent in one stretch of a test.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long a killed daemon may take to be gone.
const AGONY: Duration = Duration::from_secs(3);

/// What happens at storage calls, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    /// They are counted.
    Count,
    /// Before this one the daemon is killed.
    Kill(usize),
    /// This one fails.
    Fail(usize, Errno),
    /// From this one on, all that need room fail.
    Full(usize),
    /// The first of these waits until it is released, while others go on.
    Hold(Which),
}

/// Which calls are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Which {
    pub name: &'static str,
    /// How the path ends.
    pub path_end: &'static str,
}

impl Which {
    /// Whether this is one.
    pub fn is(self, call: &Call) -> bool {
        call.name == self.name && call.path.ends_with(self.path_end)
    }
}

/// What happened.
#[derive(Clone, Debug, Default)]
pub struct Record {
    pub calls: Vec<Call>,
    /// What was killed or failed first.
    pub hit: Option<Call>,
    pub killed: bool,
    /// The watchdog ended it.
    pub hung: bool,
}

struct State {
    plan: Option<Plan>,
    record: Record,
    held: Option<Stopped>,
    deadline: Instant,
    hung: bool,
    killed_at: Option<Instant>,
    /// What ends the connection to the kernel.
    abort: PathBuf,
    /// It had to be ended, the daemon was killed and not gone.
    undead: bool,
}

/// Asked at each storage call of one daemon.
pub struct Supervisor {
    state: Arc<Mutex<State>>,
    listener: Arc<Listener>,
    daemon: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

impl Supervisor {
    /// Begins to answer for the process `pid`, whose storage lies on `device`,
    /// with a plan from its first call on.
    ///
    /// # Errors
    /// The process is gone.
    pub fn start(
        listener: Listener,
        pid: u32,
        device: u64,
        plan: Option<Plan>,
    ) -> std::io::Result<Supervisor> {
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
        let daemon = Arc::new(pidfd_open(pid.ok_or(Errno::SRCH)?, PidfdFlags::empty())?);
        let state = Arc::new(Mutex::new(State {
            plan,
            record: Record::default(),
            held: None,
            deadline: Instant::now() + PATIENCE,
            hung: false,
            killed_at: None,
            abort: PathBuf::new(),
            undead: false,
        }));
        let (shared, target) = (Arc::clone(&state), Arc::clone(&daemon));
        let listener = Arc::new(listener);
        let asked = Arc::clone(&listener);
        let serve = move || serve(&asked, &shared, &target, device);
        Ok(Supervisor { state, listener, daemon, thread: Some(std::thread::spawn(serve)) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// From now on calls are counted and `plan` holds.
    pub fn arm(&self, plan: Plan) {
        let mut state = self.state();
        state.record = Record::default();
        state.plan = Some(plan);
    }

    /// From now on calls go through; what happened.
    pub fn disarm(&self) -> Record {
        let mut state = self.state();
        state.plan = None;
        let mut record = std::mem::take(&mut state.record);
        record.hung = state.hung;
        record
    }

    /// What has happened so far.
    pub fn record(&self) -> Record {
        self.state().record.clone()
    }

    /// Whether a call is held.
    pub fn is_holding(&self) -> bool {
        self.state().held.is_some()
    }

    /// Lets the call that is held go on; no other one will be held.
    pub fn release(&self) {
        let mut state = self.state();
        state.plan = Some(Plan::Count);
        if let Some(stopped) = state.held.take() {
            self.listener.answer(&stopped, None);
        }
    }

    /// Whether the daemon was killed by the plan.
    pub fn has_killed(&self) -> bool {
        self.state().record.killed
    }

    /// Whether the plan has killed the daemon, or let a call fail.
    pub fn has_hit(&self) -> bool {
        self.state().record.hit.is_some()
    }

    /// Whether the watchdog had to end the daemon.
    pub fn has_hung(&self) -> bool {
        self.state().hung
    }

    /// Where the connection to the kernel can be ended.
    pub fn set_abort(&self, file: PathBuf) {
        self.state().abort = file;
    }

    /// Whether the connection had to be ended after the daemon was killed.
    pub fn was_undead(&self) -> bool {
        self.state().undead
    }

    /// The watchdog begins to wait anew.
    pub fn be_patient(&self) {
        self.state().deadline = Instant::now() + PATIENCE;
    }

    /// Kills the daemon.
    pub fn kill(&self) {
        kill(&self.daemon, &mut self.state());
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        // The thread ends with the daemon.
        self.kill();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn kill(daemon: &OwnedFd, state: &mut State) {
    state.killed_at.get_or_insert_with(Instant::now);
    // One that is gone is as good.
    let _ = pidfd_send_signal(daemon, Signal::KILL);
}

/// Ends what hangs.
fn watch(daemon: &OwnedFd, state: &mut State) {
    if Instant::now() > state.deadline && !state.hung {
        state.hung = true;
        kill(daemon, state);
    }
    if state.killed_at.is_some_and(|at| at.elapsed() > AGONY) && !state.undead {
        state.undead = true;
        // Without the file nothing can be done; what waits is to be seen then.
        let _ = std::fs::write(&state.abort, "1");
    }
}

fn serve(listener: &Listener, state: &Mutex<State>, daemon: &OwnedFd, device: u64) {
    loop {
        let mut fds = [PollFd::from_borrowed_fd(listener.as_fd(), PollFlags::IN)];
        let moment = Timespec { tv_sec: 0, tv_nsec: 500_000_000 };
        let ready = poll(&mut fds, Some(&moment));
        let events = fds[0].revents();
        if events.contains(PollFlags::IN) {
            // A thread that was killed while it waited is no error.
            let Ok(stopped) = listener.next() else { continue };
            let call = Call::of(&stopped, device);
            let mut state = lock(state);
            match decide(&mut state, call) {
                Verdict::Kill => kill(daemon, &mut state),
                Verdict::Go => listener.answer(&stopped, None),
                Verdict::Hold => state.held = Some(stopped),
                Verdict::Fail(errno) => listener.answer(&stopped, Some(errno)),
            }
        } else if events.intersects(PollFlags::HUP | PollFlags::ERR) {
            return;
        }
        if events.is_empty() || ready.is_err() {
            watch(daemon, &mut lock(state));
        }
    }
}

enum Verdict {
    Go,
    Hold,
    Kill,
    Fail(Errno),
}

fn decide(state: &mut State, call: Option<Call>) -> Verdict {
    let (Some(call), Some(plan)) = (call, state.plan) else { return Verdict::Go };
    if state.record.killed {
        return Verdict::Kill;
    }
    if let Plan::Hold(which) = plan
        && which.is(&call)
        && state.held.is_none()
    {
        state.record.calls.push(call);
        return Verdict::Hold;
    }
    state.record.calls.push(call.clone());
    let count = state.record.calls.len();
    let verdict = match plan {
        Plan::Kill(at) if count == at => Verdict::Kill,
        Plan::Fail(at, errno) if count == at => Verdict::Fail(errno),
        Plan::Full(from) if count >= from && call.grows => Verdict::Fail(Errno::NOSPC),
        _ => return Verdict::Go,
    };
    state.record.killed = matches!(verdict, Verdict::Kill);
    state.record.hit.get_or_insert(call);
    verdict
}
