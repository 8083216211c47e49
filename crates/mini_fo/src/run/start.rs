//! The processes of a run: the command, in its namespaces, and the daemon that serves what
//! it sees.
//!
//! The command's process makes the namespaces, and the daemon joins them to mount; then it
//! leaves for a namespace of its own (`daemon/root.rs`), so that the mount is there as long
//! as somebody uses it and no longer. Both are children of the process that waits, which
//! stays where it was.
#![forbid(unsafe_code)]

use std::ffi::OsStr;
use std::io::{IoSlice, IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MountPropagationFlags, MoveMountFlags, mount_change, move_mount};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions};
use rustix::thread::{ThreadNameSpaceType, move_into_thread_name_spaces};

use super::join::Member;
use super::place::Place;
use super::plan::Plan;
use super::sys::Signals;
use super::{join, scene, spaces, sys};
use crate::daemon::{self, Forked};
use crate::exit::{Failure, code};
use crate::request::MountRequest;
use crate::serve;

/// What a message says: all is well.
const GO_ON: u8 = b'!';
/// Whom the command was to join has ended.
const NOBODY: u8 = b'?';

/// What was started.
pub struct Started {
    /// The command.
    pub command: Pid,
    /// What serves, if it was started here.
    pub daemon: Option<Pid>,
    /// The root that the command sees. As long as it is open, the mount is there.
    pub root: OwnedFd,
}

/// Starts both. `memory`: the storage is a file system in memory of this size.
///
/// # Errors
/// One of them cannot be started: none is left.
pub fn start(
    plan: &Plan,
    place: &Place,
    request: &MountRequest,
    memory: Option<&str>,
    signals: &Signals,
) -> Result<Started, Failure> {
    let (command, socket) = launch(plan, signals, |socket| prepare(plan, place, socket))?;
    if receive(&socket).is_none() {
        return Err(gave_up(command));
    }
    let served = serve_for(command, plan, place, request, memory);
    let daemon = served.inspect_err(|_| {
        let _ = rustix::process::kill_process(command, Signal::KILL);
        let _ = rustix::process::waitpid(Some(command), WaitOptions::empty());
    })?;
    let _ = send(&socket, GO_ON, &[]);
    match receive(&socket) {
        Some((GO_ON, Some(root))) => {
            // Not before it is in the tree: whoever joins it has to come there, too.
            let namespace = std::fs::metadata(format!("/proc/{command}/ns/mnt"));
            let namespace = namespace.map_or(0, |found| found.ino());
            place.write(plan, Some((namespace, command.as_raw_pid())))?;
            Ok(Started { command, daemon: Some(daemon), root })
        }
        _ => {
            let failure = gave_up(command);
            // The mount has gone with the command.
            let _ = rustix::process::waitpid(Some(daemon), WaitOptions::empty());
            Err(failure)
        }
    }
}

/// Starts the daemon; returns when the tree can be used.
fn serve_for(
    command: Pid,
    plan: &Plan,
    place: &Place,
    request: &MountRequest,
    memory: Option<&str>,
) -> Result<Pid, Failure> {
    let failed = |errno: Errno| Failure::new(code::RUN, format!("the daemon: {errno}"));
    let there = rustix::process::pidfd_open(command, PidfdFlags::empty()).map_err(failed)?;
    let keep = [there.as_fd(), place.lock.as_fd()];
    let pid = daemon::background(Some(&keep), |ready| {
        let mut spaces = ThreadNameSpaceType::MOUNT;
        spaces.set(ThreadNameSpaceType::USER, plan.for_users);
        move_into_thread_name_spaces(there.as_fd(), spaces).map_err(failed)?;
        if let Some(size) = memory {
            mount_memory(&place.storage(), size)?;
        }
        serve::serve(request, ready)
    })?;
    Pid::from_raw(pid).ok_or_else(|| failed(Errno::CHILD))
}

