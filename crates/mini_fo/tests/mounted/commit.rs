//! `mini_fo commit`: the base becomes what a mount has shown, the storage has nothing more to
//! say, and a mount shows the same again.

use std::path::Path;

use crate::changes_trees::SYSTEM;
pub use crate::commit_scene::{commit, copy_of_view, differences, scene, text};
use crate::common::{
    BaseKind, Scene, StorageKind, engine_is_product, is_root, mini_fo, sh, skip, skip_unless, sys,
};
use crate::discard::KINDS;

/// Commits everything, and compares.
fn all_of_it(s: &mut Scene) {
    let copy = copy_of_view(s);
    s.umount();
    let said = commit(s, &["--yes"], &[]);
    assert_eq!(said.code, 0, "{}", said.stderr);
    assert_eq!(differences(&copy, &s.quiet_base()), "", "{}", said.stdout);
    assert_eq!(mini_fo(&["status", &text(&s.storage)]).ok(), "nothing has changed\n");
    let left = sh(&s.storage, "find . -mindepth 1 -not -path '*_reserve*' | sort");
    let meta = crate::common::META;
    assert_eq!(left, format!("./{meta}\n"), "what a fresh one holds");
    s.mount(&[]);
    assert_eq!(differences(&copy, &s.mnt), "", "{}", said.stdout);
    s.umount();
    assert_eq!(sh(&s.quiet_base(), "ls -A | grep -c ^META || true"), "0\n");
    mini_fo(&["check", &text(&s.base), "--storage", &text(&s.storage)]).ok();
    // Once more there is nothing to be done.
    assert_eq!(commit(s, &["--yes"], &[]).ok(), "nothing to be committed\n");
}

fn after(prepare: &str, script: &str) {
    let Some(mut s) = scene(|base| drop(sh(base, prepare))) else { return };
    s.mount(&[]);
    sh(&s.mnt, script);
    all_of_it(&mut s);
}

#[test]
fn each_kind_of_change_is_committed() {
    for (kind, change, _) in KINDS {
        let Some(mut s) = scene(crate::discard::base) else { return };
        s.mount(&["-o", "blocks_from=64K"]);
        sh(&s.mnt, change);
        println!("{kind}");
        all_of_it(&mut s);
    }
}

#[test]
fn all_kinds_are_committed_at_once() {
    let Some(mut s) = scene(crate::discard::base) else { return };
    s.mount(&["-o", "blocks_from=64K"]);
    sh(
        &s.mnt,
        "echo more >> f; mkdir -p n/m; echo x > n/m/f; mkfifo n/p; rm -r d/sub; mv d D; mv e D/e
         chmod 700 D; rm script; mkdir script; echo x > script/in; ln g again; echo x >> D/g2
         printf x | dd of=big bs=1 seek=70000 conv=notrunc status=none; ln -sfn elsewhere link
         truncate -s 5M n/hole; printf end >> n/hole",
    );
    if sys::set_xattr(&s.at("f"), "user.colour", b"blue").is_ok() {
        sys::set_xattr(&s.at("D"), "user.dir", b"mine").expect("setxattr");
    }
    if is_root() {
        sh(&s.mnt, "mknod n/dev c 1 5; chown 5:6 n/dev n/p; chown -h 7 link");
    }
    all_of_it(&mut s);
}

/// Holes stay holes.
#[test]
fn holes_are_committed_as_holes() {
    let Some(mut s) = scene(|base| drop(sh(base, "echo x > f"))) else { return };
    s.mount(&[]);
    sh(&s.mnt, "truncate -s 64M hole; printf end >> hole");
    all_of_it(&mut s);
    let used = sh(&s.quiet_base(), "du -k hole | cut -f1");
    assert!(used.trim().parse::<u64>().expect("a number") < 1024, "{used}");
}

#[test]
fn access_lists_are_committed() {
    if skip_unless(&["setfacl"]) {
        return;
    }
    after(
        "seq 9 > f && mkdir -p d/sub e && echo q > g && setfacl -m u:7:rw g && setfacl -d -m g:3:rx e",
        "setfacl -m u:8:r f && setfacl -d -m g:9:rwx e && setfacl -b g && setfacl -m g:4:rwx d
         echo new > e/new && mkdir e/sub",
    );
}

