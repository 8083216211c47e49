//! Many files, large files, and little memory.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::cli::daemon;
use crate::common::{
    BaseKind, Scene, StorageKind, engine_is_product, is_root, run, sh, skip, standard_base,
};
use crate::descriptors::mount_with;

/// Directories with 500 files each.
fn many(base: &Path, dirs: u32) {
    for d in 0..dirs {
        let dir = base.join(format!("dir{d:03}"));
        fs::create_dir(&dir).expect("mkdir");
        for f in 0..500 {
            fs::write(dir.join(format!("file{f:03}")), "").expect("write");
        }
    }
}

/// A walk over far more objects than the daemon may open: `MINI_FO_TEST_WALK`
/// times 100,000.
#[test]
fn a_walk_with_few_open_files() {
    if !engine_is_product() {
        return;
    }
    let times: u32 =
        std::env::var("MINI_FO_TEST_WALK").ok().and_then(|n| n.parse().ok()).unwrap_or(1);
    let fill = |base: &Path| {
        for copy in 0..times {
            let dir = base.join(format!("copy{copy}"));
            fs::create_dir(&dir).expect("mkdir");
            many(&dir, 200);
        }
    };
    // In memory where we may: making and removing the files is not the test.
    let kinds = match is_root() {
        true => (BaseKind::Tmpfs, StorageKind::Tmpfs),
        false => (BaseKind::Plain, StorageKind::Plain),
    };
    let Some(s) = Scene::unmounted(kinds.0, kinds.1, fill) else {
        return;
    };
    mount_with(&s, 1024, "");
    let pid = daemon(&s);
    let expected = times * (200 * 501 + 1) + 1;
    let found = sh(&s.mnt, "find . -printf '%s\\n' | wc -l");
    assert_eq!(found.trim(), expected.to_string());
    sh(&s.mnt, "find . -name 'file00*' -exec chmod 600 {} +; find . -name 'file01*' -delete");
    sh(&s.mnt, "for d in copy0/dir*; do mv $d $d.moved; done; find . -type f | wc -l");
    if let Some(kib) = resident(pid) {
        eprintln!("resident after the walk over {expected} objects: {kib} KiB");
        assert!(kib < 200_000 * u64::from(times), "{kib} KiB");
    }
    run(env!("CARGO_BIN_EXE_mini_fo"), &[Path::new("umount"), &s.mnt]).ok();
}

