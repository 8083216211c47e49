//! What a mount says of a storage, and one without space for its own records.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fd::AsFd;
use tempfile::TempDir;

use super::lost::LOOKS;
use super::{examine, open_layers};
use crate::format::name::META_NAME;
use crate::interface::error::{OpenError, Warning};
use crate::interface::options::OpenOptions;
use crate::interface::types::{NodeId, RenameMode};
use crate::reach::overlay::Overlay;
use crate::sys::Spot;
use crate::sys::own::{Own, OwnAttributes};
use crate::tests::mounted::patiently;

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
        let mut layers = patiently(|| open_layers(&options)).unwrap();
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
    patiently(|| open_layers(&options)).unwrap().begin(&options).unwrap();
    // There may be partial files.
    let open = fs::File::open(&storage).unwrap().into();
    if OwnAttributes::of_process(&open).set(Spot::Fd(open.as_fd()), Own::Storage, b"1").is_err() {
        eprintln!("skipped: no attributes");
        return;
    }
    for n in 0..LOOKS {
        fs::write(storage.join(n.to_string()), "").unwrap();
    }
    assert_eq!(patiently(|| open_layers(&options)).unwrap().warnings, []);
    fs::write(storage.join("more"), "").unwrap();
    let note = Warning::NotCompared { path: storage, looks: LOOKS };
    assert!(!note.is_problem());
    assert_eq!(patiently(|| open_layers(&options)).unwrap().warnings, [note]);
    assert_eq!(patiently(|| examine(&options)).unwrap(), []);
}

/// A crash came in a rename of a base directory over an empty one, after the move
/// and before META could tell it as a fact.
#[test]
fn a_copy_of_a_storage_with_open_renames_is_refused() {
    let dir = TempDir::new().unwrap();
    let root = dir.path().canonicalize().unwrap();
    let (base, storage) = (root.join("base"), root.join("storage"));
    fs::create_dir_all(base.join("a")).unwrap();
    fs::write(base.join("a/precious"), "precious").unwrap();
    fs::create_dir(base.join("b")).unwrap();
    fs::create_dir(&storage).unwrap();
    let options = OpenOptions { base, storage: storage.clone(), ..OpenOptions::default() };
    let begin = |options: &OpenOptions| patiently(|| Overlay::assemble(options));
    let overlay = begin(&options).unwrap();
    let (top, mode) = (NodeId::ROOT, RenameMode::Replace);
    overlay.rename(top, b"a", top, b"b", mode).unwrap();
    overlay.finish();
    drop(overlay);
    let meta = storage.join(META_NAME);
    let said = fs::read_to_string(&meta).unwrap();
    let ino = fs::metadata(storage.join("b")).unwrap().ino();
    let facts = ["D a", "R /a b", "D b", "s ", "w ", "v "];
    let kept = said.lines().filter(|line| !facts.iter().any(|fact| line.starts_with(fact)));
    let mut before: String = kept.map(|line| format!("{line}\n")).collect();
    before.push_str(&format!("w - 0 D a\nw + {ino} R /a b\nw + {ino} D b\n"));
    fs::write(&meta, before).unwrap();
    let copy = |name: &str| {
        let to = root.join(name);
        let copied = Command::new("cp").arg("-a").args([&storage, &to]).status().unwrap();
        assert!(copied.success());
        OpenOptions { storage: to, ..options.clone() }
    };
    let precious = |overlay: &Overlay| {
        let b = overlay.lookup(top, b"b").unwrap().expect("b");
        overlay.lookup(b.node, b"precious").unwrap().is_some()
    };
    let early = copy("early");
    for read_only in [true, false] {
        let refused = begin(&OpenOptions { read_only, ..early.clone() });
        assert!(matches!(refused, Err(OpenError::StorageCopied { .. })));
    }
    assert!(patiently(|| examine(&early)).is_ok());
    let overlay = begin(&options).unwrap();
    assert!(precious(&overlay));
    overlay.finish();
    drop(overlay);
    let late = copy("late");
    for options in [&late, &options] {
        assert!(precious(&begin(options).unwrap()));
    }
    // Who has no original any more gets what there is.
    let damaged = OpenOptions { write_despite_damage: true, ..early.clone() };
    drop(begin(&damaged).unwrap());
    drop(begin(&early).unwrap());
}
