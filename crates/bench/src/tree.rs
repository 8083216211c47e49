//! The tree that the latencies start from.

use std::fs;
use std::io::{self, Read, Write};
use std::path::Path;

use crate::rows::Size;

/// Bytes of a small file.
pub const SMALL: usize = 4096;

/// Directories of small files, each for the rows that use it.
pub const DIRS: [&str; 6] = ["stat", "open", "chmod", "append", "rename", "unlink"];

/// Directories that are only listed: of each of [`LISTS`].
pub const LISTED: usize = 8;

/// Names of the directories that are only listed, without and with a look at
/// every file.
pub const LISTS: [&str; 2] = ["list", "walk"];

/// Makes the tree.
///
/// # Errors
/// What the file system says.
pub fn make(base: &Path, size: &Size) -> io::Result<()> {
    for dir in DIRS {
        fs::create_dir_all(base.join(dir))?;
        for i in 0..size.files {
            fs::write(base.join(format!("{dir}/f{i}")), [b'x'; SMALL])?;
        }
    }
    for dir in LISTS.iter().flat_map(|list| (0..LISTED).map(move |n| format!("{list}{n}"))) {
        fs::create_dir_all(base.join(&dir))?;
        for i in 0..size.files {
            fs::File::create(base.join(format!("{dir}/f{i}")))?;
        }
    }
    fill(&base.join("big"), size.big)
}

/// Makes a file of `bytes` that holds no holes.
///
/// # Errors
/// What the file system says.
pub fn fill(path: &Path, bytes: usize) -> io::Result<()> {
    let mut file = fs::File::create(path)?;
    let block = noise();
    (0..bytes / block.len()).try_for_each(|_| file.write_all(&block))
}

/// 1 MiB that no layer can compress or share (xorshift).
fn noise() -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    (0..1 << 17)
        .flat_map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()
        })
        .collect()
}

/// Reads every file, so that the disk is out of the comparison.
///
/// # Errors
/// What the file system says.
pub fn read(dir: &Path) -> io::Result<()> {
    let mut buffer = vec![0; 1 << 20];
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            read(&entry.path())?;
            continue;
        }
        let mut file = fs::File::open(entry.path())?;
        while file.read(&mut buffer)? > 0 {}
    }
    Ok(())
}
