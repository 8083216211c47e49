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
    assert!(said.stderr.contains("/no/such/mini_fo could not mount"), "{}", said.stderr);
    assert_eq!(said.ok(), "plain it's\n");
    let mounts = fs::read_to_string("/proc/thread-self/mountinfo").expect("mountinfo");
    assert!(!mounts.contains(work.0.to_str().expect("UTF-8")));
}

#[test]
fn overlay_init_fails_over_at_every_step() {
    if !ready() {
        return;
    }
    let work = WorkDir::new();
    let program = ["/bin/sh", "-c", "echo plain"];
    let said = overlay_init(&work, &["overlay_size=nonsense"], &program);
    assert!(said.stderr.contains("cannot mount a tmpfs of size nonsense"), "{}", said.stderr);
    assert_eq!(said.ok(), "plain\n");
    let said = overlay_init(&work, &["overlay_dir=/no/such/directory"], &program);
    assert!(said.stderr.contains("/no/such/directory"), "{}", said.stderr);
    assert_eq!(said.ok(), "plain\n");
    // A next program that is missing or broken: a shell, here with nothing to read.
    let said = overlay_init(&work, &[], &["/no/such/init"]);
    assert!(said.stderr.contains("/no/such/init cannot be executed"), "{}", said.stderr);
    assert!(said.stderr.contains("executing a shell"), "{}", said.stderr);
    let broken = work.0.join("broken");
    fs::write(&broken, "#!/no/such/interpreter\n").expect("write");
    sh(&work.0, "chmod +x broken");
    let said = overlay_init(&work, &[], &[broken.to_str().expect("UTF-8")]);
    assert!(said.stderr.contains("executing a shell"), "{}", said.stderr);
    let vars = ["overlay_failure=shell", "overlay_size=nonsense"];
    let said = overlay_init(&work, &vars, &program);
    assert!(said.stderr.contains("executing a shell"), "{}", said.stderr);
    assert_eq!(said.ok(), "");
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
