//! A mount that was made read-only, and is made read-write later: the usual order at
//! a boot.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use crate::cli;
use crate::common::{
    BaseKind, META, Scene, StorageKind, engine_is_product, is_root, mini_fo, run, sh, skip,
    standard_base, sys,
};
use crate::interleave::rings::Rings;
use crate::options::install_helper;

const ROOT: &str = "/";
const IN_USE: i32 = 5;
/// What mount(8) hands on of a mount that failed.
const FAILED: i32 = 32;

fn unmounted(storage: StorageKind) -> Option<Scene> {
    if !is_root() || !engine_is_product() {
        skip("remounts, and needs root for it");
        return None;
    }
    Scene::unmounted(BaseKind::Plain, storage, standard_base)
}

/// By mount(2) alone, of which the daemon is not told.
fn bare(s: &Scene) {
    sh(Path::new(ROOT), &format!("mount -i -o remount,rw {}", s.mnt.display()));
}

/// What a walk over the tree shows: names, types, modes, owners, sizes, times, numbers
/// and contents.
fn shown(mnt: &Path) -> String {
    sh(
        mnt,
        "find . -printf '%p %y %m %U:%G %s %n %i %T@ %C@ %l\\n' | sort; \
         find . -type f -print0 | sort -z | xargs -0 md5sum",
    )
}

fn is_listed_as(s: &Scene, word: &str) {
    let list = mini_fo(&["list"]).ok();
    let mine = list.split("\n\n").find(|one| one.contains(&s.mnt.display().to_string()));
    assert!(mine.is_some_and(|mine| mine.contains(word)), "{word}: {list}");
}

#[test]
fn by_mount_alone() {
    for (kind, more) in [
        (StorageKind::Plain, "transport=classic"),
        (StorageKind::Ext4, "transport=uring"),
        (StorageKind::Tmpfs, "transport=auto,nopassthrough"),
    ] {
        let Some(mut s) = unmounted(kind) else { return };
        let rings = more.contains("uring").then(Rings::new);
        if matches!(rings, Some(None)) {
            continue;
        }
        s.mount(&["-o", &format!("ro,{more}")]);
        let before = shown(&s.mnt);
        sh(&s.mnt, "touch x 2>&1 | grep -q 'Read-only'; cat f d/one big > /dev/null");
        let names = fs::read_dir(&s.storage).expect("readdir").map(|e| e.expect("e").file_name());
        assert!(names.into_iter().all(|name| name == "lost+found"), "written while read-only");
        bare(&s);
        assert_eq!(shown(&s.mnt), before, "{more}");
        sh(&s.mnt, "echo new > new; echo more >> d/one; rm d/two; mv d/sub moved; chmod 600 g");
        is_listed_as(&s, "read-write");
        s.now_and_remounted(|mnt| {
            let said = sh(mnt, "cat new d/one moved/three; test ! -e d/two; stat -c %a g");
            assert_eq!(said, "new\n1\nmore\n333\n600\n");
        });
        assert!(s.meta(".").contains("/base"), "the base is recorded: {}", s.meta("."));
    }
}

/// Each kind of change may be the first.
#[test]
fn by_each_kind_of_change() {
    for change in [
        "echo x >> f",
        ": > d/one",
        "echo x > new",
        "mkdir new",
        "mknod new p",
        "ln -s f new",
        "ln f new",
        "rm f",
        "rmdir empty",
        "mv f new",
        "mv d new",
        "chmod 600 f",
        "chown 5 f",
        "touch -d 2001-02-03 f",
        "truncate -s 3 big",
        "setfattr -n user.colour -v blue f",
        "setfattr -x user.colour f",
    ] {
        let Some(mut s) = unmounted(StorageKind::Ext4) else { return };
        s.mount(&["-o", "ro"]);
        sh(&s.mnt, "find . > /dev/null; cat f big > /dev/null");
        bare(&s);
        sh(&s.mnt, change);
        let now = shown(&s.mnt);
        s.remount();
        assert_eq!(shown(&s.mnt), now, "{change}");
    }
}

