#!/bin/bash
# Runs pjdfstest (crates.io) on the mount and on native ext4. Every case that
# passes natively must pass on the mount, except those that
# scripts/pjdfstest.known lists with a reason.
#
# Usage: scripts/pjdfstest.sh [FILTER...]      runs the cases that FILTER names
# MINI_FO: the program (default: the debug build). PJDFSTEST_STORAGE: the file
# systems to have the storage on (default: ext4 xfs btrfs tmpfs; exfat holds little).
# Needs root, but for --install, which only fetches the suite.
set -u
cd "$(dirname "$0")/.." || exit 1

version=0.2.2
target=${CARGO_TARGET_DIR:-$PWD/target}
mini_fo=${MINI_FO:-$target/debug/mini_fo}
log=${MINI_FO_SKIP_LOG:-/dev/null}

skip() {
    echo "SKIPPED pjdfstest: $*" | tee -a "$log"
    exit 0
}

fetch() {
    [ -x "$target/pjd/bin/pjdfstest" ] && return
    cargo install --quiet --root "$target/pjd" --target-dir "$target/pjd/build" \
        pjdfstest --version "$version" || skip "it could not be installed"
    rm -rf "$target/pjd/build"
}
[ "${1:-}" != --install ] || { fetch; exit 0; }

[ "$(id -u)" = 0 ] || skip "needs root"
[ -e /dev/fuse ] || skip "no /dev/fuse"
for tool in mke2fs unshare findmnt; do
    PATH=$PATH:/usr/sbin:/sbin command -v $tool >/dev/null || skip "$tool is not installed"
done

# All mounts are made in a namespace of their own and end with it.
if [ -z "${PJDFSTEST_INSIDE:-}" ]; then
    fetch
    [ -x "$mini_fo" ] || cargo build --quiet -p mini_fo || exit 1
    PJDFSTEST_INSIDE=1 exec unshare -m --propagation private "$0" "$@"
fi

work=$(mktemp -d /tmp/mini_fo-pjdfstest-XXXXXX)
chmod 755 "$work"
cleanup() {
    cd /
    umount "$work/mnt" 2>/dev/null || umount -l "$work/mnt" 2>/dev/null
    umount -l "$work/native" "$work/storage" "$work/second" "$work/base" 2>/dev/null
    umount -l "$(readlink -f /sbin)" "$work/sbin-orig" 2>/dev/null
    rm -rf --one-file-system "$work"
}
trap cleanup EXIT
trap 'exit 1' INT TERM

# A second user with a group of its own; one of Debian's static ones.
second=daemon
getent passwd nobody >/dev/null && getent passwd $second >/dev/null ||
    skip "the users nobody and $second do not exist"

config() {
    cat > "$work/config-$1.toml" <<EOF
[features]
posix_fallocate = {}
rename_ctime = {}
utime_now = {}
utimensat = {}

[settings]
naptime = 0.02
allow_remount = $1

[dummy_auth]
entries = [["nobody", "$(id -gn nobody)"], ["$second", "$(id -gn $second)"]]
EOF
}
config false
config true

# A file system of a kind on a directory of a name. Fails without its tools.
image() {
    local kind=$1 name=$2
    mkdir -p "$work/$name"
    if [ "$kind" = tmpfs ]; then
        mount -t tmpfs -o size=1G none "$work/$name"
        return
    fi
    rm -f "$work/$name.img"
    truncate -s 1G "$work/$name.img"
    if [ "$kind" = exfat ]; then
        # By a FUSE server, in any kernel. The loop device goes with the server.
        mkfs.exfat "$work/$name.img" >/dev/null 2>&1 || return
        local loop status
        loop=$(losetup -f --show "$work/$name.img") || return
        mount.exfat-fuse -o umask=077 "$loop" "$work/$name" >/dev/null 2>&1
        status=$?
        losetup -d "$loop"
        return $status
    fi
    "mkfs.$kind" -q "$work/$name.img" >/dev/null 2>&1 &&
        mount -o loop "$work/$name.img" "$work/$name"
}
image ext4 native || exit 1
mkdir -p "$work/second" "$work/mnt" "$work/base" "$work/sbin" "$work/sbin-orig"
mount -t tmpfs none "$work/second"
mkdir "$work/native/run"
chmod 777 "$work/native/run"

