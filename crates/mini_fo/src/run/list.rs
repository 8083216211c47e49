//! What is known of runs: for `mini_fo list` and `mini_fo rm`.
#![forbid(unsafe_code)]

use std::fs;
use std::io::{self, BufRead, IsTerminal, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::note::{self, Note};
use super::{place, remove};
use crate::cli::args::run::RmArgs;
use crate::cli::changes::out::size;
use crate::exit::{Failure, code};

const RUNNING: &str = "it is running: end it first";

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
    take_away_unused(dir);
    let (note, storage) = note::read(dir)?;
    let is_running = note::is_in_use(dir);
    let name = dir.file_name()?.to_string_lossy().into_owned();
    Some(Row { name, dir: dir.to_path_buf(), note, is_running, bytes: taken(&storage) })
}

/// What commands leave that were killed: places in which nothing has changed, that were not
/// begun, or not taken away as a whole.
fn take_away_unused(dir: &Path) {
    let is_empty = |dir: &Path| fs::read_dir(dir).is_ok_and(|mut all| all.next().is_none());
    let is_bare = |entry: fs::DirEntry| match entry.file_name() {
        name if name == note::NOTE => true,
        name => name == note::STORAGE && is_empty(&entry.path()),
    };
    let is_unused = || match note::of(dir) {
        Some(note) if note.going => true,
        Some(note) if !note.temporary => false,
        _ => fs::read_dir(dir).is_ok_and(|all| all.flatten().all(is_bare)),
    };
    if is_empty(dir) {
        // Who has just made it makes another one.
        let _ = fs::remove_dir(dir);
    } else if dir.join(note::NOTE).is_file()
        && is_unused()
        && let Ok(Some(lock)) = note::lock(dir, false)
        && is_unused()
    {
        // What stays is looked at again the next time.
        let _ = remove::run(dir, &lock);
    }
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
        let dir = found.filter(|dir| note::read(dir).is_some());
        let failed = |code, why| Failure::new(code, format!("{}: {why}", name.display()));
        let dir = dir.ok_or_else(|| failed(code::USAGE, "there is no such run"))?;
        if note::is_in_use(&dir) {
            return Err(failed(code::IN_USE, RUNNING));
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
        take_away(name, &dir)?;
    }
    Ok(())
}

fn take_away(name: &Path, dir: &Path) -> Result<(), Failure> {
    let failed = |code, why: &str| Failure::new(code, format!("{}: {why}", name.display()));
    let gone = match note::lock_to_remove(dir) {
        // Somebody else has taken it away while the user was asked.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(None) => return Err(failed(code::IN_USE, RUNNING)),
        Ok(Some(lock)) => remove::run(dir, &lock),
    };
    gone.map_err(|error| failed(code::FAILURE, &format!("cannot be removed: {error}")))
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
