//! `mini_fo commit` of a mount that is used meanwhile: programs go on, and the base becomes
//! what they see.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use crate::commit_scene::{
    all_live, and_then, commit_live, copy_of_view, differences, scene, text,
};
use crate::common::{is_root, mini_fo, sh, skip_unless};
use crate::discard::KINDS;

#[test]
fn each_kind_of_change_is_committed() {
    for (kind, change, _) in KINDS {
        let Some(mut s) = scene(crate::discard::base) else { return };
        s.mount(&["-o", "blocks_from=64K"]);
        // All is known before.
        sh(&s.mnt, "find . -ls > /dev/null; cat f g > /dev/null");
        sh(&s.mnt, change);
        println!("{kind}");
        all_live(&mut s);
        and_then(&mut s);
        let copy = copy_of_view(&s);
        s.remount();
        assert_eq!(differences(&copy, &s.mnt), "");
        s.umount();
        mini_fo(&["check", &text(&s.base), "--storage", &text(&s.storage)]).ok();
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
         truncate -s 5M n/hole; printf end >> n/hole; ln n/m/f n/l",
    );
    all_live(&mut s);
    sh(&s.mnt, "echo y >> n/l; echo y >> D/e/g3; mv D d; rm n/m/f");
    all_live(&mut s);
}

/// Who works in a directory, or lists it, goes on there.
#[test]
fn directories_in_use_are_committed() {
    let Some(mut s) = scene(crate::discard::base) else { return };
    s.mount(&[]);
    let mnt = text(&s.mnt);
    sh(&s.mnt, "mv d moved; mkdir -p new/in; for n in $(seq 3000); do : > new/$n; done");
    let dirs = ["moved", "moved/sub", "new/in"].map(|dir| {
        let (dir, script) = (s.at(dir), "read line; echo x > made; cat ../*/made; cd ..; pwd -P");
        let mut child = Command::new("bash");
        child.current_dir(&dir).args(["-euc", script]);
        child.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
        (dir, child.spawn().expect("bash"))
    });
    let mut listed = fs::read_dir(s.at("new")).expect("readdir");
    let mut names: Vec<_> =
        listed.by_ref().take(100).map(|e| e.expect("entry").file_name()).collect();
    let handle = File::open(s.at("moved")).expect("open");
    let said = commit_live(&mut s, &["--yes", &mnt]);
    assert_eq!(said.code, 0, "{}", said.stderr);
    assert!(s.quiet_base().join("moved/sub/deep").exists() && !s.quiet_base().join("d").exists());
    names.extend(listed.map(|entry| entry.expect("entry").file_name()));
    names.sort();
    names.dedup();
    assert_eq!(names.len(), 3001);
    for (dir, mut child) in dirs {
        child.stdin.take().expect("stdin").write_all(b"\n").expect("write");
        let said = child.wait_with_output().expect("bash");
        let above = dir.parent().expect("above").display().to_string();
        assert!(said.status.success(), "{dir:?}");
        assert!(String::from_utf8_lossy(&said.stdout).ends_with(&format!("{above}\n")), "{dir:?}");
        assert_eq!(fs::read(dir.join("made")).expect("read"), b"x\n");
    }
    let same = |a: fs::Metadata, b: fs::Metadata| (a.dev(), a.ino()) == (b.dev(), b.ino());
    assert!(same(handle.metadata().expect("stat"), fs::metadata(s.at("moved")).expect("stat")));
    drop(handle);
    all_live(&mut s);
}

/// What programs see of numbers fits together, and what they had open of the base goes on.
#[test]
fn numbers_and_readers_of_the_base() {
    let Some(mut s) = scene(crate::discard::base) else { return };
    s.mount(&[]);
    let mut of_base: Vec<File> =
        ["d/one", "d/two", "script"].map(|path| File::open(s.at(path)).expect("open")).into();
    sh(&s.mnt, "mv f f2; rm d/one; rm d/two; echo new > d/two; mv script e/; mkdir n; ln g n/g");
    drop(of_base.pop());
    all_live(&mut s);
    for (file, content) in of_base.iter_mut().zip(["1\n", "22\n"]) {
        let mut read = String::new();
        file.seek(SeekFrom::Start(0)).and_then(|_| file.read_to_string(&mut read)).expect("read");
        assert_eq!(read, content);
    }
    // Listings and looks tell the same, and no two objects have one number.
    let listed = sh(&s.mnt, "find . -printf '%p %i\\n' | sort");
    sh(&s.mnt, "find . -print0 | xargs -0 stat -c '%n %i' | sort > ../looks");
    let looks = fs::read_to_string(s.work.0.join("looks")).expect("read");
    assert_eq!(listed, looks);
    let objects = sh(
        &s.mnt,
        "find . -not -name . \\( -type d -o -links 1 \\) -printf '%i\\n' | sort | uniq -d",
    );
    assert_eq!(objects, "");
    fs::write(s.at("f2"), "other\n").expect("write");
    assert_eq!(fs::read(s.at("f2")).expect("read"), b"other\n");
}

