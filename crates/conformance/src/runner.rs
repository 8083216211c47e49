//! Runs each case in a process of its own, and ends those that hang.
#![forbid(unsafe_code)]

use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use crate::cases::Case;
use crate::kit::{Failure, read_at, said};
use crate::sys::{kill_group, wait_until};

/// How long a killed process may take to end before its mount is taken away.
const PATIENCE: Duration = Duration::from_secs(5);

/// How a case ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The promise holds.
    Passed,
    /// It does not.
    Failed(String),
    /// It could not be tried.
    Skipped(String),
    /// Nothing came in time.
    Hung,
}

impl Verdict {
    /// For tables.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Passed => "pass",
            Self::Failed(_) => "FAIL",
            Self::Skipped(_) => "skip",
            Self::Hung => "HANG",
        }
    }

    /// Is the promise broken?
    pub fn is_failure(&self) -> bool {
        matches!(self, Self::Failed(_) | Self::Hung)
    }

    /// What the case said.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Failed(text) | Self::Skipped(text) => Some(text),
            Self::Hung => Some("nothing came in time"),
            Self::Passed => None,
        }
    }
}

impl From<Failure> for Verdict {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Failed(text) => Self::Failed(text),
            Failure::Skipped(text) => Self::Skipped(text),
        }
    }
}

/// One mounted directory.
pub struct Runner {
    /// Where the base shows.
    pub merged: PathBuf,
    /// Shell command that unmounts and mounts again.
    pub remount: Option<String>,
    /// For one case.
    pub limit: Duration,
}

impl Runner {
    /// Runs one case.
    ///
    /// # Errors
    /// No process can be started.
    pub fn run(&self, case: &Case) -> io::Result<Verdict> {
        let dir = self.merged.join(case.directory());
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["case", &case.full_name(), "--dir"]).arg(&dir).current_dir("/");
        if let Some(remount) = &self.remount {
            command.args(["--remount", remount]);
        }
        let said = said()?;
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(said.try_clone()?);
        let mut child = command.process_group(0).spawn()?;
        let Some(status) = wait(&mut child, self.limit) else {
            self.end(&mut child);
            return Ok(Verdict::Hung);
        };
        let text = String::from_utf8_lossy(&read_at(&said, 0, 4000)?).trim().to_string();
        Ok(match status.code() {
            Some(0) => Verdict::Passed,
            Some(code) => Failure::from_exit(code, text).into(),
            None => Verdict::Failed(status.to_string()),
        })
    }

    /// Ends what hangs; with its mount, when it does not end otherwise.
    fn end(&self, child: &mut Child) {
        kill_group(child.id());
        if wait(child, PATIENCE).is_none() {
            for how in ["-f", "-l"] {
                let _ = Command::new("umount").arg(how).arg(&self.merged).output();
            }
            let _ = wait(child, PATIENCE);
        }
    }

    /// Can the mount be used?
    pub fn is_alive(&self) -> bool {
        fs::read_dir(&self.merged).is_ok_and(|mut entries| entries.next().is_some())
    }
}

fn wait(child: &mut Child, limit: Duration) -> Option<ExitStatus> {
    let mut status = None;
    wait_until(limit, || {
        status = child.try_wait().ok().flatten();
        status.is_some()
    });
    status
}
