//! Whether a run is over: somebody else may be in it when the command has ended.
//!
//! The mount is there as long as anybody has it, and the daemon a little longer. That the
//! mount has gone tells inotify(7), which does not hold it; from then on the daemon has only
//! to write down the rest, which may take its time.
#![forbid(unsafe_code)]

use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, AsRawFd, OwnedFd};
use rustix::fs::{AtFlags, StatxFlags, inotify};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, WaitOptions};

use super::note;
use super::place::Place;
use crate::mountinfo;

/// How long what the command has started may take to end with it.
const GRACE: Duration = Duration::from_secs(1);
/// How long somebody is looked for who has the mount, but cannot be seen: nsenter(1) of
/// another user, say. What has only to be put away by the kernel is away sooner.
const PATIENCE: Duration = Duration::from_secs(3);
/// How often it is looked.
const BEAT: Duration = Duration::from_millis(50);
/// How often the lock is asked for that others are about to give back.
const A_TURN: Duration = Duration::from_millis(10);

/// How a run has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settled {
    /// Nobody is in it any more, and it is held.
    Over,
    /// Somebody is, who decides when it ends.
    With(String),
    /// Who was in it, too, has taken it away.
    Gone,
}

/// A mount that was let go of.
struct Released {
    /// Its device.
    dev: Option<(u32, u32)>,
    /// What tells that it has gone, where that can be.
    watch: Option<OwnedFd>,
    has_gone: bool,
}

/// Waits until a run is over. `daemon`: what serves it, if it was started here. `root`: the
/// root of its tree.
///
/// # Errors
/// The run cannot be held.
pub fn settle(place: &Place, daemon: Option<Pid>, root: OwnedFd) -> io::Result<Settled> {
    let mut mount = Released::of(root);
    let settled = match daemon {
        Some(daemon) => until_daemon_ends(daemon, &mut mount)?,
        None => until_held(place, &mut mount)?,
    };
    if settled == Settled::Over {
        // Commands that look at the changes, and change them, are not kept out.
        note::share(&place.lock)?;
    }
    Ok(settled)
}

fn until_daemon_ends(daemon: Pid, mount: &mut Released) -> io::Result<Settled> {
    let process = rustix::process::pidfd_open(daemon, PidfdFlags::empty())?;
    let begun = Instant::now();
    loop {
        if mount.wait(Some(&process), begun)? {
            rustix::process::waitpid(Some(daemon), WaitOptions::empty())?;
            return Ok(Settled::Over);
        }
        if let Some(who) = mount.holder(begun, GRACE, daemon.as_raw_pid()) {
            return Ok(Settled::With(who));
        }
    }
}

/// Of those who share a run each looks after its own command has ended, so the last one finds
/// nobody. Who has begun it decides before the others.
fn until_held(place: &Place, mount: &mut Released) -> io::Result<Settled> {
    let begun = Instant::now();
    loop {
        match note::lock_again(&place.lock) {
            Ok(true) if note::is_there(&place.lock, &place.dir) => return Ok(Settled::Over),
            Ok(true) => return Ok(Settled::Gone),
            Ok(false) => {}
            Err(errno) => return Err(errno.into()),
        }
        if let Some(who) = mount.holder(begun, Duration::ZERO, 0) {
            return Ok(Settled::With(who));
        }
        mount.wait(None, begun)?;
    }
}

impl Released {
    fn of(root: OwnedFd) -> Released {
        // Who may ask for nothing else, as of a mount of other users, may ask for that.
        let dev = rustix::fs::statx(&root, "", AtFlags::EMPTY_PATH, StatxFlags::empty()).ok();
        let dev = dev.map(|stat| (stat.stx_dev_major, stat.stx_dev_minor));
        let flags = inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK;
        let watch = inotify::init(flags).ok().filter(|watch| {
            // Of the end of a mount all are told, whatever they have asked for.
            let path = format!("/proc/self/fd/{}", root.as_raw_fd());
            inotify::add_watch(watch, path, inotify::WatchFlags::DELETE_SELF).is_ok()
        });
        Released { dev, watch, has_gone: false }
    }

    /// Waits a little, or with nobody in the mount as long as it takes. Tells whether the
    /// process has ended.
    fn wait(&mut self, process: Option<&OwnedFd>, begun: Instant) -> io::Result<bool> {
        let pause = match process {
            Some(_) => GRACE.saturating_sub(begun.elapsed()).max(BEAT),
            None => A_TURN,
        };
        let pause = Timespec::try_from(pause).ok();
        let pause = pause.filter(|_| !self.has_gone || process.is_none());
        let watch = self.watch.as_ref().filter(|_| !self.has_gone);
        let all = process.into_iter().chain(watch);
        let mut asked: Vec<PollFd<'_>> =
            all.map(|fd| PollFd::from_borrowed_fd(fd.as_fd(), PollFlags::IN)).collect();
        match poll(&mut asked, pause.as_ref()) {
            Err(Errno::INTR) => return Ok(false),
            done => done?,
        };
        let told = |at: usize| asked.get(at).is_some_and(|fd| !fd.revents().is_empty());
        let (ended, gone) = match process {
            Some(_) => (told(0), told(1)),
            None => (false, told(0)),
        };
        self.has_gone |= gone;
        Ok(ended)
    }

    /// Who has it, after it was given some time.
    fn holder(&self, begun: Instant, grace: Duration, daemon: i32) -> Option<String> {
        if self.has_gone || begun.elapsed() < grace {
            return None;
        }
        let found = self.dev.and_then(|dev| who_sees(dev, daemon));
        let somebody = || "somebody who cannot be found".to_owned();
        found.or_else(|| (begun.elapsed() > PATIENCE).then(somebody))
    }
}

/// A process in whose namespace the mount is.
fn who_sees(dev: (u32, u32), daemon: i32) -> Option<String> {
    let own = i64::from(rustix::process::getpid().as_raw_pid());
    let not = [own, i64::from(daemon)];
    for entry in fs::read_dir("/proc").ok()?.flatten() {
        let name = entry.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<i64>().ok()) else { continue };
        let path = entry.path();
        if not.contains(&pid) || !sees(&path, dev) {
            continue;
        }
        let command = fs::read_to_string(path.join("comm")).unwrap_or_default();
        return Some(format!("process {pid} ({})", crate::exit::shown(command.trim_end())));
    }
    None
}

fn sees(process: &Path, dev: (u32, u32)) -> bool {
    let mounts = mountinfo::read_of(process).unwrap_or_default();
    mounts.iter().any(|mount| mount.dev == dev)
}
