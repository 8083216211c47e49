//! What `make install` puts where, and that mount(8) finds it there.

use std::fs;
use std::path::{Path, PathBuf};

use crate::common::{
    BaseKind, Outcome, Scene, StorageKind, WorkDir, engine_is_product, is_root, run, sh, skip,
    skip_unless, standard_base,
};

/// Everything that is installed, below PREFIX.
const FILES: [&str; 22] = [
    "bin/mini_fo",
    "share/bash-completion/completions/mini_fo",
    "share/fish/vendor_completions.d/mini_fo.fish",
    "share/man/man1/mini_fo-check.1",
    "share/man/man1/mini_fo-commit.1",
    "share/man/man1/mini_fo-diff.1",
    "share/man/man1/mini_fo-discard.1",
    "share/man/man1/mini_fo-du.1",
    "share/man/man1/mini_fo-init.1",
    "share/man/man1/mini_fo-list.1",
    "share/man/man1/mini_fo-merge.1",
    "share/man/man1/mini_fo-mount.1",
    "share/man/man1/mini_fo-overlay.1",
    "share/man/man1/mini_fo-review.1",
    "share/man/man1/mini_fo-rm.1",
    "share/man/man1/mini_fo-run.1",
    "share/man/man1/mini_fo-shutdown.1",
    "share/man/man1/mini_fo-status.1",
    "share/man/man1/mini_fo-umount.1",
    "share/man/man1/mini_fo.1",
    "share/man/man8/mount.mini_fo.8",
    "share/zsh/site-functions/_mini_fo",
];

pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the repository")
}

/// What `make` would have built, from the program under test.
pub fn built(work: &WorkDir) -> Option<PathBuf> {
    if !engine_is_product() || skip_unless(&["make", "install"]) {
        return None;
    }
    let target = work.dir("target");
    let docs = target.join("docs");
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    let text = |path: &Path| path.to_str().expect("UTF-8").to_owned();
    let (manifest, out) = (text(&manifest), text(&docs));
    let args = ["run", "--quiet", "--manifest-path", &manifest, "--features", "docgen"];
    let said = run(&cargo, &[&args[..], &["--bin", "docgen", "--", &out]].concat());
    if said.code != 0 {
        let broken = said.stderr.contains("could not compile");
        assert!(!broken, "docgen: {}", said.stderr);
        skip(&format!("man pages and completions cannot be made here: {}", said.stderr));
        return None;
    }
    fs::write(docs.join(".made"), "").expect("write");
    fs::create_dir(target.join("release")).expect("mkdir");
    fs::copy(env!("CARGO_BIN_EXE_mini_fo"), target.join("release/mini_fo")).expect("copy");
    Some(target)
}

fn make(goal: &str, target: &Path, stage: &Path, prefix: &str) -> Outcome {
    let mut args = vec![goal.to_owned(), "--silent".to_owned()];
    args.extend(["-C".to_owned(), repository().display().to_string()]);
    args.push(format!("CARGO_TARGET_DIR={}", target.display()));
    args.push(format!("DESTDIR={}", stage.display()));
    args.push(format!("PREFIX={prefix}"));
    run("make", &args)
}

fn names(dir: &Path, kind: &str) -> Vec<String> {
    let found = sh(dir, &format!("find . -type {kind} -printf '%P\\n' | sort"));
    found.lines().map(str::to_owned).collect()
}

