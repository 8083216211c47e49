//! /dev as a command sees it.
//!
//! A user may do with devices what he may do outside. Root may do anything, so he gets
//! those that everybody may use, and no disks: what is written there would be written for
//! real. Shared memory is the run's own in both cases.
#![forbid(unsafe_code)]

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags};

use super::scene::{Root, clone_of, in_devices, tmpfs};
use super::sys;

const DEV: &str = "/dev";
const READ_ONLY: u64 = libc::MOUNT_ATTR_RDONLY;

/// File systems of their own in it.
const MOUNTS: [&str; 2] = ["pts", "mqueue"];

/// Binds all of it, so that nothing can be made or deleted.
pub fn bind(root: &Root) -> io::Result<()> {
    if root.at("dev").is_err() || !Path::new(DEV).is_dir() {
        return Ok(());
    }
    let clone = clone_of(CWD, Path::new(DEV), true)?;
    sys::set_attributes(clone.as_fd(), true, READ_ONLY, 0)?;
    root.cover(&clone, "dev")?;
    let pts = in_devices("pts".as_ref());
    if let Ok(pts) = root.at(&pts) {
        // Modes of terminals are changed there; nothing in it can be deleted.
        let _ = sys::set_attributes(pts.as_fd(), false, 0, READ_ONLY);
    }
    share_memory(root)
}

/// Makes one of what everybody may use.
pub fn choose(root: &Root) -> io::Result<()> {
    if root.at("dev").is_err() || !Path::new(DEV).is_dir() {
        return Ok(());
    }
    let own = tmpfs(&[("mode", "755"), ("size", "1m")])?;
    root.cover(&own, "dev")?;
    fill(root, &own, Path::new(""), 2)?;
    for name in MOUNTS {
        let (from, to) = (Path::new(DEV).join(name), in_devices(name.as_ref()));
        if from.is_dir() && root.at(&to).is_ok() {
            root.cover(&clone_of(CWD, &from, true)?, &to)?;
        }
    }
    sys::set_attributes(own.as_fd(), false, READ_ONLY, 0)?;
    share_memory(root)
}

fn share_memory(root: &Root) -> io::Result<()> {
    let shm = in_devices("shm".as_ref());
    match Path::new(DEV).join("shm").symlink_metadata() {
        Ok(found) if found.is_dir() && root.at(&shm).is_ok() => {
            root.cover(&tmpfs(&[("mode", "1777")])?, shm)
        }
        _ => Ok(()),
    }
}

/// Makes what is in a directory of /dev: devices are bound, links are copied, sockets get
/// a place to be bound on.
fn fill(root: &Root, own: &OwnedFd, dir: &Path, levels: u32) -> io::Result<()> {
    for entry in fs::read_dir(Path::new(DEV).join(dir))? {
        let entry = entry?;
        let path = dir.join(entry.file_name());
        let Ok(found) = entry.metadata() else { continue };
        let kind = found.file_type();
        if kind.is_symlink() {
            let target = fs::read_link(entry.path())?;
            rustix::fs::symlinkat(&target, own, &path)?;
        } else if kind.is_dir() {
            rustix::fs::mkdirat(own, &path, Mode::from_raw_mode(0o755))?;
            if levels > 1 && !MOUNTS.iter().any(|name| path == Path::new(name)) {
                fill(root, own, &path, levels - 1)?;
            }
        } else if kind.is_socket() {
            place(own, &path)?;
        } else if kind.is_char_device() && is_for_all(&path, &found) {
            place(own, &path)?;
            root.cover(&clone_of(CWD, &entry.path(), false)?, in_devices(&path))?;
        }
    }
    Ok(())
}

/// Everybody may read and write it; or it makes mounts, as of a run in a run.
fn is_for_all(path: &Path, found: &fs::Metadata) -> bool {
    found.permissions().mode() & 0o006 == 0o006
        || path == Path::new("fuse") && found.rdev() == rustix::fs::makedev(10, 229)
}

fn place(own: &OwnedFd, path: &PathBuf) -> io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(own, path, flags, Mode::from_raw_mode(0o600)).map(drop)?)
}
