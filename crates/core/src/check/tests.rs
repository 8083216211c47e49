//! What a mount says of a storage, and one without space for its own records.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fd::AsFd;
use tempfile::TempDir;

use super::lost::LOOKS;
use super::{examine, open_layers};
use crate::error::Warning;
use crate::name::META_NAME;
use crate::options::OpenOptions;
use crate::own::{Own, OwnAttributes};
use crate::sys::Spot;

struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// A tmpfs of 64 KiB; `None` where we may not mount.
fn small(at: &Path) -> Option<Mounted> {
    let args = ["-t", "tmpfs", "-o", "size=64k,mode=700", "tmpfs"];
    let mounted = Command::new("mount").args(args).arg(at).output();
    if mounted.is_ok_and(|mounted| mounted.status.success()) {
        return Some(Mounted(at.to_path_buf()));
    }
    eprintln!("skipped: cannot mount");
    None
}

#[test]
fn a_full_storage_without_a_recorded_base_opens() {
    let dir = TempDir::new().unwrap();
    let root = dir.path().canonicalize().unwrap();
    let (base, storage) = (root.join("base"), root.join("storage"));
    fs::create_dir(&base).unwrap();
    fs::create_dir(&storage).unwrap();
    let Some(_mounted) = small(&storage) else {
        return;
    };
    let _ = fs::write(storage.join("big"), vec![1; 128 << 10]);
    let (accept_storage, at) = (true, storage.clone());
    let options = OpenOptions { base, storage: at, accept_storage, ..OpenOptions::default() };
    let begun = || {
        let mut layers = open_layers(&options).unwrap();
        layers.begin(&options).unwrap();
        layers
    };
    let layers = begun();
    assert!(!layers.read_only);
    assert_eq!(layers.warnings, [Warning::StorageFull { path: storage.clone() }]);
    drop(layers);
    fs::remove_file(storage.join("big")).unwrap();
    drop(begun());
    let meta = fs::read(storage.join(META_NAME)).unwrap();
    assert!(meta.starts_with(b"b "), "recorded once there is space");
}

#[test]
fn a_mount_says_when_it_has_not_compared_all() {
    let dir = TempDir::new().unwrap();
    let root = dir.path().canonicalize().unwrap();
    let (base, storage) = (root.join("base"), root.join("storage"));
    fs::create_dir(&base).unwrap();
    fs::create_dir(&storage).unwrap();
    let options = OpenOptions { base, storage: storage.clone(), ..OpenOptions::default() };
    open_layers(&options).unwrap().begin(&options).unwrap();
    // There may be partial files.
    let open = fs::File::open(&storage).unwrap().into();
    if OwnAttributes::of_process(&open).set(Spot::Fd(open.as_fd()), Own::Storage, b"1").is_err() {
        eprintln!("skipped: no attributes");
        return;
    }
    for n in 0..LOOKS {
        fs::write(storage.join(n.to_string()), "").unwrap();
    }
    assert_eq!(open_layers(&options).unwrap().warnings, []);
    fs::write(storage.join("more"), "").unwrap();
    let note = Warning::NotCompared { path: storage, looks: LOOKS };
    assert!(!note.is_problem());
    assert_eq!(open_layers(&options).unwrap().warnings, [note]);
    assert_eq!(examine(&options).unwrap(), []);
}
