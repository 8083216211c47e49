//! What daily use has brought up.

use std::fs;
use std::path::Path;

use crate::common::{
    BaseKind, META, Scene, StorageKind, engine_is_product, is_root, mini_fo, run, sh, skip,
    skip_unless, standard_base,
};

fn scene() -> Option<Scene> {
    engine_is_product()
        .then(|| Scene::unmounted(BaseKind::Plain, StorageKind::Plain, standard_base))?
}

/// The first field of /proc/self/mounts, which suites and programs compare.
#[test]
fn fsname_is_the_source() {
    let Some(mut s) = scene() else { return };
    s.mount(&["-o", "fsname=/dev/some thing"]);
    let source = sh(&s.mnt, "findmnt -rno SOURCE -T .");
    assert!(["/dev/some\\x20thing\n", "/dev/some thing\n"].contains(&&*source), "{source:?}");
    s.umount();
    s.mount(&["-o", "fsname=one,ro,fsname=two"]);
    assert_eq!(sh(&s.mnt, "findmnt -rno SOURCE -T ."), "two\n");
    s.umount();
    s.mount(&[]);
    assert_eq!(sh(&s.mnt, "findmnt -rno SOURCE -T .").trim(), s.base.display().to_string());
}

/// As on the kernel's overlayfs: what may be appended to is, and stays so.
#[test]
fn an_append_only_base_file_is_appended_to() {
    if !is_root() || skip_unless(&["chattr"]) {
        return skip("needs root and chattr");
    }
    let Some(mut s) = scene() else { return };
    let (log, long) = (s.base.join("log"), s.base.join("long"));
    fs::write(&log, "old\n").expect("write");
    fs::write(&long, vec![b'x'; 300_000]).expect("write");
    let flags = |how: &str, at: &Path| run("chattr", &[Path::new(how), at]).code == 0;
    if !flags("+a", &log) || !flags("+a", &long) {
        return skip("no append-only files here");
    }
    s.mount(&[]);
    let script = "echo new >> log; echo newer >> log; test \"$(cat log)\" = \"$(printf 'old\\nnew\\nnewer')\"
         echo end >> long; test $(stat -c %s long) = 300004; test \"$(tail -c 4 long)\" = end
         lsattr log | grep -q '^-*a'
         for f in log long; do ! sh -c \"echo over > $f\" 2>/dev/null || exit 1; ! rm $f 2>/dev/null || exit 1; done
         ! truncate -s 1 long 2>/dev/null || exit 1; ! chmod 600 log 2>/dev/null || exit 1";
    let worked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        sh(&s.mnt, script);
        s.remount();
        sh(
            &s.mnt,
            "echo again >> log; test \"$(tail -1 log)\" = again; ! rm log 2>/dev/null || exit 1",
        );
        assert_eq!(fs::read(&log).expect("read"), b"old\n");
        sh(&s.mnt, "chattr -a log long; rm log long; test ! -e log");
        s.umount();
    }));
    // What cannot be removed would stay behind.
    sh(
        &s.work.0,
        "chattr -a base/log base/long; rm base/log base/long; chattr -R -a storage || true",
    );
    s.retake_proof();
    worked.expect("appended, and nothing else");
}

/// `damaged=rw` drops what is damaged: the next mount finds nothing any more.
#[test]
fn damaged_lines_are_dropped_when_asked_for() {
    let Some(mut s) = scene() else { return };
    let line = format!(
        "mkdir -p d; printf 'D f\\nnonsense\\nD ../x\\n' > {META}; printf 'D one\\nR /no' > d/{META}"
    );
    sh(&s.storage, &line);
    let said = s.try_mount(&[]);
    let told = said.stderr.clone();
    said.ok();
    // Each is told once, and all of it.
    for line in ["line 2: ", "line 3: ", "mounted read-only because META is damaged"] {
        assert_eq!(told.matches(line).count(), 1, "{line}: {told}");
    }
    s.umount();
    let said = s.try_mount(&["-o", "damaged=rw"]);
    assert!(said.stderr.contains("line 2: "), "{}", said.stderr);
    said.ok();
    assert!(!s.meta("").contains("nonsense") && !s.meta("").contains(".."), "{}", s.meta(""));
    sh(&s.mnt, "test ! -e f; test ! -e d/one; test -e d/two; rm g");
    s.umount();
    let said = s.try_mount(&[]);
    assert_eq!(said.stderr, "");
    said.ok();
    sh(&s.mnt, "test ! -e f; test ! -e g; test ! -e d/one; touch x");
    s.umount();
    let check = mini_fo(&[Path::new("check"), &s.base, Path::new("--storage"), &s.storage]);
    assert_eq!(check.ok(), "");
}

/// The path of a base forges no line of a log or a message.
#[test]
fn an_odd_base_makes_no_line_of_its_own() {
    let Some(s) = scene() else { return };
    let odd = s.work.dir("base\nmini_fo: ERROR: forged");
    let (log, other) = (s.work.0.join("log"), s.work.dir("other"));
    let mount = |base: &Path, more: &[&str]| {
        let mut args = vec![Path::new("mount"), base, &s.mnt, Path::new("--storage"), &s.storage];
        args.extend(more.iter().map(Path::new));
        let said = mini_fo(&args);
        assert!(said.stderr.lines().count() <= 1, "{}", said.stderr);
        assert!(!said.stderr.contains("\nmini_fo: ERROR"), "{}", said.stderr);
        said
    };
    mount(&odd, &["--log", log.to_str().expect("UTF-8")]).ok();
    mini_fo(&[Path::new("umount"), &s.mnt]).ok();
    mount(&other, &[]).fails(6, &["base\\012mini_fo: ERROR: forged"]);
    let check = mini_fo(&[Path::new("check"), &other, Path::new("--storage"), &s.storage]);
    assert_eq!(check.stdout.lines().count(), 1, "{}", check.stdout);
    let log = fs::read_to_string(&log).expect("log");
    assert!(log.contains("base\\012mini_fo: ERROR"), "{log}");
    assert!(log.lines().all(|line| line.contains("Z mini_fo[")), "{log}");
}
