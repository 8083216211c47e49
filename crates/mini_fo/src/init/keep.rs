//! Copies what a reset keeps, from one tree to another that shows the same base.
//! Objects of the base that nobody has changed are there already.
#![forbid(unsafe_code)]

use std::collections::{HashMap, HashSet};
use std::ffi::{CString, OsString};
use std::fs::{self, DirBuilder, File, Metadata};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps, XattrFlags};
use rustix::io::Errno;

use super::console;

/// Makes each path in `to` what it is in `from`.
///
/// # Errors
/// A sentence that names the object.
pub fn all(from: &Path, to: &Path, paths: &[PathBuf]) -> Result<(), String> {
    let mut copy = Copy { links: HashMap::new() };
    for path in paths {
        if above(from, to, path)? {
            let relative = path.strip_prefix("/").unwrap_or(path);
            copy.object(&from.join(relative), &to.join(relative))?;
        }
    }
    Ok(())
}

/// Makes the directories above a path. `false`: there is nothing to copy.
fn above(from: &Path, to: &Path, path: &Path) -> Result<bool, String> {
    let (mut from, mut to) = (from.to_owned(), to.to_owned());
    let Some(parent) = path.parent() else { return Ok(true) };
    for name in parent.components() {
        let Component::Normal(name) = name else { continue };
        from.push(name);
        to.push(name);
        let Ok(there) = from.symlink_metadata() else { return Ok(false) };
        if !there.is_dir() {
            let name = from.display();
            console::warn(format!("{} is not kept: {name} is no directory", path.display()));
            return Ok(false);
        }
        if !to.symlink_metadata().is_ok_and(|data| data.is_dir()) {
            remove(&to).and_then(|()| directory(&to)).map_err(|error| named(&to, error))?;
            attributes(&from, &to, &there).map_err(|error| named(&to, error))?;
        }
    }
    Ok(true)
}

fn named(path: &Path, error: io::Error) -> String {
    format!("{} cannot be kept: {error}", path.display())
}

struct Copy {
    /// Where an object with several names lies already.
    links: HashMap<(u64, u64), PathBuf>,
}

impl Copy {
    fn object(&mut self, from: &Path, to: &Path) -> Result<(), String> {
        let data = match from.symlink_metadata() {
            Ok(data) => data,
            // It is kept that there is none.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return remove(to).map_err(|error| named(to, error));
            }
            Err(error) => return Err(named(from, error)),
        };
        if data.is_dir() {
            return self.directory(from, to, &data);
        }
        self.other(from, to, &data).map_err(|error| named(from, error))
    }

    fn directory(&mut self, from: &Path, to: &Path, data: &Metadata) -> Result<(), String> {
        if !to.symlink_metadata().is_ok_and(|data| data.is_dir()) {
            remove(to).and_then(|()| directory(to)).map_err(|error| named(to, error))?;
        }
        let names = names(from).map_err(|error| named(from, error))?;
        let there = self::names(to).map_err(|error| named(to, error))?;
        for name in there.difference(&names) {
            remove(&to.join(name)).map_err(|error| named(&to.join(name), error))?;
        }
        for name in &names {
            self.object(&from.join(name), &to.join(name))?;
        }
        let now = to.symlink_metadata().map_err(|error| named(to, error))?;
        if is_unchanged(data, &now) {
            return Ok(());
        }
        attributes(from, to, data).map_err(|error| named(to, error))
    }

    fn other(&mut self, from: &Path, to: &Path, data: &Metadata) -> io::Result<()> {
        if to.symlink_metadata().is_ok_and(|there| is_unchanged(data, &there)) {
            return Ok(());
        }
        remove(to)?;
        let key = (data.dev(), data.ino());
        if let Some(first) = self.links.get(&key) {
            return fs::hard_link(first, to);
        }
        let kind = data.file_type();
        if kind.is_file() {
            let mut new = File::options().write(true).create_new(true).mode(0o600).open(to)?;
            io::copy(&mut File::open(from)?, &mut new)?;
        } else if kind.is_symlink() {
            std::os::unix::fs::symlink(fs::read_link(from)?, to)?;
        } else {
            let made = match kind {
                kind if kind.is_fifo() => FileType::Fifo,
                kind if kind.is_socket() => FileType::Socket,
                kind if kind.is_block_device() => FileType::BlockDevice,
                _ => FileType::CharacterDevice,
            };
            rustix::fs::mknodat(CWD, to, made, Mode::RUSR | Mode::WUSR, data.rdev())?;
        }
        if data.nlink() > 1 {
            self.links.insert(key, to.to_owned());
        }
        attributes(from, to, data)
    }
}

