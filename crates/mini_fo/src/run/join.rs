//! A run that goes on: who is in it, and how another one gets there.
#![forbid(unsafe_code)]

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fd::{AsFd, OwnedFd};
use rustix::process::{Pid, PidfdFlags};
use rustix::thread::{ThreadNameSpaceType, move_into_thread_name_spaces};

use super::place::{self, STORAGE};
use crate::control::client::Channel;

/// How long a run may take to begin, or to end.
const PATIENCE: Duration = Duration::from_secs(10);
const BEAT: Duration = Duration::from_millis(5);

/// A process in a run.
pub struct Member {
    pid: Pid,
    /// What receives the changes of the run.
    pub storage: PathBuf,
    /// Itself, also when its number is another one's.
    process: OwnedFd,
}

/// How a run was found.
pub enum Found {
    /// Somebody is in it.
    Live(Member),
    /// Nobody is in it any more.
    Ended,
}

/// Finds somebody in a run that is in use. One that is about to begin or to end is waited
/// for; `None`: for too long.
pub fn find(dir: &Path) -> Option<Found> {
    let begun = Instant::now();
    loop {
        if let Some(member) = member(dir) {
            return Some(Found::Live(member));
        }
        if !place::is_in_use(dir) {
            return Some(Found::Ended);
        }
        if begun.elapsed() > PATIENCE {
            return None;
        }
        std::thread::sleep(BEAT);
    }
}

/// Somebody in a run, by the number of its mount namespace.
fn member(dir: &Path) -> Option<Member> {
    let (note, _) = place::read(dir).filter(|(note, _)| note.namespace != 0)?;
    let is_there = |pid: &str| {
        fs::metadata(format!("/proc/{pid}/ns/mnt")).is_ok_and(|found| found.ino() == note.namespace)
    };
    // A number may be that of an earlier namespace: that nobody is in the run says the lock.
    if !place::is_in_use(dir) {
        return None;
    }
    for entry in fs::read_dir("/proc").ok()?.flatten() {
        let name = entry.file_name();
        let Some(pid) = name.to_str().filter(|name| name.starts_with(|c: char| c.is_ascii_digit()))
        else {
            continue;
        };
        if !is_there(pid) {
            continue;
        }
        let number = pid.parse().ok().and_then(Pid::from_raw)?;
        let process = rustix::process::pidfd_open(number, PidfdFlags::empty()).ok()?;
        let storage = dir.canonicalize().ok()?.join(STORAGE);
        // Numbers of processes and of namespaces are given away again: what counts is that it
        // sees the tree of this run.
        let member = Member { pid: number, storage, process };
        if is_of(&member.root(), &member.storage) && is_there(pid) {
            return Some(member);
        }
    }
    None
}

/// Whether a directory is in the mount of which this is the storage.
pub fn is_of(root: &Path, storage: &Path) -> bool {
    let info = Channel::open(root).ok().and_then(|(_, info)| info.storage);
    info.is_some_and(|known| known.0 == storage.as_os_str().as_bytes())
}

impl Member {
    /// The way to the root of its tree.
    pub fn root(&self) -> PathBuf {
        format!("/proc/{}/root", self.pid.as_raw_nonzero()).into()
    }

    /// Moves this process to where it is.
    ///
    /// # Errors
    /// As setns(2): it has ended.
    pub fn join(&self, for_users: bool) -> rustix::io::Result<()> {
        let mut spaces = ThreadNameSpaceType::MOUNT;
        spaces.set(ThreadNameSpaceType::USER, for_users);
        // Only into one of its own: that of the system nobody else may join.
        let network = |process: &str| fs::metadata(format!("/proc/{process}/ns/net"));
        let own = network("self").ok().map(|found| found.ino());
        let other = network(&self.pid.to_string()).ok().map(|found| found.ino());
        spaces.set(ThreadNameSpaceType::NETWORK, own != other);
        move_into_thread_name_spaces(self.process.as_fd(), spaces)
    }
}
