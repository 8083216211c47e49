//! Factory defaults: the storage is emptied, but for what is to be kept.
//!
//! Whatever interrupts it, the next boot goes on with it:
//!
//! 1. what is to be kept is noted, the storage is called `mini_fo.old`, and there is an
//!    empty one (where nothing is kept it is called `mini_fo.gone` at once);
//! 2. what is kept is copied, from an overlay with the old storage to one with
//!    the new: names, attributes and links are what they are there, wherever
//!    the storage had them;
//! 3. the old one is called `mini_fo.gone`, and removed.
//!
//! A power cut in 2 leaves an old one, and the new one is begun again; one in 3
//! leaves what is only to be removed.
#![forbid(unsafe_code)]

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use mini_fo_core::{MetaName, OpenOptions};
use rustix::fs::{FlockOperation, IFlags, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::UnmountFlags;

use super::console;
use super::keep;
use super::overlay;
use super::settings::{Reset, Settings};

/// Made in the tree, it asks for a reset at the next boot.
const REQUEST: &str = "etc/mini_fo.reset";

/// Beside the storage: the word of the last `mini_fo.reset=WORD`.
const DONE: &str = "mini_fo.reset-done";

/// Beside the storage, while a reset goes on: what it keeps, a path a line.
const KEEP: &str = "mini_fo.reset-keep";

/// How long a daemon may take to bring what is kept to a slow card.
const PATIENCE: Duration = Duration::from_secs(300);

/// Why there was no reset.
#[derive(Debug)]
pub struct Failure {
    /// A sentence.
    pub text: String,
    /// It was begun. Nothing may be written until it is done: the next boot would
    /// throw that away.
    pub begun: bool,
}

impl From<String> for Failure {
    /// The storage is what it was.
    fn from(text: String) -> Failure {
        Failure { text, begun: false }
    }
}

/// Resets the storage if that is asked for, or was begun.
///
/// # Errors
/// The storage is what it was, or the reset goes on at the next boot.
pub fn perform(
    base: &Path,
    storage: &Path,
    work: &Path,
    settings: &Settings,
) -> Result<(), Failure> {
    let beside = |end: &str| storage.with_extension(end);
    let (old, gone) = (beside("old"), beside("gone"));
    let done = storage.with_file_name(DONE);
    let begun = old.symlink_metadata().is_ok();
    let left = gone.symlink_metadata().is_ok();
    let asked = begun || is_asked_for(storage, &done, &settings.reset);
    if settings.read_only {
        let text = String::from("nothing can be changed at this boot (mini_fo.ro)");
        return if asked { Err(Failure { text, begun }) } else { Ok(()) };
    }
    let unfinished = |text| Failure { text, begun: true };
    let removed = if left { remove(&gone) } else { Ok(()) };
    if !asked {
        return removed.map_err(Failure::from);
    }
    let lock = lock(storage, settings)?;
    // Its name is needed, and what is written while the reset is still asked for
    // would not last.
    removed.map_err(unfinished)?;
    console::warn("the storage is reset to factory defaults");
    let list = storage.with_file_name(KEEP);
    let mut settings = settings.clone();
    if begun {
        settings.keep = read_keep(&list).map_err(unfinished)?;
        remove(storage).map_err(unfinished)?;
    } else if settings.keep.is_empty() {
        return everything((storage, lock), &gone, &done, &settings);
    } else {
        // The storage may be full.
        give_up_reserve(storage, overlay::meta_name(&settings));
        write_keep(&list, &settings.keep)?;
        unprotect(storage);
        rename(storage, &old)?;
    }
    drop(lock);
    // Until the old one is gone a cut begins the reset again, whatever is noted.
    let renewed = renew(base, &old, storage, work, &settings);
    if let Err(text) = renewed.and_then(|()| note(&done, &settings)) {
        // As it was; what asked for the reset asks again.
        let back = remove(storage).and_then(|()| rename(&old, storage));
        return Err(Failure { text, begun: back.is_err() });
    }
    rename(&old, &gone).map_err(unfinished)?;
    let forgotten = fs::remove_file(&list).map_err(|error| format!("{}: {error}", list.display()));
    remove(&gone).and(forgotten).map_err(Failure::from)
}

/// Nobody else uses the storage, another machine say; without one there is nothing to lock.
fn lock(storage: &Path, settings: &Settings) -> Result<Option<impl Sized + use<>>, String> {
    if !storage.is_dir() {
        return Ok(None);
    }
    let meta_name = overlay::meta_name(settings);
    let options =
        OpenOptions { storage: storage.to_path_buf(), meta_name, ..OpenOptions::default() };
    mini_fo_core::lock_storage(&options).map(Some).map_err(|error| error.to_string())
}

/// Removes what a storage keeps back for deletions (docs/FORMAT.md, section 10), and
/// nothing that somebody else has put under its name.
fn give_up_reserve(storage: &Path, meta: MetaName) {
    let dir = storage.join(meta.reserve());
    let is_dir = dir.symlink_metadata().is_ok_and(|data| data.is_dir());
    if !is_dir || !mini_fo_core::is_storage(storage, meta) {
        return;
    }
    for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let is_number = name.as_encoded_bytes().iter().all(u8::is_ascii_digit);
        if is_number && entry.file_type().is_ok_and(|kind| kind.is_file()) {
            // Where it stays, there is less room.
            let _ = fs::remove_file(entry.path());
        }
    }
    if let Err(error) = fs::remove_dir(&dir) {
        console::warn(format!("{} stays: {error}", dir.display()));
    }
}