/// Resident memory of a process in KiB.
pub fn resident(pid: i32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Above the bound the kernel is asked to forget, and what it forgot is found
/// again.
#[test]
fn the_number_of_known_nodes_has_a_bound() {
    if !engine_is_product() {
        return;
    }
    let Some(mut s) = Scene::unmounted(BaseKind::Plain, StorageKind::Plain, |base| many(base, 10))
    else {
        return;
    };
    let log = s.work.0.join("log");
    let options = format!("max_nodes=1000,log={}", log.display());
    s.mount(&["--verbose", "-o", &options]);
    let held = File::open(s.at("dir000/file000")).expect("open");
    assert_eq!(sh(&s.mnt, "find . -printf '%s\\n' | wc -l").trim(), "5011");
    let begun = Instant::now();
    loop {
        let text = fs::read_to_string(&log).unwrap_or_default();
        if text.contains("the kernel keeps what it knows") {
            return skip("the kernel cannot be asked to forget");
        }
        if text.contains("nodes were known") && text.contains("nodes are left") {
            break;
        }
        // A busy machine may take long; one that never drops anything fails.
        assert!(begun.elapsed() < Duration::from_secs(90), "{text}");
        std::thread::sleep(Duration::from_millis(100));
    }
    // What is open stays, and everything is found again.
    held.metadata().expect("stat of an open file");
    drop(held);
    assert_eq!(sh(&s.mnt, "find . -printf '%s\\n' | wc -l").trim(), "5011");
    s.umount();
    s.prove_base();
}

#[test]
fn a_bound_of_nodes_is_a_number() {
    if !engine_is_product() {
        return;
    }
    let Some(mut s) = Scene::unmounted(BaseKind::Plain, StorageKind::Plain, |base| many(base, 1))
    else {
        return;
    };
    for wrong in ["max_nodes=0", "max_nodes=many", "max_nodes=-1"] {
        let refused = s.try_mount(&["-o", wrong]);
        assert_ne!(refused.code, 0, "{wrong}");
    }
}

/// Other requests go on while a large file is copied up.
#[test]
fn a_large_copy_up_stalls_nobody() {
    let Some(s) = Scene::new(|base| {
        standard_base(base);
        many(base, 20);
        let mut file = File::create(base.join("large")).expect("create");
        let block: Vec<u8> = (0..1 << 20).map(|i| (i * 7 % 251) as u8).collect();
        for _ in 0..1024 {
            file.write_all(&block).expect("write");
        }
    }) else {
        return;
    };
    let large = s.at("large");
    let copy = std::thread::spawn(move || {
        let start = Instant::now();
        drop(File::options().append(true).open(large).expect("open for appending"));
        start.elapsed()
    });
    let (mut worst, mut count) = (Duration::ZERO, 0);
    while !copy.is_finished() {
        let start = Instant::now();
        let dir = s.at(&format!("dir{:03}", count % 20));
        fs::metadata(dir.join(format!("file{:03}", count / 20 % 500))).expect("stat");
        fs::metadata(s.at("large")).expect("stat of the file that is copied");
        if count % 50 == 0 {
            fs::write(s.at("meanwhile"), "x").expect("write");
            fs::read(s.at("f")).expect("read");
        }
        worst = worst.max(start.elapsed());
        count += 1;
    }
    let whole = copy.join().expect("join");
    eprintln!("copy-up of 1 GiB: {whole:?}; {count} rounds meanwhile, the slowest {worst:?}");
    assert!(worst < Duration::from_secs(1), "the slowest of {count} took {worst:?} of {whole:?}");
}

#[test]
fn an_idle_mount_is_small() {
    if !engine_is_product() {
        return;
    }
    let Some(s) = Scene::new(standard_base) else {
        return;
    };
    sh(&s.mnt, "ls -R > /dev/null");
    std::thread::sleep(Duration::from_millis(200));
    let Some(kib) = resident(daemon(&s)) else {
        return skip("no /proc/PID/status");
    };
    eprintln!("an idle mount: {kib} KiB resident");
    assert!(kib <= 8192, "{kib} KiB resident");
}

/// Large requests leave no memory with threads that have nothing to do.
#[test]
fn memory_of_large_requests_is_given_back() {
    if !engine_is_product() {
        return;
    }
    let Some(s) = Scene::new(standard_base) else {
        return;
    };
    sh(&s.mnt, "ls -R > /dev/null; head -c 8M /dev/urandom > large");
    let copies = "for n in 1 2 3 4; do cp large large$n & done; wait; rm large?";
    sh(&s.mnt, copies);
    std::thread::sleep(Duration::from_secs(4));
    let status = fs::read_to_string(format!("/proc/{}/status", daemon(&s))).expect("status");
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let Some(kib) = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok())
    else {
        return skip("no RssAnon in /proc/PID/status");
    };
    eprintln!("after large requests: {kib} KiB of its own");
    assert!(kib <= 1000, "{kib} KiB of its own");
}

