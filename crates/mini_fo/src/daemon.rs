//! Going into the background, and telling the caller when all is well.
//!
//! The caller's process waits on a pipe for the first byte: 0, the mount is
//! usable; else an exit code, followed by the message for the user.
#![deny(unsafe_code)]

mod rights;
mod root;
mod sys;

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;

use rustix::fs::Mode;
use rustix::process::{Resource, Rlimit};

use crate::exit::{Failure, code};
use crate::log::Control;

pub use rights::{give_up_rights, is_initial_namespace};
pub use root::{OwnProc, hold_directory};
pub use sys::{EndSignals, Forked, close_inherited, data_ioctl, fork, let_go_of_code, plain_ioctl};

/// Tells whoever waits that the mount is usable.
pub struct Ready {
    pipe: Option<File>,
    log: Option<Control>,
    /// What standard input, output and error are to become.
    null: Option<File>,
}

impl Ready {
    /// In the foreground nobody waits.
    pub fn foreground() -> Ready {
        Ready { pipe: None, log: None, null: None }
    }

    /// The log to be detached from the terminal with the rest.
    pub fn set_log(&mut self, log: Control) {
        self.log = Some(log);
    }

    /// The mount is usable: in the background the caller's terminal and
    /// directory are left, and its process ends with success.
    pub fn tell(self) {
        let Some(mut pipe) = self.pipe else { return };
        if let Some(log) = self.log {
            log.detach();
        }
        if let Err(error) = leave_terminal(self.null.as_ref()) {
            tracing::warn!("cannot leave the terminal: {error}");
        }
        // The caller may have been killed; the mount is good all the same.
        let _ = pipe.write_all(&[0]);
    }
}

/// Standard input, output and error become `null`, the directory `/`.
fn leave_terminal(null: Option<&File>) -> std::io::Result<()> {
    rustix::process::chdir("/")?;
    let null = null.ok_or(std::io::ErrorKind::NotFound)?;
    rustix::stdio::dup2_stdin(null)?;
    rustix::stdio::dup2_stdout(null)?;
    rustix::stdio::dup2_stderr(null)?;
    Ok(())
}

/// Runs `work` in a new process of its own session and returns when it says
/// that it is ready, with its number, or why it is not. `keep`: it closes all descriptors
/// but these and the standard ones.
///
/// # Errors
/// Those of `work`, and that of fork(2).
pub fn background(
    keep: Option<&[BorrowedFd<'_>]>,
    work: impl FnOnce(Ready) -> Result<(), Failure>,
) -> Result<i32, Failure> {
    let cannot =
        |error: std::io::Error| Failure::new(code::FAILURE, format!("cannot fork: {error}"));
    let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
        .map_err(|errno| cannot(errno.into()))?;
    match sys::fork().map_err(cannot)? {
        sys::Forked::Parent(pid) => {
            drop(writer);
            wait(reader, pid).map(|()| pid)
        }
        sys::Forked::Child => {
            drop(reader);
            if let Some(keep) = keep {
                let keep = keep.iter().map(AsRawFd::as_raw_fd);
                sys::close_all_but(keep.chain([writer.as_raw_fd()]).collect());
            }
            std::process::exit(child(writer, work).into())
        }
    }
}

fn child(writer: OwnedFd, work: impl FnOnce(Ready) -> Result<(), Failure>) -> u8 {
    // Fails for the leader of a group, which a new process is not.
    let _ = rustix::process::setsid();
    let pipe = File::from(writer);
    let copy = pipe.try_clone().ok();
    // Later a path may lead into the mount.
    let null = File::options().read(true).write(true).open("/dev/null").ok();
    match work(Ready { pipe: Some(pipe), log: None, null }) {
        Ok(()) => 0,
        Err(failure) => {
            if let Some(mut pipe) = copy {
                let mut message = vec![failure.code];
                message.extend_from_slice(failure.message.as_bytes());
                // Nobody may be waiting any more.
                let _ = pipe.write_all(&message);
            }
            failure.code
        }
    }
}

fn wait(reader: OwnedFd, pid: i32) -> Result<(), Failure> {
    let mut pipe = File::from(reader);
    let mut first = [0];
    if pipe.read_exact(&mut first).is_err() {
        let status = sys::wait_for(pid).map_or(String::new(), |s| format!(" (status {s:#x})"));
        return Err(Failure::new(code::FAILURE, format!("the daemon died{status}")));
    }
    let [code] = first;
    if code == 0 {
        return Ok(());
    }
    let mut message = Vec::new();
    // What can be read of it is shown.
    let _ = pipe.read_to_end(&mut message);
    let _ = sys::wait_for(pid);
    Err(Failure::new(code, String::from_utf8_lossy(&message)))
}

/// As many open files as the kernel allows any process: all who use the mount
/// share them.
fn most_files(otherwise: Rlimit) -> Rlimit {
    let most = std::fs::read_to_string("/proc/sys/fs/nr_open").ok();
    let most = most.and_then(|text| text.trim().parse::<u64>().ok());
    most.map_or(otherwise, |most| Rlimit { current: Some(most), maximum: Some(most) })
}

/// Settings of the process that serves: limits as wide as it may have them,
/// for those of whoever mounts are not meant for the users of the mount, modes that
/// no umask cuts, and for root that it outlives others.
pub fn prepare_process() {
    for resource in [Resource::Nofile, Resource::Fsize, Resource::Cpu, Resource::As, Resource::Data]
    {
        let limit = rustix::process::getrlimit(resource);
        let all = Rlimit { current: None, maximum: None };
        let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
        // Root may have all, of open files as many as there can be. What is refused
        // stays as it is.
        let all = if resource == Resource::Nofile { most_files(raised) } else { all };
        let lifted = rustix::process::setrlimit(resource, all).is_ok();
        if !lifted {
            let _ = rustix::process::setrlimit(resource, raised);
        }
    }
    rustix::process::umask(Mode::empty());
    if rustix::process::geteuid().is_root() {
        spare();
    }
}

/// The mount goes with its daemon, and with it what runs from there. So the kernel
/// looks for others when memory is short (proc_pid_oom_score_adj(5)), as it does
/// also when a storage on tmpfs fills it; and the killing at the end of a shutdown
/// leaves out whose command line begins with `@`, until the file systems are
/// unmounted (<https://systemd.io/ROOT_STORAGE_DAEMONS/>).
fn spare() {
    if let Err(error) = std::fs::write("/proc/self/oom_score_adj", "-1000") {
        tracing::debug!("the score for the OOM killer stays: {error}");
    }
    if let Err(error) = mark_command_line() {
        tracing::debug!("the command line is not marked: {error}");
    }
}

/// Writes `@` over the first byte of the command line, in our own memory.
fn mark_command_line() -> std::io::Result<()> {
    let stat = std::fs::read("/proc/self/stat")?;
    // `arg_start` is field 48; the second is a name in parentheses.
    let end = stat.iter().rposition(|&byte| byte == b')').map_or(0, |at| at + 1);
    let fields = String::from_utf8_lossy(stat.get(end..).unwrap_or_default());
    let start = fields.split_ascii_whitespace().nth(45).and_then(|field| field.parse().ok());
    match start {
        Some(start) if start != 0 => {
            File::options().write(true).open("/proc/self/mem")?.write_all_at(b"@", start)
        }
        _ => Err(std::io::ErrorKind::NotFound.into()),
    }
}
