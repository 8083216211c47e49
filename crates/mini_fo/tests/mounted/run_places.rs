//! `mini_fo run` by policies, in containers, and where users may make no namespaces.

use crate::common::{WorkDir, skip, skip_unless};
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

/// Containers of podman in which runs are made.
const CONTAINED: &str = r#"
    container() { podman run --rm --network none --cgroups=disabled $limits --volume /usr:/usr:ro "$@"; }
    why=$(container --rootfs $PWD/r true 2>&1) || { echo "no container: $why"; exit 0; }
    for options in '' '--privileged'; do
        container --device /dev/fuse $options --rootfs $PWD/r sh -ec '
            cd /root; ./mini_fo run --name a -- sh -ec "echo x > /etc/new; touch /usr/bin/new; id -u"
            ./mini_fo status a || test $? = 1; ./mini_fo rm --yes a; test ! -e /etc/new; ls /usr/bin/new || true
        ' > out 2>&1 || { cat out; exit 1; }
        grep -qx 0 out; grep -q '2 added; see them' out; grep -q 'added *usr/bin/new' out
        grep -q "cannot access '/usr/bin/new'" out
    done
    # Without the device the way to it is told.
    ! container --rootfs $PWD/r /root/mini_fo run -- true > out 2>&1 || exit 1; grep -q -- '--device /dev/fuse' out
    echo done"#;

/// Containers of podman that are made in a run.
const CONTAINERS: &str = r#"
    why=$(podman run --rm --network host --cgroups=disabled $limits --volume /usr:/usr:ro --rootfs $PWD/r true 2>&1) || {
        echo "no container: $why"; exit 0; }
    inside() { $MINI_FO run -q --name pods -- "${podman[@]}" "$@"; }
    tar -C r -c . > r.tar; inside import -q r.tar localhost/r:1 > /dev/null
    for network in host none; do
        inside run --rm --pull never --network $network --cgroups=disabled $limits --volume /usr:/usr:ro             localhost/r:1 sh -ec 'id -u; echo x > /etc/new; cat /etc/new'
    done
    test -z "$(podman images -q)"; $MINI_FO rm --yes pods; echo done"#;

/// What both need.
const PODMAN: &str = r#"
    # Its caches and states are of no system.
    test ! -d /var/lib/containers || mount -t tmpfs none /var/lib/containers
    mount -t tmpfs none /run
    # crun starts nothing where cgroups of both versions are in use.
    test ! -d /sys/fs/cgroup/unified || { umount -R /sys/fs/cgroup; mount -t cgroup2 none /sys/fs/cgroup; }
    mkdir -p r/proc r/sys r/dev r/tmp r/etc r/root r/usr r/run r/var/tmp; cp $MINI_FO r/root/
    for name in bin sbin lib lib64; do test ! -L /$name || cp -P /$name r/; done
    # Settings of the network are closed in a run.
    printf '[containers]\ndefault_sysctls = []\n' > conf; export CONTAINERS_CONF=$PWD/conf
    podman=(podman --root $PWD/pods --runroot $PWD/running --tmpdir $PWD/temporary --runtime crun
        --storage-driver overlay --runtime-flag root=$PWD/crun --cgroup-manager cgroupfs --events-backend none)
    podman() { command "${podman[@]}" "$@"; }
    limits="--ulimit nproc=4096:4096 --ulimit nofile=$(ulimit -Sn):$(ulimit -Hn)"
"#;

#[test]
fn in_containers_of_podman_and_around_them() {
    for script in [CONTAINED, CONTAINERS] {
        let work = WorkDir::new();
        if skipped() || skip_unless(&["podman", "crun"]) {
            return;
        }
        std::fs::create_dir_all(work.0.join("home")).unwrap();
        std::fs::write(work.0.join("home/script"), format!("{PODMAN}{script}")).unwrap();
        let said = as_root(&work, "unshare --mount --propagation private bash -eu script").ok();
        if said.contains("no container: ") {
            skip(&format!("podman starts no container here: {said}"));
            return;
        }
        assert!(said.ends_with("done\n"), "{said}");
    }
}

/// Root who may not mount: he makes a user namespace, as users do.
#[test]
fn root_without_the_right_to_mount() {
    let work = WorkDir::new();
    if skipped() || no_namespaces(&work) {
        return;
    }
    let script = r#"
        weak() { setpriv --bounding-set=-sys_admin --inh-caps=-sys_admin "$@"; }
        weak $MINI_FO run --name weak -- sh -ec 'id -u; echo x > /etc/mini_fo_new' 2>said
        grep -q '^mini_fo: 1 added; see them' said; test ! -e /etc/mini_fo_new
        weak $MINI_FO run -q --tmpfs --on-exit discard -- sh -ec 'touch /etc/mini_fo_new'
        weak $MINI_FO status weak | grep -q 'added *etc/mini_fo_new'
        weak $MINI_FO rm --yes weak; echo done"#;
    let said = as_root(&work, script).ok();
    assert!(said.ends_with("0\ndone\n"), "{said}");
}
