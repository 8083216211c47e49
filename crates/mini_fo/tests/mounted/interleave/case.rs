//! A case as it goes on: the files in the mount beside the model.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, lchown};
use std::path::{Path, PathBuf};

use super::maps::Map;
use super::model::{Inode, Model};
use super::ops::{How, MODES, MapKind, Op};
use crate::common::sys;

pub type Step = Result<(), String>;

/// An open file.
pub struct Fd {
    pub file: File,
    pub inode: usize,
    pub how: How,
}

/// The state of a case. `names` are paths in its directory.
pub struct Case<'a> {
    pub dir: PathBuf,
    pub names: &'a [&'a str],
    pub model: Model,
    pub fds: BTreeMap<u8, Fd>,
    pub maps: BTreeMap<u8, Map>,
    /// Steps so far: what is written differs by step.
    pub steps: usize,
}

/// Gives an errno a place in the sequence.
pub fn at<T>(what: &str, result: io::Result<T>) -> Result<T, String> {
    result.map_err(|error| format!("{what}: {error}"))
}

/// Bytes that no other step writes.
pub fn bytes(step: usize, len: usize) -> Vec<u8> {
    let first = step.wrapping_mul(37).wrapping_add(11);
    (0..len).map(|i| (first + i * 7 + (i >> 8)) as u8 | 1).collect()
}

fn open(path: &Path, flags: i32) -> io::Result<File> {
    let path = std::ffi::CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: a C string that lives across the call; the descriptor is new.
    unsafe {
        match libc::open(path.as_ptr(), flags | libc::O_CLOEXEC, 0o644) {
            -1 => Err(io::Error::last_os_error()),
            fd => Ok(File::from_raw_fd(fd)),
        }
    }
}