/// What is kept is known to whichever boot goes on with the reset.
fn write_keep(list: &Path, keep: &[PathBuf]) -> Result<(), String> {
    let lines: Vec<_> = keep.iter().map(|path| format!("{}\n", path.display())).collect();
    write(list, &lines.concat()).map_err(|error| format!("{}: {error}", list.display()))
}

fn read_keep(list: &Path) -> Result<Vec<PathBuf>, String> {
    let lines = fs::read_to_string(list).map_err(|error| {
        format!("{}: {error}; without it nobody knows what a reset is to keep", list.display())
    })?;
    Ok(lines.lines().map(PathBuf::from).collect())
}

/// Nothing is to be kept: the space comes free first, for the storage may be full.
fn everything(
    (storage, lock): (&Path, Option<impl Sized>),
    gone: &Path,
    done: &Path,
    settings: &Settings,
) -> Result<(), Failure> {
    unprotect(storage);
    rename(storage, gone)?;
    drop(lock);
    let unfinished = |text| Failure { text, begun: true };
    let removed = remove(gone);
    overlay::directory(storage, 0o700)
        .map_err(|error| unfinished(format!("{}: {error}", storage.display())))?;
    note(done, settings).map_err(unfinished)?;
    // The next boot tries again to remove it.
    removed.map_err(Failure::from)
}

/// A reset that is asked for by a word is not asked for any more by this one.
fn note(done: &Path, settings: &Settings) -> Result<(), String> {
    match &settings.reset {
        Reset::Once(word) => {
            write(done, word).map_err(|error| format!("{}: {error}", done.display()))
        }
        _ => Ok(()),
    }
}

fn is_asked_for(storage: &Path, done: &Path, reset: &Reset) -> bool {
    let by_words = match reset {
        Reset::No => false,
        Reset::Now => true,
        Reset::Once(word) => !fs::read_to_string(done).is_ok_and(|last| last == *word),
    };
    by_words || storage.join(REQUEST).symlink_metadata().is_ok()
}

