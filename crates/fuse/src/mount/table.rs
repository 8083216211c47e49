//! The kernel's table of mounts, `/proc/self/mountinfo`.

use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags};

/// What is mounted where.
pub(super) struct Table(Vec<(PathBuf, (u32, u32))>);

impl Table {
    /// What this thread sees, by a descriptor of `/proc`, or that path; `None` where
    /// there is no `/proc`.
    pub(super) fn read(proc: Option<BorrowedFd<'_>>) -> Option<Table> {
        let (dir, path) = match proc {
            Some(proc) => (proc, "thread-self/mountinfo"),
            None => (CWD, "/proc/thread-self/mountinfo"),
        };
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let file = rustix::fs::openat(dir, path, flags, Mode::empty()).ok()?;
        let mut text = Vec::new();
        File::from(file).read_to_end(&mut text).ok()?;
        Some(Table::parse(&text))
    }

    fn parse(text: &[u8]) -> Table {
        Table(text.split(|&byte| byte == b'\n').filter_map(parse).collect())
    }

    /// Device number of the topmost mount on `point`, an absolute path without
    /// symbolic links.
    pub(super) fn topmost(&self, point: &Path) -> Option<(u32, u32)> {
        // Mounts that lie on top of others come after them.
        self.0.iter().rfind(|(path, _)| path.as_os_str().as_bytes() == bytes(point)).map(|m| m.1)
    }

    /// Where a device is the topmost mount, the innermost first.
    pub(super) fn points_of(&self, number: (u32, u32)) -> Vec<PathBuf> {
        let all = self.0.iter().rev().filter(|(_, device)| *device == number);
        let mut points: Vec<PathBuf> = Vec::new();
        for (point, _) in all.filter(|(point, _)| self.topmost(point) == Some(number)) {
            if !points.contains(point) {
                points.push(point.clone());
            }
        }
        points
    }
}

fn bytes(path: &Path) -> &[u8] {
    path.as_os_str().as_bytes()
}

/// Mount point and device number of a line.
fn parse(line: &[u8]) -> Option<(PathBuf, (u32, u32))> {
    // id, parent, major:minor, root, mount point, ...
    let mut fields = line.split(|&byte| byte == b' ');
    let number = fields.nth(2)?;
    let point = OsString::from_vec(unescape(fields.nth(1)?));
    let (major, minor) = std::str::from_utf8(number).ok()?.split_once(':')?;
    Some((point.into(), (major.parse().ok()?, minor.parse().ok()?)))
}

/// Takes back the kernel's octal escapes (`\040` for a space).
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        if byte == b'\\'
            && let Some((digits, tail)) = tail.split_at_checked(3)
            && digits.iter().all(|digit| (b'0'..=b'7').contains(digit))
        {
            let value =
                digits.iter().fold(0u32, |value, digit| value * 8 + u32::from(digit - b'0'));
            out.push(value as u8);
            rest = tail;
        } else {
            out.push(byte);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[u8] = b"22 1 8:1 / / rw - ext4 /dev/sda1 rw\n\
        30 22 0:50 / /mnt/a\\040b rw - fuse.x x rw\n\
        31 30 0:51 / /mnt/a\\040b rw,nosuid shared:1 - fuse.x x rw\n\
        32 22 0:51 / /x rw - fuse.x x rw\n";

    #[test]
    fn the_last_mount_on_a_path_counts() {
        let table = Table::parse(TABLE);
        assert_eq!(table.topmost(Path::new("/mnt/a b")), Some((0, 51)));
        assert_eq!(table.topmost(Path::new("/")), Some((8, 1)));
        assert_eq!(table.topmost(Path::new("/mnt")), None);
    }

    #[test]
    fn a_device_is_where_nothing_covers_it() {
        let table = Table::parse(TABLE);
        assert_eq!(table.points_of((0, 51)), [Path::new("/x"), Path::new("/mnt/a b")]);
        assert!(table.points_of((0, 50)).is_empty());
    }

    #[test]
    fn damaged_lines_are_passed_over() {
        assert!(Table::parse(b"x\n\n1 2 3 / /mnt\n1 2 a:b / /mnt\n").0.is_empty());
        assert_eq!(unescape(b"a\\04"), b"a\\04");
    }
}