impl<'a> Case<'a> {
    pub fn new(dir: PathBuf, names: &'a [&'a str], model: Model) -> Case<'a> {
        Case { dir, names, model, fds: BTreeMap::new(), maps: BTreeMap::new(), steps: 0 }
    }

    pub fn path(&self, name: u8) -> PathBuf {
        self.dir.join(self.names[name as usize])
    }

    /// The file behind a name.
    fn named(&self, name: u8) -> Option<usize> {
        self.model.names.get(&name).copied()
    }

    /// Takes a step of those that need no more than this directory.
    pub fn apply(&mut self, op: &Op) -> Step {
        self.steps += 1;
        match *op {
            Op::Open { fd, name, how } => self.open(fd, name, how),
            Op::Create { fd, name } => self.create(fd, name),
            Op::Reopen { fd, from, how } => self.reopen(fd, from, how),
            Op::Close { fd } => {
                self.fds.remove(&fd);
                Ok(())
            }
            Op::Rename { from, to } => self.rename(from, to),
            Op::Exchange { from, to } => self.exchange(from, to),
            Op::Link { from, to } => self.link(from, to),
            Op::Unlink { name } => self.unlink(name),
            Op::Exec { name } => self.exec(name),
            Op::Truncate { .. }
            | Op::Chmod { .. }
            | Op::Chown { .. }
            | Op::Utimes { .. }
            | Op::SetXattr { .. }
            | Op::RemoveXattr { .. } => self.set(op),
            Op::DropCaches => {
                // Not allowed everywhere, and then left out.
                let _ = fs::write("/proc/sys/vm/drop_caches", "3");
                Ok(())
            }
            Op::Look { name } => self.look(name),
            Op::Remount | Op::Crash => Ok(()),
            _ => self.data(op),
        }
    }

    fn opened(&mut self, fd: u8, file: File, inode: usize, how: How) {
        if how.truncates() {
            self.truncated(inode, 0);
        }
        self.fds.insert(fd, Fd { file, inode, how });
    }

    fn open(&mut self, fd: u8, name: u8, how: How) -> Step {
        self.fds.remove(&fd);
        let result = open(&self.path(name), how.flags());
        match self.named(name) {
            None => absent("open", result),
            Some(inode) => self.opened_or_busy(fd, result, inode, how),
        }
    }

    /// A file that somebody may execute is not emptied by an opening for reading
    /// (docs/SEMANTICS.md, "What differs").
    fn opened_or_busy(&mut self, fd: u8, result: io::Result<File>, inode: usize, how: How) -> Step {
        if how == How::ReadTruncate && self.model.inodes[inode].mode & 0o111 != 0 {
            let error = result.as_ref().map_err(io::Error::raw_os_error).err();
            return match error {
                Some(Some(libc::ETXTBSY)) => Ok(()),
                _ => Err(format!("a program is emptied: {result:?}")),
            };
        }
        self.opened(fd, at("open", result)?, inode, how);
        Ok(())
    }

    fn create(&mut self, fd: u8, name: u8) -> Step {
        self.fds.remove(&fd);
        let exclusive = if self.steps.is_multiple_of(2) { libc::O_EXCL } else { 0 };
        let result = open(&self.path(name), libc::O_CREAT | libc::O_RDWR | exclusive);
        let inode = match (self.named(name), exclusive) {
            (Some(_), libc::O_EXCL) => {
                return match result {
                    Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
                    other => Err(format!("create of what exists: {other:?}")),
                };
            }
            (Some(inode), _) => inode,
            (None, _) => self.model.add(name, Inode::new(Vec::new(), 0o644, None)),
        };
        let file = at("create", result)?;
        self.opened(fd, file, inode, How::Both);
        Ok(())
    }

    fn reopen(&mut self, fd: u8, from: u8, how: How) -> Step {
        let Some(source) = self.fds.get(&from) else { return Ok(()) };
        let inode = source.inode;
        let path = PathBuf::from(format!("/proc/self/fd/{}", source.file.as_raw_fd()));
        self.opened_or_busy(fd, open(&path, how.flags()), inode, how)
    }

    /// Opens, reads all and closes, as any program may at any time.
    fn look(&self, name: u8) -> Step {
        let result = fs::read(self.path(name));
        let Some(inode) = self.named(name) else { return absent("read", result.map(drop)) };
        let found = at("read", result)?;
        let inode = &self.model.inodes[inode];
        super::check::same(
            &format!("{} opened anew", self.names[name as usize]),
            0,
            &inode.data,
            &found,
        )?;
        Ok(())
    }

    fn set(&mut self, op: &Op) -> Step {
        let (Op::Truncate { name, .. }
        | Op::Chmod { name, .. }
        | Op::Chown { name, .. }
        | Op::Utimes { name, .. }
        | Op::SetXattr { name, .. }
        | Op::RemoveXattr { name }) = *op
        else {
            return Ok(());
        };
        let Some(inode) = self.named(name) else { return Ok(()) };
        let path = self.path(name);
        match *op {
            Op::Truncate { size, .. } => {
                let size = self.near(inode, size);
                at("truncate", truncate(&path, size))?;
                self.truncated(inode, size);
            }
            Op::Chmod { mode, .. } => {
                let mode = MODES[mode as usize];
                at("chmod", fs::set_permissions(&path, fs::Permissions::from_mode(mode)))?;
                self.chmodded(inode, mode);
            }
            Op::Chown { owner, .. } => {
                at("chown", lchown(&path, Some(u32::from(owner)), None))?;
                self.model.inodes[inode].chown(u32::from(owner));
            }
            Op::Utimes { time, .. } => {
                let time = 1_200_000_000 + i64::from(time);
                sys::set_times(&path, time, 0);
                // A mapping may be written back later.
                let mapped = self.mapped_for_writing(inode);
                self.model.inodes[inode].mtime = (!mapped).then_some(time);
            }
            Op::SetXattr { value, .. } => {
                let set = sys::set_xattr(&path, "user.t", &[value]);
                at("setxattr", set.map_err(io::Error::from))?;
                self.model.inodes[inode].xattr = Some(value);
            }
            _ => {
                let removed = rustix::fs::removexattr(&path, "user.t");
                match (self.model.inodes[inode].xattr.take(), removed) {
                    (Some(_), Ok(())) | (None, Err(rustix::io::Errno::NODATA)) => {}
                    (was, other) => return Err(format!("removexattr of {was:?}: {other:?}")),
                }
            }
        }
        Ok(())
    }

    pub fn chmodded(&mut self, inode: usize, mode: u32) {
        let file = &mut self.model.inodes[inode];
        (file.mode, file.bits_may_go) = (mode, false);
        file.had_bits |= mode & 0o6000 != 0;
    }

    pub fn mapped_for_writing(&self, inode: usize) -> bool {
        let mut maps = self.maps.values();
        maps.any(|map| map.inode == inode && map.kind == MapKind::SharedWrite)
    }

    /// Truncation also takes pages away that a private mapping has written.
    pub fn truncated(&mut self, inode: usize, size: usize) {
        self.model.inodes[inode].truncate(size);
        for map in self.maps.values_mut().filter(|map| map.inode == inode) {
            map.private.retain(|&page, _| page < size);
        }
    }

    /// A place that is not too far behind the end of a file.
    pub fn near(&self, inode: usize, place: u32) -> usize {
        let len = self.model.inodes[inode].data.len();
        let place = place as usize;
        if place <= len + 9000 { place } else { place % (len + 9000) }
    }

    fn rename(&mut self, from: u8, to: u8) -> Step {
        let result = fs::rename(self.path(from), self.path(to));
        if self.named(from).is_none() {
            return absent("rename", result);
        }
        at("rename", result)?;
        self.model.rename(from, to);
        Ok(())
    }

    fn exchange(&mut self, from: u8, to: u8) -> Step {
        let (Some(one), Some(other)) = (self.named(from), self.named(to)) else { return Ok(()) };
        let result = sys::exchange(&self.path(from), &self.path(to));
        at("exchange", result.map_err(io::Error::from))?;
        self.model.names.insert(from, other);
        self.model.names.insert(to, one);
        Ok(())
    }

    fn link(&mut self, from: u8, to: u8) -> Step {
        let (Some(inode), None) = (self.named(from), self.named(to)) else { return Ok(()) };
        at("link", fs::hard_link(self.path(from), self.path(to)))?;
        self.model.names.insert(to, inode);
        Ok(())
    }

    fn unlink(&mut self, name: u8) -> Step {
        let result = fs::remove_file(self.path(name));
        if self.model.names.remove(&name).is_none() {
            return absent("unlink", result);
        }
        at("unlink", result)
    }

    fn exec(&mut self, name: u8) -> Step {
        const SCRIPT: &[u8] = b"#!/bin/echo ran\n";
        let Some(inode) = self.named(name) else { return Ok(()) };
        let file = &self.model.inodes[inode];
        let is_script = file.data.starts_with(SCRIPT) && file.mode & 0o111 != 0;
        let written = |fd: &Fd| fd.inode == inode && fd.how.writes();
        if !is_script || self.mapped_for_writing(inode) {
            return Ok(());
        }
        let busy = self.fds.values().any(written);
        let mut tries = 0;
        loop {
            let result = std::process::Command::new(self.path(name)).output();
            match result {
                Ok(output) if output.stdout.starts_with(b"ran ") && !busy => return Ok(()),
                Err(error) if error.kind() == ErrorKind::ExecutableFileBusy => {
                    // Another thread's child may not have closed ours yet.
                    if busy || tries > 50 {
                        return if busy { Ok(()) } else { Err(format!("exec: {error}")) };
                    }
                    tries += 1;
                    std::thread::sleep(std::time::Duration::from_millis(5));
                }
                other => return Err(format!("exec, open for writing: {busy}: {other:?}")),
            }
        }
    }
}

/// truncate(2), which opens nothing.
fn truncate(path: &Path, size: usize) -> io::Result<()> {
    let path = std::ffi::CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: a C string that lives across the call.
    match unsafe { libc::truncate(path.as_ptr(), size as libc::off_t) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn absent<T>(what: &str, result: io::Result<T>) -> Step {
    match result {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(format!("{what} of what is not there: {error}")),
        Ok(_) => Err(format!("{what} of what is not there: it worked")),
    }
}
