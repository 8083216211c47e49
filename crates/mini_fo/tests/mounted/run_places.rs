//! `mini_fo run` by policies, in containers, and where users may make no namespaces.

use crate::common::{WorkDir, skip_unless};
use crate::run::{as_root, as_user, no_namespaces};
use crate::user::skipped;

#[test]
fn a_policy_is_obeyed() {
    let work = WorkDir::new();
    if skipped() || no_namespaces(&work) {
        return;
    }
    let script = r#"
        mkdir -p "project dir/closed" secret; echo s > secret/f
        printf '# what it may\nread-only /\nallow .\n  read-only closed\n\nhide ~/secret\nnet none\n' > "project dir/policy"
        $MINI_FO run -q --policy "project dir/policy" -- sh -ec '
            echo x > "project dir/real"; ! touch apart || exit 1; ! touch "project dir/closed/f" || exit 1
            test -z "$(ls secret)"; test $(tail -n +3 /proc/net/dev | wc -l) = 1' 2>/dev/null
        test "$(cat project*/real)" = x
        # What the command line says comes to that.
        touch more; printf 'allow more\n' > second
        $MINI_FO run -q --policy second --policy project*/policy --hide second --net host -- sh -ec '
            echo y > more; test -z "$(cat second)"; test "$(cut -d: -f1 /proc/net/dev)" = "$0"' "$(cut -d: -f1 /proc/net/dev)"
        test "$(cat more)" = y
        refused() { printf "$1" > bad; got=0; $MINI_FO run --policy bad -- touch "$PWD/ran" 2>said || got=$?
            test $got = 125; grep -q "^mini_fo: bad:$2" said || { cat said; exit 1; }; test ! -e ran; }
        refused 'net none\nalow x\n' '2: alow: there is no such word'
        refused '\n\nhide nosuch\n' '3: hide .*/nosuch: it must be there'
        refused 'net lan' '1: net is host or none'; refused 'options nosuch' '1: .*nosuch'
        refused 'allow' '1: allow needs a path'
        ! $MINI_FO run --policy nosuch -- true 2>said || exit 1; grep -q 'policy nosuch: No such file' said
        echo done"#;
    for said in [as_user(&work, script), as_root(&WorkDir::new(), script)] {
        let said = said.ok();
        assert!(said.ends_with("done\n"), "{said}");
    }
}

#[test]
fn namespaces_are_forbidden() {
    let work = WorkDir::new();
    if skipped() || no_namespaces(&work) {
        return;
    }
    let script = r#"
        got=0; unshare -Ur sh -c 'echo 0 > /proc/sys/user/max_user_namespaces
            exec setpriv --bounding-set=-all --inh-caps=-all $MINI_FO run -- true' 2>said || got=$?
        test $got = 125
        grep -q "the setting user.max_user_namespaces forbids it; 'sudo sysctl user.max_user_names" said
        test -z "$(ls $runs)"; echo done"#;
    let said = as_user(&work, script).ok();
    assert!(said.ends_with("done\n"), "{said}");
}

#[test]
fn in_a_container() {
    let work = WorkDir::new();
    if skipped() || skip_unless(&["bwrap"]) || no_namespaces(&work) {
        return;
    }
    let script = r#"
        contained() { bwrap --ro-bind / / --dev-bind /dev /dev --proc /proc --bind $HOME $HOME \
            --die-with-parent "$@"; }
        contained --unshare-pid $MINI_FO run -q --storage in -- sh -ec '
            echo x > /etc/mini_fo_new; rm -r /opt; id -u' > out 2>&1
        test "$(cat out)" = $(id -u); test ! -e /etc/mini_fo_new; test -d /opt
        # Another container goes on.
        contained --unshare-all $MINI_FO run -q --storage in -- sh -ec 'cat /etc/mini_fo_new; test ! -e /opt' > out 2>&1
        test "$(cat out)" = x; echo done"#;
    for said in [as_user(&work, script), as_root(&WorkDir::new(), script)] {
        let said = said.ok();
        assert!(said.ends_with("done\n"), "{said}");
    }
}
