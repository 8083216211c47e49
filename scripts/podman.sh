#!/bin/bash
# Container engines on mini_fo: podman and buildah, with mini_fo as mount_program, do the
# same work as with fuse-overlayfs, as root and (rootless) as an ordinary user, and what
# they show is compared, for some ten minutes. MINI_FO=... is the program; -v shows what they did.
#
# What the machine lacks is told, and the test is left out (exit code 0). As root nothing
# of it stays: users and mounts are those of a mount namespace of the test's own.
set -euo pipefail
cd "$(dirname "$0")/.."
here=$PWD

verbose=
[ "${1:-}" = -v ] && verbose=yes
program=${MINI_FO:-${CARGO_TARGET_DIR:-$here/target}/release/mini_fo}

skip() { echo "podman: left out: $*"; exit 0; }
for need in podman buildah fuse-overlayfs busybox unshare setpriv; do
    command -v $need >/dev/null 2>&1 || skip "there is no $need"
done
[ -x "$program" ] || { echo "podman: there is no $program: make, or MINI_FO=..." >&2; exit 1; }
ldd "$(command -v busybox)" >/dev/null 2>&1 && skip "busybox is not a static one"
[ -w /dev/fuse ] || skip "no right to use /dev/fuse"

# Mounts of its own: whatever happens, none stays.
if [ "$(id -u)" = 0 ] && [ -z "${PODMAN_APART:-}" ]; then
    PODMAN_APART=yes exec unshare --mount --propagation private "$here/scripts/podman.sh" "$@"
fi

# crun starts nothing where cgroups of both versions are in use. None is needed.
if [ "$(id -u)" = 0 ] && [ -d /sys/fs/cgroup/unified ]; then
    umount -R /sys/fs/cgroup && mount -t cgroup2 none /sys/fs/cgroup
fi
# Engines of root keep a cache there, wherever their storage is.
if [ "$(id -u)" = 0 ]; then
    [ -d /var/lib/containers ] || { mkdir /var/lib/containers; made=yes; }
    mount -t tmpfs none /var/lib/containers
fi

work=$(mktemp -d "${TMPDIR:-/var/tmp}/mini_fo-podman-XXXXXX")
pauses=()
cleanup() {
    status=$?
    trap - EXIT
    for file in "${pauses[@]}"; do
        # Rootless podman leaves a process that keeps its namespaces.
        [ ! -s "$file" ] || kill "$(cat "$file")" 2>/dev/null || true
    done
    if [ "$(id -u)" = 0 ]; then
        grep -o "$work[^ ]*" /proc/self/mounts | sort -r | xargs -r -n 1 umount -l || true
        rm -rf --one-file-system "$work" "/tmp/podman-run-${user:-none}" || status=1
        umount /var/lib/containers
        [ -z "${made:-}" ] || rmdir /var/lib/containers
    else
        podman unshare rm -rf --one-file-system "$work" || status=1
    fi
    exit $status
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
chmod 755 "$work"

# Both by the name that engines know, so that nothing else differs.
mkdir -p "$work/mini_fo" "$work/reference"
cp "$program" "$work/mini_fo/program"
ln -s program "$work/mini_fo/fuse-overlayfs"
ln -s "$(command -v fuse-overlayfs)" "$work/reference/fuse-overlayfs"

# Usage: prepare DIR PROGRAM: settings of an engine that keeps everything in DIR.
prepare() {
    mkdir -p "$1/home" "$1/run" "$1/tmp"
    cat >"$1/storage.conf" <<CONF
[storage]
driver = "overlay"
runroot = "$1/runroot"
graphroot = "$1/graph"
rootless_storage_path = "$1/graph"
[storage.options.overlay]
mount_program = "$2"
mountopt = "nodev"
CONF
    # Limits as they are: they cannot be raised everywhere.
    cat >"$1/containers.conf" <<CONF
[containers]
netns = "none"
cgroups = "disabled"
default_ulimits = ["nofile=$(ulimit -Sn):$(ulimit -Hn)"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "none"
CONF
    sed -i 's/unlimited/-1/g' "$1/containers.conf"
    mkdir -p "$1/home/.config/containers"
    echo '{"default":[{"type":"insecureAcceptAnything"}]}' >"$1/home/.config/containers/policy.json"
}

# Usage: engine DIR [PREFIX...]: does the work there.
engine() {
    local dir=$1
    shift
    (cd "$dir" && "$@" env -i PATH="$PATH" HOME="$dir/home" XDG_RUNTIME_DIR="$dir/run" \
        TMPDIR="$dir/tmp" CONTAINERS_STORAGE_CONF="$dir/storage.conf" \
        CONTAINERS_CONF="$dir/containers.conf" \
        PROGRAM="$other" bash "$here/scripts/podman/work.sh") >"$dir/out" 2>"$dir/log"
}

# Usage: compare WHO [PREFIX...]
compare() {
    local who=$1 other dir
    shift
    for other in reference mini_fo; do
        dir=$work/$who-$other
        mkdir -p "$dir"
        prepare "$dir" "$work/$other/fuse-overlayfs"
        pauses+=("$dir/run/libpod/tmp/pause.pid")
        [ $# = 0 ] || chown -R "$user:$user" "$dir"
        if ! engine "$dir" "$@"; then
            for file in out log; do tail -n 5 "$dir/$file"; done
            [ $other = reference ] && { echo "podman: $who: left out: it fails with fuse-overlayfs too"; return 0; }
            echo "podman: $who: FAILED with mini_fo" >&2
            return 1
        fi
    done
    [ -z "$verbose" ] || cat "$work/$who-mini_fo/out" "$work/$who-mini_fo/log"
    grep '^NOTE' "$work/$who-mini_fo/log" | sort -u || true
    if ! diff -u "$work/$who-reference/out" "$work/$who-mini_fo/out"; then
        echo "podman: $who: mini_fo (+) shows something else than fuse-overlayfs (-)" >&2
        return 1
    fi
    echo "podman: $who: $(grep -c '^==' "$work/$who-mini_fo/out") steps, as with fuse-overlayfs"
}

failed=
if [ "$(id -u)" = 0 ]; then
    compare root || failed=yes
    # A user and ranges of ids, in this namespace only.
    user=59999
    for file in passwd group subuid subgid; do
        touch "$work/$file"
        [ ! -e /etc/$file ] || cat /etc/$file >"$work/$file"
    done
    echo "containeruser:x:$user:$user::$work:/bin/sh" >>"$work/passwd"
    echo "containeruser:x:$user:" >>"$work/group"
    for file in subuid subgid; do echo "containeruser:1000000:65536" >>"$work/$file"; done
    for file in passwd group subuid subgid; do
        if [ ! -e /etc/$file ]; then
            echo "podman: rootless: left out: there is no /etc/$file"
            [ -z "$failed" ] && exit 0
            exit 1
        fi
        mount --bind "$work/$file" /etc/$file
    done
    # A device that anybody may open, as udev makes it.
    mknod -m 666 "$work/fuse" c 10 229
    mount --bind "$work/fuse" /dev/fuse
    compare rootless setpriv --reuid=$user --regid=$user --clear-groups || failed=yes
else
    compare rootless || failed=yes
fi
[ -z "$failed" ]