#[test]
fn a_repository_changes_its_branch() {
    if skip_unless(&["git"]) {
        return;
    }
    after(
        "git init -q -b one . && git config user.email a@b && git config user.name c
         mkdir src doc && seq 200 > src/main && seq 50 > doc/text && git add . && git commit -qm one
         git checkout -qb two && sed -i 's/^7$/seven/' src/main && git mv doc/text doc/other
         echo new > src/new && git add . && git commit -qm two && git checkout -q one",
        "git checkout -q two && git gc -q && git log --oneline | wc -l",
    );
}

#[test]
fn a_directory_is_renamed_and_edited_below() {
    after(
        "mkdir -p old/a/b/c other && for n in 1 2 3; do echo $n > old/a/b/$n; done; echo d > old/a/b/c/d",
        "mv old new && echo more >> new/a/b/1 && rm new/a/b/2 && mv new/a/b/c other/c && echo x > other/c/x
         mv new/a/b new/b && mkdir old && mv new/b/3 old/three && chmod 711 new",
    );
}

/// Directories change places, and go round.
#[test]
fn directories_change_places() {
    after(
        "for d in a b c; do mkdir -p $d/in; echo $d > $d/f; echo $d > $d/in/g; done",
        "mv a t && mv b a && mv t b && echo x >> a/f && mv c/in b/in2 && mv a/in c/in",
    );
}

#[test]
fn a_package_is_installed_by_apt_in_a_chroot() {
    if !is_root() {
        skip("chroot needs root");
        return;
    }
    if skip_unless(&["apt-get", "dpkg-deb", "ldd"]) {
        return;
    }
    after(
        SYSTEM,
        "PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive chroot . apt-get install -qq -y -o Dpkg::Use-Pty=0 /tool.deb > log 2>&1 || { cat log; exit 1; }
         test \"$(cat var/lib/tool/state)\" = configured",
    );
}

/// On the file systems that people have; the base on one of them.
#[test]
fn on_other_file_systems() {
    if !is_root() || !engine_is_product() || skip_unless(&["rsync"]) {
        return skip("mounts file systems");
    }
    for kind in [StorageKind::Ext4, StorageKind::Xfs, StorageKind::Btrfs, StorageKind::Tmpfs] {
        let made = Scene::unmounted(BaseKind::Plain, kind, |_| {});
        let Some(mut s) = made else { continue };
        // On one file system, and the base under another one than the storage.
        for (base, storage) in [("base", "storage"), ("base2", "")] {
            let other = s.storage.join(base);
            std::fs::create_dir(&other).expect("mkdir");
            crate::discard::base(&other);
            let inner = if storage.is_empty() { s.work.dir("st") } else { s.storage.join(storage) };
            std::fs::create_dir_all(&inner).expect("mkdir");
            on_this(&mut s, &other, &inner);
        }
    }
}

fn on_this(s: &mut Scene, base: &Path, storage: &Path) {
    let mnt = text(&s.mnt);
    mini_fo(&["mount", &text(base), &mnt, "--storage", &text(storage)]).ok();
    sh(&s.mnt, "echo more >> f; mkdir -p n/m; echo x > n/m/f; rm -r d/sub; mv d D; ln g again");
    let copy = copy_of_view(s);
    mini_fo(&["umount", &mnt]).ok();
    mini_fo(&["commit", "--yes", &text(storage)]).ok();
    assert_eq!(differences(&copy, base), "");
    assert_eq!(mini_fo(&["status", &text(storage)]).ok(), "nothing has changed\n");
    s.retake_proof();
}

/// A user commits into a tree of his own.
#[test]
fn an_ordinary_user_s_storage() {
    if crate::user::skipped() || skip_unless(&["fusermount3", "setpriv"]) {
        return;
    }
    let work = crate::common::WorkDir::new();
    let script = "
        mkdir own; echo 1 > own/a; echo 2 > own/b
        $MINI_FO mount own mnt --storage storage; echo x >> mnt/a; rm mnt/b; mkdir -p mnt/n/m
        $MINI_FO umount mnt; $MINI_FO commit --yes storage; cat own/a; ls own
        $MINI_FO status storage";
    let said = crate::user::as_nobody(&work, true, &[], script).ok();
    assert!(said.ends_with("1\nx\na\nn\nnothing has changed\n"), "{said}");
}
