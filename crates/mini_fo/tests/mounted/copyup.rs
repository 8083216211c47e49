//! The first change of a base object: everything else about it stays.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use crate::common::{Scene, engine_is_product, is_root, run, sh, skip, standard_base, sys};

/// All of an object that a program can see, except its content.
type Seen = (u32, u32, u32, u64, u64, [i64; 6], Vec<(Vec<u8>, Vec<u8>)>);

fn seen(path: &Path) -> Seen {
    let found = fs::symlink_metadata(path).expect("lstat");
    (
        found.mode(),
        found.uid(),
        found.gid(),
        found.ino(),
        found.rdev(),
        [
            found.atime(),
            found.atime_nsec(),
            found.mtime(),
            found.mtime_nsec(),
            found.ctime(),
            found.ctime_nsec(),
        ],
        sys::xattrs(path),
    )
}

const ALL: [&str; 8] = ["f", "g", "d", "link", "fifo", "sock", "d/sub", "null"];

fn existing<'a>(scene: &'a Scene) -> impl Iterator<Item = &'static str> + 'a {
    ALL.into_iter().filter(|name| fs::symlink_metadata(scene.at(name)).is_ok())
}

#[test]
fn an_open_for_writing_that_writes_nothing() {
    let Some(mut scene) = Scene::new(standard_base) else {
        return;
    };
    let before = seen(&scene.at("f"));
    let parent = seen(&scene.mnt);
    drop(OpenOptions::new().write(true).open(scene.at("f")).expect("open"));
    drop(OpenOptions::new().append(true).open(scene.at("f")).expect("open"));
    let mnt = scene.mnt.clone();
    assert_eq!(seen(&mnt.join("f")), before);
    assert_eq!(seen(&mnt), parent, "the directory of a copied-up file changed");
    scene.remount();
    assert_eq!(seen(&mnt.join("f")), before, "after a remount");
}

#[test]
fn chmod_changes_the_mode_and_the_change_time_only() {
    let Some(mut scene) = Scene::new(standard_base) else {
        return;
    };
    for name in existing(&scene).collect::<Vec<_>>() {
        if name == "link" {
            continue;
        }
        let before = seen(&scene.at(name));
        fs::set_permissions(scene.at(name), fs::Permissions::from_mode(0o705)).expect("chmod");
        let mut after = seen(&scene.at(name));
        assert_eq!(after.0 & 0o7777, 0o705, "{name}");
        assert!(after.5[4..] > before.5[4..], "the ctime of {name}");
        let shown = after.clone();
        after.0 = before.0;
        after.5[4..].copy_from_slice(&before.5[4..]);
        assert_eq!(after, before, "{name}");
        scene.remount();
        assert_eq!(seen(&scene.at(name)), shown, "{name} after a remount");
    }
}

#[test]
fn chown_of_every_type() {
    let Some(mut scene) = Scene::new(standard_base) else {
        return;
    };
    if !is_root() {
        return skip("needs root");
    }
    for name in existing(&scene).collect::<Vec<_>>() {
        let before = seen(&scene.at(name));
        std::os::unix::fs::lchown(scene.at(name), Some(77), Some(88)).expect("chown");
        let after = seen(&scene.at(name));
        assert_eq!((after.1, after.2), (77, 88), "{name}");
        assert_eq!((after.0, after.3, after.4), (before.0, before.3, before.4), "{name}");
        assert_eq!(after.5[..4], before.5[..4], "{name}");
        assert_eq!(after.6, before.6, "{name}");
    }
    scene.remount();
    for name in existing(&scene) {
        let after = seen(&scene.at(name));
        assert_eq!((after.1, after.2), (77, 88), "{name} after a remount");
    }
}

