//! Does the steps of a workload in a real tree.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt, PermissionsExt, lchown, symlink};
use std::path::Path;
use std::process::Command;

use rustix::fs::{CWD, RenameFlags, XattrFlags, renameat_with, setxattr, syncfs};

use super::model::fill;
use super::op::Op;
use crate::mount::program;

/// The extended attribute that steps set.
pub const XATTR: &str = "user.t";

/// Does `op` as step number `step` in the tree at `root`. What is not of the
/// workload does nothing here.
///
/// # Errors
/// The system call's.
pub fn perform(root: &Path, op: &Op, step: usize) -> io::Result<()> {
    let at = |path: &str| root.join(path);
    match op {
        Op::Create(path, mode) => {
            OpenOptions::new().write(true).create_new(true).mode(*mode).open(at(path)).map(drop)
        }
        Op::Mkdir(path, mode) => DirBuilder::new().mode(*mode).create(at(path)),
        Op::Symlink(path, target) => symlink(target, at(path)),
        Op::Write(path, offset, len) => {
            let mut data = vec![0; *len];
            fill(&mut data, *offset as usize, step);
            OpenOptions::new().write(true).open(at(path))?.write_all_at(&data, *offset)
        }
        Op::Append(path, len) => {
            let mut file = OpenOptions::new().append(true).open(at(path))?;
            let mut data = vec![0; *len];
            fill(&mut data, file.metadata()?.len() as usize, step);
            file.write_all(&data)
        }
        Op::Truncate(path, 0) => {
            OpenOptions::new().write(true).truncate(true).open(at(path)).map(drop)
        }
        Op::Truncate(path, size) => OpenOptions::new().write(true).open(at(path))?.set_len(*size),
        Op::Unlink(path) => fs::remove_file(at(path)),
        Op::Rmdir(path) => fs::remove_dir(at(path)),
        Op::Rename(from, to) => fs::rename(at(from), at(to)),
        Op::Exchange(one, other) => {
            Ok(renameat_with(CWD, at(one), CWD, at(other), RenameFlags::EXCHANGE)?)
        }
        Op::Link(from, to) => fs::hard_link(at(from), at(to)),
        Op::Chmod(path, mode) => fs::set_permissions(at(path), Permissions::from_mode(*mode)),
        Op::Chown(path, owner) => lchown(at(path), Some(*owner), None),
        Op::SetXattr(path, value) => {
            let value = value.to_string();
            Ok(setxattr(at(path), XATTR, value.as_bytes(), XattrFlags::empty())?)
        }
        Op::Fsync(path) => File::open(at(path))?.sync_all(),
        Op::Sync => Ok(syncfs(File::open(root)?)?),
        Op::Discard(paths, _) => discard(root, paths),
        Op::Commit | Op::Writeback(_) | Op::Pause(_) => Ok(()),
    }
}

/// Lets paths of a mount of mini_fo show what is below. What a program was told counts: so it
/// has ended before the next step begins.
fn discard(root: &Path, paths: &[String]) -> io::Result<()> {
    let mut command = Command::new(program());
    command.args(["discard", "--yes", "--quiet", "--all"]);
    let output = command.args(paths.iter().map(|path| root.join(path))).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.success() { Ok(()) } else { Err(io::Error::other(said.trim().to_owned())) }
}
