//! Commits by users who do not own all of the base, and of storages that are not in order:
//! whatever comes of it, the storage can be used afterwards.

use crate::cli;
use crate::commit::{commit, scene, text};
use crate::common::{WorkDir, mini_fo, sh, skip_unless};
use crate::user::{as_nobody, skipped};

/// Does a change in a tree as an ordinary user, and commits: done, or refused with the base
/// and the storage as they were.
fn by_a_user(prepare: &str, change: &str) {
    if skipped() || skip_unless(&["fusermount3", "setpriv"]) {
        return;
    }
    let work = WorkDir::new();
    sh(&work.0, &format!("mkdir tree; cd tree; {prepare}"));
    let script = format!(
        "tree=$PWD/../tree; chmod 700 storage; $MINI_FO mount $tree mnt --storage storage
         (cd mnt; {change}); $MINI_FO umount mnt
         $MINI_FO commit --yes storage || $MINI_FO commit --abort storage || echo STUCK
         $MINI_FO mount $tree mnt --storage storage && $MINI_FO umount mnt || echo LOCKED
         ls -A $tree | grep META_ || true; echo end"
    );
    let said = as_nobody(&work, true, &[], &script);
    let end = said.stdout.lines().filter(|line| ["STUCK", "LOCKED", "end"].contains(line));
    assert_eq!(end.collect::<Vec<_>>(), ["end"], "{}\n{}", said.stdout, said.stderr);
    assert!(!said.stdout.contains("_stage"), "{}", said.stdout);
}

/// Names in a directory may be changed by who may not set its times.
#[test]
fn a_directory_of_others_that_a_user_may_write() {
    by_a_user("mkdir d; touch d/x d/y; chmod 777 d . d/*", "rm d/x");
}

#[test]
fn a_root_of_others_that_a_user_may_write() {
    by_a_user("touch a; chmod 777 .", "echo new > new");
}

#[test]
fn a_directory_of_others_that_a_user_renames() {
    by_a_user("mkdir d; touch d/x; chmod 755 d; chown 65534:65534 .", "mv d e");
}

/// What is made narrower while it is changed must stay changeable.
#[test]
fn an_attribute_of_a_directory_that_is_closed() {
    let change = "setfattr -n user.x -v 1 d; chmod 500 d";
    if skip_unless(&["setfattr"]) {
        return;
    }
    by_a_user("mkdir d; chown -R 65534:65534 .", change);
}

/// A power cut may have left zeros in it, which a mount would not write to either.
#[test]
fn a_volatile_storage_that_did_not_end_cleanly() {
    let Some(mut s) = scene(|base| drop(sh(base, "echo good > a"))) else { return };
    s.mount(&["-o", "volatile"]);
    sh(&s.mnt, "echo changed > a");
    sh(&s.base, &format!("kill -KILL {}", cli::daemon(&s)));
    while std::fs::read_dir(&s.mnt).is_ok() {}
    s.umount();
    let said = commit(&mut s, &["--yes"], &[]);
    assert_eq!(said.code, 2, "{}{}", said.stdout, said.stderr);
    assert_eq!(sh(&s.quiet_base(), "cat a"), "good\n");
}

/// The way back needs no room in a storage that is full.
#[test]
fn a_full_storage_is_taken_back() {
    use crate::common::{BaseKind, Scene, StorageKind};
    if skip_unless(&["strace"]) {
        return;
    }
    let fill = |base: &std::path::Path| drop(sh(base, "echo a > a; echo b > b; echo c > c"));
    let Some(mut s) = Scene::unmounted(BaseKind::Plain, StorageKind::Tiny, fill) else { return };
    s.mount(&[]);
    sh(&s.mnt, "rm a b c");
    s.umount();
    let storage = text(&s.storage);
    // Two renames try the file system out; the third and the fourth take something.
    let script = format!(
        "strace -f -qq -o /dev/null -e trace=renameat2 -e inject=renameat2:signal=KILL:when=4 \
         {} commit --yes {storage} || true; head -c 1M /dev/zero > {storage}/fill || true",
        env!("CARGO_BIN_EXE_mini_fo")
    );
    sh(&s.base, &script);
    let said = mini_fo(&["commit", "--abort", &storage]);
    sh(&s.storage, "rm fill");
    assert_eq!(said.code, 0, "{}", said.stderr);
    s.retake_proof();
    assert_eq!(sh(&s.quiet_base(), "cat a b c; ls -A"), "a\nb\nc\na\nb\nc\n");
}
