#!/bin/bash
# Runs the conformance suite on native ext4 and on the mount: what passes
# natively must pass on the mount, except what scripts/conformance.known lists.
# `make conformance` also asks the peers. Needs root.
#
# Usage: scripts/conformance.sh [FILTER...]
set -u
cd "$(dirname "$0")/.." || exit 1

target=${CARGO_TARGET_DIR:-$PWD/target}
mini_fo=${MINI_FO:-$target/debug/mini_fo}
log=${MINI_FO_SKIP_LOG:-/dev/null}

skip() {
    echo "SKIPPED conformance: $*" | tee -a "$log"
    exit 0
}

[ "$(id -u)" = 0 ] || skip "needs root"
[ -e /dev/fuse ] || skip "no /dev/fuse"
for tool in mke2fs unshare; do
    PATH=$PATH:/usr/sbin:/sbin command -v $tool >/dev/null || skip "$tool is not installed"
done
[ -x "$mini_fo" ] || cargo build --quiet -p mini_fo || exit 1
cargo build --quiet -p mini_fo_conformance || exit 1

work=$(mktemp -d /tmp/mini_fo-conformance-user-XXXXXX)
out=$work/out
trap 'rm -rf "$work"' EXIT

# $1: as whom; the rest is the command.
judge() {
    local who=$1
    shift
    if "$@" > "$out" 2>&1; then
        grep -E '^(native|mini_fo): [0-9]+ passed' "$out" | sed "s/^/conformance as $who, /"
    else
        cat "$out"
        return 1
    fi
}

known=$PWD/scripts/conformance.known
status=0
judge root "$target/debug/mini_fo_conformance" compare --fs native,mini_fo \
    --mini-fo "$mini_fo" --known "$known" "$@" || status=1

# As root of a user namespace of its own: what a plain directory refuses there
# is asked of nobody. In a mount namespace where users may open /dev/fuse.
chmod 755 "$work"
mkdir "$work/home"
cp "$mini_fo" "$target/debug/mini_fo_conformance" "$known" "$work/home"
chown -R 65534:65534 "$work/home"
as_user=(setpriv --reuid=65534 --regid=65534 --clear-groups env HOME="$work/home" unshare -Urm)
if ! "${as_user[@]}" true 2>/dev/null; then
    echo "SKIPPED conformance as a user: user namespaces are not allowed here" | tee -a "$log"
    exit $status
fi
# shellcheck disable=SC2016  # the inner shell's arguments
in_namespace='mknod -m 666 "$0/fuse" c 10 229 && mount --bind "$0/fuse" /dev/fuse && cd "$0/home" && exec "$@"'
judge "a user in a namespace" unshare -m --propagation private \
    bash -c "$in_namespace" "$work" "${as_user[@]}" "$work/home/mini_fo_conformance" \
    compare --plain --fs native,mini_fo --mini-fo "$work/home/mini_fo" \
    --known "$work/home/conformance.known" "$@" || status=1
exit $status
