//! When `mini_fo commit` does nothing, and what it says to that.

use crate::commit::{commit, scene, text};
use crate::common::{Scene, is_root, mini_fo, record, run, sh, skip, skip_unless};

fn changed() -> Option<Scene> {
    let mut s = scene(|base| drop(sh(base, "mkdir d; echo 1 > a; echo 2 > d/b")))?;
    s.mount(&[]);
    sh(&s.mnt, "echo x >> a; echo x >> d/b; echo new > new");
    Some(s)
}

#[test]
fn the_storage_of_a_live_mount() {
    let Some(s) = changed() else { return };
    let (mnt, storage) = (text(&s.mnt), text(&s.storage));
    let way = format!("'mini_fo commit {mnt}'");
    mini_fo(&["commit", "--yes", &storage]).fails(2, &["it is mounted", &way]);
    mini_fo(&["commit", "-n", &storage]).fails(2, &["it is mounted", &way]);
}

/// Another mount shows the base, as its uppermost layer or below others, or a part of it.
#[test]
fn a_base_that_others_show() {
    let Some(mut s) = changed() else { return };
    s.umount();
    let (base, part) = (text(&s.base), text(&s.base.join("d")));
    let (top, other) = (text(&s.work.dir("top")), text(&s.work.dir("other")));
    for args in [
        vec!["mount", &base, &other, "-r"],
        vec!["mount", &top, &other, "-r", "--under", &base],
        vec!["mount", &part, &other, "-r"],
    ] {
        mini_fo(&args).ok();
        commit(&mut s, &["--yes"], &[]).fails(2, &["mounted at", &other, "unmount"]);
        mini_fo(&["umount", &other]).ok();
    }
    // A part in which nothing would change.
    mini_fo(&["mount", &part, &other, "-r"]).ok();
    let said = commit(&mut s, &["--yes"], &["a"]);
    mini_fo(&["umount", &other]).ok();
    assert_eq!(said.code, 0, "{}", said.stderr);
    commit(&mut s, &["--yes"], &[]).ok();
}

#[test]
fn what_is_no_storage_on_one_tree() {
    let Some(mut s) = changed() else { return };
    s.umount();
    let base = text(&s.base);
    // An upper directory of overlayfs, and a stack.
    let upper = s.work.dir("upper");
    sh(&upper, "echo up > a");
    let said =
        mini_fo(&["commit", "--yes", "--base", &base, "--dialect", "overlay", &text(&upper)]);
    said.fails(2, &["no storage of mini_fo", "not committed"]);
    mini_fo(&["commit", "--yes", &base]).fails(2, &[]);
    let (top, storage, mnt) = (text(&s.work.dir("top")), text(&s.work.dir("sto")), text(&s.mnt));
    mini_fo(&["mount", &top, &mnt, "--storage", &storage, "--under", &base]).ok();
    sh(&s.mnt, "echo x >> a");
    mini_fo(&["umount", &mnt]).ok();
    mini_fo(&["commit", "--yes", &storage]).fails(2, &["several trees", "mini_fo diff"]);
    for (words, said) in [
        (vec!["--only", "["], "--only"),
        (vec!["--except", "{a"], "--except"),
        (vec!["--abort", "--ours"], "--abort"),
        (vec!["--quiet", "--json"], "--quiet"),
    ] {
        commit(&mut s, &words, &[]).fails(2, &[said]);
    }
    commit(&mut s, &["--yes"], &["d/../a"]).fails(2, &[".."]);
    mini_fo(&["commit", "/nonexistent"]).fails(2, &["No such file"]);
    // The other layers are not what it was made for.
    commit(&mut s, &["--yes", "--base", "/nonexistent"], &[]).fails(2, &["/nonexistent"]);
    let said = commit(&mut s, &["--abort"], &[]);
    assert_eq!(said.code, 0);
    assert!(said.stderr.contains("nothing to be taken back"), "{}", said.stderr);
}

#[test]
fn a_base_that_cannot_be_written() {
    if !is_root() {
        return skip("mounts read-only");
    }
    let Some(mut s) = changed() else { return };
    s.umount();
    let base = text(&s.base);
    run("mount", &["--bind", &base, &base]).ok();
    run("mount", &["-o", "remount,bind,ro", &base]).ok();
    let said = mini_fo(&["commit", "--yes", "--accept-base", &text(&s.storage)]);
    run("umount", &[&base]).ok();
    said.fails(2, &["base ", "read-only"]);
    assert_eq!(sh(&s.quiet_base(), "cat a"), "1\n");
}

/// `chattr +i` and `+a` in the base are told before anything is written.
#[test]
fn what_does_not_let_go() {
    if !is_root() || skip_unless(&["chattr"]) {
        return skip("needs root and chattr");
    }
    let Some(mut s) = changed() else { return };
    s.umount();
    let fixed = text(&s.base.join("a"));
    if run("chattr", &["+i", &fixed]).code != 0 {
        return skip("no chattr +i here");
    }
    s.retake_proof();
    let before = record(&s.quiet_base());
    let said = mini_fo(&["commit", "--yes", &text(&s.storage)]);
    let same = record(&s.quiet_base()) == before;
    let rest = mini_fo(&["commit", "--yes", "--except", "a", &text(&s.storage)]);
    run("chattr", &["-i", &fixed]).ok();
    s.retake_proof();
    said.fails(2, &["a: ", "chattr +i", "--except"]);
    assert!(same);
    assert_eq!(rest.code, 0, "{}", rest.stderr);
    commit(&mut s, &["--yes"], &[]).ok();
    assert_eq!(sh(&s.quiet_base(), "cat a d/b new"), "1\nx\n2\nx\nnew\n");
}

/// On a full base nothing is changed, and nothing of it left.
#[test]
fn a_base_without_room() {
    if !is_root() {
        return skip("mounts a tmpfs");
    }
    let Some(mut s) = changed() else { return };
    s.umount();
    let (small, storage, mnt) = (s.work.dir("small"), text(&s.work.dir("sto")), text(&s.mnt));
    run("mount", &["-t", "tmpfs", "-o", "size=4m,mode=755", "small", &text(&small)]).ok();
    sh(&small, "echo 1 > a; head -c 2000000 /dev/zero > fill");
    mini_fo(&["mount", &text(&small), &mnt, "--storage", &storage]).ok();
    sh(&s.mnt, "echo x >> a; head -c 6000000 /dev/urandom > large");
    mini_fo(&["umount", &mnt]).ok();
    let said = mini_fo(&["commit", "--yes", &storage]);
    said.fails(2, &["large", "nothing was changed"]);
    assert_eq!(sh(&small, "cat a; ls -A"), "1\na\nfill\n");
    mini_fo(&["commit", "--yes", &storage, "a"]).ok();
    assert_eq!(sh(&small, "cat a; ls -A"), "1\nx\na\nfill\n");
}
