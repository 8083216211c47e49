//! What is known of runs: for `mini_fo list` and `mini_fo rm`.
#![forbid(unsafe_code)]

use std::fs;
use std::io::{self, BufRead, IsTerminal, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::place::{self, Note};
use super::remove;
use crate::cli::args::run::RmArgs;
use crate::cli::changes::out::size;
use crate::exit::{Failure, code};

/// A run below the directory of runs.
pub struct Row {
    pub name: String,
    pub dir: PathBuf,
    pub note: Note,
    /// Somebody is in it.
    pub is_running: bool,
    /// What its storage takes.
    pub bytes: u64,
}

/// The runs of this user. Those of commands that were killed, and had changed nothing, go.
pub fn rows() -> Vec<Row> {
    let Ok(runs) = place::runs() else { return Vec::new() };
    let entries = fs::read_dir(runs).into_iter().flatten().flatten();
    let mut rows: Vec<Row> = entries.filter_map(|entry| row(&entry.path())).collect();
    rows.sort_by(|one, other| (one.note.since, &one.name).cmp(&(other.note.since, &other.name)));
    rows
}

fn row(dir: &Path) -> Option<Row> {
    let (note, storage) = place::read(dir)?;
    let is_running = place::is_in_use(dir);
    let unused = fs::read_dir(&storage).is_ok_and(|mut entries| entries.next().is_none());
    if !is_running && note.temporary && unused && remove::all(dir).is_ok() {
        return None;
    }
    let name = dir.file_name()?.to_string_lossy().into_owned();
    Some(Row { name, dir: dir.to_path_buf(), note, is_running, bytes: taken(&storage) })
}

/// What is taken below a directory, as far as it can be seen.
fn taken(dir: &Path) -> u64 {
    let (mut bytes, mut dirs) = (0, vec![dir.to_path_buf()]);
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            let Ok(found) = entry.metadata() else { continue };
            bytes += found.blocks() * 512;
            if found.is_dir() {
                dirs.push(entry.path());
            }
        }
    }
    bytes
}

/// `mini_fo rm`.
///
/// # Errors
/// One of them is no run, is running, or cannot be removed; exit code 1 without a message:
/// the answer was no.
pub fn rm(args: &RmArgs) -> Result<(), Failure> {
    let mut dirs = Vec::new();
    for name in &args.names {
        let found = place::named(name).or_else(|| Some(name.clone()));
        let dir = found.filter(|dir| place::read(dir).is_some());
        let failed = |code, why| Failure::new(code, format!("{}: {why}", name.display()));
        let dir = dir.ok_or_else(|| failed(code::USAGE, "there is no such run"))?;
        if place::is_in_use(&dir) {
            return Err(failed(code::IN_USE, "it is running: end it first"));
        }
        dirs.push((name, dir));
    }
    for (name, dir) in dirs {
        let question = format!(
            "mini_fo: {}, {}: take it away with all its changes? (y/n) ",
            name.display(),
            size(taken(&dir))
        );
        if !args.yes && !is_confirmed(&question)? {
            return Err(Failure::silent(code::FAILURE));
        }
        remove::all(&dir).map_err(|errno| {
            let text = format!("{}: cannot be removed: {errno}", dir.display());
            Failure::new(code::FAILURE, text)
        })?;
    }
    Ok(())
}

fn is_confirmed(question: &str) -> Result<bool, Failure> {
    if !io::stdin().is_terminal() {
        return Err(Failure::new(code::USAGE, "there is no terminal to ask at: add --yes"));
    }
    let failed = |error| Failure::new(code::FAILURE, format!("standard input: {error}"));
    let mut line = String::new();
    let mut err = io::stderr();
    err.write_all(question.as_bytes()).and_then(|()| err.flush()).map_err(failed)?;
    io::stdin().lock().read_line(&mut line).map_err(failed)?;
    Ok(matches!(line.trim(), "y" | "yes"))
}
