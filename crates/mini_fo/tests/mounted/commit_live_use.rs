//! `mini_fo commit` of a mount in which programs have files open, write and listen all the time.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::{DirEntryExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::commit_scene::{
    all_live, and_then, commit_live, copy_of_view, daemon_of, differences, scene, text,
};
use crate::common::{mini_fo, sh, sys};

/// What is open stays, whatever becomes of the rest, and nothing that is written is lost.
#[test]
fn files_that_are_open_stay() {
    let Some(mut s) = scene(crate::discard::base) else { return };
    s.mount(&["-o", "blocks_from=64K"]);
    let mnt = text(&s.mnt);
    sh(&s.mnt, "echo other >> d/one; mv d/sub e/sub; echo read > read");
    let open = |path: &str| File::options().append(true).open(s.at(path)).expect("open");
    fs::write(s.at("new"), "a\n").expect("write");
    // One that has changed, one that has not (yet), one of several names, one in what was moved.
    let files = ["new", "f", "g", "e/sub/three", "big"];
    let mut opened: Vec<(File, u64)> = Vec::new();
    for path in files {
        let file = open(path);
        let ino = file.metadata().expect("stat").ino();
        opened.push((file, ino));
    }
    let mut reader = File::open(s.at("read")).expect("open");
    let said = commit_live(&mut s, &["--yes", &mnt]);
    assert_eq!(said.code, 0, "{}", said.stderr);
    assert!(said.stdout.contains("programs have it open:\n"), "{}", said.stdout);
    assert!(said.stdout.contains("  new\n"), "{}", said.stdout);
    assert_eq!(fs::read(s.quiet_base().join("d/one")).expect("read"), b"1\nother\n");
    assert!(!s.quiet_base().join("new").exists() && !s.quiet_base().join("e/sub").exists());
    for ((file, ino), path) in opened.iter_mut().zip(files) {
        file.write_all(b"after\n").expect("write");
        assert_eq!(fs::metadata(s.at(path)).expect("stat").ino(), *ino, "{path}");
        let now = fs::read(s.at(path)).expect("read");
        assert!(now.ends_with(b"after\n"), "{path}");
    }
    fs::write(s.at("read"), "other\n").expect("write");
    let mut seen = String::new();
    reader.read_to_string(&mut seen).expect("read");
    assert_eq!(seen, "other\n");
    drop((opened, reader));
    all_live(&mut s);
    and_then(&mut s);
}

/// Mappings outlive their files.
#[test]
fn files_that_are_mapped_stay() {
    let Some(mut s) = scene(crate::discard::base) else { return };
    s.mount(&[]);
    let mnt = text(&s.mnt);
    sh(&s.mnt, "seq 2000 > mapped; seq 2000 > read; seq 10 > other");
    let map = |path: &str, write: bool| {
        let file = File::options().read(true).write(write).open(s.at(path)).expect("open");
        sys::Mapping::shared(&file, 4096, write)
    };
    let (written, read) = (map("mapped", true), map("read", false));
    let said = commit_live(&mut s, &["--yes", &mnt]);
    assert_eq!(said.code, 0, "{}", said.stderr);
    assert!(s.quiet_base().join("other").exists(), "{}", said.stdout);
    written.write(b"M");
    fs::write(s.at("read"), "R".repeat(5000)).expect("write");
    assert_eq!(fs::read(s.at("mapped")).expect("read")[0], b'M');
    assert_eq!(read.read(1), b"R");
    drop((written, read));
    all_live(&mut s);
    assert_eq!(fs::read(s.quiet_base().join("mapped")).expect("read")[0], b'M');
}

/// What was written by a mapping the kernel brings to the daemon when it likes, also while nothing
/// is served.
#[test]
fn what_is_mapped_and_not_written_yet() {
    for options in [&["-o", "nopassthrough"][..], &["-o", "nopassthrough,blocks_from=64K"], &[]] {
        let Some(mut s) = scene(crate::discard::base) else { return };
        s.mount(options);
        sh(&s.mnt, "seq 20000 > new; echo x >> d/one; echo x > other");
        let connection =
            std::os::linux::fs::MetadataExt::st_dev(&fs::metadata(&s.mnt).expect("stat"));
        let mapped = ["big", "new", "f"].map(|path| {
            let file = File::options().read(true).write(true).open(s.at(path)).expect("open");
            let mapping = sys::Mapping::shared(&file, 4096, true);
            mapping.write(b"M");
            mapping
        });
        for round in 0..3 {
            let mut commit = Command::new(env!("CARGO_BIN_EXE_mini_fo"));
            let mut commit =
                commit.args(["commit", "--yes", "-q"]).arg(&s.mnt).spawn().expect("run");
            ended_or_aborted(&mut commit, connection);
            mapped.iter().for_each(|mapping| mapping.write(b"N"));
            fs::write(s.at("other"), round.to_string()).expect("write");
        }
        s.retake_proof();
        drop(mapped);
        for path in ["big", "new", "f"] {
            assert_eq!(fs::read(s.at(path)).expect("read")[0], b'N', "{path}");
        }
        all_live(&mut s);
        assert_eq!(fs::read(s.quiet_base().join("big")).expect("read")[0], b'N');
    }
}

