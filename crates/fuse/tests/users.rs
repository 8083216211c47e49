//! The mounted tests once more, as an ordinary user through `fusermount3` and
//! inside a user namespace without any helper. Only root can change user.

#![forbid(unsafe_code)]

use std::os::unix::fs::{PermissionsExt, chown};
use std::path::PathBuf;
use std::process::Command;

const NOBODY: u32 = 65534;

/// The binary of `mounted.rs`, which lies beside this one, perhaps with those
/// of other crates that have tests of this name.
fn mounted_tests() -> Option<PathBuf> {
    let dir = std::env::current_exe().ok()?.parent()?.to_owned();
    let built = std::fs::read_dir(dir).ok()?.filter_map(|entry| {
        let path = entry.ok()?.path();
        let name = path.file_name()?.to_str()?;
        let ours = name.starts_with("mounted-") && !name.contains('.');
        let time = path.metadata().ok()?.modified().ok()?;
        ours.then_some((time, path))
    });
    let mut built: Vec<_> = built.collect();
    built.sort_unstable();
    built.into_iter().rev().map(|(_, path)| path).find(|path| {
        let listed = Command::new(path).arg("--list").output();
        let named = |text: Vec<u8>| String::from_utf8_lossy(&text).contains("files_without_names:");
        listed.is_ok_and(|listed| named(listed.stdout))
    })
}

/// Runs some of them by way of `command`; `false` if they skipped all.
fn run(command: &mut Command) -> bool {
    let output = command
        .args(["--nocapture", "--test-threads=1", "files_and", "attributes", "plain", "stopping"])
        .args(["--skip", "abort"])
        .output()
        .unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stdout}{stderr}");
    if let Some(reason) = stdout.lines().find(|line| line.contains("skipped:")) {
        println!("{reason}");
        return false;
    }
    assert!(stdout.contains("5 passed") || stdout.contains("4 passed"), "{stdout}");
    true
}

#[test]
fn an_ordinary_user_mounts_by_the_helper() {
    if !rustix::process::getuid().is_root() {
        println!("skipped: not root; the other tests run as this user anyway");
        return;
    }
    let Some(tests) = mounted_tests() else {
        println!("skipped: the binary of the mounted tests was not built");
        return;
    };
    // A copy that the user can reach, and a place for mount points.
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let copy = dir.path().join("tests");
    std::fs::copy(tests, &copy).unwrap();
    let points = dir.path().join("points");
    std::fs::create_dir(&points).unwrap();
    chown(&points, Some(NOBODY), Some(NOBODY)).unwrap();
    // Where /dev/fuse is root's alone, a private one for everybody.
    let script = "mknod \"$0\" c 10 229 && chmod 666 \"$0\" && mount --bind \"$0\" /dev/fuse; \
                  exec setpriv --reuid=65534 --regid=65534 --clear-groups -- \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation=private", "--", "sh", "-c", script]);
    command.arg(dir.path().join("device")).arg(copy);
    run(command.env("TMPDIR", &points).current_dir("/"));
}

#[test]
fn a_user_namespace_mounts_without_helper() {
    let Some(tests) = mounted_tests() else {
        println!("skipped: the binary of the mounted tests was not built");
        return;
    };
    let possible = Command::new("unshare").args(["-Urm", "true"]).output();
    if !possible.is_ok_and(|output| output.status.success()) {
        println!("skipped: no user namespaces here");
        return;
    }
    let mut command = Command::new("unshare");
    // No PATH: fusermount3 could not be found by its first name.
    run(command.args(["-Urm", "--"]).arg(tests).env("PATH", "/usr/bin:/bin"));
}
