#!/bin/bash
# Cuts the power below the storage, on ext4, xfs and btrfs: what is there after
# the next mount must be what an ordinary directory may show. Then below base and
# storage while `mini_fo commit` runs, and `mini_fo discard` at rest: all is done, or
# nothing. Needs root.
#
# Usage: scripts/cuts.sh [OPTIONS OF mini_fo_torture cut...]
#   scripts/cuts.sh --quick
#   FS=ext4 scripts/cuts.sh --only dir-moved --cuts 20 -v
#   COMMANDS=500 scripts/cuts.sh --quick    # so many of a commit, and of a discard
set -u
cd "$(dirname "$0")/.." || exit 1
PATH=$PATH:/usr/sbin:/sbin

target=${CARGO_TARGET_DIR:-$PWD/target}
export MINI_FO=${MINI_FO:-$target/debug/mini_fo}
log=${MINI_FO_SKIP_LOG:-/dev/null}

skip() {
    echo "SKIPPED power cuts: $*" | tee -a "$log"
}

for device in /dev/fuse /dev/loop-control; do
    [ -e "$device" ] || { skip "no $device"; exit 0; }
done
[ "$(id -u)" = 0 ] || { skip "needs root"; exit 0; }

kinds=
for kind in ${FS:-ext4 xfs btrfs}; do
    modprobe -q "$kind" 2>/dev/null
    if ! grep -qw "$kind" /proc/filesystems; then
        skip "no $kind in this kernel"
    elif ! command -v "mkfs.$kind" >/dev/null; then
        skip "no mkfs.$kind"
    else
        kinds=$kinds,$kind
    fi
done
[ -n "$kinds" ] || exit 0

[ -x "$MINI_FO" ] || cargo build --quiet -p mini_fo || exit 1
cargo build --quiet -p mini_fo_torture || exit 1
status=0
"$target/debug/mini_fo_torture" cut --fs "${kinds#,}" "$@" || status=1
# Those have options of their own.
for what in "" --discard; do
    # shellcheck disable=SC2086
    "$target/debug/mini_fo_torture" commit $what --cuts "${COMMANDS:-20}" --fs "${kinds#,}" || status=1
done
exit $status
