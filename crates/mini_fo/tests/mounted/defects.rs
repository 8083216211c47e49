//! Defects known from other overlays, each as the shortest way to meet it.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::common::{Scene, is_root, sh, skip_unless, standard_base, sys};

/// A removed, made and again removed directory came back with its base content.
#[test]
fn a_directory_removed_twice_stays_gone() {
    let Some(mut scene) = Scene::new(standard_base) else {
        return;
    };
    sh(&scene.mnt, "rm -rf d; mkdir d; rmdir d");
    scene.now_and_remounted(|mnt| assert!(!mnt.join("d").exists()));
    sh(&scene.mnt, "mkdir d; touch d/new");
    scene.now_and_remounted(|mnt| assert_eq!(sh(mnt, "ls d"), "new\n"));
    sh(&scene.mnt, "rm d/new; rmdir d; echo file > d; rm d");
    scene.now_and_remounted(|mnt| assert!(!mnt.join("d").exists()));
}

/// A file removed through one number of an inode met EISDIR through another.
#[test]
fn removing_and_making_under_the_same_names() {
    let Some(scene) = Scene::new(standard_base) else {
        return;
    };
    for round in 0..200 {
        let script = format!(
            "rm -rf x y; mkdir x; echo {round} > y; rm y; rmdir x; echo {round} > x; mkdir y; rm x; rmdir y"
        );
        sh(&scene.mnt, &script);
    }
    let _ = fs::remove_dir_all(scene.at("d"));
    assert!(!scene.at("d").exists());
}

/// At each moment of a rename exactly one of both names exists for an observer
/// that looks while it happens.
#[test]
fn a_rename_is_seen_whole() {
    let Some(scene) = Scene::new(standard_base) else {
        return;
    };
    let mnt = scene.mnt.clone();
    let (a, b) = (mnt.join("g"), mnt.join("g2"));
    std::thread::scope(|scope| {
        let mover = scope.spawn(|| {
            for _ in 0..100 {
                fs::rename(&a, &b).expect("rename");
                fs::rename(&b, &a).expect("rename back");
            }
        });
        while !mover.is_finished() {
            let names = names(&mnt);
            let count = names.iter().filter(|n| *n == "g" || *n == "g2").count();
            assert!(count <= 1, "both names at once: {names:?}");
        }
    });
    assert_eq!(fs::read(&a).expect("read"), b"gggg\n");
}

fn names(dir: &Path) -> Vec<String> {
    fs::read_dir(dir)
        .expect("readdir")
        .map(|entry| entry.expect("entry").file_name().to_string_lossy().into_owned())
        .collect()
}

#[test]
fn syncing_files_and_directories() {
    let Some(mut scene) = Scene::new(standard_base) else {
        return;
    };
    fs::write(scene.at("d/new"), "new").expect("write");
    File::open(scene.at("d/new")).and_then(|f| f.sync_all()).expect("fsync");
    File::open(scene.at("d")).and_then(|f| f.sync_all()).expect("fsync of the directory");
    sh(&scene.mnt, "sync -f d/new; chmod 600 f; sync f; sync -d g");
    scene.now_and_remounted(|mnt| {
        assert_eq!(fs::read(mnt.join("d/new")).expect("read"), b"new");
        assert_eq!(fs::read(mnt.join("f")).expect("read"), b"base content of f\n");
    });
}

#[test]
fn names_too_long() {
    let Some(scene) = Scene::new(standard_base) else {
        return;
    };
    let error = fs::write(scene.at(&"x".repeat(256)), "").expect_err("256 bytes");
    assert_eq!(error.raw_os_error(), Some(libc::ENAMETOOLONG));
    let error = fs::metadata(scene.at(&"x".repeat(256))).expect_err("256 bytes");
    assert_eq!(error.raw_os_error(), Some(libc::ENAMETOOLONG));
    fs::write(scene.at(&"x".repeat(255)), "").expect("255 bytes");
    fs::rename(scene.at(&"x".repeat(255)), scene.at(&"y".repeat(255))).expect("rename");
    fs::remove_file(scene.at(&"y".repeat(255))).expect("unlink");
}

#[test]
fn an_unlinked_open_file_lives_on() {
    let Some(scene) = Scene::new(standard_base) else {
        return;
    };
    for name in ["f", "d/one"] {
        let file = File::options().read(true).write(true).open(scene.at(name)).expect("open");
        fs::remove_file(scene.at(name)).expect("unlink");
        let found = file.metadata().expect("fstat of an unlinked file");
        assert_eq!(found.nlink(), 0, "{name}");
        std::os::unix::fs::FileExt::write_all_at(&file, b"still", 0).expect("write");
        file.set_len(3).expect("ftruncate");
        assert_eq!(file.metadata().expect("fstat").len(), 3);
    }
    let reader = File::open(scene.at("g")).expect("open");
    fs::remove_file(scene.at("g")).expect("unlink");
    assert_eq!(reader.metadata().expect("fstat").nlink(), 0);
    let mut bytes = [0; 4];
    std::os::unix::fs::FileExt::read_exact_at(&reader, &mut bytes, 0).expect("read");
    assert_eq!(&bytes, b"gggg");
}

