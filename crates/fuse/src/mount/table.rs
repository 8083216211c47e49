//! The kernel's table of mounts, `/proc/self/mountinfo`.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Device number of the topmost mount on `point`, an absolute path without
/// symbolic links; `None` if nothing is mounted there or there is no `/proc`.
pub(super) fn topmost(point: &Path) -> Option<(u32, u32)> {
    let table = std::fs::read("/proc/self/mountinfo").ok()?;
    find(&table, point.as_os_str().as_bytes())
}

/// Mounts that lie on top of others come after them.
fn find(table: &[u8], point: &[u8]) -> Option<(u32, u32)> {
    let lines = table.split(|&byte| byte == b'\n');
    lines.filter_map(|line| parse(line, point)).next_back()
}

/// The device number of a line that is about `point`.
fn parse(line: &[u8], point: &[u8]) -> Option<(u32, u32)> {
    // id, parent, major:minor, root, mount point, ...
    let mut fields = line.split(|&byte| byte == b' ');
    let number = fields.nth(2)?;
    if unescape(fields.nth(1)?) != point {
        return None;
    }
    let (major, minor) = std::str::from_utf8(number).ok()?.split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
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
        31 30 0:51 / /mnt/a\\040b rw,nosuid shared:1 - fuse.x x rw\n";

    #[test]
    fn the_last_mount_on_a_path_counts() {
        assert_eq!(find(TABLE, b"/mnt/a b"), Some((0, 51)));
        assert_eq!(find(TABLE, b"/"), Some((8, 1)));
        assert_eq!(find(TABLE, b"/mnt"), None);
    }

    #[test]
    fn damaged_lines_are_passed_over() {
        assert_eq!(find(b"x\n\n1 2 3 / /mnt\n1 2 a:b / /mnt\n", b"/mnt"), None);
        assert_eq!(unescape(b"a\\04"), b"a\\04");
    }
}
