//! Looking up, opening and listing what is in the base.

use std::ffi::CStr;
use std::io;
use std::mem::MaybeUninit;

use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, Mode, OFlags, RawDir, open as open_fd, stat as stat_path, statat};
use rustix::io::{Errno, read};

use super::Scene;
use crate::tree::{LISTED, LISTS, SMALL};

pub const STAT: [&str; 2] = ["stat, cold", "stat, warm"];
pub const ABSENT: [&str; 2] = ["absent name, first", "absent name, repeated"];
pub const OPEN: [&str; 2] = ["open-read-close base, cold", "open-read-close base, warm"];
pub const LIST: [&str; 4] =
    ["readdir, cold", "readdir, warm", "readdir with lstat, cold", "readdir with lstat, warm"];

/// Listings of the row of warm ones.
const RELISTED: usize = 48;

pub fn stat(scene: &mut Scene) -> io::Result<()> {
    let paths = scene.paths("stat/f")?;
    for row in STAT {
        scene.each(row, &paths, |path, _| stat_path(path.as_c_str()).map(drop))?;
    }
    Ok(())
}

pub fn absent(scene: &mut Scene) -> io::Result<()> {
    let paths = scene.paths("stat/absent")?;
    for row in ABSENT {
        scene.each(row, &paths, |path, _| match stat_path(path.as_c_str()) {
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
        scene.each(row, &paths, |path, _| open_read_close(path))?;
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
    let [cold, warm, cold_stat, warm_stat] = LIST;
    let [plain, walked] = LISTS;
    lists(scene, plain, [cold, warm], list_one)?;
    lists(scene, walked, [cold_stat, warm_stat], |path, expected| {
        for_entries(path, expected, |dir, name| match name.to_bytes() {
            b"." | b".." => Ok(()),
            _ => statat(dir, name, AtFlags::SYMLINK_NOFOLLOW).map(drop),
        })
    })
}

/// Times `op` on the directories called `prefix`, once and then again and again.
fn lists(
    scene: &mut Scene,
    prefix: &str,
    [cold, warm]: [&'static str; 2],
    op: fn(&CStr, usize) -> rustix::io::Result<()>,
) -> io::Result<()> {
    let paths =
        (0..LISTED).map(|n| scene.path(&format!("{prefix}{n}"))).collect::<io::Result<Vec<_>>>()?;
    // With "." and "..".
    let expected = scene.job.size.files + 2;
    scene.each(cold, &paths, |path, _| op(path, expected))?;
    let again: Vec<_> = paths.iter().cycle().take(RELISTED).collect();
    scene.each(warm, &again, |path, _| op(path, expected))
}

fn list_one(path: &CStr, expected: usize) -> rustix::io::Result<()> {
    for_entries(path, expected, |_, _| Ok(()))
}

fn for_entries(
    path: &CStr,
    expected: usize,
    mut each: impl FnMut(&OwnedFd, &CStr) -> rustix::io::Result<()>,
) -> rustix::io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = open_fd(path, flags, Mode::empty())?;
    let mut buffer = [MaybeUninit::uninit(); 32 << 10];
    let mut entries = RawDir::new(&dir, &mut buffer);
    let mut seen = 0;
    while let Some(entry) = entries.next() {
        each(&dir, entry?.file_name())?;
        seen += 1;
    }
    if seen == expected { Ok(()) } else { Err(Errno::IO) }
}
