#!/bin/bash
# Kills the daemon at its storage calls, lets them fail, and holds them while
# others go on: what is there afterwards must be what was there before or what was
# asked for, and what was told safe must be. Kills `mini_fo commit`, too, and `mini_fo
# discard` at rest. Needs root.
#
# Usage: scripts/torture.sh [OPTIONS OF mini_fo_torture...]
#   scripts/torture.sh --quick
#   scripts/torture.sh --transport both --only 'rename_*'
#   KILLS=500 scripts/torture.sh --quick    # so many of either, in place of 25
set -u
cd "$(dirname "$0")/.." || exit 1

target=${CARGO_TARGET_DIR:-$PWD/target}
export MINI_FO=${MINI_FO:-$target/debug/mini_fo}
log=${MINI_FO_SKIP_LOG:-/dev/null}

skip() {
    echo "SKIPPED torture: $*" | tee -a "$log"
    exit 0
}

[ "$(id -u)" = 0 ] || skip "needs root"
[ -e /dev/fuse ] || skip "no /dev/fuse"
grep -qw user_notif /proc/sys/kernel/seccomp/actions_avail 2>/dev/null ||
    skip "the kernel cannot report system calls (seccomp user notification)"
[ -x "$MINI_FO" ] || cargo build --quiet -p mini_fo || exit 1
cargo build --quiet -p mini_fo_torture || exit 1

status=0
for kind in kill fault; do
    echo "torture by $kind:"
    "$target/debug/mini_fo_torture" $kind "$@" || status=1
done
# Which transport they come by is an option of its own, so none is handed on.
echo "torture by races:"
"$target/debug/mini_fo_torture" race || status=1
# Those have options of their own, too. KILLS=500 for more.
echo "torture of commits and discards at rest:"
"$target/debug/mini_fo_torture" commit --kills "${KILLS:-25}" || status=1
"$target/debug/mini_fo_torture" commit --faults "${KILLS:-25}" || status=1
"$target/debug/mini_fo_torture" commit --discard --kills "${KILLS:-25}" || status=1
echo "torture of live commits:"
"$target/debug/mini_fo_torture" commit --live --kills "${KILLS:-25}" || status=1
exit $status
