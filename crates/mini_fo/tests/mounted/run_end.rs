//! The end of `mini_fo run`: what becomes of changes, and many runs at once.

use crate::common::{WorkDir, sh};
use crate::run::{as_root, as_user, no_namespaces};
use crate::user::skipped;

/// A tree in `root` with a shell and some tools.
const TREE: &str = r#"
    mkdir -p root/bin root/proc root/dev root/data
    for f in sh ls rm cat mv; do cp $(command -v $f) root/bin/; done
    for l in $(ldd root/bin/* | grep -o '/[^ :]*\.so[^ )]*' | sort -u); do
        mkdir -p root$(dirname $l); cp $l root$l; done
    in_tree() { PATH=/bin $MINI_FO run --base root "$@"; }
"#;

#[test]
fn what_a_named_run_has_changed_goes() {
    let work = WorkDir::new();
    if skipped() || no_namespaces(&work) {
        return;
    }
    let script = r#"
        for n in 1 2; do
            $MINI_FO run --storage kept --on-exit discard -- touch new 2>said
            grep -q '1 added, which are gone' said
            $MINI_FO run --storage kept -q -- test ! -e new
            $MINI_FO run --name kept --on-exit discard -- touch new 2>>said
            test $(grep -c 'which are gone' said) = 2
        done
        $MINI_FO status ./kept; $MINI_FO rm --yes ./kept kept; test ! -e kept; test -z "$(ls $runs)"
        echo done"#;
    let said = as_user(&work, script).ok();
    assert!(said.ends_with("done\n"), "{said}");
}

#[test]
fn changes_are_committed_at_the_end() {
    let work = WorkDir::new();
    if skipped() || no_namespaces(&work) {
        return;
    }
    let script = format!(
        r#"{TREE}
        echo one > root/data/one; echo two > root/data/two; mkdir root/data/dir; echo x > root/data/dir/x
        in_tree --on-exit=commit -- sh -ec 'cd /data; echo more >> one; mv dir moved; rm two; echo n > new' 2>said
        grep -q "1 added, 1 modified, 1 renamed, 1 deleted, committed to $PWD/root" said
        test "$(cat root/data/one)" = "one
more"
        test -e root/data/moved/x; test ! -e root/data/dir; test ! -e root/data/two; test -e root/data/new
        test -z "$(ls $runs)"; test -z "$(ls -A root | grep -v '^[a-z0-9]*$')"
        # Not what has failed, if that is to be kept.
        ! in_tree --name try --on-exit=commit --on-error=keep -- sh -c 'echo x > /data/try; exit 1' 2>said || exit 1
        test ! -e root/data/try; grep -q "'mini_fo commit try' commits them" said
        # By name, at rest; only some of it.
        in_tree -q --name try -- sh -c 'echo y > /data/other'
        $MINI_FO commit --yes try data/try > /dev/null; test "$(cat root/data/try)" = x
        test ! -e root/data/other
        # The base is something else than what was changed: all is kept, and told.
        in_tree -q --name try -- sh -c 'echo mine >> /data/one'
        echo theirs >> root/data/one; cp -a root/data before
        got=0; in_tree --name try --on-exit=commit --json=out -- sh -c 'echo z > /data/z' 2>said || got=$?
        test $got = 125; grep -q 'nothing is committed: of 1 change the base has something else' said
        diff -r before root/data
        python3 -c 'import json
o=json.load(open("out"))
assert o["status"]==0 and o["kept"] and not o["committed"] and o["commands"]["commit"]=="mini_fo commit try --yes", o'
        $MINI_FO commit --yes --ours try >/dev/null; grep -q mine root/data/one; test -e root/data/z
        $MINI_FO status try; $MINI_FO rm --yes try
        # By name, while it runs.
        mkfifo to; in_tree -q --name idle -- sh -c 'read line' <to & run=$!; exec 5>to
        until $MINI_FO status idle 2>/dev/null; do sleep 0.05; done
        $MINI_FO commit --yes idle > said; grep -q 'nothing to be committed' said
        echo go >&5; exec 5>&-; wait $run; $MINI_FO rm --yes idle 2>/dev/null || true
        in_tree -q --name goes -- sh -c 'echo x > /data/live; read line; cat /data/live > /data/seen' <to & run=$!
        exec 5>to; until $MINI_FO status goes 2>/dev/null | grep -q data/live; do sleep 0.05; done
        $MINI_FO commit --yes goes > /dev/null; test "$(cat root/data/live)" = x
        # Not by what runs in it, which does not see by what it is known who asks.
        $MINI_FO run -q --name inside -- sh -c 'echo x > inside; for path in . inside /; do
                $MINI_FO commit --yes $path 2>>said-inside; echo $? >>said-inside; done
            $MINI_FO commit --yes inside --only x && echo 0 >>said-inside
            cat $0/inside/run.json >>said-inside 2>/dev/null' $runs 2>/dev/null
        test ! -e inside; $MINI_FO diff inside > said || true
        test $(grep -c 'is committed from outside' said) -ge 3; ! grep -q '"key"\|^+0$' said || exit 1
        $MINI_FO rm --yes inside
        echo go >&5; exec 5>&-; wait $run; rm to
        test ! -e root/data/seen; $MINI_FO commit --yes goes > /dev/null; test "$(cat root/data/seen)" = x
        $MINI_FO rm --yes goes 2>/dev/null || true; test -z "$(ls $runs)"
        ! $MINI_FO run --tmpfs --on-exit=commit -- true 2>said || exit 1; grep -q 'cannot be committed' said
        echo done"#
    );
    for said in [as_user(&work, &script), as_root(&WorkDir::new(), &script)] {
        let said = said.ok();
        assert!(said.ends_with("done\n"), "{said}");
    }
}

/// What tells the daemon that somebody asks from outside shows nowhere inside, also not where the
/// home is mounted once more.
#[test]
fn nobody_inside_can_tell_that_he_asks_from_outside() {
    let work = WorkDir::new();
    if skipped() || no_namespaces(&work) {
        return;
    }
    sh(&work.0, "mkdir -p home other; mount --bind home other");
    let script = r#"
        other=${HOME%/home}/other/${runs#"$HOME/"}
        $MINI_FO run -q --name one -- sh -ec 'echo x > new; for dir; do
            ls -A $dir; cat $dir/* 2>/dev/null || true; ! cat $dir/key || exit 1
            ! touch $dir/key || exit 1; done' sh $runs/one $other/one > seen 2>/dev/null
        test -s $runs/one/key; test $(stat -c %a $runs/one/key) = 600
        grep -q '"base"' seen; ! grep -q "^key\|$(cat $runs/one/key)" seen || exit 1
        $MINI_FO rm --yes one; test -z "$(ls $runs)"
        echo done"#;
    for said in [as_user(&work, script), as_root(&work, script)] {
        let said = said.ok();
        assert!(said.ends_with("done\n"), "{said}");
    }
}

/// Who is still in a run decides later; that is told, and nothing of his goes.
#[test]
fn somebody_is_still_in_it() {
    let work = WorkDir::new();
    if skipped() || no_namespaces(&work) {
        return;
    }
    let script = r#"
        trap 'kill $(jobs -p) 2>/dev/null || true' EXIT
        mkfifo go; sleep 600 > go & 
        $MINI_FO run --on-exit discard --allow go --json=out -- sh -c 'touch new; sh -c "read x; touch late" < go & '
        python3 -c 'import json
o=json.load(open("out"))
assert o["kept"] and o["in_use_by"].startswith("process "), o'
        $MINI_FO run --allow go -- sh -c 'sh -c "read x; touch late" < go & ' 2>said
        grep -q 'nothing has changed; process [0-9]* (sh) is still in it$' said
        echo x > go; echo y > go
        for i in $(seq 500); do $MINI_FO list | grep -q running || break; sleep 0.02; done
        # Not taken away while it was in use.
        $MINI_FO status run-1 > status || true; grep -q new status; grep -q late status
        $MINI_FO status run-2 > status || true; grep -q late status
        # What ends with the command is waited for.
        $MINI_FO run --on-exit discard -- sh -c 'touch new; sleep 0.2 & ' 2>said; grep -q 'are gone' said
        $MINI_FO rm --yes run-1 run-2; test -z "$(ls $runs)"; echo done"#;
    let said = as_user(&work, script).ok();
    assert!(said.ends_with("done\n"), "{said}");
}

/// What is left of runs that were killed while they began, or while they were taken away.
#[test]
fn what_was_left_half_goes() {
    let work = WorkDir::new();
    if skipped() || no_namespaces(&work) {
        return;
    }
    let script = r#"
        mkdir -p $runs/run-1 $runs/run-2/storage $runs/own; touch $runs/run-2/run.json $runs/own/file
        $MINI_FO run -q --name half -- sh -c 'echo x > x; echo y > y'
        sed -i 's/"going":false/"going":true/' $runs/half/run.json
        ! $MINI_FO status half 2>/dev/null >&2 || exit 1
        $MINI_FO run -q --name half -- test ! -e x
        $MINI_FO run -q --name other -- touch x; sed -i 's/"going":false/"going":true/' $runs/other/run.json
        $MINI_FO list > said; ! grep -q other said || exit 1; test "$(ls $runs | tr '\n' ' ')" = "half own "
        echo done"#;
    let said = as_user(&work, script).ok();
    assert!(said.ends_with("done\n"), "{said}");
}

#[test]
fn a_hundred_run_at_once() {
    let work = WorkDir::new();
    if skipped() || no_namespaces(&work) {
        return;
    }
    let script = r#"
        all=
        for i in $(seq 100); do
            $MINI_FO run -q -- sh -c "echo $i > mine; test \$(cat mine) = $i" & all="$all $!"
        done
        for one in $all; do wait $one; done
        test $(ls $runs | wc -l) = 100; $MINI_FO rm --yes $(ls $runs); echo done"#;
    let said = as_user(&work, script).ok();
    assert!(said.ends_with("done\n"), "{said}");
}

/// Those of one name share one tree, whoever comes first, and whoever just ends. Each command
/// gets the signals as they were. Others look on, and take away what is unused.
#[test]
fn a_hundred_of_one_name() {
    let work = WorkDir::new();
    if skipped() || no_namespaces(&work) {
        return;
    }
    let script = r#"
        all=; touch look; while test -e look; do $MINI_FO list > /dev/null; done & looks=$!
        for i in $(seq 100); do
            $MINI_FO run -q --name one -- sh -ec "touch of-$i; grep -q 'SigBlk:.0*$' /proc/self/status" & all="$all $!"
        done
        for one in $all; do wait $one; done
        $MINI_FO status one > status || test $? = 1; test $(grep -c 'of-' status) = 100
        # Runs begin where others are taken away.
        all=
        for i in $(seq 30); do
            $MINI_FO run -q --name two -- true & all="$all $!"
            $MINI_FO rm --yes two 2>> said || true
            $MINI_FO run -q -- true & all="$all $!"
        done
        for one in $all; do wait $one; done
        rm look; wait $looks; $MINI_FO rm --yes one; $MINI_FO rm --yes two 2>/dev/null || true
        ! grep -v 'no such run\|it is running' said || exit 1
        test -z "$(ls $runs)"; echo done"#;
    let said = as_user(&work, script).ok();
    assert!(said.ends_with("done\n"), "{said}");
}
