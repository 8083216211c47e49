//! The overlay of a root that is about to be left: its base, its storage, its
//! mount.
//!
//! All of it lies in `mini_fo/root` of a tmpfs, `/run` of the new system:
//!
//! | | |
//! | --- | --- |
//! | `base` | the root as it is, without what is mounted below it |
//! | `device` | the file system that holds the storage, or the tmpfs |
//! | `tree` | the overlay, until it is moved |
#![forbid(unsafe_code)]

use std::ffi::{CString, OsStr};
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use mini_fo_core::MetaName;
use rustix::fs::StatVfsMountFlags;
use rustix::mount::MountFlags;

use super::early::{self, Undo};
use super::settings::Settings;
use super::spec::Spec;
use super::{console, devices, modules, reset};
use crate::options::{self, Item, Opt};
use crate::request::{self, Typed};
use crate::serve;

/// The storage's directory on its device, or in the directory that is named.
pub const STORAGE: &str = "mini_fo";

/// An overlay that is mounted, but is not the root yet.
pub struct Overlay {
    /// The tmpfs that holds all of it.
    pub memory: PathBuf,
    /// Where it is mounted.
    pub tree: PathBuf,
    /// Takes all of it back.
    pub undo: Undo,
}

/// Mounts it.
///
/// # Errors
/// A sentence; nothing is left mounted.
pub fn assemble(root: &Path, spec: &Spec, settings: &Settings) -> Result<Overlay, String> {
    modules::fuse(root)?;
    let mut undo = Undo::default();
    let memory = early::memory(&mut undo)?;
    let top = memory.join("mini_fo");
    let work = top.join("root");
    let (base, device, tree) = (work.join("base"), work.join("device"), work.join("tree"));
    for dir in [&top, &work, &base, &device, &tree] {
        directory(dir, 0o700).map_err(|error| failed(dir, "cannot be made", error))?;
    }
    rustix::mount::mount_bind(root, &base)
        .map_err(|errno| failed(&base, "the root cannot be mounted there", errno.into()))?;
    undo.add(&base);
    let storage = storage(root, &base, &device, spec, settings, &mut undo)?;
    if !matches!(spec, Spec::Tmpfs(_))
        && let Err(failure) = reset::perform(&base, &storage, &work, settings)
    {
        let text = format!("no reset to factory defaults: {}", failure.text);
        if failure.begun {
            return Err(text);
        }
        console::warn(text);
    }
    mount(&base, &storage, &tree, settings)?;
    undo.add(&tree);
    Ok(Overlay { memory, tree, undo })
}

/// Mounts the storage; the result is its directory.
fn storage(
    root: &Path,
    base: &Path,
    device: &Path,
    spec: &Spec,
    settings: &Settings,
    undo: &mut Undo,
) -> Result<PathBuf, String> {
    let device = &match spec {
        Spec::Directory(path) => on_root(root, base, path, settings)?,
        _ => device.to_owned(),
    };
    match spec {
        Spec::Directory(_) => {}
        Spec::Tmpfs(size) => {
            let size = size.as_ref().map_or(String::new(), |size| format!(",size={size}"));
            let data = CString::new(format!("mode=0700{size}")).map_err(|e| e.to_string())?;
            let flags = MountFlags::NOSUID | MountFlags::NODEV;
            early::mount("tmpfs", device, flags, Some(&data))
                .map_err(|errno| format!("cannot mount a tmpfs as storage: {errno}"))?;
        }
        Spec::Device(which) => devices::mount(which, device, root, settings)?,
    }
    if !matches!(spec, Spec::Directory(_)) {
        undo.add(device);
    }
    let storage = device.join(STORAGE);
    match directory(&storage, 0o700) {
        Err(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem && settings.read_only => {
            // Nothing was ever changed: an empty directory shows as much.
            let empty = base.with_file_name("none");
            directory(&empty, 0o700).map_err(|error| failed(&empty, "cannot be made", error))?;
            Ok(empty)
        }
        Err(error) => Err(failed(&storage, "the storage cannot be made", error)),
        Ok(()) => Ok(storage),
    }
}

/// A directory that is there: on the root itself, which then has to be writable,
/// or on what is mounted below.
fn on_root(root: &Path, base: &Path, path: &Path, settings: &Settings) -> Result<PathBuf, String> {
    let relative = path.strip_prefix("/").unwrap_or(path);
    let there = root.join(relative);
    let missing = |error| failed(path, "this directory cannot be the storage", error);
    let data = fs::metadata(&there).map_err(missing)?;
    if !data.is_dir() {
        return Err(missing(io::ErrorKind::NotADirectory.into()));
    }
    let inside = root.metadata().is_ok_and(|root| root.dev() == data.dev());
    if !inside {
        return Ok(there);
    }
    let is_read_only = |path: &Path| {
        rustix::fs::statvfs(path).is_ok_and(|stat| stat.f_flag.contains(StatVfsMountFlags::RDONLY))
    };
    if !settings.read_only && is_read_only(&there) {
        // Init remounts the root when it has checked it; here it has to be now.
        for point in [root, base] {
            rustix::mount::mount_remount(point, MountFlags::empty(), c"").map_err(|errno| {
                format!("{}: the root is read-only and stays so: {errno}", path.display())
            })?;
        }
    }
    Ok(base.join(relative))
}

/// Mounts an overlay.
///
/// # Errors
/// Why it cannot be.
pub fn mount(base: &Path, storage: &Path, tree: &Path, settings: &Settings) -> Result<(), String> {
    let items = items(settings, console::warn);
    let typed = Typed {
        source: Some("mini_fo".into()),
        base: Some(base.to_owned()),
        storage: Some(storage.to_owned()),
        mountpoint: tree.to_owned(),
        items,
        // What an init remounts by its fstab must not write either.
        stays_ro: settings.read_only,
        ..Typed::default()
    };
    typed.order().and_then(serve::carry_out).map_err(|failure| failure.to_string())
}

/// The options that are set. `tell`: is told of what cannot be read.
fn items(settings: &Settings, tell: impl Fn(String)) -> Vec<Item> {
    let mut items = Vec::new();
    for list in &settings.options {
        match options::parse(OsStr::new(list), false) {
            Ok(more) => items.extend(more),
            Err(error) => tell(format!("mini_fo.options={list}: {error}; passed over")),
        }
    }
    items
}

/// What META is called in the storage; the usual name where the set one cannot be: then
/// nothing is mounted.
pub fn meta_name(settings: &Settings) -> MetaName {
    let items = items(settings, drop);
    let last = items.iter().rfind(|item| item.opt == Opt::MetaName);
    let name = last.and_then(|item| request::meta_name(item.value.as_deref()?).ok());
    name.unwrap_or_default()
}

/// Makes a directory that may be there already.
pub fn directory(path: &Path, mode: u32) -> io::Result<()> {
    match fs::DirBuilder::new().mode(mode).create(path) {
        // Also a read-only file system, which says so before it looks.
        Err(_) if path.is_dir() => Ok(()),
        other => other,
    }
}

fn failed(path: &Path, what: &str, error: io::Error) -> String {
    format!("{}: {what}: {error}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_name_of_meta_counts() {
        let of = |line: &str| meta_name(&Settings::read(None, line)).to_string();
        let usual = MetaName::DEFAULT.to_string();
        assert_eq!(of(""), usual);
        assert_eq!(of("mini_fo.options=noatime,meta_name=.a"), ".a");
        assert_eq!(of("mini_fo.options=meta_name=.a mini_fo.options=meta_name=.b"), ".b");
        assert_eq!(of("mini_fo.options=meta_name=a/b"), usual);
    }
}
