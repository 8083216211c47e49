//! Sockets that programs listen on, by their paths.
//!
//! The kernel finds a listening socket by the object that its name leads to, and in the
//! overlay that is another object. So names of sockets that somebody has bound are bound
//! over, each by itself, and lead to where they lead outside. Nobody inside can delete one:
//! it is a mount point.
#![forbid(unsafe_code)]

use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

/// The paths of those that can be seen from here, without links on the way to them.
pub fn listening() -> Vec<PathBuf> {
    let text = std::fs::read("/proc/net/unix").unwrap_or_default();
    let mut found: Vec<PathBuf> = paths(&text)
        .filter(|path| path.symlink_metadata().is_ok_and(|found| found.file_type().is_socket()))
        .filter_map(|path| Some(path.parent()?.canonicalize().ok()?.join(path.file_name()?)))
        .collect();
    found.sort_unstable();
    found.dedup();
    found
}

/// Absolute paths in the kernel's table of sockets. Each connection of a server repeats its
/// path.
fn paths(table: &[u8]) -> impl Iterator<Item = PathBuf> {
    let mut all: Vec<&[u8]> = table.split(|byte| *byte == b'\n').filter_map(path).collect();
    all.sort_unstable();
    all.dedup();
    let path = |bytes: &[u8]| Path::new(&std::ffi::OsString::from_vec(bytes.to_vec())).into();
    all.into_iter().map(path).collect::<Vec<PathBuf>>().into_iter()
}

/// The eighth field, which is the rest of the line. `@` begins names that are no paths.
fn path(line: &[u8]) -> Option<&[u8]> {
    let mut rest = line;
    for _ in 0..7 {
        let at = rest.iter().position(|byte| *byte == b' ')?;
        let (_, tail) = rest.split_at(at);
        let blanks = tail.iter().take_while(|byte| **byte == b' ').count();
        rest = tail.get(blanks..)?;
    }
    rest.starts_with(b"/").then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_the_rest_of_a_line() {
        let table = b"Num       RefCount Protocol Flags    Type St Inode Path\n\
            0000000000000000: 00000002 00000000 00010000 0001 01 23281 /run/a b\n\
            0000000000000000: 00000002 00000000 00010000 0001 01 23282 @/tmp/.X11-unix/X0\n\
            0000000000000000: 00000003 00000000 00000000 0001 03 2\n\
            0000000000000000: 00000002 00000000 00010000 0001 01     9 /run/a b\n";
        assert_eq!(paths(table).collect::<Vec<_>>(), [Path::new("/run/a b")]);
        assert_eq!(path(b""), None);
    }
}
