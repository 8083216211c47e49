//! The whole tree is the same after everything was forgotten.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt, chown, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, RenameFlags, renameat_with};

use crate::kit::{
    Failure, OLD, Outcome, Place, append, chmod, create, failed, move_dir, open_rw, same,
    set_times, skipped, stat,
};
use crate::tree::{node, set_xattr};

super::cases!("persistence";
    a_base_survives_a_remount, changes_survive_a_cache_drop, changes_survive_a_remount,
    changes_survive_many_remounts, the_base_is_untouched,
);

/// All that can be seen of an object, except its time of access and the
/// number of the mount.
fn described(path: &Path) -> Result<String, Failure> {
    let found = stat(path)?;
    let mut text = format!(
        "{:o} ino {} nlink {} {}:{} rdev {} mtime {}.{} ctime {}.{}",
        found.mode(),
        found.ino(),
        if found.is_dir() { 1 } else { found.nlink() },
        found.uid(),
        found.gid(),
        found.rdev(),
        found.mtime(),
        found.mtime_nsec(),
        found.ctime(),
        found.ctime_nsec(),
    );
    if found.is_file() {
        let sum = fs::read(path)?
            .iter()
            .fold(7_u64, |sum, &byte| sum.wrapping_mul(31).wrapping_add(u64::from(byte)));
        text += &format!(" size {} sum {sum:x} blocks {}", found.len(), found.blocks() < 100);
    } else if found.is_symlink() {
        text += &format!(" to {}", fs::read_link(path)?.display());
    }
    let mut list = vec![0; 4096];
    let length = rustix::fs::llistxattr(path, &mut list[..])?;
    list.truncate(length);
    let mut names: Vec<_> = list.split(|&byte| byte == 0).filter(|name| !name.is_empty()).collect();
    names.sort_unstable();
    for name in names {
        let mut value = [0; 1000];
        let length = rustix::fs::lgetxattr(path, name, &mut value)?;
        text += &format!(" {}={:x?}", String::from_utf8_lossy(name), value.get(..length));
    }
    Ok(text)
}

/// Every object below `dir`.
pub fn snapshot(dir: &Path) -> Result<BTreeMap<PathBuf, String>, Failure> {
    let mut all = BTreeMap::new();
    let mut left = vec![dir.to_path_buf()];
    while let Some(path) = left.pop() {
        if stat(&path)?.is_dir() {
            for entry in fs::read_dir(&path)? {
                left.push(entry?.path());
            }
        }
        all.insert(path.clone(), described(&path)?);
    }
    Ok(all)
}

/// Both are the same; says the first difference.
pub fn unchanged(before: &BTreeMap<PathBuf, String>, after: &BTreeMap<PathBuf, String>) -> Outcome {
    for (path, old) in before {
        match after.get(path) {
            None => return failed(format!("{} is gone", path.display())),
            Some(new) if new != old => {
                return failed(format!("{}: {new} instead of {old}", path.display()));
            }
            Some(_) => {}
        }
    }
    match after.keys().find(|&path| !before.contains_key(path)) {
        Some(path) => failed(format!("{} has come", path.display())),
        None => Ok(()),
    }
}

/// A little of everything.
fn change(place: &Place) -> Outcome {
    append(place.at("f"), b"more")?;
    chmod(place.at("dir"), 0o750)?;
    chown(place.at("fifo"), Some(3), Some(4))?;
    set_xattr(&place.at("xattrs"), "user.new", b"new")?;
    rustix::fs::removexattr(place.at("xattrs"), "user.base")?;
    set_times(&place.at("link"), OLD, OLD)?;
    set_times(&place.at("dir/b"), OLD, OLD)?;
    create(place.at("dir/new"))?.write_all_at(b"new", 0)?;
    symlink("target", place.at("dir/made_link"))?;
    fs::create_dir_all(place.at("made/in/made"))?;
    node(&place.at("made/pipe"), FileType::Fifo, 0o600, 0)?;
    node(&place.at("made/device"), FileType::CharacterDevice, 0o600, rustix::fs::makedev(1, 5))?;
    fs::hard_link(place.at("made/pipe"), place.at("made/in/pipe"))?;
    fs::hard_link(place.at("h2"), place.at("made/h4"))?;
    append(place.at("dir/h3"), b"more")?;
    fs::remove_file(place.at("h1"))?;
    move_dir(&place.at("dir/sub"), &place.at("other/sub"))?;
    fs::rename(place.at("g"), place.at("other/sub/deep/g"))?;
    fs::remove_dir(place.at("empty"))?;
    fs::create_dir(place.at("dir/sub"))?;
    create(place.at("dir/sub/c"))?;
    renameat_with(CWD, place.at("secret"), CWD, place.at("shared"), RenameFlags::EXCHANGE)?;
    open_rw(place.at("sparse"))?.set_len(3 << 20)?;
    fs::remove_dir_all(place.at("team"))?;
    Ok(fs::write(place.at("team"), "now a file")?)
}

fn a_base_survives_a_remount(place: &Place) -> Outcome {
    let before = snapshot(&place.dir)?;
    place.remount()?;
    unchanged(&before, &snapshot(&place.dir)?)
}

fn changes_survive_a_cache_drop(place: &Place) -> Outcome {
    change(place)?;
    let before = snapshot(&place.dir)?;
    place.drop_caches()?;
    unchanged(&before, &snapshot(&place.dir)?)
}

fn changes_survive_a_remount(place: &Place) -> Outcome {
    change(place)?;
    let before = snapshot(&place.dir)?;
    place.remount()?;
    unchanged(&before, &snapshot(&place.dir)?)
}

fn changes_survive_many_remounts(place: &Place) -> Outcome {
    change(place)?;
    for round in 0..5 {
        let from = if round == 0 { "other".into() } else { format!("other_{}", round - 1) };
        let to = format!("other_{round}");
        move_dir(&place.at(&from), &place.at(&to))?;
        append(place.at(&to).join("sub/c"), b"more")?;
        create(place.at(&to).join(format!("sub/deep/{round}")))?;
        let before = snapshot(&place.dir)?;
        place.remount()?;
        unchanged(&before, &snapshot(&place.dir)?)?;
    }
    same("size", stat(place.at("other_4/sub/c"))?.len(), 10 + 5 * 4)
}

/// Seen from outside, by `compare`, after all other cases.
fn the_base_is_untouched(_: &Place) -> Outcome {
    skipped("only `compare` can see the base")
}
