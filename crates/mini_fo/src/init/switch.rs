//! From the old root to the new one, with all that is mounted.
#![forbid(unsafe_code)]

use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MountPropagationFlags, UnmountFlags};

use super::console;
use super::overlay::Overlay;
use crate::mountinfo::{self, Mount};

/// What is mounted below the root, relative to it, and has to come along.
///
/// # Errors
/// `/proc` cannot be read; a directory for it cannot be made in the new root.
pub fn luggage(root: &Path, overlay: &Overlay) -> Result<Vec<PathBuf>, String> {
    let mounts = mountinfo::read().map_err(|error| format!("/proc/self/mountinfo: {error}"))?;
    let mut points = below(&mounts, root);
    if root != Path::new("/") {
        // An initramfs mounts these in its own root.
        points.retain(|point| !["dev", "proc", "sys", "run"].map(Path::new).contains(&&**point));
    }
    for name in
        ["dev", "proc", "sys", "run"].map(Path::new).into_iter().chain(points.iter().map(|p| &**p))
    {
        let point = overlay.tree.join(name);
        if point.exists() {
            continue;
        }
        fs::create_dir_all(&point).map_err(|error| {
            format!("/{}: cannot be made in the overlay: {error}", name.display())
        })?;
    }
    Ok(points)
}

/// Mount points directly below a root: not those that lie in others, and not
/// one that another mount hides.
fn below(mounts: &[Mount], root: &Path) -> Vec<PathBuf> {
    let mut points: Vec<PathBuf> = Vec::new();
    for mount in mounts {
        let Ok(point) = mount.mountpoint.strip_prefix(root) else { continue };
        if !point.as_os_str().is_empty() {
            points.push(point.to_owned());
        }
    }
    points.sort();
    let mut direct: Vec<PathBuf> = Vec::new();
    for point in points {
        if !direct.iter().any(|above| point.starts_with(above)) {
            direct.push(point);
        }
    }
    direct
}

/// Makes the overlay the root of this process and of all others. From here on
/// nothing is taken back.
///
/// # Errors
/// A sentence; the root is the old one.
pub fn change(root: &Path, overlay: Overlay, unneeded: &[PathBuf]) -> Result<(), String> {
    let mut points = luggage(root, &overlay)?;
    let at_root = root == Path::new("/");
    if !at_root {
        points.extend(["dev", "proc", "sys", "run"].map(PathBuf::from));
    }
    // An earlier system may have made them shared, and then they cannot be moved.
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    let _ = rustix::mount::mount_change("/", private);
    let old = open("/").map_err(|errno| format!("/: {errno}"))?;
    let failed = |errno: Errno| format!("the root cannot be changed: {errno}");
    rustix::process::chdir(&overlay.tree).map_err(failed)?;
    let pivoted = rustix::process::pivot_root(".", ".");
    if let Err(errno) = pivoted {
        // The root of an initramfs cannot be put elsewhere, but covered.
        if errno != Errno::INVAL {
            return Err(failed(errno));
        }
        rustix::mount::mount_move(".", "/").map_err(failed)?;
        rustix::process::chroot(".").map_err(failed)?;
    }
    let Overlay { memory, undo, .. } = overlay;
    undo.keep();
    let memory = memory.strip_prefix("/").unwrap_or(&memory).to_owned();
    if let Err(errno) = rustix::process::fchdir(&old) {
        console::warn(format!("the old root cannot be entered any more: {errno}"));
    }
    for point in &points {
        // What lies below the root that was handed over is there in the old one.
        let from = match root.strip_prefix("/") {
            Ok(root) if !is_from_outside(point, at_root) => root.join(point),
            _ => point.clone(),
        };
        carry(
            &from,
            &Path::new("/").join(if from == memory { Path::new("run") } else { point }),
            unneeded,
        );
    }
    if !points.contains(&memory) {
        carry(&memory, Path::new("/run"), &[]);
    }
    match pivoted {
        // Nothing is wanted of it any more; the base is a mount of its own.
        Ok(()) => drop(rustix::mount::unmount(".", UnmountFlags::DETACH)),
        Err(_) => empty(&old, root),
    }
    rustix::process::chdir("/").map_err(|errno| format!("/: {errno}"))
}

