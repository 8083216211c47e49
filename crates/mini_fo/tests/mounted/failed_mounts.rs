//! A mount that fails has changed nothing in its storage; and what is no storage is
//! not taken for one.

use std::fs;
use std::path::Path;

use crate::cli;
use crate::common::{
    BaseKind, META, Outcome, Scene, StorageKind, Tree, engine_is_product, is_root, mini_fo, record,
    run, sh, skip, standard_base,
};
use crate::user::as_nobody;

const STORAGE: i32 = 4;
const MOUNT: i32 = 8;

fn scene() -> Option<Scene> {
    engine_is_product()
        .then(|| Scene::unmounted(BaseKind::Plain, StorageKind::Plain, standard_base))?
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// All that can be known of a storage; listing it moves times of access.
fn facts(storage: &Path) -> Tree {
    let mut tree = record(storage);
    tree.values_mut().for_each(|facts| facts.atime = (0, 0));
    tree
}

/// Storages that a mount for writing changes before it serves anything: closed,
/// claimed, ended in order, mended.
fn storages(s: &mut Scene) -> Vec<&'static str> {
    s.mount(&[]);
    sh(&s.mnt, "echo x > new; rm f; mv d e/d");
    sh(Path::new("/"), &format!("kill -KILL {}", cli::daemon(s)));
    while fs::metadata(s.at("f")).is_ok() {}
    s.umount();
    let script = format!(
        "cp -a storage killed; touch killed/{META}.12345-18ab0123456789ab-0; chmod 755 killed
         mkdir new old; chmod 755 new old; setfacl -d -m u:12:rwx new 2>/dev/null || true
         printf 'D g\\n' > old/{META}; rm -rf storage; mkdir storage"
    );
    sh(&s.work.0, &script);
    vec!["new", "old", "killed"]
}

/// Mounts each storage by `attempt`, which must fail and leave it alone.
fn leaves_alone(s: &Scene, storages: &[&str], attempt: impl Fn(&Path) -> Outcome) {
    for name in storages {
        let storage = s.work.0.join(name);
        let before = facts(&storage);
        let said = attempt(&storage);
        assert_ne!(said.code, 0, "{name}: {}", said.stdout);
        assert_eq!(facts(&storage), before, "{name}: {}", said.stderr);
    }
}

#[test]
fn a_mount_that_fails_leaves_its_storage_alone() {
    let Some(mut s) = scene() else { return };
    if !is_root() {
        return skip("needs root");
    }
    let names = storages(&mut s);
    let program = env!("CARGO_BIN_EXE_mini_fo");
    let (base, mnt) = (text(&s.base), text(&s.mnt));
    // No mount point, one that is no directory.
    for point in ["absent", "file"] {
        let point = s.work.0.join(point);
        leaves_alone(&s, &names, |storage| {
            let args = [Path::new("mount"), &s.base, &point, Path::new("--storage"), storage];
            mini_fo(&args).fails(MOUNT, &[text(&point)])
        });
        fs::write(s.work.0.join("file"), "").expect("write");
    }
    // No /dev/fuse; one that is something else; no right to mount, by helper or not.
    let without = [
        "mount -t tmpfs none /dev; mknod -m 666 /dev/null c 1 3; exec",
        "mount --bind /dev/null /dev/fuse; exec",
        "exec setpriv --bounding-set=-sys_admin",
    ];
    for how in without {
        leaves_alone(&s, &names, |storage| {
            let line = format!("{how} {program} mount {base} {mnt} --storage {}", text(storage));
            run("unshare", &["-m", "sh", "-c", &line]).fails(MOUNT, &[])
        });
    }
    // The handshake with the kernel fails: the mount was there for a moment.
    let parameter = "/sys/module/fuse/parameters/enable_uring";
    if fs::read(parameter).is_ok_and(|now| now.starts_with(b"N")) {
        leaves_alone(&s, &names, |storage| {
            let line = format!("{program} mount {base} {mnt} -o transport=uring --storage");
            run("sh", &["-c", &format!("{line} {}", text(storage))]).fails(MOUNT, &["io_uring"])
        });
    }
    // Each of them is good afterwards.
    for name in names {
        let storage = s.work.0.join(name);
        let args = [Path::new("mount"), &s.base, &s.mnt, Path::new("--storage"), &storage];
        mini_fo(&args).ok();
        sh(&s.mnt, "test -e d/one || test -e e/d/one");
        mini_fo(&[Path::new("umount"), &s.mnt]).ok();
    }
}

