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

out=$(mktemp)
trap 'rm -f "$out"' EXIT
"$target/debug/mini_fo_conformance" compare --fs native,mini_fo --mini-fo "$mini_fo" "$@" \
    > "$out" 2>&1
status=$?
if [ $status = 0 ]; then
    grep -E '^(native|mini_fo): [0-9]+ passed' "$out"
else
    cat "$out"
fi
exit $status
