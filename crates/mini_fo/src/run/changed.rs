//! What a run has changed.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use rustix::fd::OwnedFd;
use rustix::pipe::PipeFlags;
use rustix::process::{Pid, WaitOptions, waitpid};
use serde_json::Value;

use super::join;
use crate::cli::changes::{self, out::Out};
use crate::daemon::{self, Forked};
use crate::exit::{Failure, code};

/// What a run has changed.
#[derive(Debug, Default)]
pub struct Changes {
    /// How many changes there are of a kind, in the order in which they are told.
    pub counts: Vec<(&'static str, u64)>,
    /// All of them, as JSON objects.
    pub objects: Vec<String>,
}

/// Kinds of changes, as JSON calls them and as people do.
const KINDS: [(&str, &str); 7] = [
    ("added", "added"),
    ("modified", "modified"),
    ("attributes", "with other attributes"),
    ("renamed", "renamed"),
    ("type", "of another type"),
    ("deleted", "deleted"),
    ("unreadable", "unreadable"),
];

impl Changes {
    /// There are none.
    pub fn is_empty(&self) -> bool {
        self.counts.iter().all(|(_, count)| *count == 0)
    }

    /// How many of each kind, in words.
    pub fn summary(&self) -> String {
        let shown = KINDS.iter().filter_map(|(kind, words)| {
            let (_, count) = self.counts.iter().find(|(known, _)| known == kind)?;
            (*count > 0).then(|| format!("{count} {words}"))
        });
        let shown: Vec<String> = shown.collect();
        if shown.is_empty() { "nothing has changed".to_owned() } else { shown.join(", ") }
    }

    /// Asks what has changed.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn of(path: &Path) -> Result<Changes, Failure> {
        Changes::read(&text_of(path)?)
    }

    /// The same of a mount that can be asked from a user namespace alone.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn of_users(users: &OwnedFd, path: &Path) -> Result<Changes, Failure> {
        let failed = |error: io::Error| Failure::new(code::RUN, format!("the changes: {error}"));
        let (reader, writer) =
            rustix::pipe::pipe_with(PipeFlags::CLOEXEC).map_err(|errno| failed(errno.into()))?;
        let pid = match daemon::fork().map_err(failed)? {
            Forked::Parent(pid) => pid,
            Forked::Child => {
                let entered = join::enter_users(users).map_err(|errno| failed(errno.into()));
                let (text, code) = match entered.and_then(|()| text_of(path)) {
                    Ok(text) => (text, 0),
                    Err(failure) => (failure.message.into_bytes(), 1),
                };
                let written = File::from(writer).write_all(&text);
                std::process::exit(if written.is_ok() { code } else { 1 });
            }
        };
        drop(writer);
        let mut text = Vec::new();
        let read = File::from(reader).read_to_end(&mut text);
        let ended = Pid::from_raw(pid).map(|pid| waitpid(Some(pid), WaitOptions::empty()));
        read.map_err(failed)?;
        let status = ended.and_then(|ended| ended.ok().flatten());
        match status.and_then(|(_, status)| status.exit_status()) {
            Some(0) => Changes::read(&text),
            _ => Err(Failure::new(code::RUN, String::from_utf8_lossy(&text))),
        }
    }

    fn read(text: &[u8]) -> Result<Changes, Failure> {
        let text = String::from_utf8_lossy(text);
        let mut objects: Vec<String> = text.lines().map(str::to_owned).collect();
        let totals = objects.pop().unwrap_or_default();
        let totals: Value = serde_json::from_str(&totals).map_err(|error| {
            Failure::new(code::RUN, format!("the changes cannot be read: {error}"))
        })?;
        let count = |kind: &str| totals.get(kind).and_then(Value::as_u64).unwrap_or(0);
        let counts = KINDS.iter().map(|(kind, _)| (*kind, count(kind))).collect();
        Ok(Changes { counts, objects })
    }
}

fn text_of(path: &Path) -> Result<Vec<u8>, Failure> {
    let mut text = Vec::new();
    let mut out = Out::into_program(&mut text);
    changes::status::put(path, &mut out)?;
    out.finish()?;
    Ok(text)
}
