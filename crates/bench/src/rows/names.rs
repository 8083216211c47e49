//! Looking up, opening and listing what is in the base.

use std::ffi::CStr;
use std::io;
use std::mem::MaybeUninit;

use rustix::fs::{CWD, Mode, OFlags, RawDir, open as open_fd, stat as stat_path};
use rustix::io::{Errno, read};

use super::Scene;
use crate::tree::{LISTED, SMALL};

pub const STAT: [&str; 2] = ["stat, cold", "stat, warm"];
pub const ABSENT: [&str; 2] = ["absent name, first", "absent name, repeated"];
pub const OPEN: [&str; 2] = ["open-read-close base, cold", "open-read-close base, warm"];
pub const LIST: [&str; 2] = ["readdir, cold", "readdir, warm"];

/// Listings of the row of warm ones.
const RELISTED: usize = 48;

pub fn stat(scene: &mut Scene) -> io::Result<()> {
    let paths = scene.paths("stat/f")?;
    for row in STAT {
        scene.each(row, paths.iter(), |path| stat_path(path.as_c_str()).map(drop))?;
    }
    Ok(())
}

pub fn absent(scene: &mut Scene) -> io::Result<()> {
    let paths = scene.paths("stat/absent")?;
    for row in ABSENT {
        scene.each(row, paths.iter(), |path| match stat_path(path.as_c_str()) {
            Err(Errno::NOENT) => Ok(()),
            Ok(_) => Err(Errno::EXIST),
            Err(error) => Err(error),
        })?;
    }
    Ok(())
}

pub fn open(scene: &mut Scene) -> io::Result<()> {
    let paths = scene.paths("open/f")?;
    for row in OPEN {
        scene.each(row, paths.iter(), |path| open_read_close(path))?;
    }
    Ok(())
}

/// Opens a small file, reads all of it, closes it.
pub fn open_read_close(path: &CStr) -> rustix::io::Result<()> {
    let mut buffer = [0; SMALL];
    let file = open_fd(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    match read(&file, &mut buffer)? {
        SMALL => Ok(()),
        _ => Err(Errno::IO),
    }
}

pub fn list(scene: &mut Scene) -> io::Result<()> {
    let paths =
        (0..LISTED).map(|n| scene.path(&format!("list{n}"))).collect::<io::Result<Vec<_>>>()?;
    // With "." and "..".
    let expected = scene.size.files + 2;
    let [cold, warm] = LIST;
    scene.each(cold, paths.iter(), |path| list_one(path, expected))?;
    let again: Vec<_> = paths.iter().cycle().take(RELISTED).collect();
    scene.each(warm, again.into_iter(), |path| list_one(path, expected))
}

fn list_one(path: &CStr, expected: usize) -> rustix::io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = rustix::fs::openat(CWD, path, flags, Mode::empty())?;
    let mut buffer = [MaybeUninit::uninit(); 32 << 10];
    let mut entries = RawDir::new(&dir, &mut buffer);
    let mut seen = 0;
    while let Some(entry) = entries.next() {
        entry?;
        seen += 1;
    }
    if seen == expected { Ok(()) } else { Err(Errno::IO) }
}
