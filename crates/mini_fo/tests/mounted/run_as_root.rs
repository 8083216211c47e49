//! `mini_fo run --as-root`: an ordinary user is root of a range of users, and installs packages.

use std::path::Path;

use crate::common::{WorkDir, sh, skip, skip_unless};
use crate::run::{as_user, no_namespaces};
use crate::user::skipped;

/// Gives the user a range of ids, for this test alone.
fn no_range(work: &WorkDir) -> bool {
    let files = ["/etc/subuid", "/etc/subgid"];
    if skip_unless(&["newuidmap", "newgidmap"]) || no_namespaces(work) {
        return true;
    }
    if files.iter().any(|file| !Path::new(file).exists()) {
        skip("there is no /etc/subuid, on which the one of the test would lie");
        return true;
    }
    // newuidmap(1) wants a name.
    let bind = "echo trial:200000:65536 > ids
        { cat /etc/passwd; echo trial:x:4321:4321::/nonexistent:/bin/sh; } > users
        chmod 644 ids users; mount --bind users /etc/passwd
        mount --bind ids /etc/subuid; mount --bind ids /etc/subgid";
    sh(&work.0, bind);
    let allowed = as_user(work, "$MINI_FO run -q --as-root -- true");
    if allowed.stderr.contains("newuidmap: ") {
        skip(&format!("no range of ids can be mapped here: {}", allowed.stderr));
        return true;
    }
    allowed.ok();
    false
}

/// Owners are those of the system, can be given, stay, and are the user's own outside.
#[test]
fn owners_of_a_run_are_those_of_the_system() {
    let work = WorkDir::new();
    if skipped() || no_range(&work) {
        return;
    }
    let script = r#"
        owners() { stat -c '%n %u:%g %a' /etc /etc/passwd /etc/shadow /var/mail /var/lib/dpkg/lock; }
        before=$(owners); mkdir mine; echo x > mine/f
        $MINI_FO run -q --as-root --name owners -- bash -ec '
            test "$(id -u):$(id -g):$(id -G)" = 0:0:0; test "$1" = "$('"$(declare -f owners)"'; owners)"
            test $(stat -c %u mine/f) = 4321; echo more >> mine/f; test $(stat -c %u mine/f) = 4321
            echo x > /usr/new; chown 33:12 /usr/new; chmod 4640 /usr/new; mkdir /usr/dir; chown 33 /usr/dir
            ! cat /etc/shadow || exit 1; : >> /var/lib/dpkg/lock
            setpriv --reuid=33 --regid=33 --clear-groups sh -ec "
                cat /usr/new; echo y > /usr/dir/by; ! touch /usr/no || exit 1; ! cat mine/none || exit 1"
            chown 33 /etc/hosts; rm -rf /opt' sh "$before" 2>said || { cat said >&2; exit 1; }
        test "$before" = "$(owners)"; test ! -e /usr/new; test -d /opt
        # All is the user's outside, and he may look at it and take it away.
        find $runs/owners ! -user 4321 | ( ! grep . )
        $MINI_FO status owners > status || test $? = 1; ! grep unreadable status || exit 1
        grep -q '^attributes.*etc/hosts.*owner' status; grep -q '^added.*usr/dir/by' status
        shown='33:12 4640
33:0 755
33:33 644
33 0'
        test "$shown" = "$($MINI_FO run -q --as-root --name owners -- sh -c '
            stat -c "%u:%g %a" /usr/new /usr/dir /usr/dir/by; echo $(stat -c %u /etc/hosts) $(stat -c %u /etc)')"
        # As any user has mounted it, and as he sees it.
        ! $MINI_FO run -q --name owners -- true 2>said || exit 1; grep -q 'begun with --as-root: add it' said
        $MINI_FO discard --yes owners usr/new > /dev/null
        $MINI_FO run -q --as-root --name owners -- test ! -e /usr/new
        $MINI_FO rm --yes owners; test -z "$(ls $runs)"
        $MINI_FO run -q --name owners -- touch new
        ! $MINI_FO run -q --as-root --name owners -- true 2>said || exit 1; grep -q 'without --as-root: leave' said
        # One that changes nothing leaves nothing; its end is told, and its signals.
        $MINI_FO run --as-root -- true 2>said; grep -qx 'mini_fo: nothing has changed' said
        ! $MINI_FO run --as-root -- sh -c 'touch /new; exit 4' 2>said || exit 1
        grep -q "1 added; .*'mini_fo run --as-root --name run-1 ...'" said
        got=0; $MINI_FO run -q --as-root -- sh -c 'kill -TERM $$' || got=$?; test $got = 143
        got=0; timeout 1 $MINI_FO run -q --as-root -- sleep 60 || got=$?; test $got = 124
        test "$(ls $runs)" = "owners
run-1"
        # What lies over something may be taken away, and still nobody can ask as from outside.
        $MINI_FO run -q --as-root --name run-1 -- sh -ec 'umount $1/run.json || true
            cat $1/run.json > /dev/null; ! cat $1/key || exit 1' sh $runs/run-1 2>/dev/null
        # Runs in it.
        $MINI_FO run -q --as-root --name run-1 -- sh -ec 'test -e /new
            $0 run -q --storage /nested -- sh -ec "test -e /new; echo x > /inner; chown 33 /inner"
            test ! -e /inner; $0 run -q --as-root --storage /nested -- test $(stat -c %u /etc) = 0' $MINI_FO
        echo done"#;
    let said = as_user(&work, script).ok();
    assert!(said.ends_with("done\n"), "{said}");
}

