//! A base, and changes of it by chance: the same from the same seed.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, XattrFlags};

use crate::cuts::dice::Dice;
use crate::snapshot::Tree;

/// Names that are made anew; few, so that changes meet.
const NAMES: &[&str] = &["a", "b", "c", "new", "other", "one", "f", "sub"];

/// Changes what is mounted at `root`. What cannot be done (a directory is moved into itself,
/// a name is taken) is left out: by the same seed the same is.
///
/// # Errors
/// The tree cannot be read.
pub fn change(root: &Path, dice: &mut Dice) -> io::Result<()> {
    let steps = 3 + dice.below(30);
    for _ in 0..steps {
        let paths = places(root)?;
        let Some(path) = dice.pick(&paths).cloned() else { continue };
        let _ = step(root, &paths, &path, dice);
    }
    Ok(())
}

/// All that is there but the root, in order.
fn places(root: &Path) -> io::Result<Vec<String>> {
    let tree = Tree::of(root);
    Ok(tree.paths().filter(|path| *path != ".").map(|path| path.replacen("./", "", 1)).collect())
}

/// A name in some directory.
fn fresh(root: &Path, paths: &[String], dice: &mut Dice) -> PathBuf {
    let is_dir =
        |path: &&String| fs::symlink_metadata(root.join(path)).is_ok_and(|meta| meta.is_dir());
    let dirs: Vec<&String> = paths.iter().filter(is_dir).collect();
    let dir = match dice.chance(25) {
        true => root.to_path_buf(),
        false => dice.pick(&dirs).map_or(root.to_path_buf(), |dir| root.join(dir)),
    };
    dir.join(dice.pick(NAMES).copied().unwrap_or("x"))
}

fn step(root: &Path, paths: &[String], path: &str, dice: &mut Dice) -> io::Result<()> {
    let at = root.join(path);
    let kind = fs::symlink_metadata(&at)?.file_type();
    let content = vec![b'a' + dice.below(26) as u8; 1 + dice.below(9000)];
    match dice.below(17) {
        0 => written(&fresh(root, paths, dice), &content),
        1 => fs::create_dir(fresh(root, paths, dice)),
        2 => {
            let dir = fresh(root, paths, dice);
            fs::create_dir(&dir)?;
            fs::write(dir.join("in"), content)
        }
        3 if kind.is_file() => File::options().append(true).open(&at)?.write_all(&content),
        4 if kind.is_file() => {
            File::options().write(true).open(&at)?.write_all_at(&content, dice.roll() % 90_000)
        }
        5 if kind.is_file() => File::options().write(true).open(&at)?.set_len(dice.roll() % 20_000),
        6 if !kind.is_symlink() => {
            let mode = if kind.is_dir() { 0o700 } else { 0o600 } | dice.below(64) as u32;
            fs::set_permissions(&at, fs::Permissions::from_mode(mode))
        }
        7 => std::os::unix::fs::lchown(&at, Some(dice.below(3) as u32), Some(7)),
        8 if kind.is_dir() => fs::remove_dir_all(&at),
        9 if !kind.is_dir() => fs::remove_file(&at),
        10 | 11 => fs::rename(&at, fresh(root, paths, dice)),
        12 => {
            let to = dice.pick(paths).map_or(at.clone(), |path| root.join(path));
            fs::rename(&at, to)
        }
        13 if !kind.is_dir() => fs::hard_link(&at, fresh(root, paths, dice)),
        14 => match dice.below(3) {
            0 => symlink(path, fresh(root, paths, dice)),
            1 => {
                let mode = Mode::from_raw_mode(0o644);
                let to = fresh(root, paths, dice);
                Ok(rustix::fs::mknodat(CWD, to, FileType::Fifo, mode, 0)?)
            }
            _ => {
                let mode = Mode::from_raw_mode(0o600);
                let device = rustix::fs::makedev(1, 5);
                let to = fresh(root, paths, dice);
                Ok(rustix::fs::mknodat(CWD, to, FileType::CharacterDevice, mode, device)?)
            }
        },
        15 if kind.is_file() || kind.is_dir() => {
            Ok(rustix::fs::lsetxattr(&at, "user.mark", &content[..1], XattrFlags::empty())?)
        }
        16 if !kind.is_dir() => replaced(&at, &content),
        _ => Ok(()),
    }
}

/// Writes a file, whatever is there: nobody reads what comes into a FIFO, so that is not waited
/// for.
fn written(at: &Path, content: &[u8]) -> io::Result<()> {
    let mut options = File::options();
    options.write(true).create(true).truncate(true).custom_flags(libc::O_NONBLOCK);
    options.open(at)?.write_all(content)
}

/// Something else of another type.
fn replaced(at: &Path, content: &[u8]) -> io::Result<()> {
    fs::remove_file(at)?;
    fs::create_dir(at)?;
    fs::write(at.join("inside"), content)
}