/// A commit that waits for the kernel, which waits for it, would be there for ever.
fn ended_or_aborted(commit: &mut std::process::Child, connection: u64) {
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(60) {
        if let Some(status) = commit.try_wait().expect("wait") {
            return assert!(status.success());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let abort = format!("/sys/fs/fuse/connections/{}/abort", connection & 0xff);
    let _ = fs::write(abort, "1");
    panic!("the commit does not end");
}

/// Who listens on a socket is found there after a commit, and who waits at a FIFO gets what comes.
#[test]
fn sockets_and_fifos_in_use() {
    let Some(mut s) = scene(crate::discard::base) else { return };
    s.mount(&[]);
    sh(&s.mnt, "mkdir new; mkfifo new/fifo; echo x >> f");
    let listener = UnixListener::bind(s.at("new/socket")).expect("bind");
    let fifo = File::options().read(true).write(true).open(s.at("new/fifo")).expect("open");
    for there in ["mv new moved", "mv moved new"] {
        all_live(&mut s);
        let at = if there.starts_with("mv new") { "new" } else { "moved" };
        let mut client = UnixStream::connect(s.at(at).join("socket")).expect("connect");
        let (mut server, _) = listener.accept().expect("accept");
        client.write_all(b"1").and_then(|()| server.read_exact(&mut [0])).expect("through it");
        let mut other =
            File::options().read(true).write(true).open(s.at(at).join("fifo")).expect("open");
        (&fifo).write_all(b"2").and_then(|()| other.read_exact(&mut [0])).expect("through it");
        sh(&s.mnt, there);
    }
    all_live(&mut s);
    drop((listener, fifo));
}

/// Listings, which the kernel keeps, tell the numbers that looks tell.
#[test]
fn numbers_where_something_stays() {
    let Some(mut s) = scene(crate::discard::base) else { return };
    s.mount(&[]);
    sh(
        &s.mnt,
        "mkdir -p new/in; echo 1 > new/a; echo 1 > new/open; echo 1 > new/in/b; echo x >> f; echo x >> d/one",
    );
    let open = File::open(s.at("new/open")).expect("open");
    let both = |s: &crate::common::Scene| {
        for dir in ["", "new", "new/in", "d"] {
            for entry in fs::read_dir(s.at(dir)).expect("readdir") {
                let entry = entry.expect("entry");
                let looked = fs::symlink_metadata(entry.path()).expect("stat");
                assert_eq!(entry.ino(), looked.ino(), "{:?}", entry.path());
            }
        }
    };
    both(&s);
    let mnt = text(&s.mnt);
    commit_live(&mut s, &["--yes", &mnt]).ok();
    both(&s);
    drop(open);
    all_live(&mut s);
    both(&s);
}

/// Programs that write all the time, with commits in between: in the end all is there.
#[test]
fn programs_write_all_the_time() {
    let Some(mut s) = scene(crate::discard::base) else { return };
    s.mount(&[]);
    let mnt = text(&s.mnt);
    let script = "
        for n in $(seq 120); do
            echo $n >> log; echo $n > t.$((n % 7)); mv t.$((n % 7)) s.$((n % 5))
            mkdir -p w/$((n % 3)); echo $n > w/$((n % 3))/$n; test $((n % 4)) -gt 0 || rm -rf w
            test $((n % 50)) -gt 0 || mv d d2; test $((n % 50)) -ne 25 || ! test -d d2 || mv d2 d
        done";
    let mut writer =
        Command::new("bash").current_dir(&s.mnt).args(["-euc", script]).spawn().expect("bash");
    let (mut commits, mut done) = (0, false);
    while !done {
        done = writer.try_wait().expect("wait").is_some();
        // Two at once: one waits for the other.
        let both = [(); 2].map(|()| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_mini_fo"));
            command.args(["commit", "--yes", "-q", &mnt]).spawn().expect("mini_fo")
        });
        for mut one in both {
            assert!(one.wait().expect("wait").success());
            commits += 1;
        }
    }
    assert!(writer.wait().expect("wait").success() && commits > 2);
    assert_eq!(sh(&s.mnt, "cat log"), sh(&s.mnt, "seq 120"));
    all_live(&mut s);
    assert_eq!(sh(&s.quiet_base(), "cat log"), sh(&s.mnt, "seq 120"));
}

/// The daemon is killed at some moment of a commit: the next one finishes it. Only the time
/// of the root may be that of the kill, which nothing has written down.
#[test]
fn a_daemon_that_is_killed() {
    for delay in [3, 10, 20, 30, 45, 60, 90, 130] {
        let Some(mut s) = scene(crate::discard::base) else { return };
        s.mount(&[]);
        sh(
            &s.mnt,
            "for n in $(seq 150); do echo $n > new$n; done; mv d moved; rm -r e; echo x >> f
             mkdir -p n/m; for n in $(seq 50); do echo $n > n/m/$n; done; ln g h; echo x >> moved/one",
        );
        let (copy, mnt) = (copy_of_view(&s), text(&s.mnt));
        let pid = daemon_of(&mnt);
        let mut commit = Command::new(env!("CARGO_BIN_EXE_mini_fo"));
        let mut commit = commit.args(["commit", "--yes", "-q", &mnt]).spawn().expect("mini_fo");
        std::thread::sleep(std::time::Duration::from_millis(delay));
        crate::common::run("kill", &["-9", &pid]).ok();
        commit.wait().expect("wait");
        s.umount();
        let said = mini_fo(&["commit", "--yes", &text(&s.storage)]);
        s.retake_proof();
        assert_eq!(said.code, 0, "{delay}: {}", said.stderr);
        let but_for_time = |tree: &Path| differences(&copy, tree).replace(".d..t...... ./\n", "");
        assert_eq!(but_for_time(&s.quiet_base()), "", "{delay}: {}", said.stderr);
        s.mount(&[]);
        assert_eq!(but_for_time(&s.mnt), "", "{delay}");
        assert_eq!(mini_fo(&["status", &mnt]).ok(), "nothing has changed\n");
    }
}