/// By mount(8), named by its mount point and by a line of fstab, and back.
#[test]
fn by_the_helper() {
    let Some(s) = unmounted(StorageKind::Plain) else { return };
    if !install_helper(&s.work) {
        return;
    }
    let (base, storage, mnt) = (s.base.display(), s.storage.display(), s.mnt.display());
    let mount = format!("mount -t mini_fo -o ro,base={base},sto={storage} none {mnt}");
    sh(Path::new(ROOT), &mount);
    sh(Path::new(ROOT), &format!("mount -o remount,rw {mnt}"));
    is_listed_as(&s, "read-write");
    sh(&s.mnt, "echo 1 > by_path");
    for way in ["", "-i "] {
        sh(Path::new(ROOT), &format!("mount {way}-o remount,ro {mnt}"));
        sh(&s.mnt, "touch x 2>&1 | grep -q 'Read-only'");
        sh(Path::new(ROOT), &format!("mount {way}-o remount,rw {mnt}"));
        sh(&s.mnt, "echo 2 >> by_path");
    }
    sh(Path::new(ROOT), &format!("umount {mnt}"));

    // As a boot does it: ro by the line, and rw once all was checked.
    let fstab = s.work.0.join("fstab");
    let line = format!("none {mnt} mini_fo ro,base={base},sto={storage} 0 0\n");
    fs::write(&fstab, line).expect("write");
    let script = format!(
        "mount='mount -T {}'; $mount {mnt}
         ! touch {mnt}/y 2>/dev/null || exit 1; $mount -o remount,rw {mnt}; cat {mnt}/by_path
         echo fstab > {mnt}/by_fstab; umount {mnt}
         $mount {mnt}; cat {mnt}/by_fstab; umount {mnt}",
        fstab.display()
    );
    assert_eq!(sh(Path::new(ROOT), &script), "1\n2\n2\nfstab\n");
}

#[test]
fn what_is_open_goes_on() {
    for more in ["ro,transport=uring", "ro", "ro,transport=classic,nopassthrough"] {
        let rings = more.contains("uring").then(Rings::new);
        if matches!(rings, Some(None)) {
            continue;
        }
        let Some(mut s) = unmounted(StorageKind::Ext4) else { return };
        s.mount(&[]);
        sh(&s.mnt, "echo stored > stored");
        s.umount();
        s.mount(&["-o", more]);
        let held = |name: &str| File::open(s.at(name)).expect("open");
        let (base, stored, big) = (held("f"), held("stored"), held("big"));
        let mapping = sys::Mapping::shared(&base, 18, false);
        let listing = fs::read_dir(s.at("d")).expect("readdir");
        let start = |file: &File| {
            let mut bytes = [0; 6];
            file.read_exact_at(&mut bytes, 0).expect("pread");
            bytes
        };
        assert_eq!((start(&base), start(&stored)), (*b"base c", *b"stored"));
        assert_eq!(mapping.read(4), b"base");
        start(&big);
        bare(&s);
        for name in ["f", "stored", "big"] {
            let mut writer = OpenOptions::new().write(true).open(s.at(name)).expect("open");
            writer.write_all(b"WRITES").expect("write");
            writer.sync_all().expect("fsync");
        }
        for file in [&base, &stored, &big] {
            assert_eq!(&start(file), b"WRITES", "{more}");
        }
        assert_eq!(mapping.read(6), b"WRITES");
        s.prove_base();
        drop((base, stored, big, mapping));
        assert!(listing.count() >= 3);
        s.now_and_remounted(|mnt| {
            for name in ["f", "stored", "big"] {
                assert!(fs::read(mnt.join(name)).expect("read").starts_with(b"WRITES"));
            }
        });
    }
}

/// A large file of which little is in the storage: what says which part is was opened
/// for reading only.
#[test]
fn a_partial_file_that_is_open_goes_on() {
    let Some(mut s) = unmounted(StorageKind::Ext4) else { return };
    let options = "ro,blocks_from=1M";
    s.mount(&["-o", "blocks_from=1M"]);
    let write = |at, bytes: &[u8]| {
        let file = OpenOptions::new().write(true).open(s.at("big")).expect("open");
        file.write_all_at(bytes, at).expect("pwrite");
    };
    write(100, b"first");
    sh(Path::new(ROOT), &format!("kill -KILL {}", cli::daemon(&s)));
    while fs::read_dir(&s.mnt).is_ok() {}
    s.umount();
    s.mount(&["-o", options]);
    let held = File::open(s.at("big")).expect("open");
    let read = |at, expected: &[u8]| {
        let mut bytes = vec![0; expected.len()];
        held.read_exact_at(&mut bytes, at).expect("pread");
        assert_eq!(bytes, expected);
    };
    read(100, b"first");
    bare(&s);
    let write = |at, bytes: &[u8]| {
        let file = OpenOptions::new().write(true).open(s.at("big")).expect("open");
        file.write_all_at(bytes, at).expect("pwrite");
        file.sync_all().expect("fsync");
    };
    write(2 << 20, b"second");
    read(2 << 20, b"second");
    read(100, b"first");
    let whole = fs::read(s.at("big")).expect("read");
    sh(Path::new(ROOT), &format!("kill -KILL {}", cli::daemon(&s)));
    while fs::read_dir(&s.mnt).is_ok() {}
    drop(held);
    s.umount();
    s.mount(&[]);
    assert_eq!(fs::read(s.at("big")).expect("read"), whole);
}

