//! Other mounts of a base: what it is must not change under them.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use super::list::quoted_path;
use crate::control::wire::{OtherMount, PathBytes};
use crate::exit::{Failure, code};
use crate::mountinfo;
use crate::registry::Registry;

/// Refuses a base that a live mount shows, or shows what is above it (but for the root of
/// the system); and of those in it, where `touches` says that something is done at that path
/// in the base.
///
/// # Errors
/// There is such a mount: where, and what to do.
pub fn refuse(base: &Path, touches: &dyn Fn(&[u8]) -> bool) -> Result<(), Failure> {
    let base = base.canonicalize().unwrap_or_else(|_| base.to_path_buf());
    let meets = |layer: &Path| is_met(&base, layer, touches);
    let mut points: Vec<PathBuf> = layers_in_use()
        .into_iter()
        .filter(|(layers, _)| layers.iter().any(|layer| meets(layer)))
        .map(|(_, point)| point)
        .collect();
    points.sort();
    points.dedup();
    if points.is_empty() {
        return Ok(());
    }
    Err(refusal(&base, &points))
}

/// The mounts that show this base, or something of it, but for one that is `own`. Of a base
/// that its mount covers all is told by paths.
pub fn of_base(base: &Path, own: &dyn Fn(&Path) -> bool) -> Vec<OtherMount> {
    let mut met = Vec::new();
    for (layers, point) in layers_in_use().into_iter().filter(|(_, point)| !own(point)) {
        for layer in layers {
            let inside = std::cell::Cell::new(None);
            let is_met = is_met(base, &layer, &|path| {
                inside.set(Some(PathBytes(path.to_vec())));
                true
            });
            if is_met {
                let point = PathBytes(point.as_os_str().as_bytes().to_vec());
                met.push(OtherMount { point, shows: inside.take() });
            }
        }
    }
    met
}

/// Why nothing goes into a base that these mounts show.
pub fn refusal(base: &Path, points: &[PathBuf]) -> Failure {
    let points: Vec<String> = points.iter().map(|point| quoted_path(point)).collect();
    let text = format!(
        "base {}: it must not change under what shows it, which is mounted at {}: unmount that \
         first (mini_fo umount, mini_fo list; umount, if it is overlayfs)",
        quoted_path(base),
        points.join(", ")
    );
    Failure::new(code::IN_USE, text)
}

/// Layers of live mounts, and where those are: those of this user by their records, others,
/// and those of overlayfs, by what the kernel tells of them.
fn layers_in_use() -> Vec<(Vec<PathBuf>, PathBuf)> {
    let records = Registry::open().and_then(|registry| registry.live()).unwrap_or_default();
    let mounts = mountinfo::read().unwrap_or_default();
    let foreign = |mount: &&mountinfo::Mount| {
        mount.is_ours() && !records.iter().any(|record| record.is_shown_by(mount))
    };
    let foreign = mounts.iter().filter(foreign).map(|mount| {
        let source = PathBuf::from(&mount.source);
        (vec![source], mount.mountpoint.clone())
    });
    let foreign: Vec<_> = foreign.collect();
    let own = records.iter().map(|record| {
        let layers = [&record.base].into_iter().chain(&record.under).cloned();
        (layers.collect(), record.mountpoint.clone())
    });
    let of_kernel = mounts.iter().filter(|mount| mount.fs_type == "overlay");
    let of_kernel =
        of_kernel.map(|mount| (kernel_layers(&mount.options), mount.mountpoint.clone()));
    own.chain(foreign).chain(of_kernel).collect()
}

/// The layers of an overlayfs by its options, as they stand in mountinfo. What is no full path
/// there was mounted relative to a directory that nobody knows.
fn kernel_layers(options: &str) -> Vec<PathBuf> {
    let mut layers = Vec::new();
    for word in options.split(',') {
        let Some((key, value)) = word.split_once('=') else { continue };
        let value = mountinfo::unescape(value.as_bytes());
        match key {
            "lowerdir" => layers.extend(split_layers(value.as_bytes())),
            "lowerdir+" | "datadir+" | "upperdir" => layers.push(PathBuf::from(value)),
            _ => {}
        }
    }
    layers
}

/// Paths with colons between them; a backslash takes the next character as it is.
fn split_layers(text: &[u8]) -> Vec<PathBuf> {
    let mut paths = vec![Vec::new()];
    let mut bytes = text.iter();
    while let Some(byte) = bytes.next() {
        let Some(path) = paths.last_mut() else { break };
        match byte {
            b':' => paths.push(Vec::new()),
            b'\\' => path.extend(bytes.next()),
            other => path.push(*other),
        }
    }
    let given = paths.into_iter().filter(|path| !path.is_empty());
    given.map(|path| PathBuf::from(OsString::from_vec(path))).collect()
}

fn is_met(base: &Path, layer: &Path, touches: &dyn Fn(&[u8]) -> bool) -> bool {
    // A name that is no path, and a layer that has gone, are nobody's.
    let Some(layer) = layer.is_absolute().then(|| layer.canonicalize().ok()).flatten() else {
        return false;
    };
    // The whole system is never at rest: who shows it, shows what becomes of it. So a run does
    // not keep others from committing.
    if layer == Path::new("/") {
        return false;
    }
    if is_same(base, &layer) || base.starts_with(&layer) {
        return true;
    }
    layer.strip_prefix(base).is_ok_and(|inside| touches(inside.as_os_str().as_bytes()))
}

/// A bind mount shows a directory under another path.
fn is_same(one: &Path, other: &Path) -> bool {
    let id = |path: &Path| rustix::fs::stat(path).ok().map(|stat| (stat.st_dev, stat.st_ino));
    id(one).is_some_and(|one| id(other) == Some(one))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_of_overlayfs() {
        let layers = |options: &str| {
            let layers = kernel_layers(options);
            layers.iter().map(|path| path.display().to_string()).collect::<Vec<_>>()
        };
        let one = "rw,relatime,lowerdir=/a\\040b:/c\\134:d::/e\\054f,upperdir=/u,workdir=/w";
        assert_eq!(layers(one), ["/a b", "/c:d", "/e,f", "/u"]);
        assert_eq!(layers("ro,lowerdir+=/a:b,lowerdir+=/c,datadir+=/d"), ["/a:b", "/c", "/d"]);
        assert!(layers("rw,lowerdir,xino=off").is_empty());
    }

    #[test]
    fn layers_that_meet() {
        let dir = tempfile::TempDir::new().unwrap();
        let top = dir.path().canonicalize().unwrap();
        let (base, inside) = (top.join("base"), top.join("base/in"));
        std::fs::create_dir_all(&inside).unwrap();
        std::fs::create_dir(top.join("other")).unwrap();
        std::os::unix::fs::symlink("base", top.join("link")).unwrap();
        let meets = |layer: &Path| is_met(&base, layer, &|path| path == b"in");
        assert!(meets(&base) && meets(&top) && meets(&top.join("link")) && meets(&inside));
        assert!(!is_met(&base, &inside, &|_| false) && !meets(Path::new("/")));
        assert!(!is_met(Path::new("/"), Path::new("/"), &|_| true));
        assert!(is_met(Path::new("/"), &inside, &|path| !path.is_empty()));
        assert!(!meets(&top.join("other")) && !meets(Path::new("base")));
        assert!(!meets(&top.join("gone")));
    }
}
