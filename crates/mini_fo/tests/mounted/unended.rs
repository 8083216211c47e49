//! What a power cut has left, and a mount that cannot put it in order: nothing of it
//! is forgotten, and the next mount that can does.

use std::fs;
use std::path::Path;

use crate::cli;
use crate::common::{BaseKind, META, Scene, StorageKind, is_root, mini_fo, sh, skip};

/// A storage after a power cut: META of `d/e` lacks all but what its attribute has, by
/// which `d/e/new` shows the base directory `d/e/old`.
fn cut() -> Option<Scene> {
    if !is_root() {
        skip("makes META immutable, or another user's, and needs root for it");
        return None;
    }
    let fill = |base: &Path| drop(sh(base, "mkdir -p d/e/old; echo x > d/e/old/precious"));
    let mut scene = Scene::on(BaseKind::Plain, StorageKind::Ext4, fill)?;
    sh(&scene.mnt, "mv d/e/old d/e/new; echo y > d/e/new/file; sync d/e/new/file d/e/new");
    kill(&mut scene);
    fs::write(scene.storage.join("d/e").join(META), "").expect("truncate");
    Some(scene)
}

fn kill(scene: &mut Scene) {
    sh(Path::new("/"), &format!("kill -KILL {}", cli::daemon(scene)));
    while fs::read_dir(&scene.mnt).is_ok() {}
    scene.umount();
}

fn is_whole(mnt: &Path) {
    let all = sh(mnt, "cd d/e; echo *; cat new/precious new/file");
    assert_eq!(all, "new\nx\ny\n");
}

/// Mounts once as it is, and tells what that said; then ends it one way or the other.
fn mount_once(scene: &mut Scene, killed: bool, shows: bool) -> String {
    let said = scene.try_mount(&[]);
    assert_eq!(said.code, 0, "{}", said.stderr);
    if shows {
        is_whole(&scene.mnt);
    }
    if killed {
        kill(scene);
    } else {
        scene.umount();
    }
    said.stderr
}

#[test]
fn meta_that_cannot_be_completed_counts_until_it_can() {
    for killed in [true, false] {
        let Some(mut scene) = cut() else { return };
        let meta = scene.storage.join("d/e").join(META);
        sh(Path::new("/"), &format!("chattr +i {}", meta.display()));
        for _ in 0..2 {
            let said = mount_once(&mut scene, killed, true);
            assert!(said.contains(&format!("{}: what a crash", meta.display())), "{said}");
        }
        sh(Path::new("/"), &format!("chattr -i {}", meta.display()));
        let said = mount_once(&mut scene, killed, true);
        assert!(!said.contains("crash has left of it"), "{said}");
        // It is in META now, whatever becomes of the attribute.
        assert!(scene.meta("d/e").contains("R /d/e/old new"), "{}", scene.meta("d/e"));
        scene.mount(&[]);
        is_whole(&scene.mnt);
    }
}

#[test]
fn below_meta_that_does_not_count_all_is_put_in_order() {
    for killed in [true, false] {
        let Some(mut scene) = cut() else { return };
        let meta = scene.storage.join("d").join(META);
        sh(Path::new("/"), &format!("chown 1 {}", meta.display()));
        mount_once(&mut scene, killed, false);
        sh(Path::new("/"), &format!("chown 0 {}", meta.display()));
        scene.mount(&[]);
        is_whole(&scene.mnt);
    }
}

/// The same, where the directory above has lost its records, too.
#[test]
fn meta_that_did_not_count_is_completed_once_it_does() {
    let Some(mut scene) = cut() else { return };
    let (below, meta) = ("d/e", scene.storage.join("d").join(META));
    sh(Path::new("/"), &format!("chown 1 {}", scene.storage.join(below).join(META).display()));
    mount_once(&mut scene, false, false);
    sh(Path::new("/"), &format!("chown 0 {}", scene.storage.join(below).join(META).display()));
    assert!(meta.exists());
    scene.mount(&[]);
    is_whole(&scene.mnt);
}

/// A condition that no mount could decide on disk was decided by the names as they
/// were; a change of these does not decide it anew.
#[test]
fn what_was_decided_is_written_before_a_name_comes() {
    if !is_root() {
        return skip("makes META immutable and needs root for it");
    }
    for change in ["chmod 600 y", "mv other y"] {
        let fill = |base: &Path| drop(sh(base, "mkdir d; echo base > d/y; echo o > d/other"));
        let Some(mut scene) = Scene::on(BaseKind::Plain, StorageKind::Ext4, fill) else { return };
        sh(&scene.mnt, "chmod 700 d");
        kill(&mut scene);
        let meta = scene.storage.join("d").join(META);
        // Were it decided with the name there, the base's would be hidden.
        fs::write(&meta, "w + 0 D y\n").expect("write");
        sh(Path::new("/"), &format!("chattr +i {}", meta.display()));
        scene.mount(&[]);
        assert_eq!(sh(&scene.mnt, "cat d/y"), "base\n");
        sh(Path::new("/"), &format!("chattr -i {}", meta.display()));
        sh(&scene.mnt, &format!("cd d; {change}"));
        kill(&mut scene);
        let lines = fs::read_to_string(&meta).expect("META");
        assert!(lines.starts_with("w + 0 D y\ns y\n"), "{change}: {lines}");
        scene.mount(&[]);
        mini_fo(&[Path::new("check"), &scene.base, Path::new("-s"), &scene.storage]);
    }
}

/// Of the two lines that say that a name is lost, a crash may take the second.
#[test]
fn half_of_what_a_lost_name_says_does_not_count_it_twice() {
    let fill = |base: &Path| drop(sh(base, "echo old > a; ln a b; ln a c"));
    let Some(mut scene) = Scene::on(BaseKind::Plain, StorageKind::Plain, fill) else { return };
    sh(&scene.mnt, "echo new > a; rm a; rm b");
    scene.umount();
    let meta = scene.storage.join(format!("{META}_index/{META}"));
    let lines = fs::read_to_string(&meta).expect("META of the index");
    let two: Vec<&str> = lines.lines().rev().take(2).collect();
    assert!(two.iter().all(|line| line.starts_with(['l', 'q'])), "{lines}");
    let last = two.first().expect("a line").len() + 1;
    fs::write(&meta, &lines[..lines.len() - last]).expect("cut");
    scene.mount(&[]);
    scene.now_and_remounted(|mnt| {
        assert_eq!(sh(mnt, "cat c; test $(stat -c %h c) -ge 1 && echo linked"), "new\nlinked\n");
    });
}