/// Makes an empty storage, and copies into it what is kept.
fn renew(
    base: &Path,
    old: &Path,
    storage: &Path,
    work: &Path,
    settings: &Settings,
) -> Result<(), String> {
    overlay::directory(storage, 0o700)
        .map_err(|error| format!("{}: {error}", storage.display()))?;
    if settings.keep.is_empty() {
        return Ok(());
    }
    let (from, to) = (work.join("old"), work.join("new"));
    for dir in [&from, &to] {
        overlay::directory(dir, 0o700).map_err(|error| format!("{}: {error}", dir.display()))?;
    }
    let read_only = Settings { read_only: true, ..settings.clone() };
    overlay::mount(base, old, &from, &read_only)?;
    let copied = overlay::mount(base, storage, &to, settings).and_then(|()| {
        let copied = keep::all(&from, &to, &settings.keep);
        // What asked for it is not kept, or it would ask for ever.
        let asked = fs::remove_file(to.join(REQUEST));
        let copied = copied.and_then(|()| match asked {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(format!("/{REQUEST} cannot be removed: {error}"))
            }
            _ => Ok(()),
        });
        unmount(&to);
        // Whatever has come of it, nobody writes there after this.
        settled(storage).and(copied)
    });
    unmount(&from);
    copied
}

/// Waits for the daemon of a storage to end, and brings all that is there to the
/// device. (A sync of the mount would not reach the daemon.)
fn settled(storage: &Path) -> Result<(), String> {
    let failed = |error: io::Error| format!("what is kept cannot be synced: {error}");
    let dir = File::open(storage).map_err(failed)?;
    let begun = Instant::now();
    while let Err(errno) = rustix::fs::flock(&dir, FlockOperation::NonBlockingLockExclusive) {
        if errno != Errno::WOULDBLOCK || begun.elapsed() > PATIENCE {
            return Err(failed(errno.into()));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    rustix::fs::syncfs(&dir).map_err(|errno| failed(errno.into()))
}

/// The daemon ends by itself a moment later.
fn unmount(point: &Path) {
    if rustix::mount::unmount(point, UnmountFlags::empty()).is_err() {
        let _ = rustix::mount::unmount(point, UnmountFlags::DETACH);
    }
}

fn rename(from: &Path, to: &Path) -> Result<(), String> {
    let renamed = fs::rename(from, to).and_then(|()| sync_above(to));
    renamed.map_err(|error| format!("{} to {}: {error}", from.display(), to.display()))
}

fn remove(tree: &Path) -> Result<(), String> {
    let removed = match fs::remove_dir_all(tree) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            unprotect_all(tree);
            fs::remove_dir_all(tree)
        }
        other => other,
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(format!("{} cannot be removed: {error}", tree.display()))
        }
        _ => Ok(()),
    }
}

/// Takes the flags of chattr(1) away that keep an object from being removed or
/// renamed. What cannot be done shows there.
fn unprotect(path: &Path) {
    let protecting = IFlags::IMMUTABLE | IFlags::APPEND;
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let Ok(fd) = rustix::fs::open(path, flags, Mode::empty()) else { return };
    if let Ok(now) = rustix::fs::ioctl_getflags(&fd)
        && now.intersects(protecting)
    {
        let _ = rustix::fs::ioctl_setflags(&fd, now - protecting);
    }
}

/// The same of all that lies in a tree.
fn unprotect_all(tree: &Path) {
    let mut todo = vec![tree.to_path_buf()];
    while let Some(path) = todo.pop() {
        let Ok(data) = path.symlink_metadata() else { continue };
        if data.is_dir() || data.is_file() {
            unprotect(&path);
        }
        if data.is_dir() {
            let entries = fs::read_dir(&path).into_iter().flatten().flatten();
            todo.extend(entries.map(|entry| entry.path()));
        }
    }
}

/// Replaces a small file.
fn write(path: &Path, text: &str) -> io::Result<()> {
    let new = PathBuf::from(format!("{}.new", path.display()));
    fs::write(&new, text)?;
    File::open(&new)?.sync_all()?;
    fs::rename(&new, path)?;
    sync_above(path)
}

fn sync_above(path: &Path) -> io::Result<()> {
    File::open(path.parent().unwrap_or(path))?.sync_all()
}

#[cfg(test)]
mod tests;
