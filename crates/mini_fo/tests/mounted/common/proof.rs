//! The proof that a base is byte- and metadata-identical to what it was.

use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::fs::{self, File};
use std::hash::Hasher;
use std::io::Read;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::run::is_root;
use super::sys;

/// All that can be known about one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    pub mode: u32,
    pub owner: (u32, u32),
    pub size: u64,
    pub nlink: u64,
    pub ino: u64,
    pub rdev: u64,
    pub atime: (i64, i64),
    pub mtime: (i64, i64),
    pub ctime: (i64, i64),
    pub content: u64,
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Every object below a directory, by its path relative to it.
pub type Tree = BTreeMap<PathBuf, Facts>;

/// What a base was before a test.
pub struct BaseProof {
    view: PathBuf,
    before: Tree,
}

impl BaseProof {
    /// `view` shows the base; best a bind mount with noatime, so that looking
    /// changes nothing.
    pub fn take(view: &Path) -> BaseProof {
        BaseProof { view: view.to_owned(), before: record(view) }
    }

    /// Fails if anything of the base has changed, be it only a time of access.
    pub fn verify(&self) {
        let mut after = record(&self.view);
        for (path, was) in &self.before {
            let is =
                after.get_mut(path).unwrap_or_else(|| panic!("THE BASE LOST {}", path.display()));
            if !is_root() {
                // A user has no second view without times of access: the
                // test's own look at directories and symlinks moves them.
                is.atime = was.atime;
            }
            assert_eq!(was, is, "THE BASE CHANGED at {}", path.display());
        }
        for path in after.keys() {
            assert!(self.before.contains_key(path), "THE BASE GAINED {}", path.display());
        }
    }
}

/// Reads a whole tree. Contents are read without touching the time of access.
pub fn record(root: &Path) -> Tree {
    let mut tree = Tree::new();
    let mut pending = vec![PathBuf::new()];
    while let Some(relative) = pending.pop() {
        let path = root.join(&relative);
        let content = content(&path);
        let found = fs::symlink_metadata(&path)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        if found.is_dir() {
            for entry in fs::read_dir(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display())) {
                pending.push(relative.join(entry.expect("readdir").file_name()));
            }
        }
        tree.insert(relative, facts(&path, &found, content));
    }
    tree
}

fn facts(path: &Path, found: &fs::Metadata, content: u64) -> Facts {
    Facts {
        mode: found.mode(),
        owner: (found.uid(), found.gid()),
        size: found.size(),
        nlink: found.nlink(),
        ino: found.ino(),
        rdev: found.rdev(),
        atime: (found.atime(), found.atime_nsec()),
        mtime: (found.mtime(), found.mtime_nsec()),
        ctime: (found.ctime(), found.ctime_nsec()),
        content,
        xattrs: sys::xattrs(path),
    }
}

fn content(path: &Path) -> u64 {
    let found =
        fs::symlink_metadata(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut hasher = DefaultHasher::new();
    let kind = found.file_type();
    if kind.is_symlink() {
        let target = fs::read_link(path).expect("readlink");
        hasher.write(target.as_os_str().as_encoded_bytes());
    } else if kind.is_file() {
        hash_file(path, &mut hasher);
    } else if kind.is_char_device() || kind.is_block_device() {
        hasher.write_u64(found.rdev());
    }
    hasher.finish()
}

fn hash_file(path: &Path, hasher: &mut DefaultHasher) {
    let open = |flags| File::options().read(true).custom_flags(flags).open(path);
    let mut file = open(libc::O_NOATIME)
        .or_else(|_| open(0))
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer).expect("read") {
            0 => break,
            count => hasher.write(&buffer[..count]),
        }
    }
}
