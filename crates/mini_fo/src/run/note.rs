//! The note in the directory of a run: what it is and, by its lock, who has it.
//!
//! Whoever changes a run holds the lock for himself, and with him his daemon; whoever decides
//! what becomes of its changes shares it with those who look at them. A run is taken away
//! under the lock, its note at last: so the lock of a note that has another one in its place,
//! or none, is that of a run that is gone.
#![forbid(unsafe_code)]

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::FlockOperation;
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::control::wire::PathBytes;

/// What the note is called.
pub const NOTE: &str = "run.json";
/// What receives the changes, beside it.
pub const STORAGE: &str = "storage";
/// Who asks the daemon of what runs in it to write into the base must tell what is in this file.
/// It never shows in the run, whichever way its directory is reached.
pub const KEY: &str = "key";

/// How long a lock is asked for that somebody may have who only looks; and how often.
const A_LOOK: Duration = Duration::from_millis(200);
const BEAT: Duration = Duration::from_millis(5);

/// What is known of a run. Unknown members are passed over.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// The tree that it sees.
    pub base: PathBytes,
    /// All objects belong to the user: he cannot give any away.
    #[serde(default)]
    pub one_owner: bool,
    /// Its commands are root of a range of users; only there it can be asked while it runs.
    #[serde(default)]
    pub as_root: bool,
    /// It goes at its end if nothing has changed.
    #[serde(default)]
    pub temporary: bool,
    /// What META of its storage is called; empty: as usual.
    #[serde(default)]
    pub meta_name: String,
    /// When it was begun, in seconds since 1970.
    #[serde(default)]
    pub since: u64,
    /// Number of the mount namespace of what runs in it, or ran last.
    #[serde(default)]
    pub namespace: u64,
    /// A process in it, to be looked at first.
    #[serde(default)]
    pub process: i32,
    /// What was run in it last.
    #[serde(default)]
    pub command: Vec<PathBytes>,
    /// It is being taken away: what is left of it is no run any more.
    #[serde(default)]
    pub going: bool,
}

impl Note {
    /// Writes it, in place: the lock is on the file. Who reads it meanwhile takes the first
    /// line, so the rest of a longer one may go later.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&self, lock: &File) -> io::Result<()> {
        let mut text = serde_json::to_vec(self)?;
        text.push(b'\n');
        lock.write_all_at(&text, 0)?;
        lock.set_len(text.len() as u64)
    }
}

/// What a directory says of itself, also if it is being taken away.
pub fn of(dir: &Path) -> Option<Note> {
    let text = fs::read(dir.join(NOTE)).ok()?;
    serde_json::from_slice(text.split(|byte| *byte == b'\n').next()?).ok()
}

/// What a path says of a run, if it is one's directory: its note and its storage.
pub fn read(dir: &Path) -> Option<(Note, PathBuf)> {
    let note = of(dir).filter(|note| !note.going)?;
    Some((note, dir.join(STORAGE)))
}

/// Writes down what tells that somebody asks from outside, for the daemon that is about to begin.
///
/// # Errors
/// It cannot be written.
pub fn write_key(dir: &Path, key: &str) -> io::Result<()> {
    let mut options = File::options();
    options.write(true).create(true).truncate(true).mode(0o600);
    options.open(dir.join(KEY))?.write_all_at(key.as_bytes(), 0)
}

/// The same, to be told.
pub fn key_of(dir: &Path) -> String {
    fs::read_to_string(dir.join(KEY)).unwrap_or_default()
}

/// Takes the lock of a directory, `make`: also where there is no note yet. `None`: somebody
/// has it.
///
/// # Errors
/// There is no such directory or note (any more).
pub fn lock(dir: &Path, make: bool) -> io::Result<Option<File>> {
    loop {
        let mut options = File::options();
        options.read(true).write(true).create(make).truncate(false).mode(0o600);
        let note = options.open(dir.join(NOTE))?;
        match rustix::fs::flock(&note, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => return Ok(None),
            taken => taken?,
        }
        if is_there(&note, dir) {
            return Ok(Some(note));
        }
    }
}

/// The same, to take a run away: who only looks whether somebody has it is waited for.
///
/// # Errors
/// As [`lock`].
pub fn lock_to_remove(dir: &Path) -> io::Result<Option<File>> {
    let begun = Instant::now();
    loop {
        match lock(dir, false)? {
            None if begun.elapsed() < A_LOOK => std::thread::sleep(BEAT),
            taken => return Ok(taken),
        }
    }
}

/// Whether an open note is that of the directory, and not of one that was there before.
pub fn is_there(note: &File, dir: &Path) -> bool {
    match (note.metadata(), fs::symlink_metadata(dir.join(NOTE))) {
        (Ok(ours), Ok(there)) => (ours.dev(), ours.ino()) == (there.dev(), there.ino()),
        _ => false,
    }
}

/// Takes the lock of an open note. `false`: somebody has it.
///
/// # Errors
/// As flock(2).
pub fn lock_again(note: &File) -> rustix::io::Result<bool> {
    match rustix::fs::flock(note, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::WOULDBLOCK) => Ok(false),
        taken => taken.map(|()| true),
    }
}

/// Lets others look at a run that is held.
///
/// # Errors
/// EWOULDBLOCK: somebody has taken it.
pub fn share(lock: &File) -> rustix::io::Result<()> {
    rustix::fs::flock(lock, FlockOperation::NonBlockingLockShared)
}

/// Somebody has a run for himself.
pub fn is_in_use(dir: &Path) -> bool {
    let Ok(note) = File::open(dir.join(NOTE)) else { return false };
    let locked = rustix::fs::flock(&note, FlockOperation::NonBlockingLockShared);
    locked == Err(Errno::WOULDBLOCK)
}