/// Code that served requests is with the kernel alone when none come for seconds, and
/// serves the next one all the same.
#[test]
fn a_mount_at_rest_lets_go_of_its_code() {
    if !engine_is_product() {
        return;
    }
    for options in ["-o transport=auto", "-o transport=classic"] {
        let Some(s) = Scene::unmounted(BaseKind::Plain, StorageKind::Plain, standard_base) else {
            return;
        };
        mount_with(&s, 1024, options);
        let of_files = || {
            let status = fs::read_to_string(format!("/proc/{}/status", daemon(&s))).ok()?;
            let line = status.lines().find_map(|line| line.strip_prefix("RssFile:"))?;
            line.split_whitespace().next()?.parse::<u64>().ok()
        };
        sh(&s.mnt, "ls -lR > /dev/null; mkdir new; mv g new/g; echo x >> new/g; cat new/g");
        let Some(at_work) = of_files() else {
            return skip("no RssFile in /proc/PID/status");
        };
        // It may be that somebody else looks at the mount.
        let mut at_rest = at_work;
        for _ in 0..60 {
            std::thread::sleep(Duration::from_millis(100));
            at_rest = of_files().map_or(at_rest, |kib| at_rest.min(kib));
        }
        eprintln!("{options} code: {at_work} KiB at work, {at_rest} KiB at rest");
        assert!(at_rest < at_work / 2, "{at_work} KiB at work, {at_rest} KiB at rest");
        sh(&s.mnt, "test \"$(tail -n 1 new/g)\" = x; rm -r new; ls -lR > /dev/null");
        run(env!("CARGO_BIN_EXE_mini_fo"), &[Path::new("umount"), &s.mnt]).ok();
    }
}

/// Several programs at once, each in its own directory and all in one.
#[test]
fn many_at_once() {
    let Some(mut s) = Scene::new(standard_base) else {
        return;
    };
    std::thread::scope(|scope| {
        for worker in 0..8 {
            let s = &s;
            scope.spawn(move || {
                let own = s.at(&format!("own{worker}"));
                fs::create_dir(&own).expect("mkdir");
                for i in 0..200 {
                    let name = own.join(format!("{i}"));
                    fs::write(&name, format!("{worker} {i}")).expect("write");
                    let shared = s.at(&format!("d/sub/{worker}-{i}"));
                    fs::rename(&name, &shared).expect("rename");
                    if i % 2 == 0 {
                        fs::remove_file(&shared).expect("unlink");
                    }
                    let mut file = File::options().append(true).open(s.at("g")).expect("open");
                    file.write_all(b"line\n").expect("append");
                }
                fs::remove_dir(&own).expect("rmdir");
            });
        }
    });
    s.now_and_remounted(|mnt| {
        assert_eq!(fs::read_dir(mnt.join("d/sub")).expect("readdir").count(), 2 + 800);
        assert_eq!(fs::metadata(mnt.join("g")).expect("stat").len(), 5 + 1600 * 5);
    });
}

/// Syncing takes long, so readers of requests come and go all the time: none
/// of them may take the mount with it.
#[test]
fn many_that_sync() {
    let Some(mut s) = Scene::new(standard_base) else {
        return;
    };
    let end = Instant::now() + Duration::from_secs(6);
    std::thread::scope(|scope| {
        // CPUs that are busy with something else: readers wake late.
        for _ in 0..8 {
            scope.spawn(move || while Instant::now() < end {});
        }
        for worker in 0..8 {
            let s = &s;
            scope.spawn(move || {
                let mut file = File::create(s.at(&format!("synced{worker}"))).expect("create");
                let other = s.at(&format!("other{worker}"));
                while Instant::now() < end {
                    file.write_all(b"line\n").expect("write");
                    file.sync_data().expect("fdatasync");
                    for _ in 0..20 {
                        fs::metadata(s.at(&format!("synced{worker}"))).expect("stat");
                    }
                    // A moment without requests, in which readers are parked.
                    std::thread::sleep(Duration::from_micros(500));
                    fs::write(&other, b"other").expect("write another");
                    fs::remove_file(&other).expect("unlink");
                }
            });
        }
    });
    s.now_and_remounted(|mnt| {
        assert!((0..8).all(|worker| mnt.join(format!("synced{worker}")).exists()));
        assert!((0..8).all(|worker| !mnt.join(format!("other{worker}")).exists()));
    });
}
