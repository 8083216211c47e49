//! Changes of names and small files: of what is new, and of what is the base's.

use std::ffi::CStr;
use std::io;

use rustix::fs::{Mode, OFlags, chmod, mkdir, open, rename, rmdir, unlink};
use rustix::io::{Errno, write};

use super::{Scene, names};
use crate::tree::SMALL;

pub const STORAGE: [&str; 6] = [
    "create-write-close",
    "rewrite (truncating)",
    "overwrite",
    "open-read-close storage",
    "rename storage file",
    "unlink storage file",
];
pub const DIRS: [&str; 2] = ["mkdir", "rmdir"];
pub const BASE: [&str; 4] =
    ["chmod base file", "append to base file", "rename base file", "unlink base file"];

pub fn storage(scene: &mut Scene) -> io::Result<()> {
    let old = scene.paths("new")?;
    let new = scene.paths("renamed")?;
    let pairs: Vec<_> = old.iter().zip(&new).collect();
    let [create, rewrite, overwrite, read, moved, removed] = STORAGE;
    let block = [b'y'; SMALL];
    let exclusive = OFlags::CREATE | OFlags::EXCL;
    scene.each(create, &old, |path, _| write_file(path, exclusive, &block))?;
    scene.each(rewrite, &old, |path, _| write_file(path, OFlags::TRUNC, &block))?;
    scene.each(overwrite, &old, |path, _| write_file(path, OFlags::empty(), &block))?;
    scene.each(read, &old, |path, _| names::open_read_close(path))?;
    scene.each(moved, &pairs, |(old, new), _| rename(old.as_c_str(), new.as_c_str()))?;
    scene.each(removed, &new, |path, _| unlink(path.as_c_str()))
}

fn write_file(path: &CStr, how: OFlags, data: &[u8]) -> rustix::io::Result<()> {
    let file = open(path, OFlags::WRONLY | OFlags::CLOEXEC | how, Mode::from(0o644))?;
    if write(&file, data)? == data.len() { Ok(()) } else { Err(Errno::IO) }
}

pub fn dirs(scene: &mut Scene) -> io::Result<()> {
    let paths = scene.paths("dir")?;
    let [made, removed] = DIRS;
    scene.each(made, &paths, |path, _| mkdir(path.as_c_str(), Mode::from(0o755)))?;
    scene.each(removed, &paths, |path, _| rmdir(path.as_c_str()))
}

pub fn base(scene: &mut Scene) -> io::Result<()> {
    let [mode, append, moved, removed] = BASE;
    let paths = scene.paths("chmod/f")?;
    scene.each(mode, &paths, |path, _| chmod(path.as_c_str(), Mode::from(0o600)))?;
    let paths = scene.paths("append/f")?;
    scene.each(append, &paths, |path, _| write_file(path, OFlags::APPEND, b"z"))?;
    let (old, new) = (scene.paths("rename/f")?, scene.paths("rename/g")?);
    let pairs: Vec<_> = old.iter().zip(&new).collect();
    scene.each(moved, &pairs, |(old, new), _| rename(old.as_c_str(), new.as_c_str()))?;
    let paths = scene.paths("unlink/f")?;
    scene.each(removed, &paths, |path, _| unlink(path.as_c_str()))
}
