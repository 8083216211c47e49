//! A tree of source code: Debian's kernel sources, or one that looks like it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::systems::within;

/// Files in one generated directory.
const PER_DIRECTORY: usize = 25;

/// Makes the tree at `to` from `archive`, or generates `files` files.
///
/// # Errors
/// What the file system or tar says.
pub fn make(to: &Path, files: usize, archive: Option<&Path>) -> io::Result<()> {
    fs::create_dir_all(to)?;
    match archive {
        Some(archive) => unpack(to, archive),
        None => generate(to, files),
    }
}

fn unpack(to: &Path, archive: &Path) -> io::Result<()> {
    let mut tar = Command::new("tar");
    tar.args(["--extract", "--no-same-owner", "--file"]).arg(archive).arg("-C").arg(to);
    match tar.status()?.success() {
        true => Ok(()),
        false => Err(within(&archive.display().to_string(), &io::Error::other("tar failed"))),
    }
}

fn generate(to: &Path, files: usize) -> io::Result<()> {
    let mut numbers = Numbers(0x2545_f491_4f6c_dd1d);
    for n in 0..files {
        let directory = n / PER_DIRECTORY;
        let dir = to.join(format!("part{}/dir{directory}", directory / 12));
        if n % PER_DIRECTORY == 0 {
            fs::create_dir_all(&dir)?;
        }
        fs::write(dir.join(format!("file{n}.c")), source(&mut numbers))?;
    }
    Ok(())
}

/// Between half a KiB and some hundred, most of them small, as sources are.
fn source(numbers: &mut Numbers) -> String {
    const WORDS: [&str; 12] = [
        "static",
        "int",
        "return",
        "struct",
        "inode",
        "buffer",
        "if (error)",
        "goto out;",
        "lock",
        "page",
        "unsigned",
        "/* this */",
    ];
    let bytes = 512 << numbers.below(4) << numbers.below(4) << numbers.below(2);
    let mut text = String::with_capacity(bytes + 80);
    while text.len() < bytes {
        for _ in 0..3 + numbers.below(6) {
            text.push_str(WORDS.get(numbers.below(WORDS.len())).copied().unwrap_or("x"));
            text.push(' ');
        }
        text.push_str(&format!("x{};\n", numbers.below(100_000)));
    }
    text
}

/// The same numbers in every run (xorshift).
pub struct Numbers(pub u64);

impl Numbers {
    /// One below `limit`.
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        // The remainder is below a usize.
        (self.0 % limit.max(1) as u64) as usize
    }
}

/// Copies about `files` files of the tree at `from`, in the order of their
/// names, to `to`; with a limit on the size of each.
///
/// # Errors
/// What the file system says.
pub fn copy_part(from: &Path, to: &Path, files: usize) -> io::Result<()> {
    let mut left = files;
    let mut all = Vec::new();
    list(from, &mut all)?;
    all.sort();
    for file in all {
        if left == 0 {
            break;
        }
        let relative = file.strip_prefix(from).map_err(io::Error::other)?;
        let target = to.join(relative);
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::copy(&file, target)?;
        left -= 1;
    }
    Ok(())
}

/// Adds the regular files below `dir`.
fn list(dir: &Path, into: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            list(&entry.path(), into)?;
        } else if kind.is_file() {
            into.push(entry.path());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_sources_are_always_the_same() {
        let (mut one, mut two) = (Numbers(7), Numbers(7));
        let text = source(&mut one);
        assert_eq!(text, source(&mut two));
        assert!((512..200_000).contains(&text.len()) && text.ends_with('\n'));
    }
}
