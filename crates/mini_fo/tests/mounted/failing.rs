//! Changes that fail in the middle: nothing of them stays, now or after a
//! remount, and what succeeded is not called a failure.

use std::fs;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::process::Command;

use crate::common::{BaseKind, META, Scene, StorageKind, is_root, run, sh, skip};

/// A scene whose files can be made immutable; nobody but root may do that.
fn scene(fill: impl Fn(&Path)) -> Option<Scene> {
    if !is_root() {
        skip("making files immutable needs root");
        return None;
    }
    Scene::on(BaseKind::Plain, StorageKind::Ext4, fill)
}

fn fails(mnt: &Path, script: &str) {
    let done = Command::new("sh").args(["-c", script]).current_dir(mnt).output().expect("sh");
    assert!(!done.status.success(), "{script} should fail: {done:?}");
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| format!("{}: {error}", path.display()))
}

/// A program that runs is not emptied by an opening that is refused: of one for reading the
/// kernel's FUSE asks whether somebody runs it only when it has been carried out.
#[test]
fn a_running_program_is_not_emptied() {
    let fill =
        |base: &Path| drop(sh(base, "cp $(command -v sleep) below; cp below linked; echo x > f"));
    let Some(mut scene) = Scene::new(fill) else { return };
    sh(&scene.mnt, "cp below new");
    let emptying = |name: &str, write: bool| {
        let mut options = fs::OpenOptions::new();
        options.read(!write).write(write).custom_flags(libc::O_TRUNC);
        options.open(scene.at(name)).map(drop).map_err(|error| error.raw_os_error())
    };
    for name in ["below", "new"] {
        let mut child = Command::new(scene.at(name)).arg("60").spawn().expect("sleep");
        let refused = (emptying(name, false), emptying(name, true));
        let same =
            fs::read(scene.at(name)).expect("read") == fs::read(scene.at("linked")).expect("read");
        let runs = child.try_wait().expect("wait").is_none();
        child.kill().expect("kill");
        child.wait().expect("wait");
        let busy = Err(Some(libc::ETXTBSY));
        assert_eq!((refused, same, runs), ((busy, busy), true, true), "{name}");
        // Whoever writes may empty it when it does not run.
        emptying(name, true).expect(name);
        assert_eq!(fs::metadata(scene.at(name)).expect("stat").len(), 0);
    }
    // What is no program is emptied by either.
    emptying("f", false).expect("f");
    scene.now_and_remounted(|mnt| assert_eq!(read(&mnt.join("f")), ""));
}

#[test]
fn a_failed_rename_over_a_hard_link_leaves_its_link_count() {
    let fill = |base: &Path| drop(sh(base, "echo old > a; ln a b1; ln a c"));
    let Some(mut scene) = scene(fill) else { return };
    sh(&scene.mnt, "echo changed > a; echo new > x; chattr +i x");
    for _ in 0..2 {
        fails(&scene.mnt, "mv -f x b1");
    }
    sh(&scene.mnt, "chattr -i x; rm a");
    scene.now_and_remounted(|mnt| {
        for name in ["b1", "c"] {
            assert_eq!(read(&mnt.join(name)), "changed\n", "{name}");
            assert_eq!(fs::metadata(mnt.join(name)).expect("stat").nlink(), 2, "{name}");
        }
    });
}

#[test]
fn a_directory_that_was_not_removed_keeps_what_is_moved_into_it() {
    let fill = |base: &Path| drop(sh(base, "mkdir d big; echo x > d/x; echo file > big/file"));
    let Some(mut scene) = scene(fill) else { return };
    sh(&scene.mnt, "rm d/x; chattr +i d");
    let number = fs::metadata(scene.at("d")).expect("stat").ino();
    fails(&scene.mnt, "rmdir d");
    sh(&scene.mnt, "chattr -i d; mv big d/big");
    scene.now_and_remounted(|mnt| {
        assert_eq!(read(&mnt.join("d/big/file")), "file\n");
        assert!(!mnt.join("d/x").exists());
        assert_eq!(fs::metadata(mnt.join("d")).expect("stat").ino(), number);
    });
    // And it can be moved: what was hidden in it does not come back.
    sh(&scene.mnt, "mv d e");
    scene.now_and_remounted(|mnt| {
        assert_eq!(sh(mnt, "ls e"), "big\n");
        assert!(!mnt.join("d").exists());
    });
}

#[test]
fn a_directory_that_was_not_replaced_keeps_what_is_moved_into_it() {
    let fill = |base: &Path| drop(sh(base, "mkdir d big s; echo x > d/x; echo file > big/file"));
    let Some(mut scene) = scene(fill) else { return };
    sh(&scene.mnt, "rm d/x; touch s/new; chattr +i s");
    fails(&scene.mnt, "mv -T s d");
    sh(&scene.mnt, "chattr -i s; mv big d/big");
    scene.now_and_remounted(|mnt| {
        assert_eq!(read(&mnt.join("d/big/file")), "file\n");
        assert!(!mnt.join("d/x").exists() && mnt.join("s/new").exists());
    });
    sh(&scene.mnt, "rm -r d/big; mv -T s d");
    scene.now_and_remounted(|mnt| assert_eq!(sh(mnt, "ls d; ls"), "new\nd\n"));
}

#[test]
fn failed_links_and_deletions_leave_no_records() {
    let fill = |base: &Path| drop(sh(base, "mkdir d; echo f > d/f; echo g > g"));
    let Some(mut scene) = scene(fill) else { return };
    sh(&scene.mnt, "echo changed > d/f; chmod 600 g; chattr +i d");
    fails(&scene.mnt, "rm -f d/f");
    fails(&scene.mnt, "ln g d/g");
    let records = read(&scene.storage.join("d").join(META));
    let lasting: Vec<&str> = records.lines().filter(|line| !line.starts_with(['c', 'p'])).collect();
    assert!(lasting.is_empty(), "{records}");
    sh(&scene.mnt, "chattr -i d");
    scene.now_and_remounted(|mnt| assert_eq!(sh(mnt, "cat d/f; ls d"), "changed\nf\n"));
}

/// What META cannot take at the end of a rename must not have been promised.
#[test]
fn a_directory_has_one_name_on_a_full_storage() {
    let fill = |base: &Path| drop(sh(base, "mkdir g; touch g/n"));
    let tiny = StorageKind::Tiny;
    let Some(mut scene) = Scene::on(BaseKind::Plain, tiny, fill) else { return };
    sh(&scene.mnt, "mkdir f; mv -T g b; dd if=/dev/zero of=fill bs=4k 2> /dev/null || true");
    let moved = run("mv", &[Path::new("-T"), &scene.at("b"), &scene.at("f")]).code == 0;
    let shown = if moved { "f\nfill\n" } else { "b\nf\nfill\n" };
    scene.now_and_remounted(|mnt| {
        assert_eq!(sh(mnt, "ls"), shown);
        assert_eq!(sh(mnt, if moved { "ls f" } else { "ls b" }), "n\n");
    });
}
