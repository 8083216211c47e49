//! Takes a run away: its tree, however deep it is and whatever its modes are.
#![forbid(unsafe_code)]

use std::fs::{self, File};
use std::io;
use std::path::Path;

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, Dir, Mode, OFlags, RenameFlags};
use rustix::io::{Errno, Result};

use super::note::{self, NOTE, Note};

const RIGHTS: Mode = Mode::RWXU;

/// Takes a run away whose lock is held. Who is killed meanwhile leaves a note that says so.
///
/// # Errors
/// Something of it stays.
pub fn run(dir: &Path, lock: &File) -> io::Result<()> {
    let known = note::of(dir).unwrap_or_default();
    Note { going: true, ..known }.write(lock)?;
    content(dir)?;
    fs::remove_file(dir.join(NOTE))?;
    match fs::remove_dir(dir) {
        // Without its note it is nobody's: somebody begins there anew, or has taken it away.
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::NotFound
            ) =>
        {
            Ok(())
        }
        gone => gone,
    }
}

/// Takes away what is beside the note.
///
/// # Errors
/// As [`all`].
pub fn content(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        match entry.file_type()?.is_dir() {
            true => all(&entry.path())?,
            false if entry.file_name() == NOTE => {}
            false => fs::remove_file(entry.path())?,
        }
    }
    Ok(())
}

/// Removes a directory with all that is in it. Directories are moved up before they are
/// emptied, so that paths stay short and few descriptors are open.
///
/// # Errors
/// As rmdir(2), unlink(2): the rest stays.
fn all(dir: &Path) -> Result<()> {
    let top = open(CWD, dir)?;
    let mut emptied = Vec::new();
    let mut next = 0_u64;
    empty(&top, &top, &mut next, &mut emptied)?;
    while let Some(name) = emptied.pop() {
        let below = open(top.as_fd(), Path::new(&name))?;
        empty(&below, &top, &mut next, &mut emptied)?;
        rustix::fs::unlinkat(&top, &name, AtFlags::REMOVEDIR)?;
    }
    rustix::fs::rmdir(dir)
}

fn open(at: BorrowedFd<'_>, path: &Path) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(at, path, flags, Mode::empty())
}

/// Unlinks files, and moves directories to `top`, under names that go to `moved`.
fn empty(dir: &OwnedFd, top: &OwnedFd, next: &mut u64, moved: &mut Vec<String>) -> Result<()> {
    rustix::fs::fchmod(dir, RIGHTS)?;
    // What is moved here must not be met again.
    let mut names = Vec::new();
    for entry in Dir::read_from(dir)? {
        names.push(entry?.file_name().to_owned());
    }
    for name in names.iter().filter(|name| !matches!(name.to_bytes(), b"." | b"..")) {
        match rustix::fs::unlinkat(dir, name, AtFlags::empty()) {
            Err(Errno::ISDIR | Errno::PERM) => {}
            done => {
                done?;
                continue;
            }
        }
        // Moved elsewhere, a directory is written itself; and it could not be opened.
        rustix::fs::chmodat(dir, name, RIGHTS, AtFlags::empty())?;
        loop {
            let free = format!(".{next}");
            *next += 1;
            match rustix::fs::renameat_with(dir, name, top, &free, RenameFlags::NOREPLACE) {
                Err(Errno::EXIST) => {}
                done => {
                    done?;
                    moved.push(free);
                    break;
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    /// As `mini_fo list` does it: an empty directory is one that nobody has begun.
    #[test]
    fn others_take_empty_directories_away() {
        let work = tempfile::tempdir().unwrap();
        let dir = work.path().join("run");
        let ended = AtomicBool::new(false);
        std::thread::scope(|threads| {
            threads.spawn(|| {
                while !ended.load(Ordering::Relaxed) {
                    let _ = fs::remove_dir(&dir);
                }
            });
            let gone = (0..2000).try_for_each(|_| {
                let lock = loop {
                    let _ = fs::create_dir(&dir);
                    if let Ok(lock) = File::create(dir.join(NOTE)) {
                        break lock;
                    }
                };
                run(&dir, &lock)
            });
            ended.store(true, Ordering::Relaxed);
            gone.unwrap();
        });
    }

    #[test]
    fn deep_and_closed_trees_go() {
        let work = tempfile::tempdir().unwrap();
        let top = work.path().join("top");
        fs::create_dir_all(top.join("a/b/c")).unwrap();
        fs::write(top.join("a/b/c/f"), "x").unwrap();
        fs::create_dir(top.join(".0")).unwrap();
        std::os::unix::fs::symlink("/", top.join("a/root")).unwrap();
        for closed in ["a/b/c", "a/b", "a", ""] {
            fs::set_permissions(top.join(closed), fs::Permissions::from_mode(0o000)).ok();
        }
        fs::set_permissions(&top, fs::Permissions::from_mode(0o700)).unwrap();
        all(&top).unwrap();
        assert!(!top.exists() && Path::new("/usr").exists());
    }
}
