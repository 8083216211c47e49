//! Storages whose file system holds little: exFAT, by a FUSE server of its own.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::common::{Outcome, WorkDir, engine_is_product, is_root, mini_fo, run, sh, skip_unless};

/// An exFAT in `work/fs`, and a directory in it.
fn exfat(work: &WorkDir) -> Option<PathBuf> {
    if !is_root() || !engine_is_product() {
        return None;
    }
    if skip_unless(&["mkfs.exfat", "mount.exfat-fuse", "losetup"]) {
        return None;
    }
    sh(&work.0, "mkdir fs; truncate -s 64M img; mkfs.exfat img >/dev/null");
    // Let go at once: it stays until the server ends.
    sh(
        &work.0,
        "loop=$(losetup -f --show img)
         mount.exfat-fuse -o umask=077 $loop fs 2>/dev/null >&2; mounted=$?
         losetup -d $loop; test $mounted = 0; mkdir fs/storage",
    );
    Some(work.0.join("fs/storage"))
}

fn mount(base: &Path, storage: &Path, mnt: &Path, options: &str) -> Outcome {
    let (base, storage, mnt) = (base.display(), storage.display(), mnt.display());
    let options = if options.is_empty() { "rw" } else { options };
    mini_fo_words(&format!("mount {base} {mnt} --storage {storage} -o {options}"))
}

fn mini_fo_words(line: &str) -> Outcome {
    run(env!("CARGO_BIN_EXE_mini_fo"), &line.split(' ').collect::<Vec<_>>())
}

#[test]
fn one_that_holds_little_is_refused_with_what_is_missing() {
    let work = WorkDir::new();
    let Some(storage) = exfat(&work) else { return };
    let (base, mnt) = (work.dir("base"), work.dir("mnt"));
    let refused = mount(&base, &storage, &mnt, "");
    assert_eq!(refused.code, 4, "{}", refused.stderr);
    for word in ["hard links", "capitals", "poor_storage", "RECIPES"] {
        assert!(refused.stderr.contains(word), "{word}: {}", refused.stderr);
    }
    assert_eq!(fs::read_dir(&storage).expect("list the storage").count(), 0);
    // A full one is not taken for one that holds everything.
    sh(
        &work.0,
        "for size in 64k 4k; do dd if=/dev/zero bs=$size of=fs/$size 2> /dev/null || true; done",
    );
    let refused = mount(&base, &storage, &mnt, "");
    assert_eq!(refused.code, 4, "{}", refused.stderr);
    assert!(refused.stderr.contains("make some room"), "{}", refused.stderr);
}