/// What a crash has left is shown as it will be, and put in order only then.
#[test]
fn a_storage_after_a_crash() {
    let Some(mut s) = unmounted(StorageKind::Ext4) else { return };
    s.mount(&[]);
    sh(&s.mnt, "mv d/sub e/moved; rm d/one; echo x > d/new; ln f d/hard; sync d e");
    sh(Path::new(ROOT), &format!("kill -KILL {}", cli::daemon(&s)));
    while fs::read_dir(&s.mnt).is_ok() {}
    s.umount();
    // A power cut: META of a directory has all in its attribute; a copy has no name
    // yet, and the last line of another META is half written.
    fs::write(s.storage.join("e").join(META), "").expect("truncate");
    fs::write(s.storage.join("d/META_dAfFgHE39ktF3HD2sr.2b-18ab0123456789ab-0"), "x")
        .expect("write");
    let meta = s.storage.join("d").join(META);
    let mut torn = OpenOptions::new().append(true).open(&meta).expect("open");
    torn.write_all(b"D tw").expect("write");
    let before = {
        s.mount(&["-o", "ro"]);
        let before = shown(&s.mnt);
        assert!(before.contains("./e/moved/three"), "{before}");
        assert_eq!(fs::read(s.storage.join("e").join(META)).expect("META"), b"");
        before
    };
    bare(&s);
    sh(&s.mnt, "mkdir empty/first");
    sh(&s.mnt, "rmdir empty/first; touch -d @1109678400.123456789 empty");
    // The time of change of a directory from which a leftover was removed moves.
    let lines = |text: &str| -> Vec<String> {
        let kept = text.lines().filter(|line| !line.starts_with("./empty "));
        let ended = |line: &str| line.trim_end().rsplit_once(' ').expect("words").0.to_owned();
        let one = |line: &str| if line.starts_with("./d ") { ended(line) } else { line.to_owned() };
        kept.map(one).collect()
    };
    let now = shown(&s.mnt);
    assert_eq!(lines(&now), lines(&before));
    s.remount();
    assert_eq!(shown(&s.mnt), now, "the kernel was told");
    s.umount();
    s.mount(&["-o", "ro"]);
    bare(&s);
    assert!(s.meta("e").contains("R /d/sub moved"), "{}", s.meta("e"));
    sh(&s.mnt, "echo y > e/moved/y; mv d/two d/three; echo z > d/one");
    s.now_and_remounted(|mnt| {
        assert_eq!(sh(mnt, "cat e/moved/y e/moved/three d/three d/one"), "y\n333\n22\nz\n");
        assert!(!mnt.join("d/two").exists());
    });
    s.umount();
    mini_fo(&[Path::new("check"), &s.base, Path::new("--storage"), &s.storage]).ok();
}

