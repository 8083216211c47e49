//! Directories: merging, hiding, and renames that cost nothing.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use rustix::fs::RenameFlags;

use crate::common::sys::{self, Errno, exchange, rename_with};
use crate::common::{META, Scene, assert_same_tree, engine_is_product, sh, standard_base};

fn list(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(dir)
        .unwrap_or_else(|error| panic!("{}: {error}", dir.display()))
        .map(|entry| entry.expect("entry").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn storage_and_base_merge() {
    let Some(mut scene) = Scene::new(standard_base) else {
        return;
    };
    sh(&scene.mnt, "echo new > d/new; rm d/one; echo changed > d/two");
    scene.now_and_remounted(|mnt| {
        assert_eq!(list(&mnt.join("d")), ["dangling", "new", "sub", "two"]);
        assert_eq!(read(&mnt.join("d/two")), "changed\n");
        assert_eq!(read(&mnt.join("d/sub/three")), "333\n");
    });
}

#[test]
fn what_is_deleted_stays_deleted() {
    let Some(mut scene) = Scene::new(standard_base) else {
        return;
    };
    sh(&scene.mnt, "rm f d/sub/deep/four; rm -r e; rmdir empty; rm link fifo sock 'long dir/a b'");
    scene.now_and_remounted(|mnt| {
        for gone in ["f", "d/sub/deep/four", "e", "empty", "link", "fifo", "long dir/a b"] {
            assert!(fs::symlink_metadata(mnt.join(gone)).is_err(), "{gone}");
        }
        assert!(list(&mnt.join("d/sub/deep")).is_empty());
        assert!(list(&mnt.join("long dir")).is_empty());
    });
}

#[test]
fn a_directory_made_again_hides_the_base() {
    let Some(mut scene) = Scene::new(standard_base) else {
        return;
    };
    sh(&scene.mnt, "rm -r d; mkdir d; echo x > d/only; rm f; mkdir f; rm -r e; echo e > e");
    scene.now_and_remounted(|mnt| {
        assert_eq!(list(&mnt.join("d")), ["only"]);
        assert!(mnt.join("f").is_dir());
        assert_eq!(read(&mnt.join("e")), "e\n");
    });
}

#[test]
fn a_removed_directory_must_be_empty() {
    let Some(scene) = Scene::new(standard_base) else {
        return;
    };
    let error = fs::remove_dir(scene.at("d")).expect_err("not empty");
    assert_eq!(error.kind(), ErrorKind::DirectoryNotEmpty);
    sh(&scene.mnt, "rm e/five");
    fs::remove_dir(scene.at("e")).expect("empty in the merged tree");
    let error = fs::remove_dir(scene.at("f")).expect_err("no directory");
    assert_eq!(error.raw_os_error(), Some(libc::ENOTDIR));
    let error = fs::remove_file(scene.at("d")).expect_err("a directory");
    assert_eq!(error.raw_os_error(), Some(libc::EISDIR));
}

#[test]
fn a_base_directory_is_renamed_by_one_line() {
    let Some(mut scene) = Scene::new(standard_base) else {
        return;
    };
    fs::rename(scene.at("d"), scene.at("e/moved")).expect("rename");
    if engine_is_product() {
        assert_eq!(scene.meta("e").lines().filter(|l| *l == "R /d moved").count(), 1);
        assert_eq!(scene.meta("").lines().filter(|l| *l == "D d").count(), 1);
        let files = sh(&scene.storage, &format!("find . -type f ! -path '*/{META}*'"));
        assert_eq!(files, "", "nothing was copied");
    }
    scene.now_and_remounted(|mnt| {
        assert!(!mnt.join("d").exists());
        assert_eq!(list(&mnt.join("e/moved")), ["dangling", "one", "sub", "two"]);
        assert_eq!(read(&mnt.join("e/moved/sub/deep/four")), "4444\n");
    });
}

#[test]
fn chains_of_renames() {
    let Some(mut scene) = Scene::new(standard_base) else {
        return;
    };
    let plain = scene.plain_copy();
    let script = "mv d d1; mv d1/sub d1/s; mv d1 d2; mkdir n; mv d2 n/d3; mv n/d3/s/deep n/
        echo x > n/d3/s/new; rm n/d3/one; mv n m; mv m/deep/four m/deep/five; mv e m/d3/s/e
        mkdir d; mv m/d3/s d/s; rm d/s/three; mv d/s d/t; mv 'long dir' 'longer dir'
        mv 'longer dir/a b' 'longer dir/c d'; mkdir 'x y'; mv 'longer dir' 'x y/z'";
    sh(&plain, script);
    sh(&scene.mnt, script);
    scene.now_and_remounted(|mnt| assert_same_tree(mnt, &plain));
    let more =
        "mv d/t d/s; rm -r m/d3; mv m/deep d/s/; mv 'x y/z' 'long dir'; rmdir 'x y'; mv d d9";
    sh(&plain, more);
    sh(&scene.mnt, more);
    scene.now_and_remounted(|mnt| assert_same_tree(mnt, &plain));
}

#[test]
fn there_and_back_again() {
    let Some(mut scene) = Scene::new(standard_base) else {
        return;
    };
    let plain = scene.plain_copy();
    for root in [scene.mnt.clone(), plain.clone()] {
        for _ in 0..3 {
            for (from, to) in [("d", "d-away"), ("f", "f-away"), ("e", "d-away/e")] {
                fs::rename(root.join(from), root.join(to)).expect("rename");
            }
            for (from, to) in [("d-away/e", "e"), ("f-away", "f"), ("d-away", "d")] {
                fs::rename(root.join(from), root.join(to)).expect("rename back");
            }
        }
    }
    scene.now_and_remounted(|mnt| assert_same_tree(mnt, &plain));
}

#[test]
fn renames_over_what_is_there() {
    let Some(mut scene) = Scene::new(standard_base) else {
        return;
    };
    let plain = scene.plain_copy();
    let script = "mv -T d empty; mv -f f g; mkdir new; mv -T new/../e new; echo n > n; mv n big
        mkdir hollow; mv -T empty/sub hollow; mkdir d; mv -T hollow d";
    sh(&plain, script);
    sh(&scene.mnt, script);
    scene.now_and_remounted(|mnt| assert_same_tree(mnt, &plain));
    let rename = |from: &str, to: &str| {
        fs::rename(scene.at(from), scene.at(to)).expect_err("rename").raw_os_error()
    };
    assert_eq!(rename("new", "d"), Some(libc::ENOTEMPTY));
    assert_eq!(rename("g", "d"), Some(libc::EISDIR));
    assert_eq!(rename("d", "g"), Some(libc::ENOTDIR));
    assert_eq!(rename("d", "d/deep/inside"), Some(libc::EINVAL));
    assert_eq!(rename("absent", "x"), Some(libc::ENOENT));
}

#[test]
fn noreplace() {
    let Some(scene) = Scene::new(standard_base) else {
        return;
    };
    let rename =
        |from: &str, to: &str| rename_with(&scene.at(from), &scene.at(to), RenameFlags::NOREPLACE);
    assert_eq!(rename("f", "g"), Err(Errno::EXIST));
    assert_eq!(rename("d", "empty"), Err(Errno::EXIST));
    sh(&scene.mnt, "rm g");
    assert_eq!(rename("f", "g"), Ok(()));
    assert_eq!(rename("d", "dd"), Ok(()));
}

#[test]
fn exchanges() {
    let Some(mut scene) = Scene::new(standard_base) else {
        return;
    };
    fs::create_dir(scene.at("made")).expect("mkdir");
    fs::write(scene.at("made/m"), "m").expect("write");
    fs::write(scene.at("file"), "file").expect("write");
    let pairs = [
        ("f", "g"),
        ("d", "e"),
        ("made", "e/sub"),
        ("file", "big"),
        ("script", "empty"),
        ("link", "fifo"),
        ("d", "made"),
    ];
    for (one, other) in pairs {
        exchange(&scene.at(one), &scene.at(other))
            .unwrap_or_else(|error| panic!("exchange {one} {other}: {error}"));
    }
    assert_eq!(exchange(&scene.at("f"), &scene.at("absent")), Err(Errno::NOENT));
    assert_eq!(exchange(&scene.at("e"), &scene.at("e/sub")), Err(Errno::INVAL));
    scene.now_and_remounted(|mnt| {
        assert_eq!(read(&mnt.join("f")), "gggg\n");
        assert_eq!(read(&mnt.join("g")), "base content of f\n");
        assert_eq!(read(&mnt.join("e/one")), "1\n");
        assert_eq!(list(&mnt.join("made")), ["five"]);
        assert!(mnt.join("script").is_dir());
        assert_eq!(read(&mnt.join("empty")), "#!/bin/sh\necho run\n");
        assert_eq!(read(&mnt.join("big")), "file");
        assert!(fs::symlink_metadata(mnt.join("fifo")).expect("lstat").is_symlink());
    });
}

/// Exchanged and back, on a plain directory and on the mount.
#[test]
fn exchanges_of_directories_with_changes_inside() {
    let Some(mut scene) = Scene::new(standard_base) else {
        return;
    };
    let plain = scene.plain_copy();
    let both = [scene.mnt.clone(), plain.clone()];
    for root in &both {
        sh(root, "echo x > d/x; rm d/one; echo y > e/y; rm e/five; mkdir k; touch k/k");
        for (one, other) in [("d", "e"), ("e/sub", "k"), ("d", "empty")] {
            exchange(&root.join(one), &root.join(other)).expect("exchange");
        }
        sh(root, "rm e/two; touch k/deep/new; mv k k2; mv empty d/moved");
    }
    scene.now_and_remounted(|mnt| assert_same_tree(mnt, &plain));
}

#[test]
fn never_exdev() {
    let Some(scene) = Scene::new(standard_base) else {
        return;
    };
    for (from, to) in [("d/sub", "e/sub"), ("e", "empty/e"), ("d", "empty/d"), ("empty", "n")] {
        fs::rename(scene.at(from), scene.at(to))
            .unwrap_or_else(|error| panic!("{from} -> {to}: {error}"));
    }
}

/// Names of META and everything that begins like it cannot be seen or made.
#[test]
fn the_journal_stays_hidden() {
    if !engine_is_product() {
        return;
    }
    let Some(mut scene) = Scene::new(standard_base) else {
        return;
    };
    sh(&scene.mnt, "rm f; rm d/one; mv e e2");
    assert!(!scene.meta("").is_empty());
    for name in [META.to_owned(), format!("{META}.x")] {
        let error = fs::write(scene.at(&name), "mine").expect_err("a reserved name");
        assert_eq!(error.kind(), ErrorKind::PermissionDenied);
        let error = fs::create_dir(scene.at(&format!("d/{name}"))).expect_err("reserved");
        assert_eq!(error.kind(), ErrorKind::PermissionDenied);
        let error = fs::rename(scene.at("g"), scene.at(&name)).expect_err("reserved");
        assert_eq!(error.kind(), ErrorKind::PermissionDenied);
        assert!(fs::symlink_metadata(scene.at(&name)).is_err());
    }
    scene.now_and_remounted(|mnt| {
        assert_eq!(sh(mnt, "find . -name 'META*'"), "");
    });
    sh(&scene.mnt, "rm d/two d/dangling; rm -r d/sub; rmdir d");
}

#[test]
fn a_directory_that_changes_while_it_is_read() {
    let Some(scene) = Scene::new(|base| {
        for i in 0..3000 {
            fs::write(base.join(format!("file-{i:05}")), "").expect("write");
        }
    }) else {
        return;
    };
    let mut seen = Vec::new();
    for (count, entry) in fs::read_dir(&scene.mnt).expect("readdir").enumerate() {
        let name = entry.expect("entry").file_name().to_string_lossy().into_owned();
        if count % 3 == 0 && name.starts_with("file") {
            fs::remove_file(scene.at(&name)).expect("unlink");
        }
        if count % 100 == 0 {
            fs::write(scene.at(&format!("new-{count}")), "").expect("write");
        }
        seen.push(name);
    }
    seen.retain(|name| name.starts_with("file"));
    seen.sort();
    let count = seen.len();
    seen.dedup();
    assert_eq!((count, seen.len()), (3000, 3000), "each name exactly once");
    sh(&scene.mnt, "rm -rf ./*; test -z \"$(ls -A)\"");
}

/// The root looks like the base's root; what is changed about it is kept, and
/// does not open the storage directory to others.
#[test]
fn the_root_is_the_base_s_root() {
    let Some(mut scene) = Scene::new(|base| {
        standard_base(base);
        sh(base, "chmod 711 .; touch -d @1000000000 .");
        let _ = sys::set_xattr(base, "user.root", b"1");
    }) else {
        return;
    };
    let seen =
        |path: &Path| sh(path, "stat -c '%a %u %g %Y' .; getfattr --only-values -n user.root .");
    assert_eq!(seen(&scene.mnt), seen(&scene.quiet_base()));
    let before = sh(&scene.storage, "stat -c '%a %u' .");
    sh(&scene.mnt, "chmod 1777 .; touch new");
    scene.now_and_remounted(|mnt| {
        assert_eq!(sh(mnt, "stat -c %a ."), "1777\n");
    });
    if engine_is_product() {
        assert_eq!(sh(&scene.storage, "stat -c '%a %u' ."), before);
    }
}

#[test]
fn strange_names() {
    let Some(mut scene) = Scene::new(|base| {
        for name in ["new\nline", " lead", "trail ", "back\\slash", "\u{e9}\u{4e2d}", "D x", "-n"] {
            fs::create_dir(base.join(name)).expect("mkdir");
            fs::write(base.join(name).join("in"), name).expect("write");
            fs::write(base.join(format!("{name}.f")), name).expect("write");
        }
        use std::os::unix::ffi::OsStrExt;
        fs::write(base.join(std::ffi::OsStr::from_bytes(b"\xff\xfe")), "").expect("write");
    }) else {
        return;
    };
    let plain = scene.plain_copy();
    let script = "for n in *; do if [ -d \"$n\" ]; then mv -- \"$n\" \"./$n r\"; fi; done
        for n in *.f; do rm -- \"$n\"; done; mkdir $'again\\nagain'; mv -- * $'again\\nagain'/ || true";
    for root in [&plain, &scene.mnt] {
        sh(root, script);
    }
    scene.now_and_remounted(|mnt| assert_same_tree(mnt, &plain));
    let error = sys::get_xattr(&scene.at("absent"), "user.x");
    assert_eq!(error, Err(Errno::NOENT));
}
