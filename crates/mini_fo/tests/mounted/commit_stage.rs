//! Commits into a base of which the root is somebody else's: the system, by an ordinary user.

use crate::common::{WorkDir, sh, skip_unless};
use crate::run::{as_user, no_namespaces};
use crate::user::{as_nobody, skipped};

/// Things to be changed, and what must stay as it is.
const HELPERS: &str = r#"
    stays() { stat -c '%n %i %a %u %y' / $(dirname $HOME) /etc /etc/passwd; }
    clean() { test -z "$(find $HOME -name '*_stage' -o -name '*_commit')"; }
    mkdir -p work/dir; echo one > work/one; echo two > work/two; echo x > work/dir/x
    before=$(stays)"#;

/// How all ends.
const END: &str = r#"
    test "$before" = "$(stays)"; clean; echo done"#;

/// Runs a script as an ordinary user, with functions that look at what must stay as it is.
fn by_a_user(script: &str) {
    let work = WorkDir::new();
    if skipped() || no_namespaces(&work) {
        return;
    }
    let said = as_user(&work, &format!("{HELPERS}\n{script}\n{END}")).ok();
    assert!(said.ends_with("done\n"), "{said}");
}

#[test]
fn a_run_of_the_system_is_committed_at_its_end() {
    by_a_user(
        r#"
        touch -d '2020-01-01 00:00:00.5' work
        $MINI_FO run --on-exit=commit -- sh -ec 'cd work; echo more >> one; mv dir moved; rm two
            echo n > new; mkdir fresh; ln new fresh/too; touch -d "2021-01-01" .' 2>said
        grep -q '3 added, 1 modified, 1 renamed, 1 deleted, committed to /' said
        test "$(cat work/one)" = "one
more"
        cmp work/new work/fresh/too; test $(stat -c %h work/new) = 2
        test -e work/moved/x; test ! -e work/dir; test ! -e work/two
        test "$(stat -c %y work | cut -c1-10)" = 2021-01-01; test -z "$(ls $runs)"
        # Changes in several trees: all go at once.
        mkdir other; $MINI_FO run --on-exit=commit -- sh -ec 'echo a > work/a; echo b > other/b
            mv work/one other/one; rm -r work/fresh; mkdir work/fresh; echo c > work/fresh/c' 2>said
        grep -q 'committed to /' said; cat work/a other/b other/one work/fresh/c > /dev/null
        test "$(ls work/fresh)" = c"#,
    );
}

/// By its name, while it runs and afterwards, all or a part.
#[test]
fn a_run_of_the_system_is_committed_by_its_name() {
    by_a_user(
        r#"
        $MINI_FO run -q --name try -- sh -c 'seq 30 > work/many'
        $MINI_FO commit --yes try > /dev/null; test $(wc -l < work/many) = 30
        $MINI_FO run -q --name try -- sh -c 'sed -i "s/^2$/two/; s/^29$/ten/" work/many; echo y > work/y'
        printf 'y\nn\nn\n' | $MINI_FO commit --yes --patch try > picked
        grep -qx two work/many; grep -qx 29 work/many; test ! -e work/y
        got=0; $MINI_FO commit --dry-run try > said || got=$?; test $got = 1; grep -q 'work/y' said
        test ! -e work/y
        mkfifo to
        $MINI_FO run -q --name try --allow to -- sh -c 'echo l > work/live; read line; cat work/live > work/seen' <to & run=$!
        exec 5>to; until $MINI_FO status try 2>/dev/null | grep -q work/live; do sleep 0.05; done
        $MINI_FO commit --yes try > said; grep -q 'committed into /' said
        test "$(cat work/live work/y)" = "l
y"
        echo go >&5; exec 5>&-; wait $run
        $MINI_FO commit --yes try > said; test "$(cat work/seen)" = l
        $MINI_FO status try; $MINI_FO rm --yes try"#,
    );
}

