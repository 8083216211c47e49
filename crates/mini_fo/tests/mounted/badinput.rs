//! Bad input: a clear message, the documented exit code, and nothing lost.

use std::fs;
use std::path::{Path, PathBuf};

use crate::common::{
    BaseKind, META, Outcome, Scene, StorageKind, engine_is_product, have, is_root, mini_fo, run,
    sh, skip, standard_base,
};

const USAGE: i32 = 2;
const BASE: i32 = 3;
const STORAGE: i32 = 4;
const IN_USE: i32 = 5;
const OTHER_BASE: i32 = 6;
const NESTED: i32 = 7;
const MOUNT: i32 = 8;
const NOT_MOUNTED: i32 = 9;
const BUSY: i32 = 10;

fn scene() -> Option<Scene> {
    engine_is_product()
        .then(|| Scene::unmounted(BaseKind::Plain, StorageKind::Plain, standard_base))?
}

fn mount(base: &Path, storage: &Path, mnt: &Path, extra: &[&str]) -> Outcome {
    let mut args = vec![Path::new("mount"), base, mnt, Path::new("--storage"), storage];
    args.extend(extra.iter().map(Path::new));
    mini_fo(&args)
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

fn mounts() -> String {
    fs::read_to_string("/proc/thread-self/mountinfo").expect("mountinfo")
}

#[test]
fn no_such_base() {
    let Some(s) = scene() else { return };
    let absent = s.work.0.join("absent");
    mount(&absent, &s.storage, &s.mnt, &[]).fails(BASE, &[text(&absent)]);
    mount(&s.base.join("f"), &s.storage, &s.mnt, &[]).fails(BASE, &["directory", "/f"]);
}

#[test]
fn no_such_storage() {
    let Some(s) = scene() else { return };
    let absent = s.work.0.join("absent");
    mount(&s.base, &absent, &s.mnt, &[]).fails(STORAGE, &[text(&absent)]);
    let file = s.work.0.join("file");
    fs::write(&file, "").expect("write");
    mount(&s.base, &file, &s.mnt, &[]).fails(STORAGE, &["directory", text(&file)]);
    mini_fo(&[Path::new("mount"), &s.base, &s.mnt]).fails(USAGE, &["sto"]);
}

#[test]
fn no_such_mount_point() {
    let Some(s) = scene() else { return };
    let absent = s.work.0.join("absent");
    mount(&s.base, &s.storage, &absent, &[]).fails(MOUNT, &[text(&absent)]);
    let file = s.work.0.join("file");
    fs::write(&file, "").expect("write");
    mount(&s.base, &s.storage, &file, &[]).fails(MOUNT, &["directory", text(&file)]);
}

#[test]
fn a_storage_that_cannot_be_written() {
    let Some(s) = scene() else { return };
    if !is_root() {
        return skip("needs root");
    }
    let copy = s.work.0.join("mini_fo");
    fs::copy(env!("CARGO_BIN_EXE_mini_fo"), &copy).expect("copy the program");
    let words = ["--reuid=65534", "--regid=65534", "--clear-groups", text(&copy), "mount"];
    let mut args = words.to_vec();
    args.extend([text(&s.base), text(&s.mnt), "--storage", text(&s.storage)]);
    // Who lacks what: the user and the right are named.
    run("setpriv", &args).fails(STORAGE, &[text(&s.storage), "65534", "writ"]);

    let ro = s.work.dir("ro");
    sh(&s.work.0, "mount -t tmpfs -o ro none ro");
    mount(&s.base, &ro, &s.mnt, &[]).fails(STORAGE, &["read-only", text(&ro)]);
}

#[test]
fn a_full_storage() {
    let Some(s) = scene() else { return };
    if !is_root() {
        return skip("needs root");
    }
    let full = s.work.dir("full");
    sh(
        &s.work.0,
        "mount -t tmpfs -o size=64k,mode=700 none full; mkdir full/empty; dd if=/dev/zero of=full/x 2>/dev/null || true",
    );
    // An empty storage on a full device is of no use to anybody.
    let empty = full.join("empty");
    mount(&s.base, &empty, &s.mnt, &[]).fails(STORAGE, &["space"]);
    assert!(!mounts().contains(text(&s.mnt)));
    // One that holds something can be mounted to delete it.
    mount(&s.base, &full, &s.mnt, &["--accept-storage"]).fails(0, &["it is full"]);
    sh(&s.mnt, "dd if=/dev/zero of=new 2>&1 | grep -qi space; rm x; echo fits > new; cat new");
    mini_fo(&[Path::new("umount"), &s.mnt]).ok();
}

/// A storage that fills up later: the program is told, and what was there stays.
#[test]
fn a_storage_that_fills_up() {
    let Some(s) = scene() else { return };
    if !is_root() {
        return skip("needs root");
    }
    let small = s.work.dir("small");
    sh(&s.work.0, "mount -t tmpfs -o size=1m none small");
    mount(&s.base, &small, &s.mnt, &["-o", "whole_copies"]).ok();
    // "big" holds 3 MiB: it cannot be copied up.
    sh(&s.mnt, "sh -c 'echo x >> big' 2>&1 | grep -qi 'space'; cmp big ../proof/big");
    sh(
        &s.mnt,
        // The daemon hears of dd's close a little later, and gives the space back then.
        "dd if=/dev/zero of=new bs=64k 2>&1 | grep -qi space; rm new
         until echo ok > new; do sleep 0.02; done 2>/dev/null; cat new",
    );
    sh(&s.mnt, "rm big; echo fits > f; grep fits f");
    mini_fo(&[Path::new("umount"), &s.mnt]).ok();
}

#[test]
fn a_storage_in_use() {
    let Some(mut s) = scene() else { return };
    s.mount(&[]);
    let other = s.work.dir("other");
    let other_base = s.work.dir("other-base");
    mount(&s.base, &s.storage, &other, &[]).fails(IN_USE, &[text(&s.storage), text(&s.mnt)]);
    mount(&other_base, &s.storage, &other, &[]).fails(IN_USE, &[text(&s.mnt)]);
    sh(&s.mnt, "echo still > works");
    // The base may serve several mounts.
    let second = s.work.dir("storage2");
    mount(&s.base, &second, &other, &[]).ok();
    sh(&other, "test ! -e works; echo two > f");
    mini_fo(&[Path::new("umount"), &other]).ok();
}

#[test]
fn layers_inside_each_other() {
    let Some(s) = scene() else { return };
    let inside = s.work.dir("outer/base");
    mount(&inside, &s.work.0.join("outer"), &s.mnt, &[]).fails(NESTED, &["inside"]);
    let point = s.storage.join("point");
    fs::create_dir(&point).expect("mkdir");
    mount(&s.base, &s.storage, &point, &[]).fails(NESTED, &["inside"]);
    mount(&s.base, &s.base, &s.mnt, &[]).fails(NESTED, &[]);
}

/// A bind mount shows a directory at another path.
#[test]
fn layers_that_a_bind_mount_puts_into_each_other() {
    let Some(s) = scene() else { return };
    if !is_root() {
        return skip("needs root for bind mounts");
    }
    let work = &s.work.0;
    let bind = |from: &Path, name: &str| {
        let to = s.work.dir(name);
        sh(work, &format!("mount --bind '{}' '{}'", text(from), text(&to)));
        to
    };
    let empty = s.work.dir("empty");
    for base in [&s.base, &empty] {
        let name = if base == &empty { "same-empty" } else { "same" };
        let same = bind(base, name);
        for extra in [&[][..], &["--accept-storage"]] {
            mount(base, &same, &s.mnt, extra).fails(NESTED, &["same directory"]);
        }
    }
    assert_eq!(fs::read_dir(&empty).expect("readdir").count(), 0);
    let inside = s.work.dir("outer/deep/base");
    fs::write(inside.join("f"), "f").expect("write");
    let shown = bind(&inside, "base-elsewhere");
    mount(&shown, &s.work.0.join("outer"), &s.mnt, &[]).fails(NESTED, &["inside"]);
    // A storage inside the base is hidden there, however it is reached.
    let storage = s.work.dir("outer/storage");
    let shown = bind(&storage, "storage-elsewhere");
    mount(&s.work.0.join("outer"), &shown, &s.mnt, &[]).ok();
    sh(&s.mnt, "test -e deep/base/f; test ! -e storage; echo new > new");
    mini_fo(&[Path::new("umount"), &s.mnt]).ok();
    assert!(storage.join("new").exists());
}

/// Storage and mount point inside the base: allowed, with the storage hidden.
#[test]
fn storage_and_mount_point_inside_the_base() {
    let Some(s) = scene() else { return };
    let outer = s.work.dir("outer");
    sh(&outer, "mkdir -p deep/storage deep/point other; echo b > other/b");
    let storage = outer.join("deep/storage");
    let mut point = outer.join("deep/point");
    if !is_root() {
        mount(&outer, &storage, &point, &[]).fails(NESTED, &["CAP_SYS_ADMIN"]);
        point = s.work.dir("point");
    }
    mount(&outer, &storage, &point, &[]).ok();
    sh(&point, "test -e other/b; echo new > other/new; rm other/b; ls deep");
    sh(&point, "test ! -e deep/storage/other; test -z \"$(find . -path '*storage/*')\"");
    sh(&outer, "test -e other/b; test -e deep/storage/other/new");
    mini_fo(&[Path::new("umount"), &point]).ok();
    // Over the base itself.
    mount(&outer, &storage, &outer, &[]).ok();
    sh(&outer, "test ! -e other/b; test $(cat other/new) = new; rm other/new; ls -R . > /dev/null");
    mini_fo(&[Path::new("umount"), &outer]).ok();
    sh(&outer, "test -e other/b");
}

#[test]
fn a_storage_of_another_base() {
    let Some(mut s) = scene() else { return };
    s.mount(&[]);
    sh(&s.mnt, "rm f");
    s.umount();
    let other = s.work.dir("other");
    fs::write(other.join("f"), "other").expect("write");
    let message = mount(&other, &s.storage, &s.mnt, &[]).fails(OTHER_BASE, &["accept"]);
    assert!(message.stderr.contains(text(&s.base)), "{}", message.stderr);
    mount(&other, &s.storage, &s.mnt, &["--accept-base"]).ok();
    sh(&s.mnt, "test ! -e f");
    mini_fo(&[Path::new("umount"), &s.mnt]).ok();
    mount(&other, &s.storage, &s.mnt, &[]).ok();
    mini_fo(&[Path::new("umount"), &s.mnt]).ok();
    s.try_mount(&["-o", "accept_base"]).ok();
}

#[test]
fn unknown_and_malformed_options() {
    let Some(mut s) = scene() else { return };
    s.try_mount(&["-o", "nosuchoption"]).fails(USAGE, &["nosuchoption"]);
    s.try_mount(&["-o", "damaged=perhaps"]).fails(USAGE, &["damaged"]);
    s.try_mount(&["-o", "ro=1"]).fails(USAGE, &["ro"]);
    s.try_mount(&["-o", "log"]).fails(USAGE, &["log"]);
    s.try_mount(&["--nosuchflag"]).fails(USAGE, &["nosuchflag"]);
    mini_fo(&["frobnicate"]).fails(USAGE, &["frobnicate"]);
    mini_fo::<&str>(&[]).fails(USAGE, &["Usage"]);
    assert!(!mounts().contains(text(&s.mnt)));
}

#[test]
fn damaged_lines() {
    let Some(mut s) = scene() else { return };
    fs::create_dir(s.storage.join("d")).expect("mkdir");
    fs::write(s.storage.join(META), "D f\nD ../x\nnonsense\n").expect("write");
    fs::write(s.storage.join("d").join(META), "D one\nR /no").expect("write");
    let said = s.try_mount(&[]);
    let log = said.stderr.clone();
    said.ok();
    assert!(log.contains(META) && log.contains('2') && log.contains("read-only"), "{log}");
    sh(&s.mnt, "test ! -e f; test ! -e d/one; test -e g; touch x 2>&1 | grep -q 'Read-only'");
    s.umount();
    let before = fs::read(s.storage.join(META)).expect("read");
    assert_eq!(before, b"D f\nD ../x\nnonsense\n", "a damaged META was changed");
    s.try_mount(&["-o", "damaged=rw"]).ok();
    sh(&s.mnt, "test ! -e f; rm g; rm d/two; touch x");
    s.now_and_writable();
}

impl Scene {
    /// After a remount with damaged lines allowed the deletions are still there.
    fn now_and_writable(&mut self) {
        self.umount();
        self.mount(&["-o", "damaged=rw"]);
        sh(&self.mnt, "test ! -e f; test ! -e g; test -e x; test ! -e d/one; test ! -e d/two");
    }
}

#[test]
fn no_fuse_device() {
    let Some(s) = scene() else { return };
    if !is_root() || !have("unshare") {
        return skip("needs root");
    }
    let script = format!(
        "mount -t tmpfs none /dev; mknod -m 666 /dev/null c 1 3
         {} mount {} {} --storage {}",
        env!("CARGO_BIN_EXE_mini_fo"),
        text(&s.base),
        text(&s.mnt),
        text(&s.storage)
    );
    run("unshare", &["-m", "sh", "-c", &script]).fails(MOUNT, &["/dev/fuse"]);
}

/// A base that itself holds a name of the journal: it is not shown, and ours works.
#[test]
fn a_base_that_holds_the_name_of_the_journal() {
    if !engine_is_product() {
        return;
    }
    let fill = |base: &Path| {
        standard_base(base);
        fs::write(base.join(META), "D g\n").expect("write");
        fs::create_dir(base.join("d").join(META)).expect("mkdir");
    };
    let Some(mut s) = Scene::unmounted(BaseKind::Plain, StorageKind::Plain, fill) else {
        return;
    };
    let log = s.work.0.join("log");
    s.mount(&["--log", text(&log)]);
    let said = fs::read_to_string(&log).expect("the log");
    assert!(said.contains(&format!("1 of its names begin with {META} and are hidden")), "{said}");
    s.now_and_remounted(|mnt| {
        sh(mnt, "test -e g; test -z \"$(find . -name 'META*')\"");
    });
    sh(&s.mnt, "rm f; rm -r d; mkdir d");
    s.now_and_remounted(|mnt| {
        sh(mnt, "test -e g; test ! -e f; test -z \"$(ls -A d)\"");
    });
}

#[test]
fn unmounting_what_is_not_mounted_or_busy() {
    let Some(mut s) = scene() else { return };
    mini_fo(&[Path::new("umount"), &s.mnt]).fails(NOT_MOUNTED, &[text(&s.mnt)]);
    mini_fo(&["umount", "/proc"]).fails(NOT_MOUNTED, &["/proc"]);
    s.mount(&[]);
    let held = fs::File::open(s.at("f")).expect("open");
    mini_fo(&[Path::new("umount"), &s.mnt]).fails(BUSY, &["busy"]);
    sh(&s.mnt, "cat f");
    drop(held);
}

/// A storage that is not ours in part: strange objects are left alone.
#[test]
fn rubbish_in_the_storage() {
    let Some(mut s) = scene() else { return };
    let unfinished: PathBuf = s.storage.join(format!("{META}.123-18ab0123456789ab-0"));
    fs::write(&unfinished, "half a copy").expect("write");
    fs::create_dir(s.storage.join("f")).expect("a directory where the base has a file");
    fs::write(s.storage.join("d"), "a file where the base has a directory").expect("write");
    s.mount(&[]);
    sh(&s.mnt, "test -d f; test -f d; rmdir f; rm d; test ! -e f; test ! -e d");
    s.now_and_remounted(|mnt| {
        sh(mnt, "test ! -e f; test ! -e d");
    });
    assert!(!unfinished.exists(), "unfinished work was left");
}

/// A FIFO, or a device, under the name of the journal: nothing waits for somebody
/// at its other end.
#[test]
fn a_journal_that_is_a_fifo() {
    let Some(mut s) = scene() else { return };
    for dir in ["d", "e"] {
        fs::create_dir(s.storage.join(dir)).expect("mkdir");
    }
    sh(&s.storage, &format!("mkfifo -m 600 d/{META}; ln -s /dev/zero e/{META}"));
    s.mount(&[]);
    for dir in ["d", "e"] {
        sh(
            &s.mnt,
            &format!("for at in {dir} {dir}/five; do timeout 20 sync $at || test $? -ne 124; done"),
        );
        sh(&s.mnt, &format!("timeout 20 touch {dir}/new || test $? -ne 124"));
    }
    sh(&s.mnt, "timeout 20 cat f");
}