#[test]
fn a_storage_that_somebody_else_reads() {
    let Some(mut s) = unmounted(StorageKind::Tmpfs) else { return };
    if !install_helper(&s.work) {
        return;
    }
    let (log, other) = (s.work.0.join("log"), s.work.dir("other"));
    s.mount(&["-o", "ro", "--log", log.to_str().expect("UTF-8")]);
    let (base, storage) = (s.base.clone(), s.storage.clone());
    let option = Path::new("-o");
    let second = [
        Path::new("mount"),
        &base,
        &other,
        Path::new("--storage"),
        &storage,
        option,
        Path::new("ro"),
    ];
    mini_fo(&second).ok();
    let line = format!("mount.mini_fo -o remount,rw none {}", s.mnt.display());
    let path = other.to_str().expect("UTF-8");
    run("sh", &["-c", &line]).fails(FAILED, &["stays read-only", path]);
    assert!(
        sh(Path::new(ROOT), &format!("findmnt -no OPTIONS {}", s.mnt.display())).starts_with("ro")
    );
    bare(&s);
    for _ in 0..3 {
        sh(&s.mnt, "touch x 2>&1 | grep -q busy; cat f");
    }
    assert!(fs::read_dir(&storage).expect("readdir").next().is_none());
    let told = fs::read_to_string(&log).expect("log");
    assert_eq!(told.matches("asked to write").count(), 1, "{told}");
    assert!(told.contains("in use"), "{told}");
    // The shared lock is back: nobody may write now.
    mini_fo(&[Path::new("umount"), &other]).ok();
    mini_fo(&second[..5]).fails(IN_USE, &[]);
    std::thread::sleep(std::time::Duration::from_millis(1100));
    sh(&s.mnt, "echo now > x");
    mini_fo(&second).fails(IN_USE, &[]);
    s.now_and_remounted(|mnt| assert_eq!(fs::read(mnt.join("x")).expect("read"), b"now\n"));
}

/// The storage's own file system is read-only at first, as at a boot.
#[test]
fn a_storage_that_was_read_only_itself() {
    let Some(mut s) = unmounted(StorageKind::Ext4) else { return };
    let stored = sh(Path::new(ROOT), &format!("findmnt -no TARGET -T {}", s.storage.display()));
    let stored = stored.trim();
    s.mount(&[]);
    sh(&s.mnt, "echo before > before");
    s.umount();
    sh(Path::new(ROOT), &format!("mount -o remount,ro {stored}"));
    s.mount(&["-o", "ro"]);
    assert_eq!(fs::read(s.at("before")).expect("read"), b"before\n");
    bare(&s);
    sh(&s.mnt, "touch x 2>&1 | grep -q 'Read-only'");
    sh(Path::new(ROOT), &format!("mount -o remount,rw {stored}; sleep 1.1"));
    sh(&s.mnt, "echo after >> before; rm f");
    s.now_and_remounted(|mnt| {
        assert_eq!(fs::read(mnt.join("before")).expect("read"), b"before\nafter\n");
        assert!(!mnt.join("f").exists());
    });
}

#[test]
fn what_stays_read_only() {
    let Some(mut s) = unmounted(StorageKind::Plain) else { return };
    if !install_helper(&s.work) {
        return;
    }
    let line = format!("mount.mini_fo -o remount,rw none {}", s.mnt.display());
    s.mount(&["-o", "stays_ro"]);
    run("sh", &["-c", &line]).fails(FAILED, &["stays read-only", "stays_ro"]);
    bare(&s);
    sh(&s.mnt, "touch x 2>&1 | grep -q 'Read-only'; cat f");
    s.umount();
    assert!(fs::read_dir(&s.storage).expect("readdir").next().is_none());
    // What was found in the storage.
    s.mount(&[]);
    sh(&s.mnt, "rm d/one");
    s.umount();
    let meta = s.storage.join("d").join(META);
    let said = fs::read(&meta).expect("META");
    fs::write(&meta, [&b"nonsense\n"[..], &said].concat()).expect("write");
    s.mount(&["-o", "ro"]);
    run("sh", &["-c", &line]).fails(FAILED, &["stays read-only"]);
    bare(&s);
    sh(&s.mnt, "touch x 2>&1 | grep -q 'Read-only'; test ! -e d/one");
    s.umount();
    s.mount(&["-o", "ro,damaged=rw"]);
    bare(&s);
    sh(&s.mnt, "touch x; test ! -e d/one");
    assert!(!s.meta("d").contains("nonsense"));
}

/// Numbers and times of what was looked at before stay.
#[test]
fn a_new_storage_keeps_the_times_of_the_base_s_root() {
    let Some(mut s) = unmounted(StorageKind::Plain) else { return };
    s.mount(&["-o", "ro"]);
    let stat = |path: &Path| fs::metadata(path).expect("stat");
    let before = stat(&s.at("f")).ino();
    stat(&s.mnt);
    bare(&s);
    sh(&s.mnt, "echo x >> d/one");
    let (root, base) = (stat(&s.mnt), stat(&s.quiet_base()));
    assert_eq!((root.mtime(), root.mtime_nsec()), (base.mtime(), base.mtime_nsec()));
    assert_eq!(stat(&s.at("f")).ino(), before);
}
