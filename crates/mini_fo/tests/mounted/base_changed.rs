//! `mini_fo status` tells which changes were made from something that the base has not any
//! more: it was edited, replaced, deleted, or built anew.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::common::{
    Outcome, WorkDir, cannot_mount, engine_is_product, is_root, mini_fo, run, sh, skip, skip_unless,
};

/// A base that changes, by other hands than mini_fo's.
struct Tree {
    base: PathBuf,
    storage: PathBuf,
    mnt: PathBuf,
    work: WorkDir,
}

const BASE: &str = "mkdir dir tree; for n in edit time gone type mode same added dir/moved \
     tree/one deleted; do echo content of $n > $n; done; ln -s edit link; \
     find . -exec touch -h -d @1109678400 {} +";

const CHANGES: &str = "for n in edit time gone type mode same; do chmod 600 $n; done; \
     mv dir/moved arrived; echo new > new; rm -r tree; rm deleted; rm link; ln -s time link";

impl Tree {
    fn new() -> Option<Tree> {
        if !engine_is_product() || cannot_mount() {
            return None;
        }
        let work = WorkDir::new();
        let [base, storage, mnt] = ["base", "storage", "mnt"].map(|name| work.dir(name));
        Some(Tree { base, storage, mnt, work })
    }

    fn mount(&self, options: &str) {
        let [mount, s, o] = ["mount", "-s", "-o"].map(Path::new);
        mini_fo(&[mount, &self.base, &self.mnt, s, &self.storage, o, Path::new(options)]).ok();
    }

    fn umount(&self) {
        mini_fo(&[Path::new("umount"), &self.mnt]).ok();
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let _ = mini_fo(&[Path::new("umount"), &self.mnt]);
    }
}

fn status(place: &Path) -> Outcome {
    let told = mini_fo(&[Path::new("status"), place]);
    assert_eq!(told.code, 1, "{}", told.stderr);
    told
}

/// What it says of the base, by path.
#[track_caller]
fn tells(place: &Path, expected: &[(&str, &str)]) {
    let told = status(place);
    let mut found: Vec<(&str, &str)> = Vec::new();
    for line in told.stdout.lines() {
        let Some((entry, rest)) = line.split_once("base changed: ") else { continue };
        let entry = entry.split("  (").next().unwrap_or_default();
        let path = entry.split_whitespace().last().unwrap_or_default();
        found.push((path, rest.trim_end_matches(')')));
    }
    found.sort_unstable();
    let mut expected = expected.to_vec();
    expected.sort_unstable();
    assert_eq!(found, expected, "{}", told.stdout);
    let last = told.stdout.lines().last().unwrap_or_default();
    let count = format!("the base of {} has changed since", expected.len());
    assert_eq!(last.ends_with(&count), !expected.is_empty(), "{last}");
}

const EDITS: &str = "echo CONTENT of edit > edit; touch -d @1200000000 time same; rm gone type; \
     mkdir type; chmod 640 mode; echo CONTENT of moved > dir/moved; echo more > tree/more; \
     echo CONTENT of deleted > deleted; ln -sf other link";

const TOLD: [(&str, &str); 8] = [
    ("arrived", "content"),
    ("deleted", "time"),
    ("edit", "content"),
    ("gone", "gone"),
    ("link", "content"),
    ("mode", "mode"),
    ("tree/", "time"),
    ("type", "type"),
];

#[test]
fn a_base_that_was_edited_is_told_at_rest() {
    let Some(tree) = Tree::new() else { return };
    sh(&tree.base, BASE);
    tree.mount("blocks_from=1G");
    sh(&tree.mnt, CHANGES);
    tells(&tree.mnt, &[]);
    tree.umount();
    tells(&tree.storage, &[]);
    sh(&tree.base, EDITS);
    tells(&tree.storage, &TOLD);
    let json = mini_fo(&[Path::new("status"), Path::new("--json"), &tree.storage]).stdout;
    let line = |path: &str| {
        let start = format!("{{\"path\":\"{path}\"");
        json.lines().find(|line| line.starts_with(&start)).unwrap_or_else(|| panic!("{json}"))
    };
    assert!(line("edit").contains("\"base\":\"changed\",\"base_differs\":[\"content\"]"), "{json}");
    assert!(line("same").contains("\"base\":\"same\""), "{json}");
    assert!(!line("new").contains("\"base\""), "{json}");
    assert!(json.lines().last().is_some_and(|line| line.contains("\"base_changed\":8")), "{json}");
    // Discarded and made again, a change is made from what is there now.
    mini_fo(&[Path::new("discard"), Path::new("--yes"), &tree.storage, Path::new("edit")]).ok();
    tree.mount("nobtime");
    sh(&tree.mnt, "chmod 600 edit");
    assert!(!status(&tree.mnt).stdout.contains("edit  (mode 0644 -> 0600; base"));
}

#[test]
fn a_live_base_is_told_live() {
    let Some(tree) = Tree::new() else { return };
    sh(&tree.base, BASE);
    tree.mount("live_base=0.05");
    sh(&tree.mnt, CHANGES);
    tells(&tree.mnt, &[]);
    sh(&tree.base, "echo CONTENT of edit > edit; rm gone; chmod 640 mode");
    std::thread::sleep(std::time::Duration::from_millis(200));
    tells(&tree.mnt, &[("edit", "content"), ("gone", "gone"), ("mode", "mode")]);
}

/// An image that was built anew of the same has the same content, whatever its times.
#[test]
fn a_rebuilt_image_is_the_same_where_its_content_is() {
    let Some(tree) = Tree::new() else { return };
    if !is_root() || skip_unless(&["mksquashfs"]) {
        skip("mounting an image needs root and mksquashfs");
        return;
    }
    let source = tree.work.dir("source");
    let image = tree.work.0.join("image");
    let build = |options: &str| {
        let command = format!(
            "rm -f ../image; mksquashfs . ../image -noappend -quiet -no-progress -comp gzip {options}"
        );
        sh(&source, &command);
    };
    let mount_image = || run("mount", &[Path::new("-o"), Path::new("loop,ro"), &image, &tree.base]);
    let unmount_image = || run("umount", &[&tree.base]).ok();
    sh(&source, "echo content of a > a; echo content of b > b; echo c > c; ln -s a l");
    build("");
    if mount_image().code != 0 {
        skip("no squashfs");
        return;
    }
    tree.mount("nobtime");
    sh(&tree.mnt, "chmod 600 a; echo more >> b; rm c; chown -h 1:1 l");
    tree.umount();
    unmount_image();
    // The same, with other times.
    sh(&source, "find . -exec touch -h -d @1200000000 {} +");
    build("");
    mount_image().ok();
    let told = mini_fo(&[Path::new("status"), &tree.storage]);
    unmount_image();
    assert!(!told.stdout.contains("a  (mode 0644 -> 0600; base"), "{}", told.stdout);
    assert!(told.stdout.contains("c  (2 B; base changed: time)"), "{}", told.stdout);
    assert!(told.stdout.ends_with("the base of 1 has changed since\n"), "{}", told.stdout);
    // Another content of the same size, and one time for all files.
    fs::write(source.join("a"), "CONTENT of a\n").expect("write");
    fs::set_permissions(source.join("b"), fs::Permissions::from_mode(0o755)).expect("chmod");
    build("-all-time 1");
    mount_image().ok();
    let told = mini_fo(&[Path::new("status"), &tree.storage]);
    unmount_image();
    assert!(told.stdout.contains("base changed: content"), "{}", told.stdout);
    assert!(told.stdout.contains("base changed: mode"), "{}", told.stdout);
}