# The base holds the directory that the suite works in: every case begins with
# a directory that is to be copied up.
mkdir "$work/base/run"
chmod 777 "$work/base/run"

# mount.mini_fo beside all of sbin, for the remounts; in this namespace alone.
mount --bind "$(readlink -f /sbin)" "$work/sbin-orig"
ln -s "$work"/sbin-orig/* "$work/sbin/"
ln -sf "$mini_fo" "$work/sbin/mount.mini_fo"
ln -sf "$mini_fo" "$work/sbin/mount.fuse.mini_fo"
mount --bind "$work/sbin" "$(readlink -f /sbin)"

suite() {
    local place=$1 config=$2
    shift 2
    "$target/pjd/bin/pjdfstest" -c "$work/config-$config.toml" -p "$place" \
        -s "$work/second" -v "$@" 2>&1
}

# Names of the cases with one result, from the suite's output.
results() {
    sed -n "s/\x1b\[[0-9;]*m//g; s/^\([a-z0-9_]*::[^ ]*\)[ \t.]*$2\b.*/\1/p" "$1" | sort -u
}

# $1: which cases; $2: whether the suite may remount; the rest chooses cases.
judge() {
    local what=$1 config=$2
    shift 2
    [ -e "$work/$what-native.txt" ] ||
        suite "$work/native/run" "$config" "$@" > "$work/$what-native.txt"
    suite "$work/mnt/run" "$config" "$@" > "$work/$what-mount.txt"
    results "$work/$what-native.txt" ok > "$work/native-ok"
    results "$work/$what-mount.txt" ok > "$work/mount-ok"
    sed -n "s/^\([a-z0-9_]*::[^ @]*\)\(@$kind\)\{0,1\}$/\1/p" scripts/pjdfstest.known |
        sort -u > "$work/known"
    comm -23 "$work/native-ok" "$work/mount-ok" > "$work/worse"
    comm -23 "$work/worse" "$work/known" > "$work/unexpected"
    if [ -s "$work/unexpected" ]; then
        # The suite runs its cases in threads of one process: a child that one
        # starts may hold the file that another has just written to execute it.
        # Alone they must pass.
        mapfile -t again < "$work/unexpected"
        suite "$work/mnt/run" "$config" "${again[@]}" > "$work/$what-again.txt"
        results "$work/$what-again.txt" ok > "$work/again-ok"
        comm -12 "$work/unexpected" "$work/again-ok" | sed 's/^/    passed only alone: /'
        comm -23 "$work/unexpected" "$work/again-ok" > "$work/still"
        mv "$work/still" "$work/unexpected"
    fi
    echo "pjdfstest $what, storage on $kind: $(wc -l < "$work/native-ok") cases pass on native ext4," \
        "$(wc -l < "$work/mount-ok") on the mount," \
        "$(comm -12 "$work/worse" "$work/known" | wc -l) known exceptions"
    [ -s "$work/native-ok" ] || { echo "no case passed natively:"; tail -5 "$work/$what-native.txt"; return 1; }
    if [ -s "$work/unexpected" ]; then
        echo "pass natively and fail on the mount:"
        sed 's/^/    /' "$work/unexpected"
        [ -z "${PJDFSTEST_VERBOSE:-}" ] || cat "$work/$what-mount.txt"
        return 1
    fi
}

status=0
for kind in ${PJDFSTEST_STORAGE:-ext4 xfs btrfs tmpfs}; do
    if ! image "$kind" storage; then
        echo "SKIPPED pjdfstest on $kind: it cannot be made or mounted here" | tee -a "$log"
        continue
    fi
    mkdir "$work/storage/s"
    # What is lost there is known (scripts/pjdfstest.known).
    poor=$([ "$kind" != exfat ] || echo ,poor_storage)
    mount -t mini_fo -o "base=$work/base,sto=$work/storage/s$poor" none "$work/mnt" || exit 1
    if [ $# -gt 0 ]; then
        judge chosen false "$@" || status=1
    else
        judge all false || status=1
        # These remount the whole file system, so they run alone.
        judge erofs true erofs || status=1
    fi
    umount "$work/mnt" || status=1
    # The daemon ends a moment after its mount.
    for _ in $(seq 50); do
        umount "$work/storage" 2>/dev/null && break
        sleep 0.1
    done
    [ "$(find "$work/base" -mindepth 1 | wc -l)" = 1 ] || { echo "the base has changed"; status=1; }
done
exit $status