#[test]
fn times_alone_on_every_type() {
    let Some(mut scene) = Scene::new(standard_base) else {
        return;
    };
    for name in existing(&scene).collect::<Vec<_>>() {
        let before = seen(&scene.at(name));
        sys::set_times(&scene.at(name), 86_400, 987_654_321);
        let after = seen(&scene.at(name));
        assert_eq!(after.5[..4], [86_400, 987_654_321, 86_400, 987_654_321], "{name}");
        assert_eq!(
            (after.0, after.1, after.2, after.3, after.6),
            (before.0, before.1, before.2, before.3, before.6),
            "{name}"
        );
        scene.remount();
        assert_eq!(seen(&scene.at(name)).5[2..4], [86_400, 987_654_321], "{name}, remounted");
    }
}

#[test]
fn extended_attributes_on_base_objects() {
    let Some(mut scene) = Scene::new(standard_base) else {
        return;
    };
    for name in ["f", "d"] {
        let before = seen(&scene.at(name));
        sys::set_xattr(&scene.at(name), "user.added", b"\0binary\xff").expect("setxattr");
        let after = seen(&scene.at(name));
        assert_eq!(after.6.len(), before.6.len() + 1, "{name}");
        assert_eq!(after.5[..4], before.5[..4], "{name}");
    }
    sh(&scene.mnt, "setfattr -x user.colour f");
    if is_root() {
        sh(&scene.mnt, "setfattr -n trusted.t -v 1 g; setfattr -h -n trusted.t -v 2 link");
    }
    if is_root() && crate::common::have("setcap") {
        sh(&scene.mnt, "cp /bin/true cap; setcap cap_net_raw=ep cap; getcap cap | grep -q raw");
    }
    scene.now_and_remounted(|mnt| {
        assert_eq!(sys::get_xattr(&mnt.join("f"), "user.colour"), Err(sys::Errno::NODATA));
        let added = sys::get_xattr(&mnt.join("f"), "user.added");
        assert_eq!(added.as_deref(), Ok(&b"\0binary\xff"[..]));
        if is_root() {
            assert_eq!(sys::get_xattr(&mnt.join("link"), "trusted.t").as_deref(), Ok(&b"2"[..]));
        }
    });
}

#[test]
fn access_control_lists_survive() {
    if crate::common::skip_unless(&["setfacl"]) {
        return;
    }
    let Some(mut scene) = Scene::new(|base| {
        standard_base(base);
        run("setfacl", &["-m", "u:7:rw", base.join("f").to_str().expect("UTF-8")]).ok();
        run("setfacl", &["-d", "-m", "g:9:rwx", base.join("d").to_str().expect("UTF-8")]).ok();
    }) else {
        return;
    };
    sh(&scene.mnt, "echo x >> f; touch d/made; setfacl -m u:8:r g");
    scene.now_and_remounted(|mnt| {
        sh(
            mnt,
            "getfacl -n f | grep -q user:7:rw-; getfacl -n d/made | grep -q group:9
             getfacl -n g | grep -q user:8:r--",
        );
    });
}

#[test]
fn hard_links_to_base_objects_of_every_type() {
    let Some(mut scene) = Scene::new(standard_base) else {
        return;
    };
    for name in existing(&scene).filter(|name| !scene.at(name).is_dir() || *name == "link") {
        let before = seen(&scene.at(name));
        let new = scene.at(&format!("{}-linked", name.replace('/', "_")));
        fs::hard_link(scene.at(name), &new).expect("link");
        let both = (seen(&scene.at(name)), seen(&new));
        assert_eq!(both.0, both.1, "{name}");
        assert_eq!(both.0.3, before.3, "the number of {name}");
        assert_eq!(fs::symlink_metadata(&new).expect("lstat").nlink(), 2, "{name}");
    }
    fs::write(scene.at("f-linked"), "through the link").expect("write");
    scene.now_and_remounted(|mnt| {
        assert_eq!(fs::read(mnt.join("f")).expect("read"), b"through the link");
        assert_eq!(seen(&mnt.join("g")), seen(&mnt.join("g-linked")));
    });
}

