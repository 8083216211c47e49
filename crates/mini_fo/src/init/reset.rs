//! Factory defaults: the storage is emptied, but for what is to be kept.
//!
//! Whatever interrupts it, the next boot goes on with it:
//!
//! 1. the storage is called `mini_fo.old`, and there is an empty one;
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

use rustix::mount::UnmountFlags;

use super::console;
use super::keep;
use super::overlay;
use super::settings::{Reset, Settings};

/// Made in the tree, it asks for a reset at the next boot.
const REQUEST: &str = "etc/mini_fo.reset";

/// Beside the storage: the word of the last `mini_fo.reset=WORD`.
const DONE: &str = "mini_fo.reset-done";

/// Resets the storage if that is asked for, or was begun.
///
/// # Errors
/// A sentence; the storage is what it was, or the reset goes on at the next boot.
pub fn perform(
    base: &Path,
    storage: &Path,
    work: &Path,
    settings: &Settings,
) -> Result<(), String> {
    let beside = |end: &str| storage.with_extension(end);
    let (old, gone) = (beside("old"), beside("gone"));
    let done = storage.with_file_name(DONE);
    let begun = old.symlink_metadata().is_ok();
    let left = gone.symlink_metadata().is_ok();
    let asked = begun || is_asked_for(storage, &done, &settings.reset);
    if settings.read_only {
        return match asked {
            true => Err("nothing can be changed at this boot (mini_fo.ro)".to_owned()),
            false => Ok(()),
        };
    }
    if left {
        remove(&gone)?;
    }
    if !asked {
        return Ok(());
    }
    console::warn("the storage is reset to factory defaults");
    if begun {
        remove(storage)?;
    } else {
        rename(storage, &old)?;
    }
    if let Err(error) = renew(base, &old, storage, work, settings) {
        // As it was; what asked for the reset asks again.
        remove(storage)?;
        rename(&old, storage)?;
        return Err(error);
    }
    if let Reset::Once(word) = &settings.reset {
        write(&done, word).map_err(|error| format!("{}: {error}", done.display()))?;
    }
    rename(&old, &gone)?;
    remove(&gone)
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
            _ => synced(&to),
        });
        unmount(&to);
        copied
    });
    unmount(&from);
    copied
}

fn synced(tree: &Path) -> Result<(), String> {
    let synced = File::open(tree).and_then(|tree| Ok(rustix::fs::syncfs(&tree)?));
    synced.map_err(|error| format!("what is kept cannot be synced: {error}"))
}

/// The daemon ends by itself; who mounts the storage next waits for it.
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
    match fs::remove_dir_all(tree) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(format!("{} cannot be removed: {error}", tree.display()))
        }
        _ => Ok(()),
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
mod tests {
    use super::*;

    struct Place(tempfile::TempDir);

    impl Place {
        fn new() -> Place {
            let place = Place(tempfile::tempdir().unwrap());
            fs::create_dir_all(place.at("mini_fo/etc")).unwrap();
            fs::write(place.at("mini_fo/etc/changed"), "x").unwrap();
            place
        }

        fn at(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        fn boot(&self, line: &str) -> bool {
            let settings = Settings::read(None, line);
            let storage = self.at("mini_fo");
            perform(Path::new("/"), &storage, self.0.path(), &settings).unwrap();
            assert!(!self.at("mini_fo.old").exists() && !self.at("mini_fo.gone").exists());
            let empty = fs::read_dir(&storage).unwrap().next().is_none();
            assert!(empty || self.at("mini_fo/etc/changed").exists());
            empty
        }
    }

    #[test]
    fn only_when_it_is_asked_for() {
        let place = Place::new();
        assert!(!place.boot(""));
        assert!(place.boot("mini_fo.reset"));
        let place = Place::new();
        fs::write(place.at("mini_fo").join(REQUEST), "").unwrap();
        assert!(place.boot(""));
    }

    #[test]
    fn once_for_each_word() {
        let place = Place::new();
        assert!(place.boot("mini_fo.reset=a"));
        fs::create_dir_all(place.at("mini_fo/etc")).unwrap();
        fs::write(place.at("mini_fo/etc/changed"), "x").unwrap();
        assert!(!place.boot("mini_fo.reset=a"));
        assert!(place.boot("mini_fo.reset=b"));
    }

    #[test]
    fn it_goes_on_after_a_cut() {
        let place = Place::new();
        fs::rename(place.at("mini_fo"), place.at("mini_fo.old")).unwrap();
        fs::create_dir_all(place.at("mini_fo/half")).unwrap();
        assert!(place.boot(""));
        let place = Place::new();
        fs::create_dir_all(place.at("mini_fo.gone/rest")).unwrap();
        assert!(!place.boot(""));
    }

    #[test]
    fn not_in_a_boot_without_changes() {
        let place = Place::new();
        let settings = Settings::read(None, "mini_fo.reset mini_fo.ro");
        let storage = place.at("mini_fo");
        assert!(perform(Path::new("/"), &storage, place.0.path(), &settings).is_err());
        assert!(storage.join("etc/changed").exists());
    }
}
