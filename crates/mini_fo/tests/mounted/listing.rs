//! Listings of directories that have entries in both layers, read by many at once.

use std::collections::HashMap;
use std::fs;
use std::mem::MaybeUninit;
use std::path::Path;

use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags, RawDir};

use crate::cli::daemon;
use crate::common::{Scene, engine_is_product};
use crate::load::resident;

const ENTRIES: usize = 20_000;

fn base(base: &Path) {
    fs::create_dir(base.join("d")).expect("mkdir");
    for i in 0..ENTRIES {
        fs::write(base.join(format!("d/name-of-some-length-{i}")), "").expect("write");
    }
}

fn open(dir: &Path) -> OwnedFd {
    rustix::fs::open(dir, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).expect("open")
}

/// What one getdents gives.
fn some(fd: &OwnedFd) -> Vec<String> {
    let mut space = [MaybeUninit::<u8>::uninit(); 8192];
    let mut entries = RawDir::new(fd, &mut space);
    let mut names = Vec::new();
    while let Some(entry) = entries.next() {
        names.push(entry.expect("getdents").file_name().to_string_lossy().into_owned());
        if entries.is_buffer_empty() {
            break;
        }
    }
    names
}

/// Hundreds of handles, each a little into its listing: they hold one listing
/// together, and where the directory changes between them, a bounded number.
#[test]
fn many_handles_hold_little_memory() {
    if !engine_is_product() {
        return;
    }
    let Some(mut scene) = Scene::new(base) else { return };
    let dir = scene.at("d");
    fs::write(dir.join("new"), "").expect("write");
    // Warm: the kernel knows the names, the daemon its nodes.
    assert_eq!(fs::read_dir(&dir).expect("readdir").count(), ENTRIES + 1);
    let pid = daemon(&scene);
    let before = resident(pid).expect("VmRSS");
    let same: Vec<_> = (0..200).map(|_| open(&dir)).collect();
    assert!(same.iter().all(|fd| !some(fd).is_empty()));
    let shared = resident(pid).expect("VmRSS").saturating_sub(before);
    assert!(shared < 8 << 10, "200 handles on one listing take {shared} KiB");
    // Each with a listing of its own.
    let mut handles = Vec::new();
    for i in 0..150 {
        fs::write(dir.join(format!("new{i}")), "").expect("write");
        let fd = open(&dir);
        let begun = some(&fd);
        handles.push((fd, begun));
    }
    let all = resident(pid).expect("VmRSS").saturating_sub(before);
    assert!(all < 64 << 10, "150 handles on as many listings take {all} KiB");
    // All go on where they were: what was there all the time comes once.
    for (fd, mut names) in handles.into_iter().step_by(25) {
        loop {
            let more = some(&fd);
            if more.is_empty() {
                break;
            }
            names.extend(more);
        }
        let mut count: HashMap<&str, usize> = HashMap::new();
        names.iter().for_each(|name| *count.entry(name).or_default() += 1);
        assert!(count.values().all(|times| *times == 1));
        let old = names.iter().filter(|name| name.starts_with("name-of-")).count();
        assert_eq!(old, ENTRIES);
    }
    drop(same);
    scene.remount();
}

/// What is removed and made while a directory is read: each reader sees what
/// stays, and a new reader sees what is there now.
#[test]
fn a_listing_is_as_new_as_its_beginning() {
    let Some(scene) = Scene::new(|base| {
        fs::create_dir(base.join("d")).expect("mkdir");
        (0..100).for_each(|i| fs::write(base.join(format!("d/{i}")), "").expect("write"));
    }) else {
        return;
    };
    let dir = scene.at("d");
    let names = |dir: &Path| -> Vec<String> {
        let names =
            fs::read_dir(dir).expect("readdir").map(|entry| entry.expect("entry").file_name());
        names.map(|name| name.to_string_lossy().into_owned()).collect()
    };
    fs::write(dir.join("first"), "").expect("write");
    for i in 0..100 {
        fs::remove_file(dir.join(i.to_string())).expect("unlink");
        fs::write(dir.join(format!("new{i}")), "").expect("write");
        let seen = names(&dir);
        assert_eq!(seen.len(), 101, "{i}: {seen:?}");
        assert!(seen.contains(&format!("new{i}")) && !seen.contains(&i.to_string()));
        let moved = scene.at("moved");
        fs::rename(&dir, &moved).expect("rename");
        assert_eq!(names(&moved).len(), 101);
        fs::rename(&moved, &dir).expect("rename");
    }
}
