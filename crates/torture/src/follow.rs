//! What is done everywhere afterwards: a tree that looks right must also be
//! good to work in.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink};
use std::path::Path;

type Outcome = std::io::Result<()>;

/// Works in all of these directories below `root`, the deepest first; tells
/// what came of it, line by line.
pub fn work(root: &Path, touched: &[String]) -> Vec<String> {
    let mut told = Vec::new();
    let mut dirs: BTreeSet<(usize, &str)> = BTreeSet::new();
    for path in touched {
        if fs::symlink_metadata(root.join(path)).is_ok_and(|meta| meta.is_dir()) {
            dirs.insert((if path == "." { 0 } else { path.matches('/').count() + 1 }, path));
        }
    }
    for (_, dir) in dirs.into_iter().rev() {
        in_directory(root, dir, &mut told);
    }
    told
}

fn in_directory(root: &Path, dir: &str, told: &mut Vec<String>) {
    let at = root.join(dir);
    let mut tell = |what: &str, outcome: Outcome| {
        let outcome = match outcome {
            Ok(()) => "done".to_owned(),
            Err(error) => error.raw_os_error().map_or(error.to_string(), |n| format!("errno {n}")),
        };
        told.push(format!("{what} in {dir}: {outcome}"));
    };
    let (mut files, mut dirs) = (Vec::new(), Vec::new());
    match sorted(&at) {
        Err(error) => return tell("readdir", Err(error)),
        Ok(names) => {
            for (name, kind) in names {
                match kind {
                    Kind::File => files.push(name),
                    Kind::Dir => dirs.push(name),
                    Kind::Other => {}
                }
            }
        }
    }
    tell("create", create(&at.join("zz.new")));
    tell("mkdir", fs::create_dir(at.join("zz.dir")));
    tell("rename", fs::rename(at.join("zz.new"), at.join("zz.dir/in")));
    tell("symlink", symlink("zz.dir/in", at.join("zz.link")));
    tell("rename dir", fs::rename(at.join("zz.dir"), at.join("zz.dir2")));
    for (index, name) in files.iter().enumerate() {
        let path = at.join(name);
        match index % 4 {
            0 => tell(&format!("chmod {name}"), chmod(&path, 0o604)),
            1 => tell(&format!("append {name}"), append(&path)),
            2 => tell(&format!("rename {name}"), fs::rename(&path, at.join(format!("zz.{name}")))),
            _ => tell(&format!("unlink {name}"), fs::remove_file(&path)),
        }
    }
    for (index, name) in dirs.iter().enumerate() {
        let path = at.join(name);
        match index % 2 {
            0 => tell(&format!("rename {name}"), fs::rename(&path, at.join(format!("zz.{name}")))),
            _ => tell(&format!("chmod {name}"), chmod(&path, 0o711)),
        }
    }
}

enum Kind {
    File,
    Dir,
    Other,
}

fn sorted(at: &Path) -> std::io::Result<Vec<(String, Kind)>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(at)? {
        let entry = entry?;
        let kind = match entry.file_type()? {
            kind if kind.is_dir() => Kind::Dir,
            kind if kind.is_file() => Kind::File,
            _ => Kind::Other,
        };
        let name = entry.file_name().to_string_lossy().into_owned();
        // What was made here a moment ago, one level below, stays.
        if !name.starts_with("zz.") {
            names.push((name, kind));
        }
    }
    names.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(names)
}

fn create(path: &Path) -> Outcome {
    File::options().write(true).create_new(true).mode(0o600).open(path)?.write_all(b"later")
}

fn append(path: &Path) -> Outcome {
    File::options().append(true).open(path)?.write_all(b"+")
}

fn chmod(path: &Path, mode: u32) -> Outcome {
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}