#[test]
fn files_land_where_they_belong() {
    let work = WorkDir::new();
    let Some(target) = built(&work) else { return };
    for (prefix, sbin) in [("/usr", "usr/sbin"), ("/opt/mini_fo", "sbin")] {
        let stage = work.dir("stage");
        make("install", &target, &stage, prefix).ok();
        let inside = prefix.trim_start_matches('/');
        let expected: Vec<_> = FILES.iter().map(|file| format!("{inside}/{file}")).collect();
        assert_eq!(names(&stage, "f"), expected);
        // mount(8) looks in /sbin and nowhere else, nor systemd elsewhere than there.
        let hook = "usr/lib/systemd/system-shutdown/mini_fo.shutdown";
        let names_of_it = ["mini_fo-init", "mount.fuse.mini_fo", "mount.mini_fo"];
        let mut links: Vec<_> = names_of_it.iter().map(|name| format!("{sbin}/{name}")).collect();
        links.push(hook.to_owned());
        links.extend(["overlay", "merge"].map(|name| format!("{inside}/bin/mini_fo-{name}")));
        links.push(format!("{inside}/libexec/mini_fo/fuse-overlayfs"));
        links.sort();
        assert_eq!(names(&stage, "l"), links);
        for link in &links {
            let to = fs::read_link(stage.join(link)).expect("a link");
            assert_eq!(to, Path::new(prefix).join("bin/mini_fo"));
        }
        assert_eq!(sh(&stage, &format!("find {inside} -type f ! -perm 644")), {
            format!("{inside}/bin/mini_fo\n")
        });
        let manual = fs::read_to_string(stage.join(inside).join("share/man/man8/mount.mini_fo.8"));
        assert!(manual.expect("the manual").contains("squash"), "an option is missing");
        make("uninstall", &target, &stage, prefix).ok();
        assert_eq!(names(&stage, "f,l"), Vec::<String>::new());
        fs::remove_dir_all(&stage).expect("rm");
    }
}

/// As an ordinary user, into his own directory: what only root may is left out, and told.
#[test]
fn an_ordinary_user_installs_for_himself() {
    let work = WorkDir::new();
    if !is_root() || skip_unless(&["setpriv"]) {
        return skip("becomes another user and needs root for it");
    }
    let Some(target) = built(&work) else { return };
    sh(&work.0, "mkdir -m 700 home; chown 65534:65534 home");
    let home = work.0.join("home");
    // The tree of the sources need not be readable for others.
    let files = "Makefile scripts/rust.sh Cargo.toml crates/mini_fo/Cargo.toml";
    let copy = format!("cd {} && cp --parents {files} {}", repository().display(), home.display());
    sh(&work.0, &format!("({copy}); cp -a target home/; chown -R 65534:65534 home"));
    drop(target);
    let as_user = |goal: &str, more: &str| {
        let line = format!(
            "cd {0} && env -u MAKEFLAGS CARGO_TARGET_DIR={0}/target make {goal} {more}",
            home.display()
        );
        let who = ["--reuid=65534", "--regid=65534", "--clear-groups", "sh", "-c", &line];
        run("setpriv", &who)
    };
    let prefix = format!("PREFIX={}/.local", home.display());
    let said = as_user("install", &prefix).ok();
    for word in ["Left out", "/sbin/mount.mini_fo", "\"mini_fo mount\" does"] {
        assert!(said.contains(word), "{word}: {said}");
    }
    sh(&home, ".local/bin/mini_fo --version; test -e .local/share/man/man1/mini_fo.1");
    as_user("uninstall", &prefix).ok();
    assert_eq!(names(&home.join(".local"), "f,l"), Vec::<String>::new());
    as_user("install", "PREFIX=/usr").fails(2, &["No right to write in /usr/bin", "~/.local"]);
}

/// An old Rust, as Debian's own, is told from a new one before it is asked to build.
#[test]
fn the_rust_that_is_needed_is_named() {
    let work = WorkDir::new();
    let script = repository().join("scripts/rust.sh");
    let with = |version: &str| {
        let cargo = work.0.join("cargo");
        fs::write(&cargo, format!("#!/bin/sh\necho 'cargo {version} (abc 2022-01-01)'\n"))
            .expect("write");
        sh(&work.0, "chmod +x cargo");
        let line = format!("CARGO={} {}", cargo.display(), script.display());
        run("sh", &["-c", &line])
    };
    let manifest = fs::read_to_string(repository().join("Cargo.toml")).expect("Cargo.toml");
    let needed = manifest.split("rust-version = \"").nth(1).expect("rust-version");
    let needed = needed.split('"').next().expect("a number");
    for old in ["1.63.0", "1.9.0", "0.99.0"] {
        with(old).fails(1, &[&format!("needs Rust {needed} or newer"), "rustup"]);
    }
    for new in [&format!("{needed}.0"), "1.100.3-nightly", "2.0.0"] {
        with(new).ok();
    }
    let line = format!("CARGO=/no/such/cargo {}", script.display());
    run("sh", &["-c", &line]).fails(1, &["there is no /no/such/cargo", "rustup"]);
    let readme = fs::read_to_string(repository().join("README.md")).expect("README.md");
    assert!(readme.contains(&format!("Rust {needed}")), "the README names another version");
}

