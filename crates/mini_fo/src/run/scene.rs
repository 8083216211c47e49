//! What a command sees: the overlay, and over it what must not be one.
//!
//! All of it is mounted in the command's own mount namespace, on the overlay, which then
//! becomes the root. What is bound from outside could be changed for real, so nothing is
//! that has directories in which the user may delete something: /dev and /sys are bound
//! read-only (devices and terminals work all the same), /run is part of the overlay, and
//! of it and of /tmp only single sockets are bound.
#![forbid(unsafe_code)]

use std::io;
use std::path::{Path, PathBuf};

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags,
    fsconfig_create, fsconfig_set_string, fsmount, fsopen, move_mount, open_tree, unmount,
};

use super::note::NOTE;
use super::plan::{Plan, Rule, What};
use super::{devices, sockets, sys};
use crate::cli::args::run::Net;
use crate::exit::{Failure, code};

const READ_ONLY: u64 = libc::MOUNT_ATTR_RDONLY;

/// Of /proc what changes the system. Nobody but root could write there.
const SETTINGS: [&str; 5] = ["proc/sys", "proc/sysrq-trigger", "proc/irq", "proc/bus", "proc/fs"];

/// The overlay, where it is mounted, as the root to be.
pub struct Root(OwnedFd);

/// What can be looked at outside before the overlay is there.
pub struct Outside {
    /// Sockets that can be reached.
    listening: Vec<PathBuf>,
}

impl Outside {
    /// Looks.
    pub fn look(plan: &Plan) -> Outside {
        let reached = plan.is_system() && plan.net == Net::Host;
        Outside { listening: if reached { sockets::listening() } else { Vec::new() } }
    }
}

/// Puts everything in its place, and makes `overlay` the root. `storage`: the directory of
/// the run, which must not be reached but through the overlay.
///
/// # Errors
/// Something cannot be mounted.
pub fn enter(plan: &Plan, outside: &Outside, overlay: &Path, run: &Path) -> Result<(), Failure> {
    let root = Root::open(overlay).map_err(|errno| failed(overlay, errno.into()))?;
    root.system(plan, outside)?;
    for rule in &plan.rules {
        root.apply(rule).map_err(|error| failed(&rule.outside, error))?;
    }
    root.hide_run(plan, run).map_err(|error| failed(run, error))?;
    root.become_root().map_err(|error| failed(&plan.base, error))?;
    // A directory that is hidden, or is not there, is no place to begin.
    rustix::process::chdir(&plan.directory)
        .or_else(|_| rustix::process::chdir("/"))
        .map_err(|errno| failed(&plan.directory, errno.into()))
}

fn failed(path: &Path, error: io::Error) -> Failure {
    Failure::new(code::RUN, format!("{}: cannot be set up: {error}", path.display()))
}

