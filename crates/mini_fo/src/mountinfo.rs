//! `/proc/self/mountinfo` (proc_pid_mountinfo(5)).
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

pub use mini_fo_core::procfs::unescape;
use rustix::mount::MountFlags;

/// What mini_fo mounts are called there.
pub const FS_TYPE: &str = "fuse.mini_fo";

/// A mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Major and minor number of its device: `st_dev` of what it shows.
    pub dev: (u32, u32),
    /// What of the file system it shows: a path there.
    pub root: PathBuf,
    /// Where it is mounted.
    pub mountpoint: PathBuf,
    /// Options of this mount, then those of the file system.
    pub options: String,
    /// Type, `fuse.mini_fo` for ours.
    pub fs_type: String,
    /// The device field.
    pub source: OsString,
}

impl Mount {
    /// Whether it is one of ours.
    pub fn is_ours(&self) -> bool {
        self.fs_type == FS_TYPE
    }

    /// The user who mounted it (`user_id` of FUSE).
    pub fn user(&self) -> Option<u32> {
        self.options.split(',').find_map(|word| word.strip_prefix("user_id="))?.parse().ok()
    }

    /// Its flags, as mount(2) takes them.
    pub fn flags(&self) -> MountFlags {
        self.options.split(',').filter_map(flag).collect()
    }
}

/// The flag of mount(2) that an option stands for.
pub fn flag(word: &str) -> Option<MountFlags> {
    Some(match word {
        "ro" => MountFlags::RDONLY,
        "nosuid" => MountFlags::NOSUID,
        "nodev" => MountFlags::NODEV,
        "noexec" => MountFlags::NOEXEC,
        "sync" => MountFlags::SYNCHRONOUS,
        "dirsync" => MountFlags::DIRSYNC,
        "noatime" => MountFlags::NOATIME,
        "nodiratime" => MountFlags::NODIRATIME,
        "relatime" => MountFlags::RELATIME,
        "lazytime" => MountFlags::LAZYTIME,
        "nosymfollow" => MountFlags::from_bits_retain(256),
        _ => return None,
    })
}

/// All mounts that this process sees.
pub fn read() -> io::Result<Vec<Mount>> {
    read_from(Path::new("/proc/thread-self/mountinfo"))
}

/// All mounts that a process sees, by its directory in /proc.
pub fn read_of(process: &Path) -> io::Result<Vec<Mount>> {
    read_from(&process.join("mountinfo"))
}

fn read_from(path: &Path) -> io::Result<Vec<Mount>> {
    let text = std::fs::read(path)?;
    Ok(text.split(|&byte| byte == b'\n').filter_map(parse).collect())
}

/// The mount that a path is the mount point of: the topmost one there.
pub fn at<'a>(mounts: &'a [Mount], mountpoint: &Path) -> Option<&'a Mount> {
    mounts.iter().rev().find(|mount| mount.mountpoint == mountpoint)
}

/// What something is mounted on in a file system: paths there, without a leading slash.
pub fn inside(mounts: &[Mount], dev: (u32, u32)) -> Vec<Vec<u8>> {
    use std::os::unix::ffi::OsStrExt;
    let of_it = || mounts.iter().filter(|mount| mount.dev == dev);
    let below = |mount: &Mount| {
        // The one of the longest path is what it lies on.
        let above = of_it().filter(|above| mount.mountpoint != above.mountpoint);
        let above = above.filter(|above| mount.mountpoint.starts_with(&above.mountpoint));
        let above = above.max_by_key(|above| above.mountpoint.as_os_str().len())?;
        let rest = mount.mountpoint.strip_prefix(&above.mountpoint).ok()?;
        let path = above.root.strip_prefix("/").ok()?.join(rest);
        Some(path.as_os_str().as_bytes().to_vec())
    };
    mounts.iter().filter_map(below).collect()
}