/// Mounts a storage in memory.
fn mount_memory(storage: &Path, size: &str) -> Result<(), Failure> {
    let mounted = scene::tmpfs(&[("mode", "700"), ("size", size)]).and_then(|memory| {
        move_mount(&memory, "", CWD, storage, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
    });
    mounted.map_err(|errno| Failure::new(code::RUN, format!("--tmpfs={size}: {errno}")))
}

/// Starts a command beside somebody who runs. `None`: he does not any more.
///
/// # Errors
/// It cannot be started.
pub fn join(plan: &Plan, member: &Member, signals: &Signals) -> Result<Option<Started>, Failure> {
    let failed = |errno: Errno| Failure::new(code::RUN, format!("a run that is joined: {errno}"));
    let (command, socket) = launch(plan, signals, |socket| {
        match member.join(plan.for_users) {
            Err(Errno::SRCH) => {
                send(socket, NOBODY, &[]).map_err(|_| died())?;
                return Err(Failure::silent(code::RUN));
            }
            joined => joined.map_err(failed)?,
        }
        // A root that could not be put away is still that of the system.
        if !join::is_of(Path::new("/"), &member.storage) {
            return Err(failed(Errno::XDEV));
        }
        rustix::process::chdir(&plan.directory)
            .or_else(|_| rustix::process::chdir("/"))
            .map_err(failed)
    })?;
    match receive(&socket) {
        Some((GO_ON, Some(root))) => Ok(Some(Started { command, daemon: None, root })),
        told => {
            let failure = gave_up(command);
            if matches!(told, Some((NOBODY, _))) { Ok(None) } else { Err(failure) }
        }
    }
}

/// Starts the process that is to become the command. There `prepare` is called with its end of
/// a socket, the other end of which is returned.
fn launch(
    plan: &Plan,
    signals: &Signals,
    prepare: impl FnOnce(&OwnedFd) -> Result<(), Failure>,
) -> Result<(Pid, OwnedFd), Failure> {
    let failed = |error: std::io::Error| {
        Failure::new(code::RUN, format!("no process can be started: {error}"))
    };
    let (ours, theirs) =
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
            .map_err(|errno| failed(errno.into()))?;
    let parent = rustix::process::getpid();
    match daemon::fork().map_err(failed)? {
        Forked::Child => {
            drop(ours);
            let ready = prepare(&theirs).and_then(|()| begin(&theirs, parent));
            give_up(&become_command(plan, ready, signals))
        }
        Forked::Parent(pid) => {
            let pid = Pid::from_raw(pid).ok_or_else(|| failed(Errno::CHILD.into()))?;
            Ok((pid, ours))
        }
    }
}

/// A command that was not executed says itself what has failed.
fn gave_up(command: Pid) -> Failure {
    let ended = rustix::process::waitpid(Some(command), WaitOptions::empty());
    let status = ended.ok().flatten().and_then(|(_, status)| status.exit_status());
    Failure::silent(status.and_then(|status| status.try_into().ok()).unwrap_or(code::RUN))
}

fn give_up(failure: &Failure) -> ! {
    // Without a standard error only the exit code can tell.
    let _ = failure.is_silent() || writeln!(std::io::stderr(), "mini_fo: {failure}").is_err();
    std::process::exit(failure.code.into())
}

/// Executes the command, if all is ready. Returns only when something fails.
fn become_command(plan: &Plan, ready: Result<(), Failure>, signals: &Signals) -> Failure {
    match ready {
        Err(failure) => return failure,
        Ok(()) => signals.restore(),
    }
    let error = sys::execute(&plan.command);
    let name = plan.command.first().map(|word| word.to_string_lossy()).unwrap_or_default();
    let found = plan.command.first().is_some_and(|word| is_found(word));
    match error.kind() {
        _ if !found => Failure::new(code::NOT_FOUND, format!("{name}: there is no such command")),
        _ => Failure::new(code::NOT_EXECUTABLE, format!("{name}: {error}")),
    }
}

/// Whether there is a file of that name where a shell looks. Directories that are closed to
/// the user let execvp(3) say that he has no right to execute it.
fn is_found(word: &OsStr) -> bool {
    let is_there = |path: PathBuf| path.symlink_metadata().is_ok();
    if word.as_bytes().contains(&b'/') {
        return is_there(word.into());
    }
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/bin:/usr/bin".into());
    std::env::split_paths(&path).any(|dir| is_there(dir.join(word)))
}

/// Makes the namespaces, waits for the mount, and puts everything in its place.
fn prepare(plan: &Plan, place: &Place, socket: &OwnedFd) -> Result<(), Failure> {
    spaces::enter(plan.for_users, plan.net)?;
    // What is mounted here is to be seen nowhere else.
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .map_err(|errno| spaces::refused(plan.for_users, errno))?;
    send(socket, GO_ON, &[]).map_err(|_| died())?;
    receive(socket).ok_or_else(died)?;
    scene::enter(plan, &place.storage(), &place.dir)
}

fn died() -> Failure {
    Failure::new(code::RUN, "mini_fo was ended before the command began")
}

/// The last step in the tree before the command.
fn begin(socket: &OwnedFd, parent: Pid) -> Result<(), Failure> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open("/", flags, Mode::empty())
        .map_err(|errno| Failure::new(code::RUN, format!("/: {errno}")))?;
    send(socket, GO_ON, &[root.as_fd()]).map_err(|_| died())?;
    // A command whose waiting process is killed would be left to itself.
    let told = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
    if told.is_err() || rustix::process::getppid() != Some(parent) {
        return Err(died());
    }
    Ok(())
}

/// A message: one byte, and maybe descriptors.
fn send(socket: &OwnedFd, word: u8, descriptors: &[BorrowedFd<'_>]) -> rustix::io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(descriptors));
    }
    sendmsg(socket, &[IoSlice::new(&[word])], &mut control, SendFlags::NOSIGNAL).map(drop)
}

/// Waits for one. `None`: there will be none any more.
fn receive(socket: &OwnedFd) -> Option<(u8, Option<OwnedFd>)> {
    let mut byte = [0; 1];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut parts = [IoSliceMut::new(&mut byte)];
    let received = loop {
        match recvmsg(socket, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC) {
            Err(Errno::INTR) => {}
            received => break received.ok()?,
        }
    };
    if received.bytes == 0 {
        return None;
    }
    let mut all = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    let descriptor = all.next();
    let [word] = byte;
    Some((word, descriptor))
}