#[test]
fn a_write_takes_setuid_away() {
    let Some(scene) = Scene::new(standard_base) else {
        return;
    };
    if !is_root() {
        return crate::common::skip("needs another user");
    }
    sh(
        &scene.mnt,
        "chmod 6777 script; touch made; chmod 6777 made
         setpriv --reuid 65534 --regid 65534 --clear-groups sh -c 'echo x >> script; echo x >> made'",
    );
    for name in ["script", "made"] {
        let mode = fs::metadata(scene.at(name)).expect("stat").mode();
        assert_eq!(mode & 0o7777, 0o777, "{name} kept its setuid bits");
    }
}

#[test]
fn a_write_through_a_mapping_moves_the_modification_time() {
    let Some(scene) = Scene::new(standard_base) else {
        return;
    };
    let file = File::options().read(true).write(true).open(scene.at("f")).expect("open");
    let before = file.metadata().expect("fstat").modified().expect("mtime");
    crate::common::sys::Mapping::shared(&file, 18, true).write(b"m");
    drop(file);
    let after = fs::metadata(scene.at("f")).expect("stat").modified().expect("mtime");
    assert!(after > before);
}

#[test]
fn umask_and_inherited_groups_apply() {
    let Some(scene) = Scene::new(standard_base) else {
        return;
    };
    sh(
        &scene.mnt,
        "umask 027; touch u; mkdir v; mkfifo w
         test \"$(stat -c %a u v w | tr '\\n' ' ')\" = '640 750 640 '
         chmod 2775 e; chgrp $(id -g) e; mkdir e/in; touch e/file
         test $(stat -c %a e/in) = 2750
         test $(stat -c %g e/file) = $(stat -c %g e)",
    );
}

/// Under idmapped mounts the kernel does not tell who asks.
#[test]
fn what_depends_on_the_caller_s_capabilities() {
    let Some(scene) = Scene::new(standard_base) else {
        return;
    };
    if !is_root() || skip_unless(&["setpriv", "fallocate", "getfattr"]) {
        return;
    }
    sys::set_xattr(&scene.at("g"), "trusted.hidden", b"1").expect("setxattr");
    sh(&scene.mnt, "chmod 6777 big; cp -p big big2; mkdir -m 777 open; mv big big2 g open");
    let list = "getfattr -d -m - open/g";
    assert!(sh(&scene.mnt, list).contains("trusted.hidden"));
    sh(&scene.mnt, "fallocate -o 0 -l 9000000 open/big; test $(stat -c %a open/big) = 6777");
    let user = "setpriv --reuid=65534 --regid=65534 --clear-groups";
    assert!(!sh(&scene.mnt, &format!("{user} {list}")).contains("trusted"));
    let grow = "fallocate -o 0 -l 9000000 open/big2; test $(stat -c %a open/big2) = 777";
    sh(&scene.mnt, &format!("{user} bash -euc '{grow}'"));
}

/// What changes nothing but times, or not even those, is as on the storage's file
/// system itself.
#[test]
fn changes_of_nothing() {
    let Some(scene) = Scene::new(standard_base) else {
        return;
    };
    let times = |path: &Path| {
        let meta = fs::symlink_metadata(path).expect("lstat");
        ((meta.mtime(), meta.mtime_nsec()), (meta.ctime(), meta.ctime_nsec()))
    };
    fs::write(scene.at("new"), "twelve bytes").expect("write");
    for name in ["f", "new", "d", "link"] {
        let path = scene.at(name);
        let before = times(&path);
        std::thread::sleep(std::time::Duration::from_millis(20));
        // chown(2) of nobody moves the time of change.
        std::os::unix::fs::lchown(&path, None, None).expect("chown");
        let after = times(&path);
        assert_eq!(before.0, after.0, "{name}");
        assert!(before.1 < after.1, "{name}");
    }
    for (name, size) in [("g", 5), ("new", 12)] {
        let path = scene.at(name);
        let before = times(&path);
        std::thread::sleep(std::time::Duration::from_millis(20));
        let text = std::ffi::CString::new(path.to_str().expect("UTF-8")).expect("no NUL");
        // SAFETY: the path is a C string that lives across the call.
        assert_eq!(unsafe { libc::truncate(text.as_ptr(), size) }, 0);
        assert_eq!(times(&path), before, "{name}");
        // ftruncate(2) moves them all the same.
        let file = File::options().write(true).open(&path).expect("open");
        file.set_len(size as u64).expect("ftruncate");
        assert!(times(&path).0 > before.0, "{name}");
    }
    if is_root() {
        for name in ["script", "new", "d"] {
            let remove = |attribute: &str| rustix::fs::lremovexattr(scene.at(name), attribute);
            assert_eq!(remove("system.posix_acl_access"), Ok(()), "{name}");
            assert_eq!(remove("user.absent"), Err(sys::Errno::NODATA), "{name}");
        }
        assert!(!scene.storage.join("script").exists(), "copied up for nothing");
    }
}
