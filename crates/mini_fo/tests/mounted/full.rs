//! A storage without room: what is deleted is deleted, and its space can be used.

use std::fs;
use std::path::Path;

use crate::common::{
    BaseKind, META, Scene, StorageKind, engine_is_product, is_root, sh, skip, skip_unless,
};

/// Mounts over a storage of its own size on this file system: a base of 300
/// directories in two levels, and one in which everybody may write.
fn scene(make: &str, tool: &str) -> Option<Scene> {
    if !engine_is_product() || skip_unless(&[tool]) {
        return None;
    }
    if !is_root() {
        skip("needs root");
        return None;
    }
    let mut s = Scene::unmounted(BaseKind::Plain, StorageKind::Plain, |base| {
        let fill = "for i in $(seq 15); do for j in $(seq 20); do
                mkdir -p t/$i/$j; echo x | tee t/$i/$j/{1,2,3} > /dev/null
            done; done
            mkdir -p w; chmod 1777 w; mkdir u; for i in $(seq 20); do mkdir u/$i; echo x > u/$i/f; done";
        sh(base, fill);
    })?;
    sh(&s.work.0, &format!("{make}; mkdir storage/s; chmod 700 storage/s"));
    s.storage = s.storage.join("s");
    s.mount(&[]);
    Some(s)
}

/// Takes all space and then the rest of it in small pieces, as this user.
fn fill(s: &Scene, user: &str) {
    let write = "for b in 1M 64k 4k 1k; do dd if=/dev/zero of=w/fill.$b bs=$b 2> /dev/null || true; done
        for i in $(seq 500); do { echo text > w/small$i && mkdir w/dir$i; } 2> /dev/null || break; done";
    let full = "if dd if=/dev/zero of=w/fill.2M bs=1M count=2 2> /dev/null; then exit 1; fi";
    let script = format!("{write}; {full}");
    sh(&s.mnt, &format!("setpriv --reuid={user} --regid={user} --clear-groups bash -c '{script}'"));
}

fn reserve(s: &Scene) -> usize {
    let dir = s.storage.join(format!("{META}_reserve"));
    fs::read_dir(dir).expect("the reserve").count()
}

fn full(make: &str, tool: &str) {
    let Some(mut s) = scene(make, tool) else { return };
    let kept = reserve(&s);
    assert!(kept > 4);
    for (user, tree) in [("65534", "t/1 t/2"), ("0", "t")] {
        fill(&s, user);
        // What is in the base, with and without its directories.
        sh(&s.mnt, &format!("rm -r {tree}; test ! -e t/1"));
        sh(&s.mnt, "rm u/1*/f; rm -r u/1*");
        // Space that a removed file had is free when it is gone.
        sh(
            &s.mnt,
            "rm w/fill.1M; dd if=/dev/zero of=w/again bs=1M count=2 2> /dev/null; rm -r w/*; mkdir -p u/1; echo x > u/1/f",
        );
        assert_eq!(reserve(&s), kept, "taken again");
    }
    s.now_and_remounted(|mnt| {
        sh(mnt, "test ! -e t; test $(ls -A u | wc -l) = 10; test -z \"$(ls -A w)\"");
    });
    let check = crate::common::mini_fo(&[Path::new("check"), &s.base, Path::new("-s"), &s.storage]);
    assert_eq!(check.code, 5, "in use: {}", check.stderr);
    s.umount();
    let check = crate::common::mini_fo(&[Path::new("check"), &s.base, Path::new("-s"), &s.storage]);
    check.ok();
}

#[test]
fn deletions_on_a_full_tmpfs() {
    full("mount -t tmpfs -o size=16m none storage", "mount");
}

#[test]
fn deletions_on_a_full_ext4() {
    full("truncate -s 64M image; mke2fs -q -t ext4 image; mount -o loop image storage", "mke2fs");
}

#[test]
fn deletions_on_a_full_xfs() {
    full("truncate -s 300M image; mkfs.xfs -q image; mount -o loop image storage", "mkfs.xfs");
}

#[test]
fn deletions_on_a_full_btrfs() {
    full("truncate -s 128M image; mkfs.btrfs -q image; mount -o loop image storage", "mkfs.btrfs");
}

