//! The device of a storage: found, waited for, checked, mounted.
#![forbid(unsafe_code)]

use std::ffi::CString;
use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::mount::MountFlags;

use super::console;
use super::modules;
use super::settings::{Fsck, Settings};
use super::spec::{Device, Which};
use super::superblock;
use crate::mountinfo;

/// How often a device that is not there is looked for.
const PAUSE: Duration = Duration::from_millis(100);

/// Mounts the file system of a device.
///
/// # Errors
/// A sentence: the device does not come, nothing known lies on it, it cannot be
/// repaired or mounted.
pub fn mount(
    device: &Device,
    point: &Path,
    root: &Path,
    settings: &Settings,
) -> Result<(), String> {
    let node = wait_for(&device.which, settings.wait)?;
    let found = match &device.fs_type {
        Some(fs_type) => fs_type.clone(),
        None => match superblock::probe(&node) {
            Ok(Some(found)) => found.fs_type.to_owned(),
            Ok(None) => {
                let path = node.display();
                return Err(format!(
                    "{path}: no file system is known there; if there is one, say {path}:TYPE"
                ));
            }
            Err(error) => return Err(format!("{}: {error}", node.display())),
        },
    };
    if settings.fsck != Fsck::No {
        check(&node, &found, settings.fsck)?;
    }
    let (mut flags, data) = mount_options(device.options.as_deref().unwrap_or_default());
    // Modes that a file system does not keep are those of a closed storage.
    let data = match (found.as_str(), data.is_empty()) {
        ("vfat" | "exfat", true) => "umask=077".to_owned(),
        _ => data,
    };
    flags.set(MountFlags::RDONLY, flags.contains(MountFlags::RDONLY) || settings.read_only);
    let data = CString::new(data).map_err(|_| "mount options hold a zero byte".to_owned())?;
    let attempt = || rustix::mount::mount(&node, point, found.as_str(), flags, data.as_c_str());
    let mounted = match attempt() {
        // The kernel asks for the module, but perhaps in vain.
        Err(Errno::NODEV) => {
            modules::load(root, &found);
            attempt()
        }
        other => other,
    };
    mounted.map_err(|errno| format!("{} ({found}) cannot be mounted: {errno}", node.display()))
}

/// The node of a device, once it is there.
fn wait_for(which: &Which, wait: Duration) -> Result<PathBuf, String> {
    let begun = Instant::now();
    let mut told = false;
    loop {
        let found = match which {
            Which::Node(path) => is_there(path).then(|| path.clone()),
            Which::Label(label) => search(|found| found.label == *label),
            Which::Uuid(uuid) => search(|found| found.uuid.eq_ignore_ascii_case(uuid)),
        };
        if let Some(found) = found {
            return Ok(found);
        }
        if begun.elapsed() >= wait {
            return Err(format!("no device {which} has come within {} s", wait.as_secs()));
        }
        if !told {
            console::say(format!("waiting for {which}"));
            told = true;
        }
        std::thread::sleep(PAUSE);
    }
}

/// Whether a device is there. The node of a loop device, of a card reader or of a disk
/// in a network may be there long before anything lies behind it.
fn is_there(path: &Path) -> bool {
    let Ok(kind) = path.metadata().map(|data| data.file_type()) else { return false };
    let has_size = || {
        File::open(path).and_then(|mut node| node.seek(SeekFrom::End(0))).is_ok_and(|size| size > 0)
    };
    // UBI volumes are character devices.
    kind.is_char_device() || kind.is_block_device() && has_size()
}

/// The first block device, by name, on which such a file system lies.
fn search(is_wanted: impl Fn(&superblock::FileSystem) -> bool) -> Option<PathBuf> {
    let names = std::fs::read_dir("/sys/class/block").ok()?;
    let mut names: Vec<_> = names.flatten().map(|entry| entry.file_name()).collect();
    names.sort();
    // Names in /sys have ! for the slashes of those in /dev.
    let nodes =
        names.iter().map(|name| Path::new("/dev").join(name.to_string_lossy().replace('!', "/")));
    nodes.into_iter().find(|node| {
        superblock::probe(node).is_ok_and(|found| found.as_ref().is_some_and(&is_wanted))
    })
}

/// Runs the `fsck` of a file system, where there is one.
fn check(node: &Path, fs_type: &str, how: Fsck) -> Result<(), String> {
    let Some(program) = modules::program(&format!("fsck.{fs_type}")) else {
        console::say(format!("{}: there is no fsck.{fs_type}, it is not checked", node.display()));
        return Ok(());
    };
    let how = if how == Fsck::Yes { "-y" } else { "-a" };
    let mut command = Command::new(&program);
    command.arg(how).arg(node).stdin(Stdio::null());
    // Programs that it calls in turn.
    command.env("PATH", modules::DIRECTORIES.join(":"));
    match command.status() {
        Err(error) => console::warn(format!("{}: {error}; not checked", program.display())),
        // fsck(8): 1 and 2, errors were corrected; 4, some were not; from 8 on
        // it could not work.
        Ok(status) => match status.code() {
            Some(0) => {}
            Some(code @ 1..=3) => {
                console::warn(format!("{} was repaired (fsck: {code})", node.display()));
            }
            Some(code) if code & 4 != 0 => {
                return Err(format!(
                    "{} is damaged, and fsck {how} did not repair it (status {code}); \
                     mini_fo.fsck=yes repairs all, mini_fo.fsck=no uses it as it is",
                    node.display()
                ));
            }
            _ => console::warn(format!("{}: {status}; not checked", program.display())),
        },
    }
    Ok(())
}

/// Flags, and what the file system itself is told.
pub fn mount_options(list: &str) -> (MountFlags, String) {
    let mut flags = MountFlags::empty();
    let mut data = Vec::new();
    for word in list.split(',') {
        match word {
            "" | "rw" | "defaults" => {}
            word => match mountinfo::flag(word) {
                Some(flag) => flags |= flag,
                None => data.push(word),
            },
        }
    }
    (flags, data.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_sorted() {
        let flags = MountFlags::NOATIME | MountFlags::SYNCHRONOUS;
        let options = mount_options("noatime,data=journal,sync,rw,commit=1");
        assert_eq!(options, (flags, "data=journal,commit=1".to_owned()));
        assert_eq!(mount_options(""), (MountFlags::empty(), String::new()));
    }

    #[test]
    fn what_does_not_come_is_named() {
        let which = Which::Node("/dev/no such device".into());
        let error = wait_for(&which, Duration::from_millis(150)).unwrap_err();
        assert!(error.contains("/dev/no such device"), "{error}");
    }
}
