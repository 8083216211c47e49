//! `mini_fo shutdown`: the last step before the power goes, on a system whose
//! root is an overlay: nobody writes any more, and the file system that holds
//! the storage is left clean.
#![forbid(unsafe_code)]

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::mount::MountFlags;
use rustix::process::{Pid, Signal};

use crate::cli::args::ShutdownArgs;
use crate::exit::{Failure, code};
use crate::mountinfo::{self, Mount};
use crate::registry::{Record, Registry};
use crate::remount;

/// The name under which systemd calls the program.
pub const NAME: &str = "mini_fo.shutdown";

/// How long programs may take to end when they are asked to, and a file system
/// to become read-only.
const PATIENCE: Duration = Duration::from_secs(5);

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(50);

/// Brings the root and its storage to rest.
///
/// # Errors
/// Something is still written to.
pub fn run(args: &ShutdownArgs) -> Result<(), Failure> {
    let mounts = mountinfo::read()
        .map_err(|e| Failure::new(code::FAILURE, format!("/proc/self/mountinfo: {e}")))?;
    let root = mountinfo::at(&mounts, Path::new("/")).filter(|mount| mount.is_ours());
    let Some(root) = root else { return Ok(()) };
    let records = Registry::open().and_then(|registry| registry.live()).unwrap_or_default();
    let record = records.iter().find(|record| record.is_shown_by(root));
    if args.kill {
        end_all(&records);
    }
    rustix::fs::sync();
    let flags = root.flags() | MountFlags::RDONLY;
    let busy = |what: String| Failure::new(code::BUSY, what);
    read_only(Path::new("/"), flags)
        .map_err(|errno| busy(format!("the root cannot be made read-only: {errno}")))?;
    remount::bring_to_rest(Path::new("/"));
    let Some(record) = record else {
        return Err(busy("nothing tells where the storage of the root is".to_owned()));
    };
    storage(record).map_err(busy)
}

/// Makes the file system of the storage read-only. It is still mounted where init
/// has mounted it: the daemon holds it.
fn storage(record: &Record) -> Result<(), String> {
    let mounts = mountinfo::read().unwrap_or_default();
    let stat = fs::metadata(&record.storage).ok();
    let is_there = stat.is_some_and(|stat| (stat.dev(), stat.ino()) == record.storage_id);
    let Some(mount) = holder(record, &mounts, is_there) else {
        return Err(format!("{}: it is mounted nowhere", record.storage.display()));
    };
    // There is no rest to find for memory.
    if mount.fs_type == "tmpfs" || mount.fs_type == "ramfs" {
        return Ok(());
    }
    let point = mount.mountpoint.display();
    read_only(&mount.mountpoint, mount.flags() | MountFlags::RDONLY)
        .map_err(|errno| format!("{point} cannot be made read-only: {errno}"))
}

/// The mount of the file system that a storage lies on. `is_there`: its path leads
/// to it.
fn holder<'a>(record: &Record, mounts: &'a [Mount], is_there: bool) -> Option<&'a Mount> {
    let device = record.storage_id.0;
    let device = (rustix::fs::major(device), rustix::fs::minor(device));
    let by_number = mounts.iter().rev().find(|mount| mount.dev == device);
    // Subvolumes show another number there.
    by_number.or_else(|| {
        let above = mounts.iter().filter(|mount| record.storage.starts_with(&mount.mountpoint));
        above.filter(|_| is_there).max_by_key(|mount| mount.mountpoint.components().count())
    })
}

/// Remounts a file system, again and again while somebody writes.
fn read_only(point: &Path, flags: MountFlags) -> Result<(), Errno> {
    until_free(|| rustix::mount::mount_remount(point, flags, c""))
}

fn until_free(remount: impl Fn() -> Result<(), Errno>) -> Result<(), Errno> {
    let begun = Instant::now();
    loop {
        match remount() {
            Err(Errno::BUSY) if begun.elapsed() < PATIENCE => std::thread::sleep(PAUSE),
            other => return other,
        }
    }
}

/// Ends all programs, but those that the root needs: first they are asked.
fn end_all(records: &[Record]) {
    for signal in [Signal::TERM, Signal::KILL] {
        let begun = Instant::now();
        let mut told = Vec::new();
        loop {
            let others = others(records);
            if others.is_empty() || begun.elapsed() >= PATIENCE {
                break;
            }
            for pid in others {
                if !told.contains(&pid) {
                    told.push(pid);
                    // It may just have ended.
                    let _ = rustix::process::kill_process(pid, signal);
                }
            }
            std::thread::sleep(PAUSE);
        }
    }
}

/// The processes that are to end.
fn others(records: &[Record]) -> Vec<Pid> {
    let spared = ancestors();
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let numbers = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    numbers
        .filter(|pid: &i32| !spared.contains(pid) && !is_needed(*pid, records))
        .filter_map(Pid::from_raw)
        .collect()
}

/// This process and all above it, and process 1.
fn ancestors() -> Vec<i32> {
    let mut all = vec![1];
    let mut pid = i32::try_from(std::process::id()).unwrap_or(1);
    while pid > 1 && !all.contains(&pid) {
        all.push(pid);
        pid = parent(pid).unwrap_or(1);
    }
    all
}

/// Threads of the kernel, daemons of mini_fo, and programs that ask to be spared
/// as systemd has it: a root needs them.
fn is_needed(pid: i32, records: &[Record]) -> bool {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let is_daemon = |pid: Option<i32>| {
        records.iter().any(|record| pid.is_some_and(|pid| i64::from(pid) == i64::from(record.pid)))
    };
    line.is_empty() || line.starts_with(b"@") || is_daemon(Some(pid)) || is_daemon(parent(pid))
}

/// The parent of a process, field 4 of proc_pid_stat(5).
fn parent(pid: i32) -> Option<i32> {
    let path = PathBuf::from(format!("/proc/{pid}/stat"));
    let stat = fs::read(path).ok()?;
    let after = stat.iter().rposition(|&byte| byte == b')')?;
    let text = std::str::from_utf8(stat.get(after + 1..)?).ok()?;
    text.split_ascii_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_spared() {
        let me = i32::try_from(std::process::id()).unwrap();
        let all = ancestors();
        assert!(all.contains(&1) && all.contains(&me) && all.contains(&parent(me).unwrap()));
        assert!(!is_needed(me, &[]));
        let record = Record { pid: std::process::id(), ..Record::default() };
        assert!(is_needed(me, &[record]));
        // A thread of the kernel, where they can be seen.
        assert!(parent(2) != Some(0) || is_needed(2, &[]));
    }

    #[test]
    fn the_file_system_of_a_storage() {
        let mount = |dev, point: &str, fs_type: &str| Mount {
            root: "/".into(),
            dev,
            mountpoint: point.into(),
            options: String::new(),
            fs_type: fs_type.into(),
            source: "none".into(),
        };
        let mounts = [
            mount((0, 5), "/", mountinfo::FS_TYPE),
            mount((0, 6), "/run", "tmpfs"),
            mount((8, 1), "/run/mini_fo/root/device", "ext4"),
        ];
        let storage_id = (rustix::fs::makedev(8, 1), 12);
        let mut record = Record {
            storage: "/run/mini_fo/root/device/s".into(),
            storage_id,
            ..Record::default()
        };
        assert_eq!(holder(&record, &mounts, true), mounts.last());
        record.storage_id.0 = rustix::fs::makedev(0, 99);
        assert_eq!(holder(&record, &mounts, true), mounts.last());
        assert_eq!(holder(&record, &mounts, false), None);
    }
}
