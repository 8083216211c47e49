//! The operations: each with what has to be there first.

mod attributes;
mod data;
mod discards;
mod entries;
mod kept;
mod links;
mod renames;
mod turned;

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode};

use crate::ops::{Op, set_times};

/// What is done, and where it is interrupted.
#[derive(Clone, Debug)]
pub struct Scenario {
    pub name: &'static str,
    /// Done before, on the mount.
    pub before: Vec<Op>,
    /// Interrupted at each storage call.
    pub steps: Vec<Op>,
    /// Further mount options.
    pub options: &'static str,
    /// The storage cannot hold owners, devices and extended attributes: META
    /// keeps them.
    pub poor: bool,
    /// In the short selection.
    pub quick: bool,
    /// An error half-way is no state before or after.
    pub kills_only: bool,
}

impl Scenario {
    fn new(name: &'static str, before: &[Op], steps: &[Op]) -> Scenario {
        Scenario {
            name,
            before: before.to_vec(),
            steps: steps.to_vec(),
            options: "",
            poor: false,
            quick: false,
            kills_only: false,
        }
    }

    /// The directories of all that is touched, and what may be a directory
    /// itself.
    pub fn touched(&self) -> Vec<String> {
        let mut touched = vec![".".to_owned()];
        for path in self.before.iter().chain(&self.steps).flat_map(Op::paths) {
            touched.push(path.to_owned());
            if let Some((parent, _)) = path.rsplit_once('/') {
                touched.push(parent.to_owned());
            }
        }
        touched.sort();
        touched.dedup();
        touched
    }
}

/// All of them.
pub fn all() -> Vec<Scenario> {
    let mut all = entries::all();
    all.extend(links::all());
    all.extend(renames::all());
    all.extend(attributes::all());
    all.extend(data::all());
    all.extend(kept::all());
    all.extend(turned::all());
    all.extend(discards::all());
    all
}

/// The second of 2005 that every object of the base was changed at.
pub const OLD: i64 = 1_109_678_400;

/// Makes the base that all scenarios know.
///
/// # Errors
/// What the file system says; it must hold every type and attribute.
pub fn fill(base: &Path) -> io::Result<()> {
    for dir in ["d", "d/sub", "d/sub/deep", "e", "e/in", "empty", "full", "full/x"] {
        fs::create_dir(base.join(dir))?;
    }
    for (name, content) in [
        ("f", "base content of f\n"),
        ("g", "gggg\n"),
        ("d/one", "1\n"),
        ("d/two", "22\n"),
        ("d/sub/three", "333\n"),
        ("d/sub/deep/four", "4444\n"),
        ("e/five", "55555\n"),
        ("e/in/six", "666666\n"),
        ("full/a", "a\n"),
        ("full/x/b", "bb\n"),
        ("h1", "two names\n"),
        ("k1", "three names\n"),
    ] {
        fs::write(base.join(name), content)?;
    }
    fs::write(base.join("mid"), pattern(10_000))?;
    fs::write(base.join("big"), pattern(160_000))?;
    for (old, new) in [("h1", "d/h2"), ("k1", "k2"), ("k1", "e/k3")] {
        fs::hard_link(base.join(old), base.join(new))?;
    }
    symlink("f", base.join("link"))?;
    let mode = |bits| Mode::from_raw_mode(bits);
    rustix::fs::mknodat(CWD, base.join("fifo"), FileType::Fifo, mode(0o622), 0)?;
    let null = rustix::fs::makedev(1, 3);
    rustix::fs::mknodat(CWD, base.join("null"), FileType::CharacterDevice, mode(0o666), null)?;
    for (name, bits) in [("f", 0o640), ("d/sub", 0o750), ("h1", 0o604)] {
        fs::set_permissions(base.join(name), fs::Permissions::from_mode(bits))?;
    }
    for name in ["f", "link", "d/two", "fifo", "e"] {
        std::os::unix::fs::lchown(base.join(name), Some(12), Some(34))?;
    }
    for name in ["f", "d"] {
        let flags = rustix::fs::XattrFlags::empty();
        rustix::fs::lsetxattr(base.join(name), "user.colour", b"red", flags)?;
    }
    age(base)
}

/// Makes places in a base that was changed what they were (an empty one: all of it), and
/// gives the directories that they are in, and the root, their old times.
///
/// # Errors
/// What the file system says.
pub fn as_made(root: &Path, places: &[&str]) -> io::Result<()> {
    let made = root.join(".made");
    fs::create_dir(&made)?;
    fill(&made)?;
    for place in places {
        let (now, then) = (root.join(place), made.join(place));
        if place.is_empty() {
            for entry in fs::read_dir(root)? {
                let path = entry?.path();
                if path != made {
                    remove(&path)?;
                }
            }
            for entry in fs::read_dir(&made)? {
                let entry = entry?;
                fs::rename(entry.path(), root.join(entry.file_name()))?;
            }
        } else {
            remove(&now)?;
            if then.symlink_metadata().is_ok() {
                fs::rename(&then, &now)?;
            }
        }
    }
    fs::remove_dir_all(&made)?;
    for place in places.iter().filter(|place| !place.is_empty()) {
        root.join(place).parent().map_or(Ok(()), |dir| set_times(dir, OLD))?;
    }
    Ok(set_times(root, OLD)?)
}

fn remove(path: &Path) -> io::Result<()> {
    match path.symlink_metadata() {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(_) => Ok(()),
    }
}

/// Bytes in which every page differs.
fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i ^ (i >> 8) ^ (i >> 16)) as u8).collect()
}

fn age(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        match entry.file_type()?.is_dir() {
            true => age(&entry.path())?,
            false => set_times(&entry.path(), OLD)?,
        }
    }
    Ok(set_times(dir, OLD)?)
}
