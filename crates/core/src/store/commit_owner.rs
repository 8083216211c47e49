//! To whom the stage of a commit belongs, as a file in it tells (docs/FORMAT.md, section 14).
#![forbid(unsafe_code)]

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fd::BorrowedFd;
use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::format::commit::Token;
use crate::format::print::Hash;
use crate::sys::{self, Result};

/// What that file is called.
pub(crate) const OWNER: &[u8] = b"owner";

/// More than the longest path takes, in bytes.
const MOST: usize = 16 << 10;

/// What a stage tells.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum StageOwner {
    /// There is no such file.
    Nobody,
    /// There is one that says nothing, or not all yet.
    Unclear,
    /// The commit with this token, of the storage with this path.
    Commit(Token, PathBuf),
}

/// Reads it. `stage` is the directory.
///
/// # Errors
/// It is there, and cannot be read.
pub(crate) fn read(stage: BorrowedFd<'_>) -> Result<StageOwner> {
    let opened = sys::open_at(stage, OWNER, OFlags::RDONLY | OFlags::NONBLOCK);
    let Some(file) = sys::absent(opened)? else { return Ok(StageOwner::Nobody) };
    let mut text = vec![0; MOST];
    let len = sys::read_at(&file, &mut text, 0)?;
    text.truncate(len);
    Ok(parse(&text).unwrap_or(StageOwner::Unclear))
}

fn parse(text: &[u8]) -> Option<StageOwner> {
    let (token, path) = text.strip_suffix(b"\0")?.split_at_checked(33)?;
    let token = std::str::from_utf8(token.strip_suffix(b"\n")?).ok()?;
    let token = u128::from_str_radix(token, 16).ok()?;
    let path = OsStr::from_bytes(path).into();
    Some(StageOwner::Commit(Token(Hash(token.to_be_bytes())), path))
}

fn text(token: Token, storage: &Path) -> Vec<u8> {
    let mut text = format!("{:032x}\n", u128::from_be_bytes(token.0.0)).into_bytes();
    text.extend_from_slice(storage.as_os_str().as_bytes());
    text.push(0);
    text
}

/// Writes it, and hands it to the device with its name.
///
/// # Errors
/// Those of making and writing; EEXIST.
pub(crate) fn write(stage: BorrowedFd<'_>, token: Token, storage: &Path) -> Result<()> {
    let text = text(token, storage);
    let file = sys::create_private(stage, OWNER)?;
    if sys::write_at(&file, &text, 0)? < text.len() {
        return Err(Errno::NOSPC);
    }
    rustix::fs::fsync(&file)?;
    rustix::fs::fsync(stage)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let (token, path) = (Token(Hash([7; 16])), Path::new("/a\nb"));
        let whole = text(token, path);
        assert_eq!(parse(&whole), Some(StageOwner::Commit(token, path.into())));
        // Half of it is nothing.
        for len in 0..whole.len() {
            assert_eq!(parse(&whole[..len]), None, "{len}");
        }
    }
}