/// It is asked from outside while it runs, and joined.
#[test]
fn a_run_as_root_is_shared_and_asked() {
    let work = WorkDir::new();
    if skipped() || no_range(&work) {
        return;
    }
    let script = r#"
        trap 'kill $(jobs -p) 2>/dev/null || true' EXIT
        mkfifo to from
        $MINI_FO run -q --as-root --name work --allow to --allow from -- sh -c '
            echo first > /first; chown 33 /first; echo go > from; read x < to; cat /second' > out &
        first=$!; read go < from
        $MINI_FO list | grep -A3 '^work$' | grep -q running
        $MINI_FO status work > status || test $? = 1; grep -q '^added.*first' status
        $MINI_FO diff work | grep -qx '+first'
        $MINI_FO run -q --as-root --name work -- sh -c 'test $(id -u) = 0; stat -c %u /first; echo second > /second'
        $MINI_FO run -q --name work -- sh -c 'id -u; stat -c %u /first; ! touch /third || exit 1' 2>/dev/null
        $MINI_FO discard --yes work first > /dev/null
        ! $MINI_FO rm --yes work 2>said || exit 1; grep -q 'it is running' said
        echo x > to; wait $first; cat out
        $MINI_FO status work > status || test $? = 1; test $(grep -c '^added' status) = 1
        # Who is still in it at the end is told.
        $MINI_FO run --as-root -- sh -c '
            touch /there; sleep 61 >/dev/null 2>&1 </dev/null &' 2>said
        grep -q "process [0-9]* (sleep) is still in it" said
        sleeper=$(pgrep -f '^sleep 61$' -U 200000 | head -1); kill $sleeper
        while $MINI_FO list | grep -q running; do sleep 0.02; done; $MINI_FO rm --yes run-1
        # Whoever is killed, nothing goes on for ever.
        gone() { for i in $(seq 500); do pgrep -f "^@?$MINI_FO run" >/dev/null || return 0; sleep 0.02; done
                 echo "left behind:"; pgrep -af $MINI_FO; exit 1; }
        for who in parent command daemon; do
            $MINI_FO run -q --as-root -- sh -c 'touch /there; exec sleep 60' & parent=$!
            until test -n "$(pgrep -P $parent -x sleep)"; do sleep 0.02; done
            command=$(pgrep -P $parent -x sleep); daemon=$(pgrep -P $parent -x mini_fo)
            case $who in
                command) $MINI_FO run -q -- true; kill -KILL $parent;;
                *) kill -KILL ${!who};;
            esac
            if test $who = daemon; then kill -KILL $parent; fi
            wait $parent 2>/dev/null || true
            gone
        done
        for n in 1 2 3; do $MINI_FO status run-$n || test $? = 1; done | grep -c there
        echo done"#;
    let said = as_user(&work, script).ok();
    assert!(said.ends_with("33\n4321\n33\nsecond\n3\ndone\n"), "{said}");
}

