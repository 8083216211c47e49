//! Commits by users who do not own all of the base, and of storages that are not in order:
//! whatever comes of it, the storage can be used afterwards.

use crate::cli;
use crate::commit::{commit, scene, text};
use crate::common::{WorkDir, mini_fo, sh, skip_unless};
use crate::user::{as_nobody, skipped};

/// Does a change in a tree as an ordinary user, and commits: done, or refused with the base
/// and the storage as they were. The result is all that was said.
fn by_a_user(prepare: &str, change: &str) -> Option<String> {
    if skipped() || skip_unless(&["fusermount3", "setpriv"]) {
        return None;
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
    Some(format!("{}{}{}", said.stdout, said.stderr, sh(&work.0, "find tree | sort")))
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

/// Nobody can read it but root: that is told before anything is done.
#[test]
fn a_file_that_is_closed_to_its_owner() {
    let said = by_a_user("chown 65534:65534 .", "mkdir x; echo q > x/q; chmod 0 x/q");
    let Some(said) = said else { return };
    assert!(said.contains("x/q: what has changed there cannot be read"), "{said}");
    assert!(!said.contains("tree/x"), "{said}");
}

/// What is closed in the base is told before anything is done.
fn is_told_before(change: &str, words: &str) {
    let prepare = "mkdir d; echo x > d/x; chown -R 65534:65534 .; chmod 555 d";
    let Some(said) = by_a_user(prepare, change) else { return };
    for words in [words, "nothing was changed", "chmod u+w"] {
        assert!(said.contains(words), "{words}: {said}");
    }
    assert!(said.contains("tree/d/x"), "{said}");
}

#[test]
fn a_directory_that_is_closed_to_its_owner() {
    is_told_before("chmod 755 d; rm d/x", "d/x: you may not change that in the base");
}

#[test]
fn a_closed_directory_that_is_renamed() {
    is_told_before("mv d e", "d: the base does not let it be moved");
}

/// The kernel's overlayfs does not rename directories of its lower layers: nothing is begun
/// there. All is mounted in a namespace that ends with the script.
#[test]
fn a_base_that_cannot_rename_its_directories() {
    if !rustix::process::geteuid().is_root() || skip_unless(&["unshare"]) {
        return;
    }
    let work = WorkDir::new();
    let script = format!(
        "mkdir -p lower/d upper work tree mnt; mkdir -m 700 of; echo x > lower/d/x
         mount -t overlay overlay tree -o lowerdir=$PWD/lower,upperdir=$PWD/upper,workdir=$PWD/work,redirect_dir=off \
             || {{ echo SKIPPED; exit; }}
         m={}
         $m mount tree mnt --storage of; (cd mnt; mv d e; echo new > new); $m umount mnt
         $m commit --yes of 2>&1; echo $?; $m commit --yes --except e of; ls -A tree; cat tree/d/x",
        env!("CARGO_BIN_EXE_mini_fo")
    );
    std::fs::write(work.0.join("script"), script).expect("a script");
    let said = sh(&work.0, "unshare -m sh script");
    if said.contains("SKIPPED") {
        return;
    }
    for words in
        ["d: the base does not let it be moved", "nothing was changed; the base is on overlayfs"]
    {
        assert!(said.contains(words), "{words}: {said}");
    }
    assert!(said.ends_with("\nd\nnew\nx\n"), "{said}");
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

/// What is given up alone goes as by a discard: the power may go at any time.
#[test]
fn a_crash_while_changes_are_given_up() {
    if skip_unless(&["strace"]) {
        return;
    }
    let fill = |base: &std::path::Path| {
        drop(sh(base, "for n in 1 2 3; do echo f > f$n; echo g > g$n; done"))
    };
    let Some(mut s) = scene(fill) else { return };
    s.mount(&[]);
    sh(&s.mnt, "for n in 1 2 3; do mv g$n f$n; echo mine >> f$n; done");
    s.umount();
    sh(&s.base, "for file in *; do echo theirs > $file; done");
    s.retake_proof();
    let script = format!(
        "strace -f -qq -o /dev/null -e trace=unlinkat -e inject=unlinkat:signal=KILL:when=3 \
         {} commit --yes --theirs {} || true",
        env!("CARGO_BIN_EXE_mini_fo"),
        text(&s.storage)
    );
    sh(&s.base, &script);
    s.mount(&[]);
    let shown = sh(&s.mnt, "cat f1 f2 f3");
    assert!(shown.lines().all(|line| ["g", "mine", "theirs"].contains(&line)), "{shown}");
}

/// Who mounts a base into which a commit goes on waits for it, and for no other.
#[test]
fn a_commit_that_goes_on_is_waited_for() {
    if skip_unless(&["flock"]) {
        return;
    }
    let Some(mut s) = scene(|base| drop(sh(base, "echo f > f"))) else { return };
    let stage = format!("{}_stage", mini_fo_core::META_NAME);
    sh(&s.base, &format!("mkdir -m 700 {stage}; printf '%032d\\n/nowhere\\0' 1 > {stage}/owner"));
    let mount = [&*text(&s.base), &*text(&s.mnt), "--storage", &*text(&s.storage)];
    let refused = mini_fo(&[&["mount"], &mount[..]].concat());
    assert!(refused.code != 0 && refused.stderr.contains("goes on"), "{}", refused.stderr);
    let script = format!(
        "flock . sh -c 'touch on; sleep 1; rm -r {stage} on' >/dev/null 2>&1 &
         until test -e on; do sleep 0.01; done"
    );
    sh(&s.base, &script);
    s.mount(&[]);
    s.retake_proof();
    assert_eq!(sh(&s.mnt, "cat f; ls -A"), "f\nf\n");
}