#[test]
fn paths_in_the_mount_and_choices() {
    let Some(mut s) = scene(crate::discard::base) else { return };
    s.mount(&[]);
    sh(&s.mnt, "echo x >> f; echo x >> d/one; echo x >> d/two; rm -r e; mkdir n; echo 1 > n/a.log");
    let (mnt, f, gone) = (text(&s.mnt), text(&s.at("f")), text(&s.at("e")));
    assert_eq!(mini_fo(&["commit", "-n", &f]).code, 1);
    mini_fo(&["commit", &f]).fails(2, &["--yes"]);
    let said = commit_live(&mut s, &["--yes", &f]).ok();
    assert!(
        said.contains("1 change (20 B) committed into") && said.contains("not asked for"),
        "{said}"
    );
    let said = commit_live(&mut s, &["--yes", &gone]).ok();
    assert!(said.contains("deleted     e/"), "{said}");
    let said = commit_live(&mut s, &["--yes", "--json", "--except", "*.log", &mnt]).ok();
    assert!(said.contains("\"fate\":\"goes\"") && said.contains("\"kind\":\"totals\""), "{said}");
    assert!(s.quiet_base().join("d/two").exists() && !s.quiet_base().join("n/a.log").exists());
    let left = mini_fo(&["status", &mnt]).stdout;
    assert!(left.starts_with("added       n/a.log"), "{left}");
    mini_fo(&["commit", "--yes", &mnt, "nothing/there"]).fails(2, &["nothing/there"]);
    mini_fo(&["commit", "--yes", "--theirs", &mnt]).fails(2, &["mini_fo discard"]);
    mini_fo(&["commit", "--abort", &mnt]).fails(2, &["nothing to be taken back"]);
    all_live(&mut s);
}

/// A directory that was committed without what is open in it is the base's from then on.
#[test]
fn directories_around_what_stays() {
    let Some(mut s) = scene(crate::discard::base) else { return };
    s.mount(&[]);
    let mnt = text(&s.mnt);
    sh(&s.mnt, "mkdir -p new/in; echo 1 > new/in/open; mv e e2; echo 1 > e2/open");
    let open = ["new/in/open", "e2/open"].map(|path| File::open(s.at(path)).expect("open"));
    commit_live(&mut s, &["--yes", &mnt]).ok();
    assert!(s.quiet_base().join("new/in").exists() && !s.quiet_base().join("new/in/open").exists());
    for there in ["mv new new2; mv new2/in in; mv e2 e3", "mv in new2/in; mv new2 new; mv e3 e2"] {
        sh(&s.mnt, there);
        let said = commit_live(&mut s, &["--yes", &mnt]);
        assert_eq!(said.code, 0, "{}", said.stderr);
        assert!(!said.stdout.contains("base changed"), "{}", said.stdout);
    }
    drop(open);
    all_live(&mut s);
}

/// A mount that was read-only at first goes on as one that writes.
#[test]
fn a_mount_that_has_begun_to_write() {
    let Some(mut s) = scene(crate::discard::base) else { return };
    if !is_root() {
        return;
    }
    s.mount(&[]);
    sh(&s.mnt, "echo x >> f; rm -r d");
    s.umount();
    s.mount(&["-o", "ro"]);
    let mnt = text(&s.mnt);
    mini_fo(&["commit", "--yes", &mnt]).fails(2, &["read-only"]);
    crate::common::run("mount", &["-i", "-o", "remount,rw", &mnt]).ok();
    sh(&s.mnt, "echo x >> g; mkdir n");
    all_live(&mut s);
    sh(&s.mnt, "echo x >> g; mv n n2");
    all_live(&mut s);
    s.remount();
}

/// Nothing that a commit finds in between is told as trouble.
#[test]
fn the_log_is_quiet() {
    let Some(mut s) = scene(crate::discard::base) else { return };
    let log = s.work.0.join("log");
    s.mount(&["-o", &format!("log={}", text(&log))]);
    sh(&s.mnt, "mv d D; echo x >> D/sub/three; ln f f2; echo x >> f; rm D/g2 g; echo x >> e/g3");
    all_live(&mut s);
    let told = fs::read_to_string(&log).expect("read");
    let trouble: Vec<&str> = told.lines().filter(|line| !line.contains(" INFO: ")).collect();
    assert_eq!(trouble, Vec::<&str>::new());
}

