//! The Debian package: what `make deb` makes.

use std::path::Path;

use crate::changes_trees::SYSTEM;
use crate::common::{WorkDir, is_root, run, sh, skip, skip_unless};
use crate::install::{built, repository};

/// Everything in a tree but what dpkg writes of itself.
fn listing(root: &Path) -> String {
    sh(
        root,
        "find . -path ./var/lib/dpkg -prune -o -path ./var/log -prune -o -printf '%p %y %m %s %l\\n' | sort",
    )
}

#[test]
fn a_package_installs_and_purges_cleanly() {
    if skip_unless(&["dpkg-deb", "dpkg-shlibdeps", "ldd"]) {
        return;
    }
    let work = WorkDir::new();
    let Some(target) = built(&work) else { return };
    let script = format!(
        "cd {} && CARGO_TARGET_DIR={} scripts/deb.sh {}",
        repository().display(),
        target.display(),
        work.0.display()
    );
    let package = sh(&work.0, &script).trim().to_owned();
    let again = work.dir("again");
    let second = sh(&work.0, &format!("{script}/again")).trim().to_owned();
    assert_eq!(second, again.join(Path::new(&package).file_name().unwrap()).to_str().unwrap());
    sh(&work.0, &format!("cmp {package} {second}"));
    let files = sh(&work.0, &format!("dpkg-deb -c {package}"));
    for name in ["man1/mini_fo.1.gz", "man8/mount.mini_fo.8.gz", "completions/mini_fo", "_mini_fo"]
    {
        assert!(files.contains(name), "{name} is not in it: {files}");
    }
    if skip_unless(&["lintian"]) {
        return;
    }
    let line = ["--fail-on", "error", "--allow-root", &package];
    let said = run("lintian", &line);
    assert_eq!(said.code, 0, "{}{}", said.stdout, said.stderr);
    if !is_root() {
        skip("chroot needs root");
        return;
    }
    let system = work.dir("system");
    // With the libraries that dpkg would install with it.
    let program = env!("CARGO_BIN_EXE_mini_fo");
    sh(&system, &format!("{SYSTEM}\n into {program} && cp {package} mini-fo.deb"));
    let before = listing(&system);
    let inside = |line: &str| {
        sh(&system, &format!("PATH=/usr/sbin:/usr/bin:/sbin:/bin chroot . {line} 2>&1"))
    };
    inside("dpkg --force-depends -i /mini-fo.deb");
    assert_ne!(listing(&system), before);
    assert!(inside("mini_fo --version").starts_with("mini_fo "));
    for script in ["mini_fo-overlay", "mini_fo-merge"] {
        assert!(inside(&format!("{script} --help")).contains(script));
    }
    inside("dpkg --purge mini-fo");
    assert_eq!(listing(&system), before);
}
