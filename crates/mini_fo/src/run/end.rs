//! What becomes of the changes of a run.
#![forbid(unsafe_code)]

use std::fmt::Write as _;
use std::io::{self, BufRead, IsTerminal, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fd::AsRawFd;
use rustix::process::{Pid, WaitOptions};
use serde_json::Value;

use super::place::{self, Place};
use super::start::Started;
use super::watch::Ended;
use crate::cli;
use crate::cli::args::run::{Ending, RunArgs};
use crate::cli::args::{DiffArgs, DiscardArgs, ReviewArgs, ShowArgs, StatusArgs, WhereArgs};
use crate::cli::changes::{self, out::Out};
use crate::cli::json;
use crate::exit::{Failure, code};
use crate::review;

/// What a run has changed.
#[derive(Default)]
struct Changes {
    /// How many changes there are of a kind, in the order in which they are told.
    counts: Vec<(&'static str, u64)>,
    /// All of them, as JSON objects.
    objects: Vec<String>,
}

/// A run whose command has ended.
pub struct Run<'a> {
    pub args: &'a RunArgs,
    pub place: &'a Place,
    pub ended: Ended,
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

impl Run<'_> {
    /// Does with the changes what is to be done, and tells it.
    ///
    /// # Errors
    /// It could not be done: the changes stay.
    pub fn conclude(&self, started: Started) -> Result<(), Failure> {
        let Started { daemon, root, .. } = started;
        let in_memory = self.args.tmpfs.is_some();
        // Asked through the mount: it is open, and knows what it has changed.
        let live = PathBuf::from(format!("/proc/self/fd/{}", root.as_raw_fd()));
        let untouched = !in_memory && self.place.is_unused();
        let changes = if untouched { Ok(Changes::default()) } else { changes_of(&live) };
        let ending = self.ending(&changes);
        if in_memory && ending == Ending::Ask {
            self.look(&live)?;
        }
        if in_memory && ending == Ending::Review {
            self.review(&live)?;
        }
        drop(root);
        let ending = if self.settle(daemon) { ending } else { Ending::Keep };
        let changes = changes?;
        let kept = self.carry_out(ending, &changes)?;
        self.tell(&changes, kept)
    }

    /// What is to be done. Where nothing has changed there is nothing to decide.
    fn ending(&self, changes: &Result<Changes, Failure>) -> Ending {
        let wanted = match self.ended.is_success() {
            true => self.args.on_exit,
            false => self.args.on_error.unwrap_or(self.args.on_exit),
        };
        match changes {
            Ok(changes) if changes.is_empty() => Ending::Keep,
            Ok(_) => wanted,
            Err(_) => Ending::Keep,
        }
    }

    /// Waits until the daemon has ended. `false`: somebody else is in the run, or something
    /// that the command has started, and decides when it ends.
    fn settle(&self, daemon: Option<Pid>) -> bool {
        for _ in 0..PATIENCE {
            let has_ended = match daemon {
                Some(daemon) => {
                    let ended = rustix::process::waitpid(Some(daemon), WaitOptions::NOHANG);
                    !matches!(ended, Ok(None))
                }
                None => !place::is_in_use(&self.place.dir),
            };
            if has_ended {
                return true;
            }
            std::thread::sleep(BEAT);
        }
        false
    }

    /// The result tells whether the changes are still there.
    fn carry_out(&self, ending: Ending, changes: &Changes) -> Result<bool, Failure> {
        let goes = match ending {
            _ if self.args.tmpfs.is_some() => true,
            Ending::Discard => true,
            Ending::Keep => changes.is_empty() && self.place.temporary,
            Ending::Review => {
                self.review(&self.place.storage())?;
                false
            }
            Ending::Ask => self.ask(changes)?,
        };
        if goes && self.place.temporary {
            self.place.remove()?;
        } else if goes {
            self.discard()?;
        }
        Ok(!goes && !changes.is_empty())
    }

    /// Whether the user wants the changes to go.
    fn ask(&self, changes: &Changes) -> Result<bool, Failure> {
        if !is_asked() {
            return Ok(false);
        }
        loop {
            let question = format!(
                "mini_fo: {}. (k)eep, (d)iscard, (s)tatus, d(i)ff, (r)eview? ",
                changes.summary()
            );
            match answer(&question).as_deref() {
                Some("d" | "discard") => return Ok(true),
                Some("k" | "keep") | None => return Ok(false),
                Some("r" | "review") => {
                    self.review(&self.place.dir)?;
                    return Ok(false);
                }
                Some(word) => show(word, &self.place.dir),
            }
        }
    }

    /// Of what goes anyway, only a look is offered.
    fn look(&self, live: &Path) -> Result<(), Failure> {
        while is_asked() {
            let question =
                "mini_fo: the changes are in memory. (e)nd, (s)tatus, d(i)ff, (r)eview? ";
            match answer(question).as_deref() {
                Some("e" | "end") | None => break,
                Some("r" | "review") => self.review(live)?,
                Some(word) => show(word, live),
            }
        }
        Ok(())
    }

    fn review(&self, path: &Path) -> Result<(), Failure> {
        review::run(ReviewArgs {
            place: WhereArgs::default(),
            port: 0,
            no_open: false,
            idle: Some(60),
            path: path.to_path_buf(),
        })
    }

    fn discard(&self) -> Result<(), Failure> {
        if self.place.is_unused() {
            return Ok(());
        }
        changes::discard(&DiscardArgs {
            place: WhereArgs::default(),
            all: true,
            keep: None,
            dry_run: false,
            yes: true,
            quiet: true,
            json: false,
            show: ShowArgs::default(),
            paths: vec![self.place.dir.clone()],
        })
    }

    fn tell(&self, changes: &Changes, kept: bool) -> Result<(), Failure> {
        if let Some(file) = &self.args.json {
            return self.write_json(file, changes, kept);
        }
        if self.args.quiet {
            return Ok(());
        }
        let name = cli::changes::out::word(&self.place.shown());
        let mut line = format!("mini_fo: {}", changes.summary());
        if kept {
            // Writing to a string does not fail.
            let _ = write!(
                line,
                "; see them with 'mini_fo diff {name}', go on with 'mini_fo run {again} ...', \
                 drop them with '{drop}'",
                again = self.again(),
                drop = self.drop(),
            );
        } else if !changes.is_empty() {
            line += ", which are gone";
        }
        // Without a standard error nobody wants to know.
        let _ = writeln!(io::stderr(), "{line}");
        Ok(())
    }

    /// Options with which another command finds the changes.
    fn again(&self) -> String {
        if let Some(name) = &self.place.name {
            return format!("--name {}", cli::changes::out::word(name));
        }
        format!("--storage {}", cli::changes::out::word(&self.place.dir.to_string_lossy()))
    }

    fn drop(&self) -> String {
        format!("mini_fo discard {} --all", cli::changes::out::word(&self.place.shown()))
    }

    fn write_json(&self, file: &Path, changes: &Changes, kept: bool) -> Result<(), Failure> {
        let mut out = format!("{{\"status\":{}", self.ended.status());
        let (success, signal) = match self.ended {
            Ended::With(_) => (self.ended.is_success(), "null".to_owned()),
            Ended::By(signal) => (false, signal.to_string()),
        };
        // Writing to a string does not fail.
        let _ = write!(out, ",\"success\":{success},\"signal\":{signal},\"kept\":{kept}");
        if kept {
            let name = cli::changes::out::word(&self.place.shown());
            let _ = write!(
                out,
                ",{},{},\"commands\":{{\"status\":{},\"diff\":{},\"discard\":{},\"again\":{}}}",
                format_args!("\"name\":{}", json::quoted(&self.place.shown())),
                json::bytes("storage", self.place.dir.as_os_str().as_bytes()),
                json::quoted(&format!("mini_fo status {name}")),
                json::quoted(&format!("mini_fo diff {name}")),
                json::quoted(&format!("{} --yes", self.drop())),
                json::quoted(&format!("mini_fo run {} -- COMMAND", self.again())),
            );
        }
        for (kind, count) in &changes.counts {
            let _ = write!(out, ",\"{kind}\":{count}");
        }
        let _ = write!(out, ",\"changes\":[{}]}}", changes.objects.join(","));
        out.push('\n');
        if file == Path::new("-") {
            return cli::print(&out);
        }
        std::fs::write(file, out)
            .map_err(|error| Failure::new(code::RUN, format!("{}: {error}", file.display())))
    }
}

/// How often, and how long apart, it is looked whether the daemon has ended.
const PATIENCE: u32 = 2000;
const BEAT: std::time::Duration = std::time::Duration::from_micros(500);

impl Changes {
    fn is_empty(&self) -> bool {
        self.counts.iter().all(|(_, count)| *count == 0)
    }

    fn summary(&self) -> String {
        let shown = KINDS.iter().filter_map(|(kind, words)| {
            let (_, count) = self.counts.iter().find(|(known, _)| known == kind)?;
            (*count > 0).then(|| format!("{count} {words}"))
        });
        let shown: Vec<String> = shown.collect();
        if shown.is_empty() { "nothing has changed".to_owned() } else { shown.join(", ") }
    }
}

/// Asks what has changed.
fn changes_of(path: &Path) -> Result<Changes, Failure> {
    let mut text = Vec::new();
    let mut out = Out::into_program(&mut text);
    changes::status::put(path, &mut out)?;
    out.finish()?;
    let text = String::from_utf8_lossy(&text);
    let mut objects: Vec<String> = text.lines().map(str::to_owned).collect();
    let totals = objects.pop().unwrap_or_default();
    let totals: Value = serde_json::from_str(&totals)
        .map_err(|error| Failure::new(code::RUN, format!("the changes cannot be read: {error}")))?;
    let count = |kind: &str| totals.get(kind).and_then(Value::as_u64).unwrap_or(0);
    let counts = KINDS.iter().map(|(kind, _)| (*kind, count(kind))).collect();
    Ok(Changes { counts, objects })
}

fn is_asked() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// What the user types. `None`: he has gone.
fn answer(question: &str) -> Option<String> {
    let mut err = io::stderr();
    err.write_all(question.as_bytes()).and_then(|()| err.flush()).ok()?;
    let mut line = String::new();
    match io::stdin().lock().read_line(&mut line) {
        Ok(0) | Err(_) => None,
        Ok(_) => Some(line.trim().to_lowercase()),
    }
}

/// Shows what was asked for; words that nobody knows let the question come again.
fn show(word: &str, path: &Path) {
    let path = path.to_path_buf();
    let shown = match word {
        "s" | "status" => changes::status(&StatusArgs {
            place: WhereArgs::default(),
            all: false,
            links: false,
            json: false,
            z: false,
            show: ShowArgs::default(),
            path,
        }),
        "i" | "diff" => changes::diff(&DiffArgs {
            place: WhereArgs::default(),
            binary: false,
            stat: false,
            name_only: false,
            name_status: false,
            z: false,
            show: ShowArgs::default(),
            path,
            paths: Vec::new(),
        }),
        _ => Ok(()),
    };
    if let Err(failure) = shown
        && !failure.is_silent()
    {
        let _ = writeln!(io::stderr(), "mini_fo: {failure}");
    }
}
