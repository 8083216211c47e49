//! `-o submounts`: what is mounted below the base is part of the tree.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::common::{WorkDir, engine_is_product, is_root, mini_fo, sh, skip};

/// A base with a tmpfs, a read-only file bound over another, and /proc in it.
fn base_with_mounts(work: &WorkDir) -> PathBuf {
    let base = work.dir("base");
    sh(
        &base,
        "mkdir -p d/sub proc; echo top > f; echo under > g; echo bound > bind
         mount -t tmpfs none d/sub; mkdir d/sub/dir; echo inner > d/sub/dir/file
         ln d/sub/dir/file d/sub/linked
         mount --bind bind g; mount -t proc none proc",
    );
    base
}

fn mount(base: &Path, storage: &Path, mnt: &Path, options: &str) {
    let args: [&Path; 6] =
        ["mount".as_ref(), base, mnt, "--storage".as_ref(), storage, options.as_ref()];
    mini_fo(&args).ok();
}

#[test]
fn mounts_below_the_base_are_part_of_it() {
    let work = WorkDir::new();
    if !is_root() || !engine_is_product() {
        return skip("needs root to mount in the base");
    }
    let (base, storage, mnt) = (base_with_mounts(&work), work.dir("storage"), work.dir("mnt"));
    let before =
        sh(&base, "cat f g d/sub/dir/file d/sub/linked; stat -c '%n %y %z %h' d/sub/dir/*");
    for round in 0..2 {
        mount(&base, &storage, &mnt, "-osubmounts");
        if round == 0 {
            assert_eq!(sh(&mnt, "cat f g d/sub/dir/file"), "top\nbound\ninner\n");
            assert_eq!(sh(&mnt, "cat proc/sys/kernel/ostype"), "Linux\n");
            sh(
                &mnt,
                "echo more >> d/sub/dir/file; echo changed > g; mv d/sub moved; echo n > moved/n",
            );
            sh(&mnt, "echo x > proc/sys/kernel/hostname");
        }
        assert_eq!(
            sh(&mnt, "cat moved/dir/file moved/linked g"),
            "inner\nmore\ninner\nmore\nchanged\n"
        );
        assert_eq!(sh(&mnt, "ls d moved"), "d:\n\nmoved:\ndir\nlinked\nn\n");
        let number = |path: &str| fs::metadata(mnt.join(path)).expect("stat").ino();
        assert_eq!(number("moved/dir/file"), number("moved/linked"));
        assert_ne!(number("moved"), number("moved/dir"));
        mini_fo(&[Path::new("umount"), &mnt]).ok();
    }
    let after = sh(&base, "cat f g d/sub/dir/file d/sub/linked; stat -c '%n %y %z %h' d/sub/dir/*");
    assert_eq!(before, after);
    // Without the option they are empty, as in 2005; what was changed stays.
    mount(&base, &work.dir("other"), &mnt, "-orw");
    assert_eq!(sh(&mnt, "ls d/sub proc; cat f g"), "d/sub:\n\nproc:\ntop\nunder\n");
    mini_fo(&[Path::new("umount"), &mnt]).ok();
}

/// Different file systems number their objects alike; the mount does not.
#[test]
fn numbers_of_different_file_systems_differ() {
    let work = WorkDir::new();
    if !is_root() || !engine_is_product() {
        return skip("needs root to mount in the base");
    }
    let (base, storage, mnt) = (work.dir("base"), work.dir("storage"), work.dir("mnt"));
    sh(
        &base,
        "for i in 1 2 3; do mkdir $i; mount -t tmpfs none $i; echo $i > $i/f; ln $i/f $i/g; done",
    );
    mount(&base, &storage, &mnt, "-osubmounts");
    let all = sh(&mnt, "find . -printf '%i\\n' | sort -u | wc -l");
    assert_eq!(all.trim(), "7", "ten names of seven objects");
    sh(&mnt, "echo new > 2/f; cat 1/f 1/g 2/f 2/g 3/f 3/g");
    assert_eq!(sh(&mnt, "cat 1/f 1/g 2/f 2/g 3/f 3/g"), "1\n1\nnew\nnew\n3\n3\n");
    mini_fo(&[Path::new("umount"), &mnt]).ok();
}
