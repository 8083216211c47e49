//! What happens around a commit: while its question waits, in its base, and what others show
//! of that.

use std::fs;
use std::path::Path;

use crate::commit::{commit, scene, text};
use crate::common::{META, Outcome, Scene, is_root, mini_fo, record, run, sh, skip, skip_unless};

fn changed() -> Option<Scene> {
    let fill = |base: &Path| {
        drop(sh(base, "mkdir -p d tree/sub; echo 1 > a; echo 2 > d/b; echo 3 > tree/sub/c"));
    };
    let mut s = scene(fill)?;
    s.mount(&[]);
    sh(&s.mnt, "echo x >> a; echo x >> d/b; echo new > new; rm -r tree");
    s.umount();
    Some(s)
}

/// Commits on a terminal; a script runs before the answer, which is yes.
fn answered(s: &Scene, meanwhile: &str) -> Outcome {
    let (out, storage) = (text(&s.work.0.join("out")), text(&s.storage));
    let program = env!("CARGO_BIN_EXE_mini_fo");
    // The terminal comes to its end after the answer.
    let script = format!(
        "cd {base}; : > {out}
         (until grep -q y/N {out}; do sleep 0.05; done; {meanwhile}; printf 'y\\n'; sleep 1) |
             script -qefc '{program} commit {storage}' /dev/null > {out}
         code=$?; cat {out}; exit $code",
        base = s.base.display()
    );
    run("bash", &["-c", &script])
}

#[test]
fn what_changes_during_the_question_is_not_overwritten() {
    if skip_unless(&["script"]) {
        return;
    }
    for meanwhile in [
        "echo precious > a",
        "chmod 600 d; echo precious > d/b",
        "echo precious > tree/new",
        "rm d/b",
        "echo precious > new",
    ] {
        let Some(mut s) = changed() else { return };
        let said = answered(&s, meanwhile);
        s.retake_proof();
        assert_eq!(said.code, 1, "{meanwhile}: {}", said.stdout);
        assert!(said.stdout.contains("not as it was before the question"), "{}", said.stdout);
        let here = sh(&s.quiet_base(), "ls -dA META*_stage new tree/sub/c 2>/dev/null || cat a");
        assert!(here.contains("tree/sub/c") && !here.contains("stage"), "{meanwhile}: {here}");
        assert!(!here.contains("x\n"), "{meanwhile}: {here}");
    }
    // Nothing has changed.
    let Some(mut s) = changed() else { return };
    let said = answered(&s, "true");
    s.retake_proof();
    assert_eq!(said.code, 0, "{}", said.stdout);
    assert_eq!(sh(&s.quiet_base(), "cat a; ls"), "1\nx\na\nd\nnew\n");
}

#[test]
fn a_mount_that_comes_during_the_question() {
    if skip_unless(&["script"]) {
        return;
    }
    let Some(mut s) = changed() else { return };
    let other = text(&s.work.dir("other"));
    let program = env!("CARGO_BIN_EXE_mini_fo");
    let said = answered(&s, &format!("{program} mount {} {other} -r", text(&s.base)));
    mini_fo(&["umount", &other]).ok();
    s.retake_proof();
    assert_eq!(said.code, 2, "{}", said.stdout);
    assert!(said.stdout.contains(&format!("mounted at {other}")), "{}", said.stdout);
    assert_eq!(sh(&s.quiet_base(), "cat a"), "1\n");
}

/// The kernel's overlayfs shows the base, or a part of it, as a lower layer.
#[test]
fn a_base_that_overlayfs_shows() {
    if !is_root() {
        return skip("mounts overlayfs");
    }
    let Some(mut s) = changed() else { return };
    let (low, other) = (s.work.dir("low:er, one"), text(&s.work.dir("other")));
    for layer in [s.base.clone(), s.base.join("d")] {
        let place = |path: &Path| text(path).replace(':', "\\:").replace(',', "\\,");
        let options = format!("ro,lowerdir={}:{}", place(&low), place(&layer));
        if run("mount", &["-t", "overlay", "overlay", "-o", &options, &other]).code != 0 {
            return skip("no overlayfs here");
        }
        let said = commit(&mut s, &["--yes"], &[]);
        run("umount", &[&other]).ok();
        said.fails(2, &["mounted at", &other, "unmount", "overlayfs"]);
    }
    commit(&mut s, &["--yes"], &[]).ok();
}

/// What a power cut may have left as zeros goes to no base.
#[test]
fn a_volatile_mount_that_did_not_end() {
    let Some(mut s) = scene(|base| drop(sh(base, "echo 1 > a"))) else { return };
    s.mount(&["-o", "volatile"]);
    sh(&s.mnt, "echo x >> a");
    sh(Path::new("/"), &format!("kill -KILL {}", crate::cli::daemon(&s)));
    while fs::metadata(s.at("a")).is_ok() {}
    s.umount();
    let before = record(&s.quiet_base());
    for words in [&["--yes"][..], &["-n"], &["--yes", "--ours"]] {
        commit(&mut s, words, &[]).fails(2, &["-o volatile", "damaged=rw", "mini_fo discard"]);
    }
    assert!(record(&s.quiet_base()) == before, "the base was touched");
    s.mount(&["-o", "damaged=rw"]);
    s.umount();
    commit(&mut s, &["--yes"], &[]).ok();
    assert_eq!(sh(&s.quiet_base(), "cat a"), "1\nx\n");
}

