//! The processes of a run: the command, in its namespaces, and the daemon that serves what
//! it sees.
//!
//! The command's process makes the namespaces, and the daemon joins them to mount; then it
//! leaves for a namespace of its own (`daemon/root.rs`), so that the mount is there as long
//! as somebody uses it and no longer. Both are children of the process that waits, which
//! stays where it was.
#![forbid(unsafe_code)]

use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use fuse_server::Mount;
use rustix::fd::{AsFd, AsRawFd, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MountPropagationFlags, MoveMountFlags, mount_change, move_mount};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions};
use rustix::thread::{ThreadNameSpaceType, move_into_thread_name_spaces};

use super::join::Member;
use super::place::Place;
use super::plan::Plan;
use super::scene::{self, Outside};
use super::sys::Signals;
use super::talk::{Word, receive, send};
use super::{join, spaces, sys};
use crate::daemon::{self, Forked};
use crate::exit::{Failure, code};
use crate::registry;
use crate::request::MountRequest;
use crate::serve::{self, Handed};

/// What was started.
pub struct Started {
    /// The command.
    pub command: Pid,
    /// What serves, if it was started here.
    pub daemon: Option<Pid>,
    /// The root that the command sees. As long as it is open, the mount is there.
    pub root: OwnedFd,
    /// The user namespace from which alone the mount can be used.
    pub users: Option<OwnedFd>,
}

/// What the command's process has mounted.
struct Mounted {
    device: OwnedFd,
    number: Option<(u32, u32)>,
    /// Number of its mount namespace.
    namespace: u64,
    users: OwnedFd,
    /// The storage, if that is in memory: mounted nowhere.
    memory: Option<OwnedFd>,
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
    let prepare = |socket: &OwnedFd| prepare(plan, place, request, memory, socket);
    let (command, socket) = launch(plan, signals, prepare)?;
    let served = mounted(plan, command, &socket)
        .and_then(|mounted| {
            let pid = serve_for(command, plan, place, request, memory, mounted.as_ref());
            pid.map(|pid| (pid, mounted)).map_err(Some)
        })
        .map_err(|failure| match failure {
            None => gave_up(command),
            Some(failure) => {
                let _ = rustix::process::kill_process(command, Signal::KILL);
                let _ = rustix::process::waitpid(Some(command), WaitOptions::empty());
                failure
            }
        });
    let (daemon, mounted) = served?;
    let _ = send(&socket, Word::GoOn, &[]);
    let root = match receive(&socket) {
        Some((Word::GoOn, descriptors)) => descriptors.into_iter().next(),
        _ => None,
    };
    let (namespace, users) = match mounted {
        Some(mounted) => (mounted.namespace, Some(mounted.users)),
        None => {
            let found = std::fs::metadata(format!("/proc/{command}/ns/mnt"));
            (found.map_or(0, |found| found.ino()), None)
        }
    };
    let Some(root) = root else {
        let failure = gave_up(command);
        // The mount has gone with the command.
        let _ = rustix::process::waitpid(Some(daemon), WaitOptions::empty());
        return Err(failure);
    };
    // Not before it is in the tree: whoever joins it has to come there, too.
    place.write(plan, Some((namespace, command.as_raw_pid())))?;
    Ok(Started { command, daemon: Some(daemon), root, users })
}

/// Waits until the daemon can begin; where there are more users than one, the mount is made
/// by the command's process, for the daemon stays outside. `None` as a failure: that process
/// says itself what has failed.
fn mounted(
    plan: &Plan,
    command: Pid,
    socket: &OwnedFd,
) -> Result<Option<Mounted>, Option<Failure>> {
    receive(socket).ok_or(None)?;
    let Some(subids) = &plan.as_root else { return Ok(None) };
    subids.map(command).map_err(Some)?;
    let _ = send(socket, Word::GoOn, &[]);
    let (word, descriptors) = receive(socket).ok_or(None)?;
    let mut descriptors = descriptors.into_iter();
    match (word, descriptors.next(), descriptors.next()) {
        (Word::Mounted(namespace, number), Some(device), Some(users)) => {
            let memory = descriptors.next();
            Ok(Some(Mounted { device, number, namespace, users, memory }))
        }
        _ => Err(None),
    }
}

/// Starts the daemon; returns when the tree can be used.
fn serve_for(
    command: Pid,
    plan: &Plan,
    place: &Place,
    request: &MountRequest,
    memory: Option<&str>,
    mounted: Option<&Mounted>,
) -> Result<Pid, Failure> {
    let failed = |errno: Errno| Failure::new(code::RUN, format!("the daemon: {errno}"));
    let there = rustix::process::pidfd_open(command, PidfdFlags::empty()).map_err(failed)?;
    let mut keep = vec![there.as_fd(), place.lock.as_fd()];
    keep.extend(mounted.map(|mounted| mounted.device.as_fd()));
    keep.extend(mounted.and_then(|mounted| mounted.memory.as_ref()).map(OwnedFd::as_fd));
    let pid = daemon::background(Some(&keep), |ready| {
        if let Some(mounted) = mounted {
            // Outside it sees to whom each object of the base belongs.
            let device = mounted
                .device
                .try_clone()
                .map_err(|error| Failure::new(code::RUN, format!("the daemon: {error}")))?;
            let mount = Mount::handed_over(device, mounted.number);
            let storage = mounted.memory.as_ref().map(|memory| in_memory(memory, place));
            let handed = Handed { mount, namespace: mounted.namespace, storage };
            return serve::serve(request, Some(handed), ready);
        }
        let mut spaces = ThreadNameSpaceType::MOUNT;
        spaces.set(ThreadNameSpaceType::USER, plan.for_users);
        move_into_thread_name_spaces(there.as_fd(), spaces).map_err(failed)?;
        if let Some(size) = memory {
            mount_memory(&place.storage(), size)?;
        }
        serve::serve(request, None, ready)
    })?;
    Pid::from_raw(pid).ok_or_else(|| failed(Errno::CHILD))
}

