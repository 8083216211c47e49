//! Which file system lies on a device, and what it is called: read from the
//! superblocks of those that make sense as a storage.
#![forbid(unsafe_code)]

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// How much of a device holds all that is asked for: btrfs has its superblock
/// at 64 KiB.
const LENGTH: u64 = 0x10000 + 4096;

/// A file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSystem {
    /// Its type, as mount(2) takes it.
    pub fs_type: &'static str,
    /// Its UUID, or what stands for it, as blkid(8) writes it.
    pub uuid: String,
    /// Its label, empty where it has none.
    pub label: String,
}

/// The file system on a device, if it is one of those that are known.
///
/// # Errors
/// As `open(2)`, `read(2)`.
pub fn probe(device: &Path) -> io::Result<Option<FileSystem>> {
    let mut start = Vec::new();
    File::open(device)?.take(LENGTH).read_to_end(&mut start)?;
    Ok(recognise(&start))
}

fn recognise(start: &[u8]) -> Option<FileSystem> {
    ext(start)
        .or_else(|| xfs(start))
        .or_else(|| btrfs(start))
        .or_else(|| f2fs(start))
        .or_else(|| fat(start))
}

fn ext(start: &[u8]) -> Option<FileSystem> {
    let block = start.get(0x400..0x800)?;
    if block.get(0x38..0x3a)? != [0x53, 0xef] {
        return None;
    }
    let word = |at: usize| -> Option<u32> {
        Some(u32::from_le_bytes(block.get(at..at + 4)?.try_into().ok()?))
    };
    let (compat, incompat, ro_compat) = (word(0x5c)?, word(0x60)?, word(0x64)?);
    // What ext3 knows: types in entries, recovery, groups of descriptors; sparse
    // superblocks, large files.
    let fs_type = match (incompat & !0x16, ro_compat & !0x7, compat & 0x4) {
        (0, 0, 0) => "ext2",
        (0, 0, _) => "ext3",
        _ => "ext4",
    };
    Some(FileSystem {
        fs_type,
        uuid: uuid(block.get(0x68..)?)?,
        label: text(block.get(0x78..0x88)?),
    })
}

fn xfs(start: &[u8]) -> Option<FileSystem> {
    (start.get(..4)? == b"XFSB").then_some(())?;
    let (uuid, label) = (uuid(start.get(32..)?)?, text(start.get(108..120)?));
    Some(FileSystem { fs_type: "xfs", uuid, label })
}

fn btrfs(start: &[u8]) -> Option<FileSystem> {
    let block = start.get(0x10000..)?;
    (block.get(0x40..0x48)? == b"_BHRfS_M").then_some(())?;
    let (uuid, label) = (uuid(block.get(0x20..)?)?, text(block.get(0x12b..0x22b)?));
    Some(FileSystem { fs_type: "btrfs", uuid, label })
}

fn f2fs(start: &[u8]) -> Option<FileSystem> {
    let block = start.get(0x400..)?;
    (block.get(..4)? == [0x10, 0x20, 0xf5, 0xf2]).then_some(())?;
    let label = block.get(124..124 + 1024)?.chunks_exact(2);
    let label: Vec<u16> = label
        .filter_map(|pair| Some(u16::from_le_bytes(pair.try_into().ok()?)))
        .take_while(|unit| *unit != 0)
        .collect();
    let uuid = uuid(block.get(108..)?)?;
    Some(FileSystem { fs_type: "f2fs", uuid, label: String::from_utf16_lossy(&label) })
}

fn fat(start: &[u8]) -> Option<FileSystem> {
    (start.get(510..512)? == [0x55, 0xaa]).then_some(())?;
    let at = match (start.get(0x52..0x57)?, start.get(0x36..0x39)?) {
        (b"FAT32", _) => 0x43,
        (_, b"FAT") => 0x27,
        _ => return None,
    };
    let serial = u32::from_le_bytes(start.get(at..at + 4)?.try_into().ok()?);
    let label = text(start.get(at + 4..at + 15)?);
    Some(FileSystem {
        fs_type: "vfat",
        uuid: format!("{:04X}-{:04X}", serial >> 16, serial & 0xffff),
        label: if label == "NO NAME" { String::new() } else { label },
    })
}

fn uuid(bytes: &[u8]) -> Option<String> {
    let mut out = String::new();
    for (at, byte) in bytes.get(..16)?.iter().enumerate() {
        let hyphen = if matches!(at, 4 | 6 | 8 | 10) { "-" } else { "" };
        // Writing to a string does not fail.
        let _ = write!(out, "{hyphen}{byte:02x}");
    }
    Some(out)
}

/// Up to the first zero, without blanks at the end.
fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(bytes.get(..end).unwrap_or_default()).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    const UUID: &str = "0a1b2c3d-4e5f-4071-8293-a4b5c6d7e8f9";

    /// What a mkfs makes of an image; `None` where there is none.
    fn made(program: &str, args: &[&str]) -> Option<FileSystem> {
        let image = tempfile::NamedTempFile::new().unwrap();
        image.as_file().set_len(320 << 20).unwrap();
        let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
        let run = Command::new(program).args(args).arg(image.path()).env("PATH", path).output();
        let Ok(run) = run else {
            eprintln!("SKIPPED: no {program}");
            return None;
        };
        assert!(run.status.success(), "{program}: {}", String::from_utf8_lossy(&run.stderr));
        Some(probe(image.path()).unwrap().unwrap())
    }

    fn file_system(fs_type: &'static str, uuid: &str, label: &str) -> FileSystem {
        FileSystem { fs_type, uuid: uuid.into(), label: label.into() }
    }

    #[test]
    fn as_mkfs_makes_them() {
        for kind in ["ext2", "ext3", "ext4"] {
            if let Some(found) = made("mke2fs", &["-qF", "-t", kind, "-U", UUID, "-L", "my data"]) {
                assert_eq!(found, file_system(kind, UUID, "my data"));
            }
        }
        let uuid = format!("uuid={UUID}");
        if let Some(found) = made("mkfs.xfs", &["-qf", "-m", &uuid, "-L", "my_data"]) {
            assert_eq!(found, file_system("xfs", UUID, "my_data"));
        }
        if let Some(found) = made("mkfs.btrfs", &["-qf", "-U", UUID, "-L", "my data"]) {
            assert_eq!(found, file_system("btrfs", UUID, "my data"));
        }
        for (bits, label) in [("32", "MYDATA"), ("16", "MYDATA")] {
            if let Some(found) = made("mkfs.vfat", &["-F", bits, "-i", "1234abcd", "-n", label]) {
                assert_eq!(found, file_system("vfat", "1234-ABCD", label));
            }
        }
        if let Some(found) = made("mkfs.vfat", &["-F", "32", "-i", "00010002"]) {
            assert_eq!(found, file_system("vfat", "0001-0002", ""));
        }
    }

    #[test]
    fn f2fs_and_what_is_none() {
        let mut start = vec![0; 0x400 + 124 + 1024];
        start[0x400..0x404].copy_from_slice(&[0x10, 0x20, 0xf5, 0xf2]);
        start[0x400 + 124..0x400 + 128].copy_from_slice(&[b'a', 0, b'b', 0]);
        let found = recognise(&start).unwrap();
        assert_eq!(found, file_system("f2fs", "00000000-0000-0000-0000-000000000000", "ab"));
        for length in [0, 511, 512, 0x400, 0x500, 0x10000, 0x11000] {
            assert_eq!(recognise(&vec![0; length]), None);
            let mut cut = start.clone();
            cut.truncate(length.min(0x401));
            assert_eq!(recognise(&cut), None);
        }
    }
}
