//! The two scripts of 2005, under their names.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use crate::common::{Outcome, WorkDir, engine_is_product, mini_fo, run, sh};

struct Scripts(WorkDir);

impl Scripts {
    fn new() -> Option<Scripts> {
        if !engine_is_product() {
            return None;
        }
        let work = WorkDir::new();
        for name in ["mini_fo-overlay", "mini_fo-merge"] {
            symlink(env!("CARGO_BIN_EXE_mini_fo"), work.0.join(name)).expect("symlink");
        }
        for dir in ["storages", "mounts", "base: one"] {
            work.dir(dir);
        }
        fs::write(work.0.join("base: one/f"), "base").expect("write");
        Some(Scripts(work))
    }

    fn overlay(&self, args: &[&str]) -> Outcome {
        let [storages, mounts] = ["storages", "mounts"].map(|name| self.path(name));
        let all = [&["-d", &storages, "-m", &mounts], args].concat();
        run(&self.path("mini_fo-overlay"), &all)
    }

    fn path(&self, name: &str) -> String {
        self.0.0.join(name).to_str().expect("UTF-8").to_owned()
    }
}

impl Drop for Scripts {
    fn drop(&mut self) {
        for entry in fs::read_dir(self.0.0.join("mounts")).into_iter().flatten().flatten() {
            // Of one that is not mounted it is an error.
            run(env!("CARGO_BIN_EXE_mini_fo"), &["umount", entry.path().to_str().unwrap()]);
        }
    }
}

fn names(dir: &str) -> Vec<String> {
    let entries = fs::read_dir(dir).expect("readdir");
    let name = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name();
    entries.map(|entry| name(entry).into_string().unwrap()).collect()
}

#[test]
fn overlay_makes_both_directories_and_mounts() {
    let Some(s) = Scripts::new() else { return };
    let base = s.path("base: one");
    let said = s.overlay(&["-s", "x", &base]).ok();
    let mnt = s.path("mounts/mini_fo-base: one-x");
    assert!(said.contains(&format!("writable at {mnt}")), "{said}");
    sh(Path::new(&mnt), "echo more >> f; cat f");
    assert!(fs::read(s.path("storages/sto-base: one-x/f")).is_ok());
    let mode = fs::metadata(s.path("storages/sto-base: one-x")).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o700);
    // The same once more is in use; another suffix is another tree.
    s.overlay(&["-s", "x", &base]).fails(8, &["something is mounted there", "-s"]);
    s.overlay(&[&base]).ok();
    assert_eq!(fs::read_to_string(s.path("mounts/mini_fo-base: one/f")).unwrap(), "base");
    mini_fo(&["umount", &mnt]).ok();
    // What there is goes on.
    s.overlay(&["-s", "x", &base]).ok();
    assert_eq!(fs::read_to_string(format!("{mnt}/f")).unwrap(), "basemore\n");
    assert_eq!(fs::read_to_string(format!("{base}/f")).unwrap(), "base");
}

#[test]
fn an_overlay_that_fails_leaves_nothing() {
    let Some(s) = Scripts::new() else { return };
    s.overlay(&[&s.path("none")]).fails(3, &["none", "No such file"]);
    s.overlay(&[&s.path("base: one/f")]).fails(3, &["directory"]);
    let base = s.path("base: one");
    let within = run(&s.path("mini_fo-overlay"), &["-d", &base, "-m", &base, "-s", "x", &base]);
    within.fails(7, &["it would be made in the base"]);
    let (storages, nowhere) = (s.path("storages"), s.path("nowhere"));
    let args = ["-d", &storages, "-m", &nowhere, &base];
    run(&s.path("mini_fo-overlay"), &args).fails(1, &["nowhere", "cannot be made"]);
    s.overlay(&[]).fails(2, &["BASE"]);
    assert!(names(&s.path("storages")).is_empty() && names(&s.path("mounts")).is_empty());
    assert_eq!(names(&base), ["f"]);
    assert!(s.overlay(&["--help"]).ok().contains("sto-NAME"));
}

/// A storage as the module of 2005 left it: names of the base's root, no more than D and R
/// lines.
#[test]
fn merge_writes_a_storage_of_2005_into_its_base() {
    let Some(s) = Scripts::new() else { return };
    let script = r#"
        cd 'base: one'; mkdir old dir; echo 1 > old/kept; echo 2 > old/changed; echo 3 > dir/gone
        cd ../storages; mkdir sto sto/dir sto/new; meta=META_dAfFgHE39ktF3HD2sr
        printf 'D old\nR /old new\n' > sto/$meta; echo 'D gone' > sto/dir/$meta
        chmod 600 sto/$meta sto/dir/$meta
        echo more > sto/new/changed; echo 4 > 'sto/dir/some name'"#;
    sh(&s.0.0, script);
    let (base, storage) = (s.path("base: one"), s.path("storages/sto"));
    let merge = |args: &[&str]| {
        let all = [&["-b", &base, "-s", &storage], args].concat();
        run(&s.path("mini_fo-merge"), &all)
    };
    let before = sh(Path::new(&base), "find . -ls");
    let would = merge(&["-d"]).fails(1, &[]);
    for word in ["old", "new", "dir/gone", "dir/some name"] {
        assert!(would.stdout.contains(word), "{word}: {would:?}");
    }
    assert_eq!(sh(Path::new(&base), "find . -ls"), before);
    let said = merge(&["-v", "-t", "/nowhere"]).ok();
    assert!(said.contains("dir/some name") && said.contains("committed"), "{said}");
    let shows = "find . -mindepth 1 | sort; cat new/kept new/changed 'dir/some name' f";
    let after = "./dir\n./dir/some name\n./f\n./new\n./new/changed\n./new/kept\n1\nmore\n4\nbase";
    assert_eq!(sh(Path::new(&base), shows), after);
    // What is written has left the storage; there is nothing to tell without -v.
    assert_eq!(merge(&[]).ok(), "");
    assert!(!Path::new(&storage).join("new/changed").exists());
}

#[test]
fn merge_writes_over_nothing_that_is_new_in_the_base() {
    let Some(s) = Scripts::new() else { return };
    let base = s.path("base: one");
    s.overlay(&[&base]).ok();
    let mnt = s.path("mounts/mini_fo-base: one");
    sh(Path::new(&mnt), "echo mine >> f; echo mine > mine");
    mini_fo(&["umount", &mnt]).ok();
    fs::write(s.path("base: one/f"), "somebody else's").expect("write");
    let storage = s.path("storages/sto-base: one");
    let args = ["-b", &base, "-s", &storage];
    let refused = run(&s.path("mini_fo-merge"), &args).fails(1, &["mini_fo-merge:"]);
    assert!(format!("{refused:?}").contains("f"), "{refused:?}");
    assert_eq!(names(&base), ["f"]);
    assert_eq!(fs::read_to_string(s.path("base: one/f")).unwrap(), "somebody else's");
    let nowhere = s.path("nowhere");
    run(&s.path("mini_fo-merge"), &["-b", &nowhere, "-s", &storage]).fails(2, &["nowhere"]);
    run(&s.path("mini_fo-merge"), &["-b", &base]).fails(2, &["-s"]);
}