/// Nothing of it was ever on a disk, and nothing is left of it.
#[test]
fn changes_of_a_run_as_root_are_kept_in_memory() {
    let work = WorkDir::new();
    if skipped() || no_range(&work) {
        return;
    }
    let script = r#"
        mkdir mine; echo x > mine/f; mkfifo to from
        $MINI_FO run --as-root --tmpfs=8M --allow to --allow from -- bash -ec '
            test $(id -u) = 0; echo x > /usr/new; chown 33:12 /usr/new; chmod 4640 /usr/new
            echo more >> mine/f; mv mine moved; mkdir /usr/dir; rm -rf /opt
            setfattr -n user.x -v y /usr/new 2>/dev/null || true
            ! head -c 9M /dev/zero > big 2>/dev/null || exit 1; rm big
            stat -c "%u:%g %a" /usr/new; cat moved/f
            echo go > from; read x < to' > out 2>said & first=$!
        read go < from
        # It lies in memory: where it would be otherwise there is nothing.
        test -z "$(find $runs/run-1/storage -mindepth 1)"
        $MINI_FO status run-1 > status || test $? = 1; grep -q '^added.*usr/new' status
        echo x > to; wait $first || { cat said >&2; exit 1; }
        cat out; grep -qx 'mini_fo: 2 added, .* 1 deleted, which are gone' said
        test "$(cat mine/f)" = x; test ! -e /usr/new; test -z "$(ls $runs)"
        # A command that fails, one that cannot be run, and a size that is none.
        got=0; $MINI_FO run -q --as-root --tmpfs -- sh -c 'exit 7' || got=$?; test $got = 7
        got=0; $MINI_FO run -q --as-root --tmpfs -- /none 2>/dev/null || got=$?; test $got = 127
        got=0; $MINI_FO run -q --as-root --tmpfs=much -- true 2>said || got=$?; test $got = 125
        grep -q -- '--tmpfs=much' said; test -z "$(ls $runs)"; echo done"#;
    let said = as_user(&work, script).ok();
    assert!(said.ends_with("33:12 4640\nx\nmore\ndone\n"), "{said}");
}

/// A package with files of others, and a script that is root.
const PACKAGE: &str = r"
    mkdir -p pkg/DEBIAN pkg/usr/bin pkg/usr/share/mini_fo_trial
    printf 'Package: mini-fo-trial\nVersion: 1.0\nArchitecture: all\n' > pkg/DEBIAN/control
    printf 'Maintainer: A <a@example.org>\nDescription: a trial\n' >> pkg/DEBIAN/control
    printf '#!/bin/sh\nset -e\nid -u > /usr/share/mini_fo_trial/by
chown www-data:www-data /usr/share/mini_fo_trial/by\n' > pkg/DEBIAN/postinst
    chmod 755 pkg/DEBIAN/postinst; printf '#!/bin/sh\necho from the package\n' > pkg/usr/bin/mini_fo_trial
    chmod 4755 pkg/usr/bin/mini_fo_trial
    dpkg-deb --root-owner-group --build pkg trial.deb > /dev/null
    known() { grep -c ^Package: /var/lib/dpkg/status; }";

#[test]
fn packages_of_debian_are_installed() {
    let work = WorkDir::new();
    if skipped() || skip_unless(&["apt-get", "dpkg-deb"]) || no_range(&work) {
        return;
    }
    let script = format!(
        r#"{PACKAGE}
        before=$(known)
        for install in 'dpkg -i trial.deb' 'apt-get install -y ./trial.deb'; do
            $MINI_FO run -q --as-root --name deb -- $install > said 2>&1 || {{ cat said >&2; exit 1; }}
            $MINI_FO run -q --as-root --name deb -- sh -ec 'mini_fo_trial
                test "$(cat /usr/share/mini_fo_trial/by)" = 0
                stat -c "%U %a" /usr/share/mini_fo_trial/by /usr/bin/mini_fo_trial
                dpkg --status mini-fo-trial | grep -qx "Status: install ok installed"
                dpkg --remove mini-fo-trial >/dev/null; test ! -e /usr/bin/mini_fo_trial'
            $MINI_FO rm --yes deb
        done
        test "$before" = "$(known)"; test ! -e /usr/bin/mini_fo_trial
        echo done"#
    );
    let said = as_user(&work, &script).ok();
    let once = "from the package\nwww-data 644\nroot 4755\n";
    assert!(said.ends_with(&format!("{once}{once}done\n")), "{said}");
}

#[test]
fn without_a_range_the_way_to_one_is_told() {
    let work = WorkDir::new();
    if skipped() || no_range(&work) {
        return;
    }
    let script = r#"
        got=0; $MINI_FO run --as-root -- true 2>said || got=$?; test $got = 125
        grep -q '/etc/subuid gives this user no ids' said; grep -q 'usermod --add-subuids' said
        test ! -e $runs || test -z "$(ls $runs)"; echo done"#;
    sh(&work.0, "echo 4322:200000:65536 > ids");
    let said = as_user(&work, script).ok();
    assert!(said.ends_with("done\n"), "{said}");
}