/// What is not the user's is told by its path, with the way out, before anything is done.
#[test]
fn what_only_root_may_change_is_told() {
    by_a_user(
        r#"
        $MINI_FO run -q --name try -- sh -c 'echo x > /etc/mini_fo_new; echo y > work/y; chmod 700 /usr'
        for words in --yes --dry-run; do
            got=0; $MINI_FO commit $words try 2>said || got=$?; test $got = 2
            grep -q 'etc/mini_fo_new, usr: you may not change that in the base; nothing was changed' said
            grep -q -e '--except, or --only' said
        done
        test ! -e work/y; $MINI_FO commit --yes try --only "$PWD/work/*" > /dev/null 2>&1 || true
        $MINI_FO commit --yes --except /etc --except /usr try > said; test "$(cat work/y)" = y
        $MINI_FO rm --yes try
        got=0; $MINI_FO run --on-exit=commit --name two -- sh -c 'echo z > work/z; echo >> /etc/passwd' 2>said || got=$?
        test $got = 125; grep -q 'etc/passwd: you may not' said; test ! -e work/z
        $MINI_FO status two > said || true; grep -q work/z said; $MINI_FO rm --yes two"#,
    );
}

/// What is mounted in the base changes as well, all at once with the rest.
#[test]
fn a_run_commits_what_is_on_other_file_systems() {
    by_a_user_with_mounts(
        r#"
        echo old > far/f; echo old > far/gone; mkdir far/dir; echo d > far/dir/d; echo same > twice/s
        $MINI_FO run --on-exit=commit -- sh -ec '
            echo n > work/n; echo more >> far/f; rm far/gone; mv far/dir far/moved; echo t > far/t
            mv work/one far/one; echo b > twice/b; chmod 700 far; mkdir far/new; ln far/t far/new/t' 2>said || { cat said; exit 1; }
        grep -q 'committed to /' said
        cat work/n far/t far/moved/d far/one work/twice/b > /dev/null; test "$(cat far/f)" = "old
more"
        test ! -e far/gone; test ! -e far/dir; test ! -e work/one; test $(stat -c %a far) = 700
        test $(stat -c %h far/t) = 2; test -z "$(ls $runs)"
        # By name, while it runs: only what is there.
        mkfifo to
        $MINI_FO run -q --name try --allow to -- sh -c 'echo l > far/live; echo w > work/live; read line' <to & run=$!
        exec 5>to; until $MINI_FO status try 2>/dev/null | grep -q work/live; do sleep 0.05; done
        $MINI_FO commit --yes try > said; test "$(cat far/live work/live)" = "l
w"
        echo go >&5; exec 5>&-; wait $run; $MINI_FO status try; $MINI_FO rm --yes try
        # A directory that is moved to another file system goes not at once, and is told.
        $MINI_FO run -q --name try -- sh -c 'mv far/moved work/here; echo x > work/x' || true
        if $MINI_FO status try | grep -q renamed; then
            ! $MINI_FO commit --yes try 2>said || exit 1
            grep -q 'work/here: it was moved to another file system as a directory' said
            test -e far/moved; test ! -e work/x
        fi
        $MINI_FO commit --yes --except "$HOME/work/here" try > said; test -e work/x; $MINI_FO rm --yes try
        # What is mounted there is no change, nor can it be deleted.
        ! $MINI_FO run --name try --on-exit=commit -- sh -c 'rm -r work; echo y > far/y' 2>said || exit 1
        test -d work/dir; test ! -e far/y; $MINI_FO rm --yes try
        # Read-only.
        ! $MINI_FO run --name try --on-exit=commit -- sh -c 'echo y > far/y; echo z > ../fixed/z' 2>said || exit 1
        grep -q 'fixed/z: in the base it lies on what is read-only; nothing was changed' said; test ! -e far/y
        $MINI_FO commit --yes --except "$(dirname $HOME)/fixed" try > said; test -e far/y; $MINI_FO rm --yes try"#,
    );
}

