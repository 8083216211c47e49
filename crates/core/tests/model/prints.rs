//! What a change was made from is what the base has, for that stays as it is here.

use std::fs::{self, Metadata};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::{Dirs, MAY_LACK, Meta, read_meta};

/// Whatever is changed has a record of what the base has there.
pub fn check(
    (meta, may_lack): (&Meta, bool),
    dirs: &Dirs<'_>,
    (path, name): (&[u8], &[u8]),
    (place, stat): &(PathBuf, Metadata),
) {
    let what = format!("{}{}", String::from_utf8_lossy(path), String::from_utf8_lossy(name));
    let index = || {
        let shared = stat.nlink() > 1 && !stat.is_dir();
        shared
            .then(|| read_meta(dirs.index))
            .and_then(|mut meta| meta.prints.remove(format!("{:x}", stat.ino()).as_bytes()))
    };
    let known = meta.prints.get(name).cloned().filter(|print| print[0] != "-");
    let Some(print) = known.or_else(index) else {
        assert!(may_lack || MAY_LACK.get(), "nobody knows what {what} was made from");
        return;
    };
    let expected = fields(stat);
    assert_eq!(print[..6], expected[..], "{what} was made from");
    if stat.is_dir() {
        // When that was.
        let since = print[6].strip_prefix('t').and_then(|time| time.split('.').next());
        let since: u64 = since.and_then(|time| time.parse().ok()).expect("a time");
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        assert!(since > 1_600_000_000 && since <= now.as_secs(), "{what}: {}", print[6]);
    } else if print[6] != "-" {
        assert_eq!(print[6], hash(place, stat), "{what} had the content");
    }
}

fn fields(stat: &Metadata) -> [String; 6] {
    let kind = stat.file_type();
    let letter = if kind.is_dir() {
        "d"
    } else if kind.is_symlink() {
        "l"
    } else if kind.is_char_device() {
        "c"
    } else if kind.is_block_device() {
        "b"
    } else if kind.is_fifo() {
        "p"
    } else if kind.is_socket() {
        "s"
    } else {
        "f"
    };
    let device = stat.rdev();
    let size = match letter {
        "d" => 0,
        "c" | "b" => {
            u64::from(rustix::fs::major(device)) << 32 | u64::from(rustix::fs::minor(device))
        }
        _ => stat.size(),
    };
    [
        letter.to_owned(),
        format!("{:04o}", stat.mode() & 0o7777),
        stat.uid().to_string(),
        stat.gid().to_string(),
        size.to_string(),
        format!("{}.{:09}", stat.mtime(), stat.mtime_nsec()),
    ]
}

fn hash(place: &Path, stat: &Metadata) -> String {
    let content = match stat.is_symlink() {
        true => fs::read_link(place).unwrap().as_os_str().as_bytes().to_vec(),
        false => fs::read(place).unwrap(),
    };
    format!("x{:032x}", twox_hash::XxHash3_128::oneshot(&content))
}