/// A file in each of more directories than there is room for copies of.
/// `runs_out`: of room for copies, and not only for data.
fn many_directories(make: &str, tool: &str, runs_out: bool) {
    let Some(mut s) = scene(make, tool) else { return };
    s.umount();
    let more =
        "for i in $(seq 1500); do mkdir -p s/$i; echo x > s/$i/f; touch -d 2001-01-01 s/$i; done
        mkdir s/d top; for i in $(seq 40); do mkdir s/d/$i; done; echo x > top.txt";
    sh(&s.base, more);
    s.retake_proof();
    s.mount(&[]);
    fill(&s, "0");
    sh(&s.mnt, "find s -name f -print0 | xargs -0 rm; rmdir s/d/* top; rm top.txt");
    assert!(reserve(&s) > 0, "some of it is left");
    let gone = |mnt: &Path| {
        sh(
            mnt,
            "test -z \"$(find s -name f)\"; test $(ls s | wc -l) = 1501; test -z \"$(ls s/d)\"",
        );
        sh(
            mnt,
            "test $(stat -c %Y s/1499) -gt 1700000000; test $(ls t | wc -l) = 15; test ! -e top && test ! -e top.txt",
        );
    };
    s.now_and_remounted(gone);
    if runs_out {
        let told = told_by_root(&s.storage);
        assert!(told > 500, "{told}");
        is_no_layer(&mut s);
    }
    // It goes on to count where a directory on the way moves, and in its copy.
    let move_on = "rm w/fill.1M; mv s moved; mv moved/1498 . ; echo x > moved/1499/new
        test -z \"$(find moved 1498 -name f)\"; test -z \"$(ls moved/d)\"; rm moved/1499/new
        mv 1498 moved; mv moved s";
    sh(&s.mnt, move_on);
    gone(&s.mnt);
    // With room the directories tell it themselves, and any reader understands that.
    sh(&s.mnt, "rm w/*; rm -r t/1 2> /dev/null; true");
    s.remount();
    assert_eq!(told_by_root(&s.storage), 0, "settled");
    sh(&s.mnt, "test -z \"$(find s -name f)\"; test -z \"$(ls s/d)\"");
    s.umount();
}

/// Of a layer its directories alone are read.
fn is_no_layer(s: &mut Scene) {
    s.umount();
    let above = s.work.0.join("above");
    fs::create_dir(&above).expect("a storage");
    let base = std::mem::replace(&mut s.base, s.storage.clone());
    let storage = std::mem::replace(&mut s.storage, above);
    s.try_mount(&[]).fails(3, &["deleted in it while it was full", "mount it once"]);
    (s.base, s.storage) = (base, storage);
    s.mount(&[]);
}

/// How many deletions META of the storage's root tells of that are none of its own names.
fn told_by_root(storage: &Path) -> usize {
    let meta = fs::read(storage.join(META)).expect("META of the root");
    meta.split(|byte| *byte == b'\n').filter(|line| line.starts_with(b"h ")).count()
}

#[test]
fn many_directories_on_a_full_tmpfs() {
    many_directories("mount -t tmpfs -o size=16m none storage", "mount", true);
}

#[test]
fn many_directories_on_a_full_ext4() {
    let make =
        "truncate -s 48M image; mke2fs -q -t ext4 -N 8000 image; mount -o loop image storage";
    many_directories(make, "mke2fs", true);
}

#[test]
fn many_directories_on_a_full_xfs() {
    let make = "truncate -s 300M image; mkfs.xfs -q image; mount -o loop image storage";
    many_directories(make, "mkfs.xfs", true);
}

#[test]
fn many_directories_on_a_full_btrfs() {
    let make = "truncate -s 128M image; mkfs.btrfs -q image; mount -o loop image storage";
    // Names have a space of their own there, which is not full.
    many_directories(make, "mkfs.btrfs", false);
}

/// When half of the reserve is gone already.
#[test]
fn a_whole_tree_goes_after_many_single_files() {
    let Some(mut s) = scene("mount -t tmpfs -o size=16m none storage", "mount") else { return };
    s.umount();
    let more =
        "for i in $(seq 1000); do mkdir -p v/$((i / 50))/$i; touch v/$((i / 50))/$i/{1..20}; done
        mkdir z; touch z/f z/g z/h";
    sh(&s.base, more);
    s.retake_proof();
    s.mount(&[]);
    sh(&s.mnt, "touch z/keep; rm z/g");
    fill(&s, "0");
    sh(&s.mnt, "rm t/*/*/1; rm -r v; rm z/f");
    assert!(reserve(&s) > 0 && told_by_root(&s.storage) > 100);
    // It may be hidden by META of the root alone, and be there again.
    sh(&s.mnt, "rm z/h; rm w/fill.1k; mkdir z/h z/f");
    s.now_and_remounted(|mnt| {
        sh(mnt, "test ! -e v; test -d z/f; test -d z/h; test -z \"$(ls -d t/*/*/1 2> /dev/null)\"");
    });
    s.umount();
    crate::common::mini_fo(&[Path::new("check"), &s.base, Path::new("-s"), &s.storage]).ok();
}

/// The option says how much, and nothing where nothing is wanted.
#[test]
fn how_much_is_kept_back() {
    let Some(mut s) = scene("mount -t tmpfs -o size=64m none storage", "mount") else { return };
    let space = |s: &Scene| {
        let blocks = sh(&s.storage, &format!("du -sk {META}_reserve 2> /dev/null || echo 0"));
        blocks.split_whitespace().next().and_then(|n| n.parse::<u64>().ok()).expect("a number")
    };
    assert_eq!(space(&s), 2048, "a 32nd");
    for (size, kept) in [("64K", 64), ("1M", 1024), ("0", 0), ("512K", 512)] {
        s.umount();
        s.mount(&["-o", &format!("reserve={size}")]);
        assert_eq!(space(&s), kept, "{size}");
        sh(&s.mnt, "rm u/1/f; echo x > u/1/f");
    }
    s.umount();
    s.try_mount(&["-o", "reserve=much"]).fails(2, &["reserve", "much", "K, M or G"]);
}
