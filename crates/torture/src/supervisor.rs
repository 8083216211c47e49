//! The thread that is asked at each storage call of one daemon.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::calls::Call;
use crate::seccomp::Listener;

/// How long a daemon may be silent in one stretch of a test.
const PATIENCE: Duration = Duration::from_secs(20);

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
    deadline: Instant,
    hung: bool,
}

/// Asked at each storage call of one daemon.
pub struct Supervisor {
    state: Arc<Mutex<State>>,
    daemon: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

impl Supervisor {
    /// Begins to answer for the process `pid`, whose storage lies on `device`.
    ///
    /// # Errors
    /// The process is gone.
    pub fn start(listener: Listener, pid: u32, device: u64) -> std::io::Result<Supervisor> {
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
        let daemon = Arc::new(pidfd_open(pid.ok_or(Errno::SRCH)?, PidfdFlags::empty())?);
        let state = Arc::new(Mutex::new(State {
            plan: None,
            record: Record::default(),
            deadline: Instant::now() + PATIENCE,
            hung: false,
        }));
        let (shared, target) = (Arc::clone(&state), Arc::clone(&daemon));
        let serve = move || serve(&listener, &shared, &target, device);
        Ok(Supervisor { state, daemon, thread: Some(std::thread::spawn(serve)) })
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

    /// Whether the daemon was killed by the plan.
    pub fn has_killed(&self) -> bool {
        self.state().record.killed
    }

    /// Whether the watchdog had to end the daemon.
    pub fn has_hung(&self) -> bool {
        self.state().hung
    }

    /// The watchdog begins to wait anew.
    pub fn be_patient(&self) {
        self.state().deadline = Instant::now() + PATIENCE;
    }

    /// Kills the daemon.
    pub fn kill(&self) {
        kill(&self.daemon);
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

fn kill(daemon: &OwnedFd) {
    // One that is gone is as good.
    let _ = pidfd_send_signal(daemon, Signal::KILL);
}

fn serve(listener: &Listener, state: &Mutex<State>, daemon: &OwnedFd, device: u64) {
    loop {
        let mut fds = [PollFd::from_borrowed_fd(listener.as_fd(), PollFlags::IN)];
        let second = Timespec { tv_sec: 1, tv_nsec: 0 };
        let ready = poll(&mut fds, Some(&second));
        let events = fds[0].revents();
        if events.contains(PollFlags::IN) {
            // A thread that was killed while it waited is no error.
            let Ok(stopped) = listener.next() else { continue };
            let call = Call::of(&stopped, device);
            match decide(&mut lock(state), call) {
                Verdict::Kill => kill(daemon),
                Verdict::Go => listener.answer(&stopped, None),
                Verdict::Fail(errno) => listener.answer(&stopped, Some(errno)),
            }
        } else if events.intersects(PollFlags::HUP | PollFlags::ERR) {
            return;
        } else if ready == Ok(0) {
            let mut state = lock(state);
            if Instant::now() > state.deadline && !state.hung {
                state.hung = true;
                kill(daemon);
            }
        }
    }
}

enum Verdict {
    Go,
    Kill,
    Fail(Errno),
}

fn decide(state: &mut State, call: Option<Call>) -> Verdict {
    let (Some(call), Some(plan)) = (call, state.plan) else { return Verdict::Go };
    if state.record.killed {
        return Verdict::Kill;
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
