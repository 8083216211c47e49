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
        symlink(env!("CARGO_BIN_EXE_mini_fo"), work.0.join("mini_fo-overlay")).expect("symlink");
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