#[test]
fn nothing_is_installed_that_is_not_built() {
    let work = WorkDir::new();
    if !engine_is_product() || skip_unless(&["make"]) {
        return;
    }
    let (target, stage) = (work.dir("target"), work.dir("stage"));
    make("install", &target, &stage, "/usr").fails(2, &["Run \"make\" first."]);
    assert!(fs::read_dir(&stage).expect("readdir").next().is_none());
}

/// A directory laid over another one, until it is dropped.
struct Laid(PathBuf);

impl Drop for Laid {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(&self.0, rustix::mount::UnmountFlags::DETACH);
    }
}

/// The staged files, laid over this machine's own in a namespace of the test,
/// serve `mount -t mini_fo` and man(1).
#[test]
fn mount_finds_what_was_installed() {
    let Some(s) = Scene::unmounted(BaseKind::Plain, StorageKind::Plain, standard_base) else {
        return;
    };
    if !is_root() {
        return skip("lays files over /usr/bin and /sbin, which needs root");
    }
    let Some(target) = built(&s.work) else { return };
    let stage = s.work.dir("stage");
    make("install", &target, &stage, "/usr").ok();
    let lay = |(dir, own): (&str, &str)| {
        let dir = fs::canonicalize(dir).expect("a directory of the system");
        let over = dir.display();
        let script = format!(
            "mkdir {own} {own}-orig; mount --bind {over} {own}-orig
             ln -s $PWD/{own}-orig/* {own}/; rm -f {own}/*mini_fo; cp -P stage/usr/{own}/* {own}/
             mount --bind {own} {over}"
        );
        sh(&s.work.0, &script);
        Laid(dir)
    };
    let _laid = [("/usr/bin", "bin"), ("/sbin", "sbin")].map(lay);
    let (base, storage, mnt) = (s.base.display(), s.storage.display(), s.mnt.display());
    let script = format!(
        "mount -t mini_fo -o base={base},sto={storage} none {mnt}; echo x >> {mnt}/d/one
         mount -o remount,ro {mnt}; if touch {mnt}/y 2>/dev/null; then exit 9; fi; mini_fo list | grep -q {mnt}
         mini_fo umount {mnt}; cat {storage}/d/one"
    );
    assert_eq!(sh(Path::new("/"), &script), "1\nx\n");
}

/// What bash completes beyond commands and flags.
#[test]
fn bash_completes_mount_points_and_options() {
    let work = WorkDir::new();
    let Some(target) = built(&work) else { return };
    let Some(mut s) = Scene::unmounted(BaseKind::Plain, StorageKind::Plain, standard_base) else {
        return;
    };
    s.mnt = s.work.dir("a b");
    s.mount(&[]);
    let script = format!(
        "source {}/docs/completions/mini_fo.bash
         complete -p mini_fo | grep -q -- '-F _mini_fo_more'
         try() {{
             local wanted=$1; shift
             COMP_WORDS=(mini_fo \"$@\"); COMP_CWORD=$#; COMPREPLY=()
             _mini_fo_more mini_fo \"${{COMP_WORDS[COMP_CWORD]}}\" \"${{COMP_WORDS[COMP_CWORD-1]}}\"
             test \"${{COMPREPLY[*]}}\" = \"$wanted\" || {{ echo \"$*: ${{COMPREPLY[*]@Q}}\" >&2; exit 1; }}
         }}
         set +e
         try 'umount' um
         try 'umount' help um
         try '{mnt}' umount '{work}/a'
         try '{mnt}' umount -l /tmp '{work}/a'
         try '' umount '{work}/nothing'
         try 'accept_base accept_storage' mount a b -o acc
         try 'ro,damaged=' mount a b -o ro,dam
         try '-oro,live_base' mount a b -oro,live
         try 'ro rw' mount a b -o damaged =
         try 'classic' mount a b -o ro,transport = c
         try '/x,transport=' mount a b -o base = /x,tr
         try 'nosuid' mount a b --options = nosu
         try '{work}/a b' mount a b -o base = '{work}/a'
         try '--accept-base --accept-storage' mount a b --acc",
        target.display(),
        mnt = s.mnt.display(),
        work = s.work.0.display(),
    );
    sh(&work.0, &script);
}