/// Whether both show an object that nobody has touched: a change moves its time
/// of change, and nobody can move that back.
fn is_unchanged(one: &Metadata, other: &Metadata) -> bool {
    let key = |data: &Metadata| {
        let (owner, times) = ((data.uid(), data.gid()), (data.ctime(), data.ctime_nsec()));
        (data.mode(), data.len(), data.rdev(), owner, times, data.mtime(), data.mtime_nsec())
    };
    key(one) == key(other)
}

fn directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(path)
}

fn names(dir: &Path) -> io::Result<HashSet<OsString>> {
    fs::read_dir(dir)?.map(|entry| Ok(entry?.file_name())).collect()
}

/// Removes whatever is there.
fn remove(path: &Path) -> io::Result<()> {
    let removed = match path.symlink_metadata() {
        Ok(data) if data.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Owner, extended attributes, mode, times: in this order, for the first takes
/// away what the others set.
fn attributes(from: &Path, to: &Path, data: &Metadata) -> io::Result<()> {
    std::os::unix::fs::lchown(to, Some(data.uid()), Some(data.gid()))?;
    for name in xattrs(from)? {
        let value = value(from, &name)?;
        match rustix::fs::lsetxattr(to, &name, &value, XattrFlags::empty()) {
            Ok(()) => {}
            Err(errno) => {
                let name = name.to_string_lossy();
                console::warn(format!("{}: {name} is not kept: {errno}", to.display()));
            }
        }
    }
    if !data.is_symlink() {
        rustix::fs::chmod(to, Mode::from_raw_mode(data.mode() & 0o7777))?;
    }
    let time = |tv_sec, nsec: i64| Timespec { tv_sec, tv_nsec: nsec as _ };
    let times = Timestamps {
        last_access: time(data.atime(), data.atime_nsec()),
        last_modification: time(data.mtime(), data.mtime_nsec()),
    };
    Ok(rustix::fs::utimensat(CWD, to, &times, AtFlags::SYMLINK_NOFOLLOW)?)
}

fn xattrs(path: &Path) -> io::Result<Vec<CString>> {
    let mut list = vec![0; 65_536];
    let length = match rustix::fs::llistxattr(path, list.as_mut_slice()) {
        Ok(length) => length,
        Err(Errno::NOTSUP | Errno::NOSYS) => 0,
        Err(errno) => return Err(errno.into()),
    };
    list.truncate(length);
    let names = list.split(|&byte| byte == 0).filter(|name| !name.is_empty());
    Ok(names.filter_map(|name| CString::new(name).ok()).collect())
}

fn value(path: &Path, name: &CString) -> io::Result<Vec<u8>> {
    let mut value = vec![0; 65_536];
    let length = rustix::fs::lgetxattr(path, name, value.as_mut_slice())?;
    value.truncate(length);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn what_is_kept_is_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        fs::create_dir_all(from.join("etc/net/empty")).unwrap();
        fs::create_dir_all(to.join("etc/net")).unwrap();
        fs::write(from.join("etc/net/one"), "1").unwrap();
        fs::hard_link(from.join("etc/net/one"), from.join("etc/net/two")).unwrap();
        symlink("one", from.join("etc/net/link")).unwrap();
        fs::set_permissions(from.join("etc/net/one"), PermissionsExt::from_mode(0o4751)).unwrap();
        rustix::fs::mknodat(CWD, from.join("etc/net/fifo"), FileType::Fifo, Mode::RUSR, 0).unwrap();
        let xattr =
            rustix::fs::lsetxattr(from.join("etc/net/one"), "user.x", b"v", XattrFlags::empty());
        fs::write(to.join("etc/net/removed"), "").unwrap();
        fs::write(to.join("etc/gone"), "").unwrap();
        fs::write(to.join("etc/other"), "").unwrap();
        let paths = ["/etc/net", "/etc/gone", "/none/at/all", "/etc/net/one/x"].map(PathBuf::from);
        all(&from, &to, &paths).unwrap();
        let net = to.join("etc/net");
        let found: Vec<OsString> = names(&net).unwrap().into_iter().collect();
        assert_eq!(found.len(), 5, "{found:?}");
        let (one, two) = (net.join("one").metadata().unwrap(), net.join("two").metadata().unwrap());
        let was = from.join("etc/net/one").metadata().unwrap();
        assert_eq!(
            (one.ino(), one.mode(), one.mtime_nsec()),
            (two.ino(), was.mode(), was.mtime_nsec())
        );
        assert_eq!(fs::read_link(net.join("link")).unwrap(), Path::new("one"));
        assert!(net.join("fifo").metadata().unwrap().file_type().is_fifo());
        assert!(xattr.is_err() || value(&net.join("one"), &c"user.x".into()).unwrap() == b"v");
        assert!(!to.join("etc/gone").exists() && to.join("etc/other").exists());
    }
}
