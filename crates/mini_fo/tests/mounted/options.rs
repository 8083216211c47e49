//! The options of mount(8), on our command line, on mount(8)'s, and in fstab.

use std::fs;
use std::path::Path;

use crate::common::{
    BaseKind, Scene, StorageKind, WorkDir, engine_is_product, is_root, run, sh, skip, standard_base,
};

/// Makes `mount -t mini_fo` work in this test's mount namespace alone: a
/// directory of links to all of sbin, and `mount.mini_fo` besides.
pub fn install_helper(work: &WorkDir) -> bool {
    if !is_root() || !engine_is_product() {
        skip("needs root");
        return false;
    }
    let script = format!(
        "mkdir sbin sbin-orig; mount --bind $(readlink -f /sbin) sbin-orig
         ln -s $PWD/sbin-orig/* sbin/; rm -f sbin/mount.mini_fo sbin/mount.fuse.mini_fo sbin/mini_fo
         for n in mount.mini_fo mount.fuse.mini_fo mini_fo; do ln -s {program} sbin/$n; done
         mount --bind sbin $(readlink -f /sbin)",
        program = env!("CARGO_BIN_EXE_mini_fo")
    );
    sh(&work.0, &script);
    true
}

fn flags(mnt: &Path) -> String {
    sh(Path::new("/"), &format!("findmnt -no VFS-OPTIONS,FS-OPTIONS {}", mnt.display()))
}

fn unmounted() -> Option<Scene> {
    if !engine_is_product() {
        return None;
    }
    Scene::unmounted(BaseKind::Plain, StorageKind::Plain, standard_base)
}

#[test]
fn read_only() {
    let Some(mut s) = unmounted() else { return };
    for extra in [&["--read-only"][..], &["-o", "ro"]] {
        s.mount(extra);
        sh(&s.mnt, "touch x 2>&1 | grep -q 'Read-only'; cat f; test -d d");
        assert!(flags(&s.mnt).contains("ro"));
        s.umount();
    }
    assert!(fs::read_dir(&s.storage).expect("readdir").next().is_none());
}

#[test]
fn nosuid_nodev_noexec_noatime() {
    let Some(mut s) = unmounted() else { return };
    s.mount(&["-o", "nosuid,nodev,noexec,noatime"]);
    let flags = flags(&s.mnt);
    for word in ["nosuid", "nodev", "noexec", "noatime"] {
        assert!(flags.contains(word), "{word} is missing in {flags}");
    }
    sh(&s.mnt, "./script 2>&1 | grep -q 'denied'");
    if is_root() {
        sh(&s.mnt, "(: > null) 2>&1 | grep -q denied");
    }
}

/// The command line of 2005, unchanged.
#[test]
fn the_command_line_of_2005() {
    let Some(s) = unmounted() else { return };
    if !install_helper(&s.work) {
        return;
    }
    let (base, storage, mnt) = (s.base.display(), s.storage.display(), s.mnt.display());
    for source in [base.to_string(), "none".into(), "mini_fo:/overlay".into()] {
        sh(
            Path::new("/"),
            &format!("mount -t mini_fo -o base={base},sto={storage} {source} {mnt}"),
        );
        sh(&s.mnt, "echo x >> d/one; test -e f");
        sh(Path::new("/"), &format!("umount {mnt}"));
    }
    assert_eq!(fs::read_to_string(s.storage.join("d/one")).expect("read"), "1\nx\nx\nx\n");
    // Built with another name of META.
    let other = s.work.0.join("other");
    fs::create_dir(&other).expect("mkdir");
    let line = format!("mount -t mini_fo -o base={base},sto={},meta_name=META_x", other.display());
    sh(Path::new("/"), &format!("{line} none {mnt}; rm {mnt}/f; umount {mnt}"));
    let meta = fs::read_to_string(other.join("META_x")).expect("read");
    assert!(meta.lines().any(|line| line == "D f"), "{meta}");
    sh(Path::new("/"), &format!("{line},ro none {mnt}; test ! -e {mnt}/f; umount {mnt}"));
    let line = format!("mount -t mini_fo -o base={base},sto={storage},nonsense none {mnt}");
    run("sh", &["-c", &line]).fails(1, &["nonsense"]);
    let line = format!("mount -t mini_fo -o base={base}/absent,sto={storage} none {mnt}");
    run("sh", &["-c", &line]).fails(32, &["absent"]);
}

#[test]
fn a_line_in_fstab() {
    let Some(s) = unmounted() else { return };
    if !install_helper(&s.work) {
        return;
    }
    let (base, storage, mnt) = (s.base.display(), s.storage.display(), s.mnt.display());
    let line =
        format!("{base} {mnt} mini_fo base={base},sto={storage},nosuid,noatime,nofail 0 0\n");
    let fstab = s.work.0.join("fstab");
    fs::write(&fstab, line).expect("write");
    let script = format!(
        "mount='mount -T {}'; $mount {mnt}
         echo x > {mnt}/x; $mount -o remount,ro {mnt}; ! touch {mnt}/y 2>/dev/null || exit 1; umount {mnt}
         $mount -a; test -e {mnt}/x; umount {mnt}",
        fstab.display()
    );
    sh(Path::new("/"), &script);
}

/// A remount runs the helper again, which must not mount twice.
#[test]
fn remount() {
    let Some(s) = unmounted() else { return };
    if !install_helper(&s.work) {
        return;
    }
    let (base, storage, mnt) = (s.base.display(), s.storage.display(), s.mnt.display());
    sh(Path::new("/"), &format!("mount -t mini_fo -o base={base},sto={storage} none {mnt}"));
    let mount = |options: &str| {
        sh(Path::new("/"), &format!("mount -o remount,{options} {mnt}"));
        let count = sh(Path::new("/"), &format!("grep -c ' {mnt} ' /proc/self/mountinfo"));
        assert_eq!(count, "1\n", "mounted twice by remount,{options}");
    };
    mount("ro");
    sh(&s.mnt, "touch x 2>&1 | grep -q 'Read-only'; cat f");
    mount("rw");
    sh(&s.mnt, "touch x");
    mount("noexec,nosuid");
    sh(&s.mnt, "./script 2>&1 | grep -q denied");
    mount("exec");
    sh(&s.mnt, "./script");
    sh(Path::new("/"), &format!("umount {mnt}"));
}

/// `df` tells how much can still be written: the storage's numbers.
#[test]
fn free_space_is_the_storage_s() {
    if !engine_is_product() {
        return;
    }
    let Some(s) = Scene::on(BaseKind::Squashfs, StorageKind::Tmpfs, standard_base) else {
        return;
    };
    let df = |path: &Path| sh(path, "df --output=size,avail,itotal . | tail -1");
    assert_eq!(df(&s.mnt), df(&s.storage));
    sh(&s.mnt, "dd if=/dev/zero of=new bs=1M count=8 status=none");
    assert_eq!(df(&s.mnt), df(&s.storage));
}

#[test]
fn times_of_creation_show_unless_they_are_not_wanted() {
    let Some(mut s) = unmounted() else { return };
    for (options, shown) in [("rw", true), ("nobtime", false)] {
        s.mount(&["-o", options]);
        fs::write(s.at("made"), b"").expect("write");
        let birth = |path: &Path| {
            let stat = sh(Path::new("/"), &format!("stat -c %W {}", path.display()));
            stat.trim().parse::<u64>().expect("seconds")
        };
        let real = birth(&s.storage.join("made"));
        if real == 0 {
            return skip("a storage without times of creation");
        }
        assert_eq!(birth(&s.at("made")), if shown { real } else { 0 });
        s.umount();
    }
}
