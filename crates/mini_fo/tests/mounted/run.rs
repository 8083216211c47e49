//! `mini_fo run`: a command whose changes are kept apart, as root and as an ordinary user.

use std::path::Path;

use crate::common::{Outcome, WorkDir, run, sh, skip};
use crate::user::skipped;

/// The user as whom commands are run.
const USER: u32 = 4321;

/// Runs a script as an ordinary user who may open /dev/fuse, with the program as `$MINI_FO`
/// and a home of his own.
pub fn as_user(work: &WorkDir, script: &str) -> Outcome {
    sh(
        &work.0,
        &format!(
            "mkdir -p home; cp {} home/mini_fo; chown -R {USER}:{USER} home
             test -e fuse || {{ mknod -m 666 fuse c 10 229; mount --bind fuse /dev/fuse; }}",
            env!("CARGO_BIN_EXE_mini_fo")
        ),
    );
    let (reuid, regid) = (format!("--reuid={USER}"), format!("--regid={USER}"));
    let script = prelude(&work.0.join("home"), script);
    run("setpriv", &[&reuid, &regid, "--clear-groups", "bash", "-euc", &script])
}

/// The same as root.
pub fn as_root(work: &WorkDir, script: &str) -> Outcome {
    sh(&work.0, &format!("mkdir -p home; cp {} home/mini_fo", env!("CARGO_BIN_EXE_mini_fo")));
    run("bash", &["-euc", &prelude(&work.0.join("home"), script)])
}

fn prelude(home: &Path, script: &str) -> String {
    format!(
        "cd {home}; export HOME={home} MINI_FO={home}/mini_fo; unset XDG_RUNTIME_DIR XDG_DATA_HOME
         runs=$HOME/.local/share/mini_fo/runs\n{script}",
        home = home.display()
    )
}

/// Whether users may make namespaces, which is said if they may not.
pub fn no_namespaces(work: &WorkDir) -> bool {
    let allowed = as_user(work, "unshare -Urm true").code == 0;
    if !allowed {
        skip("user namespaces are not allowed here");
    }
    !allowed
}

/// What both may do, and what stays as it is.
const WORK: &str = r#"
    before=$(stat -c '%n %i %s %a %U %y %z' / /etc /etc/passwd /usr /usr/bin /opt; cat /etc/passwd)
    $MINI_FO run -- sh -ec '
        echo added > /usr/bin/added; echo more >> /etc/passwd; rm -r /opt; mkdir -p /opt/new
        mv /usr/share /usr/moved; test -d /usr/moved; tail -1 /etc/passwd; pwd' > out 2> said
    test "$(cat out)" = "more
$PWD"
    after=$(stat -c '%n %i %s %a %U %y %z' / /etc /etc/passwd /usr /usr/bin /opt; cat /etc/passwd)
    test "$before" = "$after"; test ! -e /usr/bin/added; test ! -e /usr/moved
    grep -q "added.*modified.*renamed.*mini_fo diff run-1.*mini_fo discard run-1 --all" said
    $MINI_FO status --json run-1 > status || test $? = 1
    grep -q '"path":"usr/bin/added","kind":"added"' status
    ! grep '"attributes":."owner' status || exit 1
    $MINI_FO diff run-1 etc/passwd | grep '^+' | tail -1 | grep -qx '+more'
    $MINI_FO run --storage $runs/run-1 -q -- test -e /usr/bin/added
    $MINI_FO discard --yes run-1 usr etc >/dev/null
    $MINI_FO run -q --storage $runs/run-1 -- sh -c 'test ! -e /usr/bin/added && test -d /usr/share'
    $MINI_FO discard --yes --all run-1 >/dev/null; $MINI_FO status run-1
    echo done"#;

#[test]
fn an_ordinary_user_changes_the_system_apart() {
    let work = WorkDir::new();
    if skipped() || no_namespaces(&work) {
        return;
    }
    let said = as_user(&work, WORK).ok();
    assert!(said.ends_with("done\n"), "{said}");
}