fn parse(line: &[u8]) -> Option<Mount> {
    let fields: Vec<&[u8]> = line.split(|&byte| byte == b' ').collect();
    let text = |at: usize| fields.get(at).and_then(|field| std::str::from_utf8(field).ok());
    // Optional fields end with a lone hyphen, from the seventh field on.
    let hyphen = fields.iter().skip(6).position(|field| *field == b"-")? + 6;
    let (major, minor) = text(2)?.split_once(':')?;
    Some(Mount {
        dev: (major.parse().ok()?, minor.parse().ok()?),
        root: PathBuf::from(unescape(fields.get(3)?)),
        mountpoint: PathBuf::from(unescape(fields.get(4)?)),
        options: format!("{},{}", text(5)?, text(hyphen + 3).unwrap_or("")),
        fs_type: text(hyphen + 1)?.to_owned(),
        source: unescape(fields.get(hyphen + 2)?),
    })
}

/// Writes blanks, control characters and backslashes as `\ooo`.
pub fn escape(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    for &byte in text {
        match byte {
            0..=b' ' | 0x7f | b'\\' => out.extend(format!("\\{byte:03o}").into_bytes()),
            _ => out.push(byte),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use super::*;

    #[test]
    fn a_line_is_read() {
        let line = b"36 35 0:98 / /mnt/a\\040b\\134 ro,noatime,nosuid shared:1 master:2 - \
            fuse.mini_fo mini_fo:/x\\011y rw,user_id=0,group_id=0";
        let mount = parse(line).unwrap();
        assert!(mount.is_ours());
        assert_eq!(mount.dev, (0, 98));
        assert_eq!(mount.root, Path::new("/"));
        assert_eq!(mount.mountpoint, Path::new("/mnt/a b\\"));
        assert_eq!(mount.source, "mini_fo:/x\ty");
        let flags = MountFlags::RDONLY | MountFlags::NOATIME | MountFlags::NOSUID;
        assert_eq!(mount.flags(), flags);
    }

    #[test]
    fn no_optional_fields_and_odd_lines() {
        assert!(parse(b"1 0 8:1 / / rw - ext4 /dev/sda1 rw").is_some());
        assert!(parse(b"1 0 8:1 / / rw - ext4 none").is_some());
        for line in [&b""[..], b"1 2 3", b"1 0 x:1 / / rw - ext4 s rw", b"1 0 8:1 / / rw ext4 s rw"]
        {
            assert_eq!(parse(line), None);
        }
    }

    #[test]
    fn escapes_round() {
        let odd: Vec<u8> = (0..=255).collect();
        assert_eq!(unescape(&escape(&odd)).into_vec(), odd);
        assert_eq!(unescape(b"\\04"), "\\04");
        assert_eq!(unescape(b"\\999\\"), "\\999\\");
    }

    #[test]
    fn the_topmost_mount_counts() {
        let line = |fs: &str| parse(format!("1 0 0:5 / /m rw - {fs} s rw").as_bytes()).unwrap();
        let mounts = [line("ext4"), line("fuse.mini_fo")];
        assert!(at(&mounts, Path::new("/m")).unwrap().is_ours());
        assert_eq!(at(&mounts, Path::new("/n")), None);
    }

    #[test]
    fn our_own_is_readable() {
        assert!(read().unwrap().iter().any(|mount| mount.mountpoint == Path::new("/")));
    }

    #[test]
    fn what_is_mounted_inside_is_known_by_its_path_there() {
        let mount = |dev: u32, root: &str, at: &str| {
            parse(format!("1 1 0:{dev} {root} {at} rw - t s rw").as_bytes()).unwrap()
        };
        let mounts = [
            mount(1, "/", "/m"),
            mount(2, "/", "/m/d/e"),
            mount(1, "/sub", "/bound"),
            mount(3, "/", "/bound/x"),
            mount(3, "/", "/more"),
            mount(4, "/", "/m/d/e/f"),
        ];
        assert_eq!(inside(&mounts, (0, 1)), [&b"d/e"[..], b"sub/x", b"d/e/f"]);
        assert_eq!(inside(&mounts, (0, 3)), Vec::<Vec<u8>>::new());
    }
}
