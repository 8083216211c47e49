//! What a real tree shows.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::perform::XATTR;

/// What is at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Type and what belongs to it.
    pub kind: SeenKind,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub owner: u32,
    /// Value of `user.t`.
    pub xattr: Option<u32>,
    /// Number of links.
    pub links: u64,
    /// `st_ino`.
    pub number: u64,
}

/// Its type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SeenKind {
    /// A directory.
    Dir,
    /// A regular file and its content.
    File(Vec<u8>),
    /// A symbolic link and its target.
    Symlink(String),
    /// Something that no workload makes.
    Other,
}

/// All that is below `root`, by path.
///
/// # Errors
/// Something cannot be read; the text names it.
pub fn observe(root: &Path) -> io::Result<BTreeMap<String, Seen>> {
    let mut all = BTreeMap::new();
    let mut todo = vec![String::new()];
    while let Some(dir) = todo.pop() {
        let real = root.join(&dir);
        for entry in fs::read_dir(&real).map_err(|error| within("list", &dir, &error))? {
            let entry = entry.map_err(|error| within("list", &dir, &error))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = if dir.is_empty() { name } else { format!("{dir}/{name}") };
            let seen = look(&root.join(&path)).map_err(|error| within("read", &path, &error))?;
            if seen.kind == SeenKind::Dir {
                todo.push(path.clone());
            }
            if all.insert(path.clone(), seen).is_some() {
                return Err(io::Error::other(format!("{path} is listed twice")));
            }
        }
    }
    Ok(all)
}

fn within(what: &str, path: &str, error: &io::Error) -> io::Error {
    io::Error::other(format!("cannot {what} /{path}: {error}"))
}

fn look(path: &Path) -> io::Result<Seen> {
    let stat = fs::symlink_metadata(path)?;
    let kind = match stat.file_type() {
        kind if kind.is_dir() => SeenKind::Dir,
        kind if kind.is_file() => {
            let data = fs::read(path)?;
            if data.len() as u64 != stat.len() {
                let read = data.len();
                let text = format!("the size is {}, but {read} bytes can be read", stat.len());
                return Err(io::Error::other(text));
            }
            SeenKind::File(data)
        }
        kind if kind.is_symlink() => {
            SeenKind::Symlink(fs::read_link(path)?.to_string_lossy().into_owned())
        }
        _ => SeenKind::Other,
    };
    let xattr = match kind {
        SeenKind::Symlink(_) => None,
        _ => attribute(path)?,
    };
    let (mode, owner) = (stat.mode() & 0o7777, stat.uid());
    Ok(Seen { kind, mode, owner, xattr, links: stat.nlink(), number: stat.ino() })
}

fn attribute(path: &Path) -> io::Result<Option<u32>> {
    let mut value = [0; 16];
    match rustix::fs::getxattr(path, XATTR, &mut value[..]) {
        Ok(len) => {
            let text = value.get(..len).and_then(|bytes| std::str::from_utf8(bytes).ok());
            let number = text.and_then(|text| text.parse().ok());
            number.map(Some).ok_or_else(|| io::Error::other("a strange value of user.t"))
        }
        Err(rustix::io::Errno::NODATA) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}