/// The same with three more mounts: another file system, a part of it at another path, and one
/// that is read-only.
fn by_a_user_with_mounts(script: &str) {
    let work = WorkDir::new();
    if skipped() || no_namespaces(&work) {
        return;
    }
    sh(
        &work.0,
        "cd home; mkdir -p far work/twice ../fixed; mount -t tmpfs -o mode=755 far_off far
         mkdir far/twice; chown -R 4321:4321 far work; mount --bind far/twice work/twice
         ln -s work/twice twice
         mount -t tmpfs -o mode=777 fixed ../fixed; mount -o remount,ro ../fixed",
    );
    let said = as_user(&work, &format!("{HELPERS}\n{script}\n{END}"));
    sh(&work.0, "cd home; umount -l work/twice far ../fixed");
    let said = said.ok();
    assert!(said.ends_with("done\n"), "{said}");
}

/// A mount of a tree in which somebody else may rename things, or of which all directories are
/// his; and something in the way.
#[test]
fn where_a_stage_can_lie() {
    let work = WorkDir::new();
    if skipped() || skip_unless(&["fusermount3", "setpriv"]) {
        return;
    }
    sh(
        &work.0,
        "mkdir -p tree/sticky tree/open/own tree/group tree/mine
         chmod 755 tree; chmod 1777 tree/sticky; chmod 777 tree/open; chmod 775 tree/group
         chown -R 65534:65534 tree/open/own tree/group tree/mine",
    );
    let tree = work.0.join("tree");
    let go = format!(
        "tree={}; go() {{ mkdir -p of/$1; $MINI_FO mount $tree mnt --storage of/$1
            (cd mnt; eval \"$2\"); $MINI_FO umount mnt; $MINI_FO commit --yes of/$1; }}",
        tree.display()
    );
    let script = format!(
        "{go}
        go a 'echo 1 > sticky/a; echo 2 > mine/a' > said; test -e $tree/mine/a -a -e $tree/sticky/a
        go b 'echo 1 > group/a' > said; test -e $tree/group/a
        go c 'echo 1 > open/own/a' > said; test -e $tree/open/own/a
        go d 'echo 1 > mine/b; chmod 500 mine' > said || test $? = 2; go e 'echo 1 > open/a' 2> said || test $? = 2
        grep -q 'chmod o-w' said; test ! -e $tree/open/a; echo done"
    );
    let said = as_nobody(&work, true, &[], &script).ok();
    assert!(said.ends_with("done\n"), "{said}");
    // Another user's directory that is called so is not touched, nor shown, and told.
    sh(&tree, "mkdir sticky/META_dAfFgHE39ktF3HD2sr_stage");
    let script = format!(
        "{go}
        go f 'test \"$(ls sticky)\" = a; echo 1 > sticky/b' 2> said || test $? = 2
        grep -q 'sticky/META_dAfFgHE39ktF3HD2sr_stage: it is of another user' said
        test -d $tree/sticky/META_dAfFgHE39ktF3HD2sr_stage; test ! -e $tree/sticky/b; echo done"
    );
    let said = as_nobody(&work, false, &[], &script).ok();
    assert!(said.ends_with("done\n"), "{said}");
}

/// A base that is itself a mount, in which names of mini_fo's own cannot be made.
#[test]
fn a_base_in_another_mount() {
    let work = WorkDir::new();
    if skipped() || skip_unless(&["fusermount3", "setpriv"]) {
        return;
    }
    let script = "
        mkdir -p base/e/f/g in of; echo 1 > base/e/f/g/h
        $MINI_FO mount base mnt --storage storage; $MINI_FO mount mnt in --storage of
        (cd in; echo 2 >> f; rm -r e; mkdir -p n/m; echo 3 > n/m/o; mv d moved); $MINI_FO umount in
        $MINI_FO commit --yes of > said; $MINI_FO status of
        cat mnt/f mnt/n/m/o mnt/moved/one; test ! -e mnt/e; ls -A mnt base
        $MINI_FO umount mnt; echo done";
    let said = as_nobody(&work, true, &[], script).ok();
    let all = "content\n2\n3\n1\nbase:\nd\ne\nf\n\nmnt:\nf\nmoved\nn\ndone\n";
    assert!(said.ends_with(all), "{said}");
}
