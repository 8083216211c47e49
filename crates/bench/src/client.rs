//! The process that works on a mounted tree as its user would, and its talk
//! with the one that mounts.
//!
//! The client writes one JSON object a line to its standard output. What only
//! root can do it asks for, and waits for a line on its standard input.

use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::rows::{Scene, Size};
use crate::stages::{Plan, STAGES};
use crate::systems::{Programs, System, command_as};
use crate::work::forget;

/// What a client does.
#[derive(Clone, Debug)]
pub struct Job {
    /// Which of [`STAGES`].
    pub stage: usize,
    /// The tree to work in.
    pub root: PathBuf,
    /// A directory of its own beside it.
    pub home: PathBuf,
    /// What all clients share, only read: `sources.tar`.
    pub shared: PathBuf,
    /// How large everything is.
    pub size: Size,
    /// Texts that rows are chosen by.
    pub only: Vec<String>,
    /// Leave out what would fill the disk or the time.
    pub spare_huge: bool,
    /// The directory of cargo and rustc.
    pub toolchain: Option<PathBuf>,
}

impl Job {
    fn encode(&self) -> String {
        let path = |path: &PathBuf| path.to_string_lossy().into_owned();
        json!({
            "stage": self.stage, "root": path(&self.root), "home": path(&self.home),
            "shared": path(&self.shared), "size": self.size.encode(), "only": self.only,
            "spare_huge": self.spare_huge, "toolchain": self.toolchain.as_ref().map(path),
        })
        .to_string()
    }

    fn decode(text: &str) -> Option<Self> {
        let job: Value = serde_json::from_str(text).ok()?;
        let path = |key: &str| job[key].as_str().map(PathBuf::from);
        let only = job["only"].as_array()?.iter().filter_map(Value::as_str);
        Some(Self {
            stage: usize::try_from(job["stage"].as_u64()?).ok()?,
            root: path("root")?,
            home: path("home")?,
            shared: path("shared")?,
            size: Size::decode(&job["size"])?,
            only: only.map(str::to_string).collect(),
            spare_huge: job["spare_huge"].as_bool()?,
            toolchain: path("toolchain"),
        })
    }
}

/// What a client measured.
#[derive(Default)]
pub struct Outcome {
    /// Row and microseconds.
    pub times: Vec<(String, f64)>,
    /// Rows not measured, and why.
    pub skipped: Vec<String>,
    /// What ended it early.
    pub failure: Option<String>,
}

/// Runs a client as the user of `system`.
///
/// # Errors
/// It cannot be started, or does not keep to the protocol.
pub fn run(job: &Job, system: &System, programs: &Programs) -> io::Result<Outcome> {
    let words: [OsString; 3] =
        [programs.bench.clone().into(), "--client".into(), job.encode().into()];
    let mut command = command_as(system, programs, &words);
    command.current_dir(&job.home).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.env("HOME", &job.home).spawn()?;
    let mut outcome = Outcome::default();
    let said = match (child.stdin.take(), child.stdout.take()) {
        (Some(to), Some(from)) => follow(BufReader::new(from), to, job, &mut outcome),
        _ => Ok(()),
    };
    let status = child.wait()?;
    said?;
    if !status.success() && outcome.failure.is_none() {
        outcome.failure = Some(format!("the client ended with {status}"));
    }
    Ok(outcome)
}

fn follow(
    from: impl BufRead,
    mut to: impl Write,
    job: &Job,
    outcome: &mut Outcome,
) -> io::Result<()> {
    for line in from.lines() {
        let line: Value = serde_json::from_str(&line?)?;
        let text = |key: &str| line[key].as_str().map(str::to_string);
        if let (Some(row), Some(micros)) = (text("row"), line["us"].as_f64()) {
            outcome.times.push((row, micros));
        } else if let Some(what) = line["forget"].as_u64() {
            forget(&job.shared, u8::try_from(what).unwrap_or(3))?;
            to.write_all(b"\n")?;
        } else if let Some(why) = text("skipped") {
            outcome.skipped.push(why);
        } else if let Some(failure) = text("failure") {
            outcome.failure = Some(failure);
        }
    }
    Ok(())
}

/// The client's side.
///
/// # Errors
/// The job cannot be read, or nobody listens.
pub fn serve(job: &str) -> io::Result<()> {
    let Some(job) = Job::decode(job) else {
        return Err(io::Error::other("this is not a job"));
    };
    let Some(stage) = STAGES.get(job.stage) else {
        return Err(io::Error::other("there is no such stage"));
    };
    let plan = Plan::of(&job.only);
    let mut scene = Scene::new(job, stage.clients);
    match plan.run(stage, &mut scene) {
        Ok(()) => Ok(()),
        Err(error) => say(&json!({"failure": error.to_string()})),
    }
}

fn say(line: &Value) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}

/// Reports a row.
///
/// # Errors
/// Nobody listens.
pub fn report(row: &str, micros: f64) -> io::Result<()> {
    say(&json!({"row": row, "us": micros}))
}

/// Says what is not measured.
///
/// # Errors
/// Nobody listens.
pub fn skip(what: &str, why: &str) -> io::Result<()> {
    say(&json!({"skipped": format!("{what}: {why}")}))
}

/// Has everything written back and forgotten: see [`forget`].
///
/// # Errors
/// Nobody listens.
pub fn have_forgotten(what: u8) -> io::Result<()> {
    say(&json!({"forget": what}))?;
    io::stdin().lock().read_line(&mut String::new()).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job() -> Job {
        Job {
            stage: 2,
            root: "/m n".into(),
            home: "/h".into(),
            shared: "/s".into(),
            size: Size::quick(),
            only: vec!["tar".into()],
            spare_huge: true,
            toolchain: None,
        }
    }

    #[test]
    fn a_job_arrives_as_it_was_sent() {
        let sent = job();
        let arrived = Job::decode(&sent.encode()).unwrap();
        assert_eq!(format!("{arrived:?}"), format!("{sent:?}"));
        assert!(Job::decode("{}").is_none());
    }

    #[test]
    fn what_a_client_says_is_kept() {
        let said =
            "{\"row\":\"stat\",\"us\":1.5}\n{\"skipped\":\"fio: none\"}\n{\"failure\":\"x\"}\n";
        let mut outcome = Outcome::default();
        follow(said.as_bytes(), Vec::new(), &job(), &mut outcome).unwrap();
        assert_eq!(outcome.times, [("stat".to_string(), 1.5)]);
        assert_eq!(outcome.skipped, ["fio: none"]);
        assert_eq!(outcome.failure.as_deref(), Some("x"));
        assert!(follow(&b"noise\n"[..], Vec::new(), &job(), &mut outcome).is_err());
    }
}