impl Root {
    fn open(path: &Path) -> Result<Root, Errno> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Root(rustix::fs::open(path, flags, Mode::empty())?))
    }

    /// What a system has beside files.
    fn system(&self, plan: &Plan, outside: &Outside) -> Result<(), Failure> {
        self.bind("/proc", "proc", true).map_err(|error| failed("/proc".as_ref(), error))?;
        if !plan.for_users {
            for path in SETTINGS {
                self.seal(path).map_err(|error| failed(path.as_ref(), error))?;
            }
        }
        self.bind_read_only("/sys", "sys").map_err(|error| failed("/sys".as_ref(), error))?;
        let shut = if plan.for_users { devices::bind(self) } else { devices::choose(self) };
        shut.map_err(|error| failed("/dev".as_ref(), error))?;
        for path in &outside.listening {
            // Who cannot reach one does without, as outside.
            let _ = self.bind_one(path, path.strip_prefix("/").unwrap_or(path));
        }
        Ok(())
    }

    /// Hides the run that this is the root of: what of it is not reached through the overlay, and
    /// its note, lest programs in it take it for one that they can go on with.
    fn hide_run(&self, plan: &Plan, run: &Path) -> io::Result<()> {
        let reached = |rule: &Rule| rule.what == What::Allow && run.starts_with(&rule.outside);
        let note = run.join(NOTE);
        let hidden = if plan.rules.iter().any(reached) { run } else { &note };
        let Ok(inside) = hidden.strip_prefix(&plan.base) else { return Ok(()) };
        if matches!(self.at(inside), Err(Errno::NOENT)) {
            return Ok(());
        }
        let (outside, inside) = (hidden.to_path_buf(), inside.to_path_buf());
        self.apply(&Rule { what: What::Hide, outside, inside })
    }

    fn apply(&self, rule: &Rule) -> io::Result<()> {
        let Rule { what, outside, inside } = rule;
        match what {
            What::Allow => self.cover(&clone_of(CWD, outside, true)?, inside),
            What::Hide if outside.is_dir() => {
                let empty = tmpfs(&[("mode", "555"), ("size", "4k")])?;
                sys::set_attributes(empty.as_fd(), false, READ_ONLY, 0)?;
                self.cover(&empty, inside)
            }
            What::Hide => self.cover(&clone_of(CWD, Path::new("/dev/null"), false)?, inside),
            What::ReadOnly if inside.as_os_str().is_empty() => {
                sys::set_attributes(self.0.as_fd(), false, READ_ONLY, 0)
            }
            What::ReadOnly => self.seal(inside),
        }
    }

    /// A path in it, without leaving it.
    pub fn at(&self, path: impl AsRef<Path>) -> Result<OwnedFd, Errno> {
        let path = path.as_ref();
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat2(&self.0, path, flags, Mode::empty(), ResolveFlags::IN_ROOT)
    }

    /// Mounts something on a path in it.
    pub fn cover(&self, mount: &OwnedFd, path: impl AsRef<Path>) -> io::Result<()> {
        let on = self.at(path)?;
        let flags =
            MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
        Ok(move_mount(mount, "", &on, "", flags)?)
    }

    /// Binds a tree from outside, where both ends are there.
    fn bind(&self, from: &str, to: &str, tree: bool) -> io::Result<()> {
        if self.at(to).is_err() || !Path::new(from).exists() {
            return Ok(());
        }
        self.cover(&clone_of(CWD, Path::new(from), tree)?, to)
    }

    fn bind_one(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.cover(&clone_of(CWD, from, false)?, to)
    }

    /// The same of a tree in which nothing can be changed.
    fn bind_read_only(&self, from: &str, to: &str) -> io::Result<()> {
        if self.at(to).is_err() || !Path::new(from).exists() {
            return Ok(());
        }
        let clone = clone_of(CWD, Path::new(from), true)?;
        sys::set_attributes(clone.as_fd(), true, READ_ONLY, 0)?;
        self.cover(&clone, to)
    }

    /// Lets nothing be changed at a path in it any more.
    fn seal(&self, path: impl AsRef<Path>) -> io::Result<()> {
        let Ok(there) = self.at(&path) else { return Ok(()) };
        let clone = clone_of(&there, Path::new(""), true)?;
        sys::set_attributes(clone.as_fd(), true, READ_ONLY, 0)?;
        self.cover(&clone, path)
    }

    /// Becomes the root of the namespace, or where that cannot be, of this process.
    fn become_root(&self) -> io::Result<()> {
        rustix::process::fchdir(&self.0)?;
        match rustix::process::pivot_root(".", ".") {
            // The old root has come to lie on the new one.
            Ok(()) => Ok(unmount(".", UnmountFlags::DETACH)?),
            // That of an initramfs cannot be put away, nor that of chroot(2).
            Err(Errno::INVAL) => Ok(rustix::process::chroot(".")?),
            Err(errno) => Err(errno.into()),
        }
    }
}

/// A copy of a mount, or of all from a path on.
pub fn clone_of(at: impl AsFd, path: &Path, tree: bool) -> Result<OwnedFd, Errno> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_SYMLINK_NOFOLLOW
        | OpenTreeFlags::AT_EMPTY_PATH;
    flags.set(OpenTreeFlags::AT_RECURSIVE, tree);
    open_tree(at, path, flags)
}

/// A file system in memory, mounted nowhere yet.
pub fn tmpfs(options: &[(&str, &str)]) -> Result<OwnedFd, Errno> {
    let context = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (name, value) in options {
        fsconfig_set_string(&context, *name, *value)?;
    }
    fsconfig_create(&context)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

/// Where a path in /dev leads in the tree to be.
pub fn in_devices(path: &Path) -> PathBuf {
    Path::new("dev").join(path)
}