#[test]
fn renames_of_base_objects_of_every_type() {
    let Some(mut scene) = Scene::new(standard_base) else {
        return;
    };
    let moved = |name: &str| format!("e/{}-moved", name.replace('/', "_"));
    let mut all = Vec::new();
    for name in existing(&scene).filter(|name| *name != "d") {
        let before = seen(&scene.at(name));
        fs::rename(scene.at(name), scene.at(&moved(name))).expect("rename");
        all.push((name, before));
    }
    scene.now_and_remounted(|mnt| {
        for (name, before) in &all {
            let after = seen(&mnt.join(moved(name)));
            assert!(fs::symlink_metadata(mnt.join(name)).is_err(), "{name} is still there");
            assert_eq!(after.5[..4], before.5[..4], "times of {name}");
            assert_eq!(
                (after.0, after.1, after.2, after.3, after.4, &after.6),
                (before.0, before.1, before.2, before.3, before.4, &before.6),
                "{name}"
            );
        }
    });
}

#[test]
fn the_number_of_a_file_stays() {
    let Some(mut scene) = Scene::new(standard_base) else {
        return;
    };
    let number =
        |scene: &Scene, name: &str| fs::symlink_metadata(scene.at(name)).expect("lstat").ino();
    fs::write(scene.at("created"), "1").expect("write");
    fs::create_dir(scene.at("newdir")).expect("mkdir");
    let names = ["f", "big", "d", "d/sub/deep/four", "link", "created", "newdir"];
    let before: Vec<_> = names.iter().map(|name| number(&scene, name)).collect();
    sh(&scene.mnt, "echo x >> f; truncate -s 5 big; chmod 700 d; echo y >> d/sub/deep/four");
    sh(&scene.mnt, "touch -h link; mv created c2; mv c2 created; chmod 711 newdir");
    let after = |scene: &Scene| names.iter().map(|name| number(scene, name)).collect::<Vec<_>>();
    assert_eq!(after(&scene), before, "after the changes");
    scene.remount();
    assert_eq!(after(&scene), before, "after a remount");
    let listed = sh(&scene.mnt, "ls -i | sort; ");
    let stated = sh(&scene.mnt, "for n in *; do stat -c '%i %n' \"$n\"; done | sort");
    let squeeze = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(squeeze(&listed), squeeze(&stated), "readdir and stat disagree");
}

#[test]
fn unlinking_a_base_file_copies_nothing() {
    let Some(scene) = Scene::new(|base| {
        standard_base(base);
        fs::write(base.join("huge"), vec![1; 64 << 20]).expect("write");
    }) else {
        return;
    };
    sh(&scene.mnt, "rm huge big d/one; rm -r d/sub");
    let used = sh(&scene.storage, "du -sk --exclude='*_reserve' . | cut -f1");
    assert!(used.trim().parse::<u64>().expect("a number") < 200, "{used} KiB in storage");
}

#[test]
fn holes_stay_holes() {
    let Some(scene) = Scene::new(|base| {
        let file = File::create(base.join("sparse")).expect("create");
        file.set_len(64 << 20).expect("ftruncate");
        std::os::unix::fs::FileExt::write_all_at(&file, b"end", (64 << 20) - 3).expect("write");
    }) else {
        return;
    };
    sh(&scene.mnt, "echo start | dd of=sparse conv=notrunc status=none");
    if engine_is_product() {
        let used = sh(&scene.storage, "du -sk --exclude='*_reserve' . | cut -f1");
        assert!(used.trim().parse::<u64>().expect("a number") < 2048, "{used} KiB in storage");
    }
}

/// A FIFO and a device of the base work as what they are.
#[test]
fn special_files_work() {
    let Some(scene) = Scene::new(standard_base) else {
        return;
    };
    sh(&scene.mnt, "(echo through > fifo &) ; test \"$(timeout 5 cat fifo)\" = through");
    if is_root() {
        sh(&scene.mnt, "echo gone > null; test ! -s null; chmod 600 null; echo gone > null");
        sh(&scene.mnt, "mknod zero c 1 5; test $(head -c 3 zero | wc -c) = 3; mknod white c 0 0");
    }
}
