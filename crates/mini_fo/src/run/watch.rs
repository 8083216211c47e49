//! Waiting for the command: its signals, its stops, its end.
#![forbid(unsafe_code)]

use rustix::process::{Pid, Resource, Rlimit, Signal, WaitOptions, WaitStatus, waitpid};

use super::sys::{self, Signals, Told};
use crate::exit::{Failure, code};

/// How a command has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// By itself.
    With(u8),
    /// By a signal.
    By(i32),
}

impl Ended {
    /// It has said that all is well.
    pub fn is_success(self) -> bool {
        self == Ended::With(0)
    }

    /// The status as a shell shows it.
    pub fn status(self) -> i32 {
        match self {
            Ended::With(status) => status.into(),
            Ended::By(signal) => 128 + signal,
        }
    }

    /// Ends this process in the same way, or returns the status to end with.
    ///
    /// # Errors
    /// A status that is not 0, without a message.
    pub fn pass_on(self, signals: &Signals) -> Result<(), Failure> {
        match self {
            Ended::With(0) => Ok(()),
            Ended::With(status) => Err(Failure::silent(status)),
            Ended::By(signal) => {
                // The command has left a core file, if one was wanted.
                let none = Rlimit { current: Some(0), maximum: Some(0) };
                let _ = rustix::process::setrlimit(Resource::Core, none);
                signals.restore();
                sys::suffer(signal);
                // A signal that does not end a process has not ended the command.
                Err(Failure::silent(u8::try_from(self.status()).unwrap_or(code::RUN)))
            }
        }
    }
}

/// Waits for the end of the command. What is sent to this process is handed on; what the
/// terminal sends, the command has got itself. When it stops, this process does, so that the
/// shell has the terminal again.
///
/// # Errors
/// It cannot be waited for.
pub fn until_end(command: Pid, signals: &Signals) -> Result<Ended, Failure> {
    loop {
        let options = WaitOptions::NOHANG | WaitOptions::UNTRACED;
        let ended = waitpid(Some(command), options)
            .map_err(|errno| Failure::new(code::RUN, format!("the command is lost: {errno}")))?;
        match ended.map(|(_, status)| status) {
            Some(status) if status.stopped() => stop(status),
            Some(status) => return Ok(end_of(status)),
            None => hand_on(command, &signals.wait()),
        }
    }
}

fn end_of(status: WaitStatus) -> Ended {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(status), _) => Ended::With(status as u8),
        (_, signal) => Ended::By(signal.unwrap_or(libc::SIGKILL)),
    }
}

fn stop(status: WaitStatus) {
    // Without a terminal there is no shell that would let this process go on.
    let has_terminal = std::fs::File::open("/dev/tty").is_ok();
    if let Some(signal) = status.stopping_signal().filter(|_| has_terminal) {
        sys::suffer(signal);
    }
}

fn hand_on(command: Pid, told: &Told) {
    let is_for_command = told.by_process || told.signal == libc::SIGCONT;
    if told.signal == libc::SIGCHLD || !is_for_command {
        return;
    }
    if let Some(signal) = Signal::from_named_raw(told.signal) {
        // It may have ended meanwhile; it was not waited for, so the number is still its.
        let _ = rustix::process::kill_process(command, signal);
    }
}
