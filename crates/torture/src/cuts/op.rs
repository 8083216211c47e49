//! The steps of workloads.

use std::fmt;

/// One step of a workload. Paths are relative to the root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// A new empty file with this mode.
    Create(String, u32),
    /// A new directory with this mode.
    Mkdir(String, u32),
    /// A new symbolic link with this target.
    Symlink(String, String),
    /// Bytes at an offset.
    Write(String, u64, usize),
    /// Bytes at the end.
    Append(String, usize),
    /// Cut or grown.
    Truncate(String, u64),
    /// A name that is no directory goes.
    Unlink(String),
    /// An empty directory goes.
    Rmdir(String),
    /// rename(2), over what is there.
    Rename(String, String),
    /// `RENAME_EXCHANGE`.
    Exchange(String, String),
    /// A further name.
    Link(String, String),
    /// A new mode.
    Chmod(String, u32),
    /// A new owner.
    Chown(String, u32),
    /// A new value of the attribute `user.t`.
    SetXattr(String, u32),
    /// fsync(2) of a file or a directory.
    Fsync(String),
    /// syncfs(2).
    Sync,
    /// `mini_fo discard` of the first paths (the empty one: everything). The others are all
    /// places that go back with them.
    Discard(Vec<String>, Vec<String>),
    /// Not of the workload: somebody else makes the file system commit its
    /// journal, which does not bring unwritten data of other files along.
    Commit,
    /// Not of the workload: the kernel writes data of some file back.
    Writeback(u64),
    /// Not of the workload: time passes, in milliseconds.
    Pause(u64),
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Op::Create(path, mode) => write!(f, "create {path} {mode:03o}"),
            Op::Mkdir(path, mode) => write!(f, "mkdir {path} {mode:03o}"),
            Op::Symlink(path, target) => write!(f, "symlink {path} -> {target}"),
            Op::Write(path, at, len) => write!(f, "write {path} at {at}, {len} bytes"),
            Op::Append(path, len) => write!(f, "append {path} {len} bytes"),
            Op::Truncate(path, size) => write!(f, "truncate {path} to {size}"),
            Op::Unlink(path) => write!(f, "unlink {path}"),
            Op::Rmdir(path) => write!(f, "rmdir {path}"),
            Op::Rename(from, to) => write!(f, "rename {from} -> {to}"),
            Op::Exchange(one, other) => write!(f, "exchange {one} <-> {other}"),
            Op::Link(from, to) => write!(f, "link {from} -> {to}"),
            Op::Chmod(path, mode) => write!(f, "chmod {path} {mode:03o}"),
            Op::Chown(path, owner) => write!(f, "chown {path} {owner}"),
            Op::SetXattr(path, value) => write!(f, "setxattr {path} {value}"),
            Op::Fsync(path) => write!(f, "fsync {path}"),
            Op::Sync => write!(f, "sync"),
            Op::Discard(paths, _) => write!(f, "discard {}", paths.join(" ")),
            Op::Commit => write!(f, "(commit by others)"),
            Op::Writeback(which) => write!(f, "(writeback {which})"),
            Op::Pause(millis) => write!(f, "(pause {millis} ms)"),
        }
    }
}

impl Op {
    /// The paths that it names.
    pub fn paths(&self) -> Vec<&str> {
        match self {
            Op::Create(path, _) | Op::Mkdir(path, _) | Op::Symlink(path, _) => vec![path],
            Op::Write(path, ..) | Op::Append(path, _) | Op::Truncate(path, _) => vec![path],
            Op::Unlink(path) | Op::Rmdir(path) | Op::Fsync(path) => vec![path],
            Op::Chmod(path, _) | Op::Chown(path, _) | Op::SetXattr(path, _) => vec![path],
            Op::Rename(from, to) | Op::Exchange(from, to) | Op::Link(from, to) => vec![from, to],
            Op::Discard(paths, places) => paths.iter().chain(places).map(|path| &**path).collect(),
            Op::Sync | Op::Commit | Op::Writeback(_) | Op::Pause(_) => Vec::new(),
        }
    }
}