fn is_from_outside(point: &Path, at_root: bool) -> bool {
    !at_root && ["dev", "proc", "sys", "run"].map(Path::new).contains(&point)
}

/// Moves a mount; `from` is relative to the old root.
fn carry(from: &Path, to: &Path, unneeded: &[PathBuf]) {
    if unneeded.iter().any(|point| point == to) {
        let _ = rustix::mount::unmount(from, UnmountFlags::DETACH);
        return;
    }
    if let Err(errno) = rustix::mount::mount_move(from, to) {
        console::warn(format!("{} does not come along: {errno}", to.display()));
    }
}

/// Puts the overlay in the place of a root that somebody else will change to.
///
/// # Errors
/// A sentence; the root is the old one.
pub fn cover(root: &Path, overlay: Overlay) -> Result<(), String> {
    let points = luggage(root, &overlay)?;
    let failed = |errno: Errno| format!("{}: cannot be covered: {errno}", root.display());
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    let _ = rustix::mount::mount_change("/", private);
    for point in &points {
        carry(&root.join(point), &overlay.tree.join(point), &[]);
    }
    rustix::mount::mount_move(&overlay.tree, root).map_err(failed)?;
    overlay.undo.keep();
    Ok(())
}

fn open(path: &str) -> Result<OwnedFd, Errno> {
    rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

/// Gives the memory of an initramfs back: nobody will see its files again.
fn empty(old: &OwnedFd, root: &Path) {
    if let Ok(root) = root.strip_prefix("/") {
        let _ = rustix::mount::unmount(root, UnmountFlags::DETACH);
    }
    // Only what is surely one.
    let kind = rustix::fs::fstatfs(old).map_or(0, |stat| stat.f_type);
    let is_memory = kind == libc::TMPFS_MAGIC || kind == 0x8584_58f6;
    if let (true, Ok(stat)) = (is_memory, rustix::fs::fstat(old)) {
        remove_below(old, stat.st_dev, 0);
    }
}

/// Removes all that lies on one file system.
fn remove_below(dir: &OwnedFd, device: u64, depth: u32) {
    let Ok(entries) = rustix::fs::Dir::read_from(dir) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let is_dir = entry.file_type() == FileType::Directory;
        if is_dir && depth < 64 {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let Ok(below) = rustix::fs::openat(dir, name, flags, Mode::empty()) else { continue };
            if rustix::fs::fstat(&below).is_ok_and(|stat| stat.st_dev == device) {
                remove_below(&below, device, depth + 1);
            }
        }
        let flags = if is_dir { AtFlags::REMOVEDIR } else { AtFlags::empty() };
        // Mount points stay.
        let _ = rustix::fs::unlinkat(dir, name, flags);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(point: &str) -> Mount {
        Mount {
            root: "/".into(),
            dev: (0, 1),
            mountpoint: point.into(),
            options: String::new(),
            fs_type: String::new(),
            source: "none".into(),
        }
    }

    #[test]
    fn what_comes_along() {
        let mounts =
            ["/", "/proc", "/dev", "/dev/pts", "/run", "/sysroot", "/sysroot/usr", "/proc"];
        let mounts = mounts.map(mount);
        let paths = |names: &[&str]| names.iter().map(PathBuf::from).collect::<Vec<_>>();
        assert_eq!(below(&mounts, Path::new("/")), paths(&["dev", "proc", "run", "sysroot"]));
        assert_eq!(below(&mounts, Path::new("/sysroot")), paths(&["usr"]));
        assert_eq!(below(&mounts, Path::new("/usr")), paths(&[]));
    }
}