fn check(mnt: &Path) {
    let at = |name: &str| mnt.join(name);
    let stat = |name: &str| fs::symlink_metadata(at(name)).expect(name);
    let mode = |name: &str| stat(name).permissions().mode() & 0o7777;
    assert_eq!((mode("f"), mode("s"), mode("d"), mode("new")), (0o751, 0o4755, 0o1777, 0o640));
    assert_eq!((stat("f").uid(), stat("new").gid(), stat("l2").uid()), (5, 6, 7));
    assert_eq!(fs::read_link(at("made")).expect("readlink"), Path::new("to/nowhere"));
    assert_eq!(fs::read_link(at("l2")).expect("readlink"), Path::new("f"));
    assert_eq!(stat("made").len(), 10);
    assert!(stat("fifo").file_type().is_fifo() && stat("p2").file_type().is_fifo());
    assert!(stat("null").file_type().is_char_device());
    assert_eq!(stat("null").rdev(), rustix::fs::makedev(1, 3));
    sh(mnt, "echo x > null; test \"$(find . -type l | wc -l)\" = 2");
    assert_eq!(fs::read_to_string(at("h1")).expect("h1"), "through h2\n");
    assert_eq!((mode("h1"), stat("h1").nlink()), (0o600, 2));
    assert_eq!(stat("h1").ino(), stat("h2").ino());
    sh(mnt, "test \"$(getfattr --only-values -n user.a f)\" = value");
    let denied = run("setpriv", &["--reuid=65534", "--clear-groups", "cat", &text(&at("h1"))]);
    assert_ne!(denied.code, 0);
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// Owners, modes, devices, FIFOs, symbolic links, extended attributes, and hard links
/// of the base show as they should, and after another mount.
#[test]
fn what_it_cannot_hold_is_kept_where_that_is_accepted() {
    let work = WorkDir::new();
    let Some(storage) = exfat(&work) else { return };
    let (base, mnt) = (work.dir("base"), work.dir("mnt"));
    sh(&base, "echo 1 > f; ln -s f l; mkfifo p; mkdir d; echo 2 > s; echo 3 > h1; ln h1 h2");
    let before = sh(&base, "ls -laR --time-style=full-iso");
    mount(&base, &storage, &mnt, "poor_storage").ok();
    sh(
        &mnt,
        "umask 027; chmod 751 f; chown 5 f; chmod 4755 s; chmod 1777 d; touch new; chgrp 6 new
         ln -s to/nowhere made; chown -h 7 l; mv l l2; mkfifo fifo; chmod 644 p; mv p p2
         mknod -m 666 null c 1 3; chmod 600 h1; echo 'through h2' > h2
         setfattr -n user.a -v value f; ! ln new hard 2>/dev/null || exit 1",
    );
    for _ in 0..2 {
        check(&mnt);
        mini_fo(&[Path::new("umount"), &mnt]).ok();
        mount(&base, &storage, &mnt, "poor_storage").ok();
    }
    sh(&mnt, "rm made fifo null l2; mkdir fifo; echo file > made; test ! -L made; test -d fifo");
    mini_fo(&[Path::new("umount"), &mnt]).ok();
    assert_eq!(sh(&base, "ls -laR --time-style=full-iso"), before);
}

/// Names that the storage does not take, or takes for one, are different files with
/// their own content, whichever layer they are of, and after another mount.
#[test]
fn names_that_it_cannot_hold_lie_under_others() {
    let work = WorkDir::new();
    let Some(storage) = exfat(&work) else { return };
    let (base, mnt) = (work.dir("base"), work.dir("mnt"));
    sh(
        &base,
        "echo of the base > name; echo 1 > Makefile; echo 2 > makefile; mkdir Dir dir
         echo in Dir > Dir/f; echo in dir > dir/f",
    );
    mount(&base, &storage, &mnt, "poor_storage").ok();
    sh(
        &mnt,
        "echo capital > Name; echo changed >> Makefile; echo more >> Dir/f; mkdir 'a:b'
         for name in 'a*b' 'dot.' dot 'blank ' 'con' AUX 'q?' '<>|' '%41' A '^a' 'longname.text' \
             'longna~1.tex' meta_dafffghe39ktf3hd2sr \"$(printf '\\377\\376')\" \"$(printf 'a\\nb')\"
         do echo \"is $name\" > \"$name\" || exit 1; done; mv 'q?' 'Q:'; echo x > temp; mv temp NAME",
    );
    for _ in 0..2 {
        sh(
            &mnt,
            "test \"$(cat name Name NAME)\" = \"$(printf 'of the base\\ncapital\\nx')\"
             test \"$(cat makefile)\" = 2; test \"$(tail -n 1 Makefile)\" = changed
             test \"$(cat dir/f)\" = 'in dir'; test \"$(tail -n 1 Dir/f)\" = more
             test -d 'a:b'; test \"$(cat 'Q:')\" = 'is q?'; test ! -e 'q?'; test ! -e a; test ! -e aux
             for name in 'a*b' 'dot.' dot 'blank ' 'con' AUX '<>|' '%41' A '^a' 'longname.text' \
                 'longna~1.tex' meta_dafffghe39ktf3hd2sr \"$(printf '\\377\\376')\" \"$(printf 'a\\nb')\"
             do test \"$(cat \"$name\")\" = \"is $name\" || { echo \"$name\" >&2; exit 1; }; done
             test \"$(ls -b | wc -l)\" = 24",
        );
        mini_fo(&[Path::new("umount"), &mnt]).ok();
        mount(&base, &storage, &mnt, "poor_storage").ok();
    }
    // What is too long when it is escaped is refused, and changes nothing.
    let long = mnt.join("L".repeat(128));
    let refused = fs::write(&long, "").expect_err("it cannot be there");
    assert_eq!(refused.raw_os_error(), Some(36), "{refused}");
    assert!(fs::symlink_metadata(&long).is_err());
    fs::write(mnt.join("L".repeat(127)), "").expect("as long as can be");
    sh(&mnt, "rm -r ./* && test -z \"$(ls -A)\"");
    mini_fo(&[Path::new("umount"), &mnt]).ok();
}

/// A storage with names as they are would mix them up there.
#[test]
fn a_storage_with_plain_names_is_refused_there() {
    let work = WorkDir::new();
    let Some(storage) = exfat(&work) else { return };
    let (base, mnt) = (work.dir("base"), work.dir("mnt"));
    let plain = work.dir("plain");
    sh(&work.0, "chmod 700 plain");
    mount(&base, &plain, &mnt, "").ok();
    sh(&mnt, "echo capital > Name");
    mini_fo(&[Path::new("umount"), &mnt]).ok();
    sh(&work.0, "cp -r plain/. fs/storage");
    let refused = mount(&base, &storage, &mnt, "poor_storage");
    assert_eq!(refused.code, 4, "{}", refused.stderr);
    assert!(refused.stderr.contains("names as they are"), "{}", refused.stderr);
}

/// What the storage would do by itself, were the mode its own.
#[test]
fn modes_that_are_kept_follow_the_rules() {
    let work = WorkDir::new();
    let Some(storage) = exfat(&work) else { return };
    let (base, mnt) = (work.dir("base"), work.dir("mnt"));
    sh(
        &base,
        "touch f g h; chmod 6777 f h; chmod 2767 g; mkdir -m 2777 team; chgrp 1234 team; chmod g+s team",
    );
    mount(&base, &storage, &mnt, "poor_storage").ok();
    let mode = |name: &str| {
        fs::symlink_metadata(mnt.join(name)).expect(name).permissions().mode() & 0o7777
    };
    // chown takes the set-ID bits away, also one of nobody.
    sh(&mnt, "chown 3 f g; touch -d '2020-01-01' h");
    assert_eq!((mode("f"), mode("g"), mode("h")), (0o777, 0o2767, 0o6777));
    sh(&mnt, "python3 -c 'import os; os.chown(\"h\", -1, -1)'");
    assert_eq!(mode("h"), 0o777);
    // What is made in a set-group-ID directory is of its group.
    sh(&mnt, "mkdir team/made; touch team/made/f team/f; chmod 2755 team/made");
    for name in ["team/made", "team/made/f", "team/f"] {
        assert_eq!(fs::metadata(mnt.join(name)).expect(name).gid(), 1234, "{name}");
    }
    assert_eq!(mode("team/made") & 0o2000, 0o2000);
    // An attribute that is not there is not one that cannot be.
    for command in ["getfattr -n user.none f", "setfattr -x user.none f"] {
        let line = format!("! LC_ALL=C {command} 2>&1 | grep -q 'not supported'");
        sh(&mnt, &line);
    }
    mini_fo(&[Path::new("umount"), &mnt]).ok();
}

/// How names have to be written shows only when something may be tried there.
#[test]
fn a_new_one_that_was_mounted_read_only_keeps_names_apart() {
    let work = WorkDir::new();
    let Some(storage) = exfat(&work) else { return };
    let (base, mnt) = (work.dir("base"), work.dir("mnt"));
    fs::write(base.join("Name"), "base").expect("write");
    fs::set_permissions(base.join("Name"), fs::Permissions::from_mode(0o751)).expect("chmod");
    mount(&base, &storage, &mnt, "ro,poor_storage").ok();
    sh(&mnt, "ls; cat Name; stat name 2> /dev/null || true");
    assert_eq!(fs::read_dir(&storage).expect("list the storage").count(), 0);
    sh(Path::new("/"), &format!("mount -i -o remount,rw {}", mnt.display()));
    sh(&mnt, "echo small > name; echo X >> Name; mkdir Dir dir; echo 1 > Dir/F; echo 2 > Dir/f");
    let look = |mnt: &Path| {
        let said = sh(mnt, "cat name Name Dir/F Dir/f; ls dir; stat -c %a Name");
        assert_eq!(said, "small\nbaseX\n1\n2\n751\n");
    };
    look(&mnt);
    mini_fo_words(&format!("umount {}", mnt.display())).ok();
    mount(&base, &storage, &mnt, "poor_storage").ok();
    look(&mnt);
    mini_fo_words(&format!("umount {}", mnt.display())).ok();
}
