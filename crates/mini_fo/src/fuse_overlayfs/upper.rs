//! Where the changes go.
//!
//! An engine's upper directory is not a storage: it may hold a layer already, which the
//! engine has unpacked there, or which fuse-overlayfs has written; the engine reads it,
//! and gives the same directory as a lower one of other mounts, also at the same time. So
//! it is a layer, the uppermost, and never changed, and the storage lies in it, under a
//! name that is not shown. Who has the directory as a lower one gets both.
#![forbid(unsafe_code)]

use std::fs::{DirBuilder, File};
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use mini_fo_core::{DialectName, META_NAME, MetaName};

use crate::exit::{Failure, code};

/// A storage that such a mount has made, or one with the usual name of META.
const MINI_FO: Option<DialectName> = Some(DialectName::MiniFo(Some(MetaName::DEFAULT)));

/// The layers and the storage of a mount.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Stack {
    /// From the top down, each with its dialect.
    pub layers: Vec<(PathBuf, Option<DialectName>)>,
    /// Empty: there is none.
    pub storage: Option<PathBuf>,
    /// The storage lies in a directory of the engine's.
    pub inside: bool,
}

/// The name of the storage in an upper directory.
fn inside(upper: &Path) -> PathBuf {
    upper.join(format!("{META_NAME}_storage"))
}

/// Links lead out of what an engine has unpacked: they are nothing of ours.
fn is_storage(dir: &Path) -> bool {
    dir.join(META_NAME).symlink_metadata().is_ok_and(|data| data.is_file())
}

fn is_real_dir(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|data| data.is_dir())
}

/// What is mounted of these directories.
///
/// # Errors
/// The storage cannot be made.
pub fn stack(upper: Option<&Path>, lowers: &[PathBuf]) -> Result<Stack, Failure> {
    let mut stack = Stack::default();
    match upper {
        None => {}
        // One of `mini_fo mount`.
        Some(upper) if is_storage(upper) => stack.storage = Some(upper.to_path_buf()),
        Some(upper) => {
            let storage = inside(upper);
            make(upper, &storage).map_err(|error| {
                Failure::new(code::STORAGE, format!("upperdir {}: {error}", upper.display()))
            })?;
            stack.layers.push((upper.to_path_buf(), Some(DialectName::Oci)));
            stack.storage = Some(storage);
            stack.inside = true;
        }
    }
    for lower in lowers {
        let own = inside(lower);
        if is_storage(lower) {
            stack.layers.push((lower.clone(), MINI_FO));
            continue;
        }
        // Without META nothing was ever changed.
        if is_real_dir(&own) && is_storage(&own) {
            stack.layers.push((own, MINI_FO));
        }
        stack.layers.push((lower.clone(), Some(DialectName::Oci)));
    }
    Ok(stack)
}

/// Makes the storage, if it is not there. The directory, which shows as the root, keeps
/// its time.
fn make(upper: &Path, storage: &Path) -> std::io::Result<()> {
    let before = upper.metadata()?.modified()?;
    match DirBuilder::new().mode(0o700).create(storage) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => match is_real_dir(storage) {
            true => Ok(()),
            false => Err(ErrorKind::NotADirectory.into()),
        },
        Err(error) => Err(error),
        Ok(()) => File::open(upper)?.set_modified(before),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn the_storage_lies_in_the_upper_directory_and_shows_where_that_is_a_lower_one() {
        let work = tempfile::TempDir::new().unwrap();
        let dir = |name: &str| {
            let path = work.path().join(name);
            fs::create_dir_all(&path).unwrap();
            path
        };
        let (upper, lower) = (dir("upper"), dir("lower"));
        let oci = Some(DialectName::Oci);
        let time = fs::metadata(&upper).unwrap().modified().unwrap();
        let written = stack(Some(&upper), std::slice::from_ref(&lower)).unwrap();
        let storage = written.storage.clone().unwrap();
        assert!(written.inside && storage.starts_with(&upper) && storage.is_dir());
        assert_eq!(written.layers, [(upper.clone(), oci), (lower.clone(), oci)]);
        assert_eq!(fs::metadata(&upper).unwrap().modified().unwrap(), time);
        // Nothing was changed: it is a layer as any.
        let read = || stack(None, &[upper.clone(), lower.clone()]).unwrap();
        assert_eq!(read().layers, [(upper.clone(), oci), (lower.clone(), oci)]);
        fs::write(storage.join(META_NAME), "").unwrap();
        let own = MINI_FO;
        assert_eq!(read().layers, [(storage, own), (upper.clone(), oci), (lower.clone(), oci)]);
        assert!(read().storage.is_none());
        // A storage of `mini_fo mount` is one here too.
        fs::write(lower.join(META_NAME), "").unwrap();
        let ours = stack(Some(&lower), std::slice::from_ref(&lower)).unwrap();
        assert_eq!(ours.storage.as_deref(), Some(&*lower));
        assert_eq!(ours.layers, [(lower, own)]);
        assert!(!ours.inside);
        assert!(stack(Some(&work.path().join("missing")), &[]).is_err());
    }

    /// A layer of an image may hold any link.
    #[test]
    fn what_a_link_leads_to_is_no_storage() {
        let work = tempfile::TempDir::new().unwrap();
        let (upper, host) = (work.path().join("upper"), work.path().join("host"));
        for dir in [&upper, &host] {
            fs::create_dir(dir).unwrap();
        }
        fs::write(host.join(META_NAME), "").unwrap();
        let link = inside(&upper);
        std::os::unix::fs::symlink(&host, &link).unwrap();
        let as_upper = stack(Some(&upper), &[]).unwrap_err();
        assert!(as_upper.message.contains(upper.to_str().unwrap()), "{as_upper:?}");
        let read = stack(None, std::slice::from_ref(&upper)).unwrap();
        assert_eq!(read.layers, [(upper.clone(), Some(DialectName::Oci))]);
        // Nor is META one.
        fs::remove_file(&link).unwrap();
        std::os::unix::fs::symlink(host.join(META_NAME), upper.join(META_NAME)).unwrap();
        let read = stack(None, std::slice::from_ref(&upper)).unwrap();
        assert_eq!(read.layers, [(upper, Some(DialectName::Oci))]);
    }
}
