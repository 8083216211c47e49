//! How a run has ended, in a line or as a JSON object.
#![forbid(unsafe_code)]

use std::fmt::Write as _;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::changed::Changes;
use super::end::{Done, Run};
use super::settle::Settled;
use super::watch::Ended;
use crate::cli;
use crate::cli::changes::out::word;
use crate::cli::json;
use crate::exit::{Failure, code};

/// What is told.
pub struct Told<'a> {
    /// What the run has changed.
    pub changes: &'a Changes,
    pub done: Done,
    /// What is left to be decided, if that is something else.
    pub left: Option<&'a Changes>,
    pub settled: &'a Settled,
    /// Something else was to be done.
    pub undone: bool,
}

impl Told<'_> {
    /// Something is still to be decided.
    fn is_kept(&self) -> bool {
        self.done != Done::Gone && !self.left.unwrap_or(self.changes).is_empty()
    }

    /// Who is still in it.
    fn with(&self) -> Option<&str> {
        match self.settled {
            Settled::With(who) => Some(who),
            Settled::Over | Settled::Gone => None,
        }
    }
}

impl Run<'_> {
    /// Tells it as it was asked for.
    ///
    /// # Errors
    /// The object cannot be written.
    pub fn tell(&self, told: &Told<'_>) -> Result<(), Failure> {
        if let Some(file) = &self.args.json {
            return self.write_json(file, told);
        }
        if !self.args.quiet {
            // Without a standard error nobody wants to know.
            let _ = writeln!(io::stderr(), "mini_fo: {}", self.line(told));
        }
        Ok(())
    }

    fn line(&self, told: &Told<'_>) -> String {
        let mut line = told.changes.summary();
        // Writing to a string does not fail.
        let _ = match told.done {
            Done::Gone if !told.changes.is_empty() => write!(line, ", which are gone"),
            Done::Committed => write!(line, ", committed to {}", self.base.display()),
            Done::Reviewed | Done::Kept | Done::Gone => Ok(()),
        };
        if let Some(left) = told.left.filter(|left| !left.is_empty()) {
            let _ = write!(line, "; left of that: {}", left.summary());
        }
        if let Some(who) = told.with() {
            let kept = if told.undone { ", so they are kept" } else { "" };
            let _ = write!(line, "; {who} is still in it{kept}");
        }
        if told.is_kept() {
            let name = word(&self.place.shown());
            let commit = match self.can_commit() {
                true => format!("'{}' commits them, ", self.commit_command()),
                false => String::new(),
            };
            let _ = write!(
                line,
                "; see them with 'mini_fo diff {name}', go on with 'mini_fo run {again} ...', \
                 {commit}drop them with '{drop}'",
                again = self.again(),
                drop = self.drop_command(),
            );
        }
        line
    }

    /// Options with which another command finds the changes.
    fn again(&self) -> String {
        let as_root = if self.as_root { "--as-root " } else { "" };
        if let Some(name) = &self.place.name {
            return format!("{as_root}--name {}", word(name));
        }
        format!("{as_root}--storage {}", word(&self.place.dir.to_string_lossy()))
    }

    fn drop_command(&self) -> String {
        format!("mini_fo discard {} --all", word(&self.place.shown()))
    }

    fn commit_command(&self) -> String {
        format!("mini_fo commit {}", word(&self.place.shown()))
    }

    fn write_json(&self, file: &Path, told: &Told<'_>) -> Result<(), Failure> {
        let out = self.object(told);
        if file == Path::new("-") {
            return cli::print(&out);
        }
        std::fs::write(file, out)
            .map_err(|error| Failure::new(code::RUN, format!("{}: {error}", file.display())))
    }

    fn object(&self, told: &Told<'_>) -> String {
        let mut out = format!("{{\"status\":{}", self.ended.status());
        let (success, signal) = match self.ended {
            Ended::With(_) => (self.ended.is_success(), "null".to_owned()),
            Ended::By(signal) => (false, signal.to_string()),
        };
        let (kept, committed) = (told.is_kept(), told.done == Done::Committed);
        // Writing to a string does not fail.
        let _ = write!(
            out,
            ",\"success\":{success},\"signal\":{signal},\"kept\":{kept},\"committed\":{committed}"
        );
        if let Some(who) = told.with() {
            let _ = write!(out, ",\"in_use_by\":{}", json::quoted(who));
        }
        if kept {
            self.ways_to_go_on(&mut out);
        }
        for (kind, count) in &told.changes.counts {
            let _ = write!(out, ",\"{kind}\":{count}");
        }
        let _ = writeln!(out, ",\"changes\":[{}]}}", told.changes.objects.join(","));
        out
    }

    fn ways_to_go_on(&self, out: &mut String) {
        let shown = self.place.shown();
        let name = word(&shown);
        // Writing to a string does not fail.
        let _ = write!(
            out,
            ",\"name\":{},{},\"commands\":{{\"status\":{},\"diff\":{},\"commit\":{},\
             \"discard\":{},\"again\":{}}}",
            json::quoted(&shown),
            json::bytes("storage", self.place.dir.as_os_str().as_bytes()),
            json::quoted(&format!("mini_fo status {name}")),
            json::quoted(&format!("mini_fo diff {name}")),
            json::quoted(&format!("{} --yes", self.commit_command())),
            json::quoted(&format!("{} --yes", self.drop_command())),
            json::quoted(&format!("mini_fo run {} -- COMMAND", self.again())),
        );
    }
}
