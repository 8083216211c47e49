//! A run that goes on: who is in it, and how another one gets there.
#![forbid(unsafe_code)]

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fd::{AsFd, OwnedFd};
use rustix::process::{Pid, PidfdFlags, WaitOptions, waitpid};
use rustix::thread::{
    LinkNameSpaceType, ThreadNameSpaceType, move_into_link_name_space, move_into_thread_name_spaces,
};

use super::note::{self, Note, STORAGE};
use crate::control::client::Channel;
use crate::daemon::{self, Forked};

/// How long somebody is looked for in a run that has begun.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often, at first and at most.
const BEAT: Duration = Duration::from_millis(2);
const SLOW_BEAT: Duration = Duration::from_millis(100);

/// A process in a run.
pub struct Member {
    pid: Pid,
    /// What receives the changes of the run.
    pub storage: PathBuf,
    /// The user namespace from which alone its tree can be used.
    pub users: Option<OwnedFd>,
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

/// Finds somebody in a run that is in use. One that is about to begin is waited for, and for
/// some time one that is about to end; `None`: it takes longer.
pub fn find(dir: &Path) -> Option<Found> {
    let (mut seen, mut beat) = (None, BEAT);
    loop {
        let note = note::of(dir).filter(|note| note.namespace != 0);
        if let Some(member) = note.as_ref().and_then(|note| member(dir, note)) {
            return Some(Found::Live(member));
        }
        if !note::is_in_use(dir) {
            return Some(Found::Ended);
        }
        if note.is_some() && seen.get_or_insert_with(Instant::now).elapsed() > PATIENCE {
            return None;
        }
        std::thread::sleep(beat);
        beat = (beat * 2).min(SLOW_BEAT);
    }
}

/// Somebody in a run, by the number of its mount namespace.
fn member(dir: &Path, note: &Note) -> Option<Member> {
    // A number may be that of an earlier namespace: that nobody is in the run says the lock.
    if !note::is_in_use(dir) {
        return None;
    }
    let storage = dir.canonicalize().ok()?.join(STORAGE);
    let first = Some(note.process).filter(|process| *process > 0);
    let all = fs::read_dir("/proc").ok()?.flatten();
    let all = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    first.into_iter().chain(all).find_map(|pid| one_of(pid, note, &storage))
}

/// A process, if it is in a run. Numbers of processes and of namespaces are given away again:
/// what counts is that it sees the tree of this run.
fn one_of(pid: i32, note: &Note, storage: &Path) -> Option<Member> {
    let is_there = || {
        fs::metadata(format!("/proc/{pid}/ns/mnt")).is_ok_and(|found| found.ino() == note.namespace)
    };
    let pid = is_there().then(|| Pid::from_raw(pid)).flatten()?;
    let process = rustix::process::pidfd_open(pid, PidfdFlags::empty()).ok()?;
    let users = match note.as_root {
        true => Some(fs::File::open(format!("/proc/{pid}/ns/user")).ok()?.into()),
        false => None,
    };
    let member = Member { pid, storage: storage.to_path_buf(), users, process };
    let sees = match &member.users {
        None => is_of(&member.root(), storage),
        Some(users) => apart(users, || is_of(&member.root(), storage)),
    };
    (sees && is_there()).then_some(member)
}

/// Asks something in a user namespace, by a process of its own.
fn apart(users: &OwnedFd, ask: impl FnOnce() -> bool) -> bool {
    match daemon::fork() {
        Err(_) => false,
        Ok(Forked::Child) => {
            let is_so = enter_users(users).is_ok() && ask();
            std::process::exit(i32::from(!is_so));
        }
        Ok(Forked::Parent(pid)) => {
            let ended = Pid::from_raw(pid).map(|pid| waitpid(Some(pid), WaitOptions::empty()));
            let status = ended.and_then(|ended| ended.ok().flatten());
            status.is_some_and(|(_, status)| status.exit_status() == Some(0))
        }
    }
}

/// Moves this process into a user namespace, in which it is who it was.
///
/// # Errors
/// As setns(2).
pub fn enter_users(users: &OwnedFd) -> rustix::io::Result<()> {
    move_into_link_name_space(users.as_fd(), Some(LinkNameSpaceType::User))
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

    /// The way to its daemon. Where that can be asked by its own users alone, this process
    /// becomes one of them.
    ///
    /// # Errors
    /// As [`Channel::open`].
    pub fn channel(&self) -> io::Result<Channel> {
        if let Some(users) = &self.users {
            enter_users(users)?;
        }
        Channel::open(&self.root()).map(|(channel, _)| channel)
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