/// Mounts a storage in memory.
fn mount_memory(storage: &Path, size: &str) -> Result<(), Failure> {
    let mounted = memory(size)?;
    move_mount(&mounted, "", CWD, storage, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
        .map_err(|errno| no_memory(size, errno))
}

/// A file system for a storage in memory, mounted nowhere yet.
fn memory(size: &str) -> Result<OwnedFd, Failure> {
    scene::tmpfs(&[("mode", "700"), ("size", size)]).map_err(|errno| no_memory(size, errno))
}

fn no_memory(size: &str, errno: Errno) -> Failure {
    Failure::new(code::RUN, format!("--tmpfs={size}: {errno}"))
}

/// The way of a daemon to a storage in memory that it may mount nowhere. It lies there under
/// the path that it has outside, because that is what the way is taken for.
fn in_memory(memory: &OwnedFd, place: &Place) -> PathBuf {
    let storage = place.storage();
    let inside = storage.strip_prefix("/").unwrap_or(&storage);
    Path::new("/proc/self/fd").join(memory.as_raw_fd().to_string()).join(inside)
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
                send(socket, Word::Nobody, &[]).map_err(|_| died())?;
                return Err(Failure::silent(code::RUN));
            }
            joined => joined.map_err(failed)?,
        }
        // A root that could not be put away is still that of the system.
        if !join::is_of(Path::new("/"), &member.storage) {
            return Err(failed(Errno::XDEV));
        }
        if plan.as_root.is_some() {
            spaces::become_root().map_err(failed)?;
        }
        rustix::process::chdir(&plan.directory)
            .or_else(|_| rustix::process::chdir("/"))
            .map_err(failed)
    })?;
    let told = receive(&socket);
    let nobody = matches!(told, Some((Word::Nobody, _)));
    match told.and_then(|(_, descriptors)| descriptors.into_iter().next()) {
        Some(root) => {
            let users = member.users.as_ref().and_then(|users| users.try_clone().ok());
            Ok(Some(Started { command, daemon: None, root, users }))
        }
        None => {
            let failure = gave_up(command);
            if nobody { Ok(None) } else { Err(failure) }
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
fn prepare(
    plan: &Plan,
    place: &Place,
    request: &MountRequest,
    memory: Option<&str>,
    socket: &OwnedFd,
) -> Result<(), Failure> {
    let wait = || receive(socket).map(drop).ok_or_else(died);
    let has_others = plan.as_root.is_some();
    let map_all = || send(socket, Word::GoOn, &[]).map_err(|_| died()).and_then(|()| wait());
    spaces::enter(plan.for_users, plan.net, has_others.then_some(map_all))?;
    // What is mounted here is to be seen nowhere else.
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .map_err(|errno| spaces::refused(plan.for_users, errno))?;
    match has_others {
        true => hand_over(request, memory, place, socket)?,
        false => send(socket, Word::GoOn, &[]).map_err(|_| died())?,
    }
    let outside = Outside::look(plan);
    wait()?;
    scene::enter(plan, &outside, &place.storage(), &place.dir)?;
    if has_others {
        let failed = |errno| Failure::new(code::RUN, format!("--as-root: {errno}"));
        spaces::become_root().map_err(failed)?;
    }
    Ok(())
}

/// Mounts what the daemon is to serve, and makes a storage in memory: what is mounted belongs
/// to the user namespace of who mounts it.
fn hand_over(
    request: &MountRequest,
    size: Option<&str>,
    place: &Place,
    socket: &OwnedFd,
) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::new(code::RUN, format!("the mount: {error}"));
    let users = std::fs::File::open("/proc/self/ns/user").map_err(failed)?;
    let memory = size.map(memory).transpose()?;
    if let Some(memory) = &memory {
        let path = in_memory(memory, place);
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed)?;
    }
    let mount = serve::mount(request, request.flags, None)?;
    let mounted = Word::Mounted(registry::own_namespace(), mount.device_number());
    let device = mount.hand_over().map_err(failed)?;
    let mut descriptors = vec![device.as_fd(), users.as_fd()];
    descriptors.extend(memory.as_ref().map(OwnedFd::as_fd));
    send(socket, mounted, &descriptors).map_err(|_| died())
}

fn died() -> Failure {
    Failure::new(code::RUN, "mini_fo was ended before the command began")
}

/// The last step in the tree before the command.
fn begin(socket: &OwnedFd, parent: Pid) -> Result<(), Failure> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open("/", flags, Mode::empty())
        .map_err(|errno| Failure::new(code::RUN, format!("/: {errno}")))?;
    send(socket, Word::GoOn, &[root.as_fd()]).map_err(|_| died())?;
    // A command whose waiting process is killed would be left to itself.
    let told = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
    if told.is_err() || rustix::process::getppid() != Some(parent) {
        return Err(died());
    }
    Ok(())
}
