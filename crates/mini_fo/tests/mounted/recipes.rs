//! The recipes of docs/RECIPES.md, each done in a mount namespace of its own.

use std::fs;
use std::path::{Path, PathBuf};

use crate::common::{
    BaseKind, META, Outcome, Scene, StorageKind, WorkDir, assert_same_tree, engine_is_product,
    is_root, mini_fo, run, sh, skip, standard_base,
};

fn ready() -> bool {
    if !is_root() {
        skip("needs root");
    }
    is_root() && engine_is_product()
}

/// One program on an overlaid root: it may change everything, and changed nothing.
#[test]
fn an_overlaid_root_for_one_program() {
    if !ready() {
        return;
    }
    let work = WorkDir::new();
    let (storage, mnt) = (work.dir("storage"), work.dir("mnt"));
    let marker = format!("mini_fo-marker-{}", std::process::id());
    let args = [Path::new("mount"), Path::new("/"), &mnt, Path::new("--storage"), &storage];
    mini_fo(&args).ok();
    let script = format!(
        "for d in proc sys dev; do mount --rbind /$d {mnt}/$d; done
         mount --bind /home {mnt}/home
         chroot {mnt} /bin/sh -ec '
             echo changed > /etc/{marker}; echo changed > /usr/{marker}; mkdir /{marker}
             rm /etc/debian_version /etc/hostname; mv /usr/share/doc /usr/share/papers
             test -r /proc/self/status; test -c /dev/null; echo x > /dev/null
             ls /usr/share/papers > /dev/null; cp /bin/ls /usr/bin/{marker}-ls; {marker}-ls / >/dev/null
             test -z \"$(ls -A {storage})\"'
         umount {mnt}/home; umount -l {mnt}/proc {mnt}/sys {mnt}/dev",
        mnt = mnt.display(),
        storage = storage.display()
    );
    let before = sh(Path::new("/"), "ls -la --time-style=full-iso /etc /usr");
    sh(Path::new("/"), &script);
    assert_eq!(sh(Path::new("/"), "ls -la --time-style=full-iso /etc /usr"), before);
    assert!(!Path::new("/usr/share/papers").exists());
    sh(&storage, &format!("test -e etc/{marker}; grep -q 'D debian_version' etc/{META}"));
    mini_fo(&[Path::new("umount"), &mnt]).ok();
}

fn overlay_init(work: &WorkDir, vars: &[&str], program: &[&str]) -> Outcome {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/overlay_init");
    let dir = format!("overlay_dir={}", work.dir("init").display());
    let own = format!("overlay_mini_fo={}", env!("CARGO_BIN_EXE_mini_fo"));
    let mut args = vec!["-mpf", "--kill-child", "env", &dir, &own];
    args.extend(vars);
    args.push(script.to_str().expect("UTF-8"));
    args.extend(program);
    run("unshare", &args)
}

/// The whole machine on an overlaid root, its changes in memory.
#[test]
fn overlay_init_overlays_the_root() {
    if !ready() {
        return;
    }
    let work = WorkDir::new();
    let marker = format!("mini_fo-init-{}", std::process::id());
    let script = format!(
        "test $$ = 1; echo changed > /etc/{marker}; rm /etc/hostname; mkdir /{marker}
         test -e /rom/etc/hostname; test ! -e /rom/etc/{marker}; test -c /dev/null
         test -r /proc/self/mountinfo; df -k --output=size / | tail -1; echo reached the end"
    );
    let words = ["/bin/sh", "-ec", &script];
    let said = overlay_init(&work, &["overlay_size=32m"], &words).ok();
    assert!(said.contains("32768"), "the size of the tmpfs: {said}");
    assert!(said.contains("reached the end"));
    assert!(Path::new("/etc/hostname").exists());
    assert!(!PathBuf::from("/etc").join(&marker).exists());
}

#[test]
fn overlay_init_without_the_program_starts_the_plain_init() {
    if !ready() {
        return;
    }
    let work = WorkDir::new();
    let vars = ["overlay_mini_fo=/no/such/mini_fo"];
    let said =
        overlay_init(&work, &vars, &["/bin/sh", "-c", "test ! -e /rom && echo plain $0", "it's"]);
    assert!(said.stderr.contains("no overlay; the root stays as it is"), "{}", said.stderr);
    assert_eq!(said.ok(), "plain it's\n");
    let mounts = fs::read_to_string("/proc/thread-self/mountinfo").expect("mountinfo");
    assert!(!mounts.contains(work.0.to_str().expect("UTF-8")));
}