/// A base in which a commit has not come to its end is shown to nobody.
#[test]
fn a_base_with_a_commit_that_has_not_ended() {
    let Some(mut s) = changed() else { return };
    let stage = s.base.join(format!("{META}_stage"));
    let (base, storage) = (text(&s.base), text(&s.storage));
    let (mnt, other) = (text(&s.mnt), text(&s.work.dir("sto")));
    fs::create_dir(&stage).expect("mkdir");
    sh(&stage, "chmod 700 .; printf '%032x\\n/some/where\\0' 255 > owner; echo taken > n0");
    s.retake_proof();
    let words = ["mini_fo commit --abort /some/where", "_stage", "neither as before"];
    mini_fo(&["mount", &base, &mnt, "-r"]).fails(3, &words);
    mini_fo(&["mount", &base, &mnt, "--storage", &other]).fails(3, &words);
    mini_fo(&["check", &base, "--storage", &storage]).fails(3, &words);
    for command in ["status", "diff", "commit"] {
        mini_fo(&[command, &storage]).fails(2, &words);
    }
    let layer = text(&s.work.dir("layer"));
    mini_fo(&["mount", &layer, &mnt, "-r", "--under", &base]).fails(3, &words);
    // Of whom, cannot be read.
    sh(&stage, ": > owner");
    s.retake_proof();
    mini_fo(&["mount", &base, &mnt, "-r"]).fails(3, &["_stage/owner", "whoever has begun it"]);
    // One in which nobody has written his name.
    sh(&stage, "rm owner");
    s.retake_proof();
    mini_fo(&["mount", &base, &mnt, "-r"]).ok();
    mini_fo(&["umount", &mnt]).ok();
    fs::remove_dir_all(&stage).expect("remove");
    s.retake_proof();
    mini_fo(&["status", &storage]).fails(1, &[]);
}

/// A link or a file where the commit would make its directory.
#[test]
fn what_is_in_the_way_of_the_stage_is_named() {
    let Some(mut s) = changed() else { return };
    let stage = s.base.join(format!("{META}_stage"));
    for make in ["touch", "ln -s /tmp"] {
        sh(&s.base, &format!("{make} {META}_stage"));
        s.retake_proof();
        commit(&mut s, &["--yes"], &[]).fails(2, &[&text(&stage), "move it away"]);
        fs::remove_file(&stage).expect("remove");
    }
    commit(&mut s, &["--yes"], &[]).ok();
}

/// Overlayfs does not rename what its lower layers have.
#[test]
fn a_base_on_overlayfs_is_named() {
    if !is_root() || skip_unless(&["rsync"]) {
        return skip("mounts overlayfs");
    }
    let Some(s) = changed() else { return };
    sh(&s.work.0, "mkdir ov low up work st2; mkdir low/d; echo 1 > low/d/f; echo 1 > low/g");
    let script = "mount -t overlay overlay -o \
        redirect_dir=off,lowerdir=low,upperdir=up,workdir=work ov";
    if run("sh", &["-c", &format!("cd {} && {script}", text(&s.work.0))]).code != 0 {
        return skip("no overlayfs here");
    }
    let (base, storage) = (text(&s.work.0.join("ov")), text(&s.work.0.join("st2")));
    let mnt = text(&s.mnt);
    mini_fo(&["mount", &base, &mnt, "--storage", &storage]).ok();
    sh(&s.mnt, "mv d e; echo x >> g");
    mini_fo(&["umount", &mnt]).ok();
    let said = mini_fo(&["commit", "--yes", &storage]);
    let same = sh(Path::new(&base), "cat d/f g");
    let rest = mini_fo(&["commit", "--yes", &storage, "g"]);
    let after = sh(Path::new(&base), "cat d/f g");
    run("umount", &[&base]).ok();
    said.fails(2, &["overlayfs", "redirect_dir=on", "--except"]);
    assert_eq!(same, "1\n1\n");
    assert_eq!((rest.code, &*after), (0, "1\n1\nx\n"), "{}", rest.stderr);
}

/// A directory that gives its group to what is made in it, which is none of the user's.
#[test]
fn what_root_alone_can_make_is_said() {
    if crate::user::skipped() || skip_unless(&["fusermount3", "setpriv"]) {
        return;
    }
    let work = crate::common::WorkDir::new();
    sh(&work.0, "mkdir -p own/d; chown 65534:65534 own; chown 65534:0 own/d; chmod 2775 own/d");
    let script = "
        $MINI_FO mount ../own mnt --storage storage; mkdir mnt/d/nd; $MINI_FO umount mnt
        $MINI_FO commit --yes storage";
    let said = crate::user::as_nobody(&work, true, &[], script);
    said.fails(2, &["d/nd", "as root", "--except"]);
}

/// What is said of who has the storage, of paths that are none, and of what cannot be told.
#[test]
fn messages_say_what_is() {
    let Some(mut s) = changed() else { return };
    let storage = text(&s.storage);
    let program = env!("CARGO_BIN_EXE_mini_fo");
    let locked = format!("flock {storage} {program} commit --yes {storage}");
    run("sh", &["-c", &locked]).fails(2, &["another command", "commit"]);
    let other = text(&s.work.dir("other"));
    let said = mini_fo(&["commit", "--yes", "--base", &other, &storage]);
    assert!(!said.stderr.contains("-o accept_base"), "{}", said.stderr);
    said.fails(2, &["another base", "--accept-base"]);
    for path in ["nosuch", "d/nosuch"] {
        commit(&mut s, &["--yes"], &["a", path]).fails(2, &[path, "nothing there"]);
    }
    assert_eq!(sh(&s.quiet_base(), "cat a"), "1\n");
    // Not changed, deleted, below what is new.
    commit(&mut s, &["-n"], &["d", "tree/sub/c", "new"]).fails(1, &[]);
    let full = format!("{program} commit --yes {storage} a > /dev/full");
    run("sh", &["-c", &full]).fails(2, &["all is committed", "standard output"]);
    s.retake_proof();
    assert_eq!(sh(&s.quiet_base(), "cat a"), "1\nx\n");
}