#[test]
fn an_ordinary_user_s_mount_that_fails() {
    let Some(s) = scene() else { return };
    if !is_root() {
        return skip("becomes another user and needs root for it");
    }
    let script = "
        chmod 755 storage; look() { stat -c '%n %a %u %s %y %z' storage storage/* storage/.[!.]*; }
        before=$(look 2>/dev/null || true)
        code=0; PATH=/nonexistent $MINI_FO mount base mnt --storage storage 2>said || code=$?
        /bin/cat said; test $code = 8
        code=0; $MINI_FO mount base /media --storage storage 2>said || code=$?
        cat said; test $code = 8
        test \"$(look 2>/dev/null || true)\" = \"$before\"; echo untouched";
    // Most systems let users open it.
    sh(&s.work.0, "mknod -m 600 fuse c 10 229; mount --bind fuse /dev/fuse");
    let said = as_nobody(&s.work, false, &[], script);
    assert!(said.stdout.contains("fusermount3"), "{}", said.stdout);
    assert!(said.ok().contains("untouched"));
}

/// What fails once the mount is there is taken back: here no room for META.
#[test]
fn a_storage_too_full_for_its_first_line_stays_as_it_is() {
    let Some(s) = scene() else { return };
    if !is_root() {
        return skip("needs root");
    }
    let full = s.work.dir("full");
    sh(
        &full,
        "mount -t tmpfs -o size=64k,mode=700 none . && cd ../full; mkdir -m 755 empty
         setfattr -n user.colour -v red empty 2>/dev/null || true
         dd if=/dev/zero of=x 2>/dev/null || true",
    );
    let empty = full.join("empty");
    let unchanging = |tree: Tree| {
        let clear = |mut facts: crate::common::Facts| {
            facts.ctime = (0, 0);
            facts
        };
        tree.into_iter().map(|(path, facts)| (path, clear(facts))).collect::<Tree>()
    };
    let before = unchanging(facts(&empty));
    let args = [Path::new("mount"), &s.base, &s.mnt, Path::new("--storage"), &empty];
    mini_fo(&args).fails(STORAGE, &["space"]);
    assert_eq!(unchanging(facts(&empty)), before);
    let mounts = fs::read_to_string("/proc/thread-self/mountinfo").expect("mountinfo");
    assert!(!mounts.contains(text(&s.mnt)), "{mounts}");
}

/// Swapped arguments: a directory that holds something is no storage.
#[test]
fn a_directory_that_is_no_storage() {
    let Some(s) = scene() else { return };
    let other = s.work.dir("other");
    sh(&other, "chmod 700 .; mkdir etc; echo mine > etc/passwd");
    let before = facts(&other);
    for options in [&[][..], &["--read-only"], &["-o", "damaged=rw,accept_base"]] {
        let mut args = vec![Path::new("mount"), &s.base, &s.mnt, Path::new("--storage"), &other];
        args.extend(options.iter().map(Path::new));
        mini_fo(&args).fails(STORAGE, &[text(&other), "-o accept_storage"]);
        assert_eq!(facts(&other), before);
    }
    // A storage somewhere below makes no storage of what is above.
    let below = other.join("below");
    fs::create_dir(&below).expect("mkdir");
    let at = |storage: &Path, more: &str| {
        let args = ["mount", text(&s.base), text(&s.mnt), "--storage", text(storage), "-o", more];
        mini_fo(&args)
    };
    at(&below, "rw").ok();
    sh(&s.mnt, "rm d/one");
    mini_fo(&[Path::new("umount"), &s.mnt]).ok();
    at(&other, "rw").fails(STORAGE, &["accept_storage"]);
    fs::remove_dir_all(&below).expect("rm");
    // As asked for, by either name; from then on it is a storage.
    at(&other, "accept_storage").ok();
    sh(&s.mnt, "test $(cat etc/passwd) = mine; test -e d/one");
    mini_fo(&[Path::new("umount"), &s.mnt]).ok();
    at(&other, "rw").ok();
    mini_fo(&[Path::new("umount"), &s.mnt]).ok();
    // What mkfs makes does not count, nor does META of 2005 in a directory below.
    fs::create_dir(s.storage.join("lost+found")).expect("mkdir");
    at(&s.storage, "rw").ok();
    mini_fo(&[Path::new("umount"), &s.mnt]).ok();
    let old = s.work.dir("of-2005");
    sh(&old, &format!("mkdir d; echo 'D one' > d/{META}"));
    at(&old, "rw").ok();
    sh(&s.mnt, "test ! -e d/one");
    mini_fo(&[Path::new("umount"), &s.mnt]).ok();
}