#[test]
fn overlay_init_without_memory_starts_the_plain_init() {
    if !ready() {
        return;
    }
    let work = WorkDir::new();
    for var in ["overlay_size=nonsense", "overlay_dir=/no/such/directory"] {
        let said = overlay_init(&work, &[var], &["/bin/sh", "-c", "echo plain"]);
        assert!(said.stderr.contains("overlay_init: no tmpfs"), "{}", said.stderr);
        assert_eq!(said.ok(), "plain\n");
    }
}

/// As process 1 of a namespace, which has a `/run` of its own.
fn init(program: &[&str]) -> Outcome {
    let script = "mount -t tmpfs -o mode=755 none /run && mkdir /run/before && exec \"$@\"";
    let mut args = vec!["-mpf", "--kill-child", "/bin/sh", "-c", script, "sh"];
    args.extend([env!("CARGO_BIN_EXE_mini_fo"), "init"]);
    args.extend(program);
    run("unshare", &args)
}

/// `mini_fo init` on this machine's own root, with nothing said: memory.
#[test]
fn init_overlays_the_root() {
    if !ready() {
        return;
    }
    let marker = format!("mini_fo-init-{}", std::process::id());
    let script = format!(
        "test $$ = 1; echo changed > /etc/{marker}; rm /etc/hostname; mkdir /{marker}
         test -e /run/mini_fo/root/base/etc/hostname; test ! -e /run/mini_fo/root/base/{marker}
         test -c /dev/null; test -r /sys/class; test -d /run/before
         test $(stat -f -c %T /run/mini_fo/root/device) = tmpfs
         grep -q ' / / .* - fuse.mini_fo ' /proc/self/mountinfo; echo reached the end $1"
    );
    let said = init(&["/bin/sh", "-ec", &script, "sh", "it's"]).ok();
    assert!(said.contains("reached the end it's"), "{said}");
    assert!(Path::new("/etc/hostname").exists());
    assert!(!PathBuf::from("/etc").join(&marker).exists());
}

/// A program that is missing is no reason to stop, and only the first process
/// may change the root.
#[test]
fn init_always_executes_something() {
    if !ready() {
        return;
    }
    let said = mini_fo(&[Path::new("init")]);
    said.fails(2, &["first process", "--root DIR"]);
    // As the kernel calls it, with words that are none of ours.
    let script = "mount -t tmpfs -o mode=755 none /run && mount --bind /bin/echo /sbin/init &&
                  exec $0 quiet 3";
    if Path::new("/sbin/init").exists() {
        let args = ["-mpf", "--kill-child", "/bin/sh", "-c", script];
        let said = run("unshare", &[&args[..], &[env!("CARGO_BIN_EXE_mini_fo")]].concat()).ok();
        assert_eq!(said, "quiet 3\n");
    }
}

/// Storage on tmpfs vanishes with it; storage on a disk stays.
#[test]
fn changes_that_vanish_and_changes_that_stay() {
    if !ready() {
        return;
    }
    let Some(mut s) = Scene::on(BaseKind::Squashfs, StorageKind::Tmpfs, standard_base) else {
        return;
    };
    let plain = s.plain_copy();
    sh(&s.mnt, "echo x > f; rm -r d; mkdir new");
    s.umount();
    let tmpfs = s.storage.clone();
    run("umount", &[&tmpfs]).ok();
    run("mount", &["-t", "tmpfs", "none", tmpfs.to_str().expect("UTF-8")]).ok();
    s.mount(&[]);
    assert_same_tree(&s.mnt, &plain);
    s.umount();
    run("umount", &[&tmpfs]).ok();
    // The same mount point, now with a directory of the disk.
    s.mount(&[]);
    sh(&s.mnt, "echo x > f; rm -r d; mkdir new");
    sh(&plain, "echo x > f; rm -r d; mkdir new");
    s.now_and_remounted(|mnt| assert_same_tree(mnt, &plain));
}

#[test]
fn reset_to_factory_defaults() {
    let Some(mut s) = Scene::new(standard_base) else {
        return;
    };
    let plain = s.plain_copy();
    sh(&s.mnt, "echo x > f; rm -r d; mv e d; touch new; chmod 0 g");
    s.umount();
    sh(&s.storage, "find . -mindepth 1 -delete");
    s.mount(&[]);
    assert_same_tree(&s.mnt, &plain);
}

/// A "CD": an ISO image as base, and a stick that keeps the changes.
#[test]
fn a_base_on_a_cd() {
    let Some(mut s) = Scene::on(BaseKind::Iso, StorageKind::Ext4, standard_base) else {
        return;
    };
    sh(&s.mnt, "echo more >> d/one; rm f; mv d/sub 'long dir/'; mkdir x; mv e x/");
    s.now_and_remounted(|mnt| {
        sh(
            mnt,
            "test ! -e f; grep -q more d/one; test $(cat 'long dir/sub/three') = 333
             test $(cat x/e/five) = 55555; ls -lR . > /dev/null",
        );
    });
}