#[test]
fn root_changes_the_system_apart() {
    if skipped() {
        return;
    }
    let said = as_root(&WorkDir::new(), WORK).ok();
    assert!(said.ends_with("done\n"), "{said}");
}

/// What is bound from outside must not be deleted: first one by one.
#[test]
fn what_is_no_part_of_the_tree_cannot_be_changed() {
    let work = WorkDir::new();
    if skipped() || no_namespaces(&work) {
        return;
    }
    let script = r#"
        mkdir -p $HOME/shm; touch /dev/shm/mini_fo-$$; mkfifo pipe
        python3 -c 'import socket,time
s=socket.socket(socket.AF_UNIX); s.bind("'$HOME'/socket"); s.listen(); open("'$HOME'/pipe","w").write("x")
c=s.accept()[0]; c.send(b"hello"); c.close()' & server=$!
        read -n 1 x < pipe
        $MINI_FO run -q --tmpfs -- sh -c '
            test -c /dev/null && echo x > /dev/null
            for path in /dev/null /dev/new /sys/new; do ! mkdir $path || exit 1; ! rm -r $path || exit 1; done
            ! rm /dev/tty || exit 1; ! rm -r /dev/pts || exit 1; ! rm socket || exit 1; test -S socket
            test ! -e /dev/shm/mini_fo-'$$' && echo x > /dev/shm/own && rm /dev/shm/own
            touch /run/new 2>/dev/null; rm -rf /run/* /tmp/* 2>/dev/null
            python3 -c "import socket
s=socket.socket(socket.AF_UNIX); s.connect(\"socket\"); print(s.recv(9).decode())"' 2>/dev/null
        wait $server; test -S socket; test -e /dev/shm/mini_fo-$$; rm /dev/shm/mini_fo-$$
        test ! -e /run/new; test -e pipe; echo done"#;
    for said in [as_user(&work, script), as_root(&WorkDir::new(), script)] {
        let said = said.ok();
        assert!(said.ends_with("hello\ndone\n"), "{said}");
    }
}

#[test]
fn paths_are_allowed_hidden_and_closed() {
    let work = WorkDir::new();
    if skipped() || no_namespaces(&work) {
        return;
    }
    let script = r#"
        mkdir -p real/below hidden closed; echo secret > hidden/f; echo secret > password
        $MINI_FO run --allow real --hide hidden --hide password --read-only closed \
            --read-only real/below -- sh -ec '
            echo x > real/f; echo y > apart; test -z "$(ls hidden)"; test -z "$(cat password)"
            ! touch hidden/new || exit 1; ! touch closed/new || exit 1; ! touch real/below/new || exit 1' 2>/dev/null
        test "$(cat real/f)" = x; test ! -e apart; test -z "$(ls closed real/below | grep new)"
        # What is allowed does not lead to the storage.
        $MINI_FO run -q --allow $HOME -- sh -c 'test -z "$(ls $0/run-2)"' $runs
        # Everything is closed but one path.
        $MINI_FO run -q --read-only / --allow real -- sh -c '! touch apart || exit 1; touch real/g' 2>/dev/null
        test -e real/g
        $MINI_FO run -q --net none -- sh -c 'test $(tail -n +3 /proc/net/dev | wc -l) = 1'
        ! $MINI_FO run --allow nothing -- true 2>said || exit 1; grep -q 'make it first' said
        ! $MINI_FO run --base real --hide / -- true 2>said || exit 1; grep -q 'must be in the base' said
        echo done"#;
    for said in [as_user(&work, script), as_root(&WorkDir::new(), script)] {
        let said = said.ok();
        assert!(said.ends_with("done\n"), "{said}");
    }
}

#[test]
fn a_command_ends_as_it_would() {
    let work = WorkDir::new();
    if skipped() || no_namespaces(&work) {
        return;
    }
    let script = r#"
        ends() { want=$1; shift; got=0; $MINI_FO run "$@" 2>said || got=$?
                 test $got = $want || { echo "$* ended with $got"; cat said; exit 1; }; }
        ends 0 -- true; ends 3 -- sh -c 'exit 3'; ends 127 -- nosuch; grep -q 'no such command' said
        ends 126 -- /etc/passwd; ends 125 --nosuch -- true; ends 125 --base /nosuch -- true
        ends 143 -- sh -c 'kill -TERM $$'; ends 137 -- sh -c 'kill -KILL $$'
        ends 0 --quiet -- sh -c 'test $# = 2' sh -x --; test ! -s said
        test "$(echo in | $MINI_FO run -q cat 2>&1)" = in
        # By the same signal, not only with a status that says so.
        python3 -c 'import subprocess,sys
p=subprocess.Popen([sys.argv[1],"run","-q","--","sleep","60"])
import time
while "sleep" not in open("/proc/%d/task/%d/children"%(p.pid,p.pid)).read() and not any(
    b"sleep" in open("/proc/%s/cmdline"%c,"rb").read()
    for c in open("/proc/%d/task/%d/children"%(p.pid,p.pid)).read().split()): pass
p.send_signal(10); assert p.wait()==-10, p.returncode' $MINI_FO
        # What nothing has changed in leaves nothing.
        test -z "$(ls $runs)"
        # The daemon has no copy of what the command was given.
        test "$($MINI_FO run -q -- sh -c 'sleep 0.1 & echo x')" = x
        echo done"#;
    let said = as_user(&work, script).ok();
    assert!(said.ends_with("done\n"), "{said}");
}

#[test]
fn what_is_done_at_the_end() {
    let work = WorkDir::new();
    if skipped() || no_namespaces(&work) {
        return;
    }
    let script = r#"
        $MINI_FO run --on-exit discard -- touch new 2>said; grep -q '1 added, which are gone' said
        test -z "$(ls $runs)"
        ! $MINI_FO run -q --on-exit keep --on-error discard -- sh -c 'touch new; exit 1' || exit 1
        test -z "$(ls $runs)"
        $MINI_FO run --on-exit ask -- touch new </dev/null 2>said; grep -q 'diff run-1' said
        ! $MINI_FO run --json=out -- sh -c 'touch new2; exit 4' 2>said || exit 1; test ! -s said
        python3 -c 'import json,sys
o=json.load(open("out"))
assert o["status"]==4 and not o["success"] and o["kept"] and o["name"]=="run-2" and o["added"]==1, o
assert [c["path"].rsplit("/",1)[1] for c in o["changes"]]==["new2"], o
assert o["commands"]["status"]=="mini_fo status run-2", o'
        $MINI_FO run --tmpfs=1m -- sh -c '! dd if=/dev/zero of=big bs=1M count=4 || exit 1' 2>/dev/null
        test "$(ls $runs | wc -l)" = 2
        $MINI_FO run -q --storage kept -- touch a; $MINI_FO run -q --storage kept -- test -e a
        mkdir full; touch full/x
        ! $MINI_FO run --storage full -- true 2>said || exit 1; grep -q 'not empty' said
        echo done"#;
    let said = as_user(&work, script).ok();
    assert!(said.ends_with("done\n"), "{said}");
}

#[test]
fn runs_in_runs_and_a_tree_alone() {
    let work = WorkDir::new();
    if skipped() || no_namespaces(&work) {
        return;
    }
    let script = r#"
        $MINI_FO run -- sh -ec 'echo outer > outer
            $MINI_FO run -q -- sh -ec "test -e outer; echo inner > inner; rm outer; touch /usr/in"
            test -e outer; test ! -e inner; test ! -e /usr/in'
        test ! -e outer
        mkdir -p root/bin root/proc root/dev root/work
        for f in sh ls rm; do cp $(command -v $f) root/bin/; done
        for l in $(ldd root/bin/* | grep -o '/[^ :]*\.so[^ )]*' | sort -u); do
            mkdir -p root$(dirname $l); cp $l root$l; done
        before=$(cd root; find . -printf '%p %i %s %m %T@\n' | sort)
        cd root/work
        PATH=/bin $MINI_FO run -q --tmpfs --base .. -- /bin/sh -c 'pwd; ls / >/dev/null; rm -rf --no-preserve-root / 2>/dev/null; echo x > /dev/null; echo still' || true
        cd ../..
        test "$before" = "$(cd root; find . -printf '%p %i %s %m %T@\n' | sort)"
        echo done"#;
    for said in [as_user(&work, script), as_root(&WorkDir::new(), script)] {
        let said = said.ok();
        assert!(said.contains("/work\nstill\n") && said.ends_with("done\n"), "{said}");
    }
}

/// Whoever is killed, nothing goes on for ever.
#[test]
fn nothing_is_left_when_somebody_is_killed() {
    let work = WorkDir::new();
    if skipped() || no_namespaces(&work) {
        return;
    }
    let script = r#"
        gone() { for i in $(seq 500); do pgrep -f "^@?$MINI_FO run" >/dev/null || return 0; sleep 0.02; done
                 echo "left behind:"; pgrep -af $MINI_FO; exit 1; }
        for who in parent command daemon; do
            $MINI_FO run -q -- sh -c 'touch there; exec sleep 60' & parent=$!
            until test -n "$(pgrep -P $parent -x sleep)"; do sleep 0.02; done
            command=$(pgrep -P $parent -x sleep); daemon=$(pgrep -P $parent -x mini_fo)
            kill -KILL ${!who}; kill -KILL $command 2>/dev/null || true
            wait $parent 2>/dev/null || true
            gone
        done
        # What was done is there.
        for n in 1 2 3; do $MINI_FO status run-$n || test $? = 1; done | grep -c there
        echo done"#;
    let said = as_user(&work, script).ok();
    assert!(said.ends_with("3\ndone\n"), "{said}");
}

/// A run with a name goes on, is shared, and is asked while it runs.
#[test]
fn a_name_is_gone_on_with_and_shared() {
    let work = WorkDir::new();
    if skipped() || no_namespaces(&work) {
        return;
    }
    let script = r#"
        $MINI_FO run --name work -- sh -c 'echo first > first' 2>said; grep -q 'run --name work' said
        trap 'kill $(jobs -p) 2>/dev/null || true' EXIT
        mkfifo to from
        $MINI_FO run -q --name work --allow to --allow from -- sh -c '
            cat first; echo second > second; echo go > from; read x < to; cat third' > out &
        first=$!; read go < from
        # Another one sees the same tree.
        $MINI_FO run -q --name work -- sh -c 'cat second; echo third > third'
        test ! -e third
        $MINI_FO list | grep -A3 '^work$' | grep -q running
        $MINI_FO list --json | python3 -c 'import json,sys
r=[o for o in json.load(sys.stdin) if o.get("run")=="work"]
assert len(r)==1 and r[0]["state"]=="running" and r[0]["bytes"]>0, r'
        $MINI_FO status work > status || test $? = 1; test $(grep -c '^added.*first\|^added.*second\|^added.*third' status) = 3
        $MINI_FO diff work | grep -qx '+second'
        $MINI_FO discard --yes work $(pwd | cut -c2-)/second > /dev/null
        ! $MINI_FO rm --yes work 2>said || exit 1; grep -q 'it is running' said
        ! $MINI_FO run --name work --net none -- true 2>said || exit 1; grep -q 'settled' said
        echo x > to; wait $first; test "$(cat out)" = "first
third"
        $MINI_FO run -q --name work -- sh -c 'test -e first && test -e third && test ! -e second'
        ! $MINI_FO rm work < /dev/null 2>said || exit 1; grep -q 'add --yes' said
        $MINI_FO list | grep -A3 '^work$' | grep -q kept
        $MINI_FO rm --yes work; test -z "$(ls $runs)"; ! $MINI_FO list | grep -q $HOME || exit 1
        ! $MINI_FO run --name a/b -- true 2>said || exit 1; grep -q 'no slash' said
        echo done"#;
    for said in [as_user(&work, script), as_root(&WorkDir::new(), script)] {
        let said = said.ok();
        assert!(said.ends_with("second\ndone\n"), "{said}");
    }
}
