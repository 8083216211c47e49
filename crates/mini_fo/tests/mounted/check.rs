//! `mini_fo check`, and what a mount says of a base that is not the old one.

use std::fs;
use std::path::Path;

use crate::common::{
    META, Outcome, WorkDir, engine_is_product, is_root, mini_fo, sh, skip, standard_base,
};

const IN_USE: i32 = 5;
const OTHER_BASE: i32 = 6;
const FOUND: i32 = 11;

struct Layers {
    work: WorkDir,
}

impl Layers {
    fn new() -> Option<Layers> {
        if !engine_is_product() || !Path::new("/dev/fuse").exists() {
            skip("no /dev/fuse");
            return None;
        }
        let work = WorkDir::new();
        standard_base(&work.dir("base"));
        work.dir("storage");
        work.dir("mnt");
        Some(Layers { work })
    }

    fn check(&self) -> Outcome {
        let (base, storage) = (self.work.0.join("base"), self.work.0.join("storage"));
        mini_fo(&[Path::new("check"), &base, Path::new("--storage"), &storage])
    }

    fn try_mount(&self) -> Outcome {
        let at = |name: &str| self.work.0.join(name);
        let args = [Path::new("mount"), &at("base"), &at("mnt"), Path::new("-s"), &at("storage")];
        mini_fo(&args)
    }

    /// Mounts, runs a script in the mount, unmounts; what the mount said.
    fn mounted(&self, script: &str) -> String {
        let said = self.try_mount();
        let log = said.stderr.clone();
        said.ok();
        sh(&self.work.0.join("mnt"), script);
        mini_fo(&[Path::new("umount"), &self.work.0.join("mnt")]).ok();
        log
    }

    fn found(&self, lines: &[&str]) {
        let outcome = self.check();
        assert_eq!(outcome.code, FOUND, "{outcome:?}");
        let mut said: Vec<&str> = outcome.stdout.lines().collect();
        said.sort_unstable();
        assert_eq!(said.len(), lines.len(), "{said:#?}");
        let storage = self.work.0.join("storage");
        for line in lines {
            let (path, words) = line.split_once(": ").expect("path: words");
            let start = format!("{}/{path}:", storage.display());
            let is_it = |said: &&&str| said.starts_with(&start) && said.contains(words);
            assert!(said.iter().any(|said| is_it(&said)), "{line} is not in {said:#?}");
        }
    }
}

const WORK: &str =
    "rm f d/one; echo x >> g; mv 'long dir' renamed; rm -r e; mkdir e; echo m > d/two
    mkdir own; echo x > own/x; echo x > both; mv d/sub/deep D; rm -r empty";

#[test]
fn a_base_that_is_the_old_one() {
    let Some(layers) = Layers::new() else { return };
    layers.check().ok();
    assert_eq!(layers.mounted(WORK), "");
    layers.check().ok();
    assert_eq!(layers.mounted("cat g D/four renamed/*; test ! -e f"), "");
}

#[test]
fn entries_that_are_gone_are_listed() {
    let Some(layers) = Layers::new() else { return };
    layers.mounted(WORK);
    let base = layers.work.0.join("base");
    sh(&base, "rm f g d/one; rm -r 'long dir'; mkdir g both; rm -r empty; mv d/sub/deep d/sub/x");
    layers.found(&[
        "f: not in the base any more",
        "d/one: not in the base any more",
        "empty: not in the base any more",
        "d/sub/deep: not in the base any more",
        "long dir: not in the base any more",
        "renamed: /long dir, which is not there",
        "D: /d/sub/deep, which is not there",
        "g: of another type",
        "both: of another type",
    ]);
    let before = sh(&layers.work.0, "cd storage; find . -printf '%P %T@ %C@ %s\\n' | sort");
    layers.check().fails(FOUND, &["9 problems"]);
    let after = sh(&layers.work.0, "cd storage; find . -printf '%P %T@ %C@ %s\\n' | sort");
    assert_eq!(before, after, "the check has written");
    // The mount works, and says how many; renamed directories by name.
    let log =
        layers.mounted("test ! -e f; cat own/x; tail -1 g; ls renamed D; rm -r renamed D both g");
    assert!(log.contains("5 entries") && log.contains("mini_fo check"), "{log}");
    assert!(log.contains("renamed") && log.contains("/D"), "{log}");
    // A directory that is gone as a whole.
    sh(&base, "rm -r d");
    layers.found(&[
        "f: not in",
        "d/one: not in",
        "empty: not in",
        "d/sub/deep: not in",
        "long dir: not in",
    ]);
}

#[test]
fn another_file_system_at_the_same_path() {
    let Some(layers) = Layers::new() else { return };
    layers.mounted(WORK);
    // Rebuilt: the same content in another directory.
    sh(&layers.work.0, "mv base old; cp -a old base");
    let outcome = layers.check().fails(FOUND, &["1 problem"]);
    assert!(outcome.stdout.contains("another file system or directory"), "{outcome:?}");
    let log = layers.mounted("tail -1 g; test ! -e f");
    assert!(log.contains("another file system or directory"), "{log}");
    assert_eq!(layers.mounted("true"), "", "said once");
    if is_root() {
        sh(
            &layers.work.0,
            "mkdir -p fs; mount -t tmpfs none fs; cp -a base/. fs; mount --bind fs base",
        );
        let log = layers.mounted("tail -1 g; test ! -e f");
        assert!(log.contains("another file system or directory"), "{log}");
        sh(&layers.work.0, "umount base fs");
    }
    // Moved as a whole it is the same.
    layers.mounted("true");
    sh(&layers.work.0, "mv base elsewhere; mv elsewhere base");
    assert_eq!(layers.mounted("true"), "");
    // Another path and another directory: refused, and the check says so.
    let other = layers.work.dir("other");
    let storage = layers.work.0.join("storage");
    let args = [Path::new("check"), &other, Path::new("--storage"), &storage];
    let outcome = mini_fo(&args).fails(FOUND, &[]);
    assert!(outcome.stdout.contains("another base"), "{outcome:?}");
    let args = [Path::new("mount"), &other, &layers.work.0.join("mnt"), Path::new("-s"), &storage];
    mini_fo(&args).fails(OTHER_BASE, &["accept_base"]);
}

#[test]
fn damage_and_unfinished_work() {
    let Some(layers) = Layers::new() else { return };
    layers.mounted("rm g; touch d/x");
    let storage = layers.work.0.join("storage");
    let mut meta = fs::read(storage.join(META)).expect("read");
    meta.extend_from_slice(b"D ../x\nD half");
    fs::write(storage.join(META), &meta).expect("write");
    fs::write(storage.join("d").join(format!("{META}.77-18ab0123456789ab-0")), "half a copy")
        .expect("write");
    let outcome = layers.check().fails(FOUND, &["3 problems"]);
    for words in ["line", "unfinished (a crash", "1 unfinished files"] {
        assert!(outcome.stdout.contains(words), "{words}: {outcome:?}");
    }
    assert_eq!(fs::read(storage.join(META)).expect("read"), meta);
}

#[test]
fn not_while_it_is_mounted() {
    let Some(layers) = Layers::new() else { return };
    layers.try_mount().ok();
    layers.check().fails(IN_USE, &["mnt"]);
    mini_fo(&[Path::new("umount"), &layers.work.0.join("mnt")]).ok();
    layers.check().ok();
    mini_fo(&["check"]).fails(2, &["BASE"]);
    mini_fo(&["check", "/nonexistent", "--storage", "/tmp"]).fails(3, &["/nonexistent"]);
}