#[test]
fn conflicts_are_told() {
    let Some(mut s) = scene(crate::discard::base) else { return };
    s.mount(&[]);
    let mnt = text(&s.mnt);
    sh(&s.mnt, "echo x >> f; echo x >> d/one");
    fs::write(s.base.join("f"), "by others\n").expect("write");
    let said = commit_live(&mut s, &["--yes", &mnt]);
    said.fails(1, &["f: base changed: content", "--ours"]);
    assert_eq!(fs::read(s.quiet_base().join("d/one")).expect("read"), b"1\n");
    fs::write(s.at("d/two"), "goes on\n").expect("write");
    commit_live(&mut s, &["--yes", "--ours", &mnt]).ok();
    assert_eq!(fs::read(s.quiet_base().join("f")).expect("read"), b"base content of f\nx\n");
    all_live(&mut s);
}

/// The mount lies on its own base.
#[test]
fn a_mount_that_covers_its_base() {
    let Some(mut s) = scene(crate::discard::base) else { return };
    if !is_root() {
        return;
    }
    let base = text(&s.base);
    mini_fo(&["mount", &base, &base, "--storage", &text(&s.storage)]).ok();
    sh(&s.base, "echo x >> f; rm -r d; mkdir n");
    let said = commit_live(&mut s, &["--yes", &base]);
    assert_eq!(said.code, 0, "{}", said.stderr);
    let seen = sh(&s.base, "ls; cat f");
    mini_fo(&["umount", &base]).ok();
    assert_eq!(sh(&s.base, "ls; cat f"), seen);
    s.retake_proof();
}

/// Another mount shows the base.
#[test]
fn others_show_the_base() {
    let Some(mut s) = scene(crate::discard::base) else { return };
    s.mount(&[]);
    sh(&s.mnt, "echo x >> f; echo x >> d/one");
    let (other, st, mnt) = (text(&s.work.dir("other")), text(&s.work.dir("st2")), text(&s.mnt));
    mini_fo(&["mount", &text(&s.base), &other, "--storage", &st]).ok();
    mini_fo(&["commit", "--yes", &mnt]).fails(2, &[&*other, "unmount that"]);
    mini_fo(&["umount", &other]).ok();
    mini_fo(&["mount", &text(&s.base.join("d")), &other, "--storage", &text(&s.work.dir("st3"))])
        .ok();
    mini_fo(&["commit", "--yes", &mnt]).fails(2, &[&*other]);
    let f = text(&s.at("f"));
    commit_live(&mut s, &["--yes", &f]).ok();
    mini_fo(&["umount", &other]).ok();
    all_live(&mut s);
}

/// The daemon's user, root, and nobody else.
#[test]
fn ordinary_users() {
    if crate::user::skipped() || skip_unless(&["fusermount3", "setpriv"]) {
        return;
    }
    let work = crate::common::WorkDir::new();
    let script = "
        mkdir own; echo 1 > own/a; echo 2 > own/b; ln own/b own/c
        $MINI_FO mount own mnt --storage storage; echo x >> mnt/a; rm mnt/b; mkdir -p mnt/n/m
        exec 5>> mnt/w; echo 1 >&5
        $MINI_FO commit --yes mnt; cat own/a; ls own; echo 2 >&5; cat mnt/w; exec 5>&-; sleep 0.1
        $MINI_FO commit --yes mnt/w; $MINI_FO status mnt; cat own/w; $MINI_FO umount mnt";
    let said = crate::user::as_nobody(&work, true, &[], script).ok();
    assert!(said.contains("1\nx\na\nc\nn\n1\n2\n"), "{said}");
    assert!(said.ends_with("nothing has changed\n1\n2\n"), "{said}");
}

#[test]
fn somebody_else_is_refused() {
    let Some(mut s) = scene(crate::discard::base) else { return };
    if !is_root() || skip_unless(&["setpriv"]) {
        return;
    }
    s.mount(&[]);
    sh(&s.mnt, "echo x >> f");
    let (program, mnt) = (s.work.0.join("program"), text(&s.mnt));
    fs::copy(env!("CARGO_BIN_EXE_mini_fo"), &program).expect("copy");
    let words = [
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
        &text(&program),
        "commit",
        "--yes",
        &mnt,
    ];
    let said = crate::common::run("setpriv", &words);
    assert_eq!(said.code, 2, "{}", said.stdout);
    assert!(is_same_as_before(&s.quiet_base()));
    s.umount();
}

fn is_same_as_before(base: &Path) -> bool {
    fs::read(base.join("f")).expect("read") == b"base content of f\n"
}
