//! Commits of live mounts whose base others change (`-o live_base`), or that show what is
//! mounted in it (`-o submounts`), as commands have that `mini_fo run` runs.

use std::fs::{self, File};
use std::io::Write;

use crate::commit_scene::{commit_live, copy_of_view, differences, scene, text};
use crate::common::{Scene, is_root, mini_fo, sh, skip};
use crate::discard::KINDS;

const OPTIONS: [&[&str]; 3] =
    [&["-o", "submounts"], &["-o", "live_base"], &["-o", "submounts,live_base"]];

/// Commits all of a mount, and compares: the base, and the mount as it is.
fn all_of_it(s: &mut Scene, what: &str) {
    let copy = copy_of_view(s);
    let mnt = text(&s.mnt);
    let said = commit_live(s, &["--yes", &mnt]);
    assert_eq!(said.code, 0, "{what}: {}", said.stderr);
    assert_eq!(differences(&copy, &s.mnt), "", "{what}: {}", said.stdout);
    assert_eq!(differences(&copy, &s.quiet_base()), "", "{what}: {}", said.stdout);
    assert_eq!(mini_fo(&["status", &mnt]).ok(), "nothing has changed\n", "{what}");
}

#[test]
fn each_kind_of_change_is_committed() {
    for options in OPTIONS {
        for (kind, change, _) in KINDS {
            let Some(mut s) = scene(crate::discard::base) else { return };
            s.mount(options);
            sh(&s.mnt, "find . -ls > /dev/null; cat f g > /dev/null");
            sh(&s.mnt, change);
            let what = format!("{options:?}: {kind}");
            all_of_it(&mut s, &what);
            sh(&s.mnt, "echo more >> f || true; mkdir -p n2/m; echo x > n2/m/f; mv n2 n3");
            all_of_it(&mut s, &what);
            let copy = copy_of_view(&s);
            s.umount();
            s.mount(options);
            assert_eq!(differences(&copy, &s.mnt), "", "{what}");
        }
    }
}

/// Files and directories that are open go on, whatever becomes of what is around them.
#[test]
fn what_is_open_goes_on() {
    for options in OPTIONS {
        let Some(mut s) = scene(crate::discard::base) else { return };
        s.mount(options);
        sh(&s.mnt, "echo other >> d/one; mv d/sub e/sub; mkdir n; echo n > n/n");
        let mut open = File::options().append(true).open(s.at("f")).expect("open");
        let dir = File::open(s.at("n")).expect("open");
        let reader = File::open(s.at("script")).expect("open");
        let mnt = text(&s.mnt);
        let said = commit_live(&mut s, &["--yes", &mnt]);
        assert_eq!(said.code, 0, "{options:?}: {}", said.stderr);
        open.write_all(b"after\n").expect("write");
        assert!(fs::read(s.at("f")).expect("read").ends_with(b"after\n"));
        let inside = format!("/proc/self/fd/{}/n", std::os::fd::AsRawFd::as_raw_fd(&dir));
        assert_eq!(fs::read(inside).expect("read"), b"n\n", "{options:?}");
        assert!(reader.metadata().is_ok(), "{options:?}");
        assert!(s.quiet_base().join("e/sub").exists() && s.quiet_base().join("n/n").exists());
        drop((open, dir, reader));
        all_of_it(&mut s, &format!("{options:?}"));
    }
}

/// What others change in the base meanwhile is not written over.
#[test]
fn what_others_change_is_a_conflict() {
    let Some(mut s) = scene(crate::discard::base) else { return };
    s.mount(&["-o", "live_base"]);
    sh(&s.mnt, "echo ours >> f");
    sh(&s.base, "echo theirs > f");
    let mnt = text(&s.mnt);
    let said = commit_live(&mut s, &["--yes", &mnt]);
    assert_eq!(said.code, 1, "{}{}", said.stdout, said.stderr);
    assert_eq!(sh(&s.quiet_base(), "cat f"), "theirs\n");
    assert!(sh(&s.mnt, "cat f").ends_with("ours\n"));
}

/// What lies in another file system that is mounted in the base is committed there, and may stay.
#[test]
fn what_is_mounted_in_the_base_is_committed() {
    if !is_root() {
        return skip("mounts in the base need root");
    }
    let Some(mut s) = scene(|base| drop(sh(base, "mkdir sub; echo 1 > f"))) else { return };
    sh(&s.base, "mount -t tmpfs none sub; echo inner > sub/g");
    s.mount(&["-o", "submounts"]);
    sh(&s.mnt, "echo more >> f; echo more >> sub/g; echo new > sub/new");
    let mnt = text(&s.mnt);
    // What proves the base to be what it was does not show what is mounted there.
    let now = |s: &Scene| (sh(&s.quiet_base(), "cat f"), sh(&s.base.join("sub"), "cat g; ls"));
    let said = commit_live(&mut s, &["--yes", "--except", "sub", &mnt]);
    assert_eq!(said.code, 0, "{}{}", said.stdout, said.stderr);
    assert_eq!(now(&s), ("1\nmore\n".into(), "inner\ng\n".into()));
    let said = commit_live(&mut s, &["--yes", &mnt]);
    assert_eq!(said.code, 0, "{}{}", said.stdout, said.stderr);
    assert_eq!(now(&s), ("1\nmore\n".into(), "inner\nmore\ng\nnew\n".into()));
    assert_eq!(sh(&s.mnt, "cat f sub/g sub/new"), "1\nmore\ninner\nmore\nnew\n");
    s.umount();
    sh(&s.base, "umount sub");
}
