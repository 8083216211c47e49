//! `mini_fo umount`.
#![forbid(unsafe_code)]

use std::path::Path;
use std::time::{Duration, Instant};

use fuse_server::MountError;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fd::OwnedFd;
use rustix::io::Errno;

use crate::cli::args::UmountArgs;
use crate::exit::{Failure, code};
use crate::mountinfo::{self, Mount};
use crate::registry::{Record, Registry};

/// How long the daemon may take to end after the unmounting itself.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long a busy mount is tried again.
const BUSY_PATIENCE: Duration = Duration::from_secs(1);

/// Unmounts and waits for the daemons to end. Each is tried.
///
/// # Errors
/// Not a mount of ours; busy; no right to.
pub fn run(args: &UmountArgs) -> Result<(), Failure> {
    let mut failed: Option<Failure> = None;
    for mountpoint in &args.mountpoints {
        match (one(mountpoint, args.lazy), &mut failed) {
            (Ok(()), _) => {}
            (Err(failure), Some(first)) => first.and(&failure),
            (Err(failure), none) => *none = Some(failure),
        }
    }
    failed.map_or(Ok(()), Err)
}

fn one(mountpoint: &Path, lazy: bool) -> Result<(), Failure> {
    let mounts = mountinfo::read()
        .map_err(|e| Failure::new(code::FAILURE, format!("/proc/self/mountinfo: {e}")))?;
    // A daemon that died leaves a mount point that cannot be looked at, so
    // the path as it was typed is tried first.
    let typed = std::path::absolute(mountpoint).unwrap_or_else(|_| mountpoint.to_path_buf());
    let real = match mountinfo::at(&mounts, &typed) {
        Some(_) => typed,
        None => mountpoint.canonicalize().unwrap_or(typed),
    };
    let mount = check(&mounts, &real)?;
    let record = record_of(mount);
    let daemon = record.as_ref().and_then(Record::watch);
    unmount(&real, lazy)?;
    match daemon {
        Some(daemon) if !lazy => wait(&daemon, record.map_or(0, |record| record.pid)),
        _ => Ok(()),
    }
}

fn check<'a>(mounts: &'a [Mount], path: &Path) -> Result<&'a Mount, Failure> {
    let path_shown = path.display();
    match mountinfo::at(mounts, path) {
        Some(mount) if mount.is_ours() => Ok(mount),
        Some(mount) => Err(Failure::new(
            code::NOT_MOUNTED,
            format!("{path_shown} is a mount of type {}, not mini_fo", mount.fs_type),
        )),
        None => Err(Failure::new(code::NOT_MOUNTED, format!("{path_shown} is not a mount point"))),
    }
}

fn record_of(mount: &Mount) -> Option<Record> {
    let records = Registry::open().ok()?.live().ok()?;
    records.into_iter().find(|record| record.is_shown_by(mount))
}

/// A process that was just killed, or that is about to execute another
/// program, may keep the mount busy for an instant; that is waited for.
fn unmount(path: &Path, lazy: bool) -> Result<(), Failure> {
    let begun = Instant::now();
    loop {
        match fuse_server::mount::unmount_at(path, lazy) {
            Ok(()) => return Ok(()),
            Err(MountError::Busy(_)) if begun.elapsed() < BUSY_PATIENCE => {
                std::thread::sleep(Duration::from_millis(10));
            }
            Err(MountError::Busy(_)) => return Err(busy(path)),
            Err(error) => {
                return Err(Failure::new(code::FAILURE, format!("cannot unmount: {error}")));
            }
        }
    }
}

fn busy(path: &Path) -> Failure {
    let path = path.display();
    Failure::new(
        code::BUSY,
        format!(
            "{path} is busy: a program has files open or its working directory in it \
             ('fuser -vm {path}' tells which; 'mini_fo umount --lazy {path}' detaches it anyway)"
        ),
    )
}

fn wait(daemon: &OwnedFd, pid: u32) -> Result<(), Failure> {
    let timeout = Timespec { tv_sec: PATIENCE.as_secs().try_into().unwrap_or(60), tv_nsec: 0 };
    loop {
        let mut fds = [PollFd::new(daemon, PollFlags::IN)];
        match rustix::event::poll(&mut fds, Some(&timeout)) {
            Err(Errno::INTR) => {}
            Ok(0) => {
                let text = format!("unmounted, but process {pid} still writes to the storage");
                return Err(Failure::new(code::FAILURE, text));
            }
            _ => return Ok(()),
        }
    }
}
