#!/bin/bash
# Runs every test: formatting, lints, unit and model tests, the mounted tests,
# pjdfstest, conformance, kills and faults, whole systems. Installs what it needs; says at the end what was left out.
set -u
cd "$(dirname "$0")/.." || exit 1

scripts/setup.sh test || exit 1

skips=$(mktemp)
said=$(mktemp)
export MINI_FO_SKIP_LOG=$skips
trap 'rm -f "$skips" "$said"' EXIT
failed=
tests=

step() {
    local name=$1
    shift
    echo "== $name"
    "$@" || failed="$failed, $name"
}

lint() {
    if cargo "$1" --version >/dev/null 2>&1; then
        return 0
    fi
    echo "SKIPPED $1: this cargo has no $1" | tee -a "$skips"
    return 1
}

# The tests mount inside /tmp: another user must be able to run the program.
umask 022

lint fmt && step "cargo fmt" cargo fmt --all --check
lint clippy && step "cargo clippy" cargo clippy --workspace --all-targets --quiet -- -D warnings
# The limit is for a mount that hangs, so that its daemon can be looked at.
cargo_test() {
    set -o pipefail
    timeout 1500 cargo test --workspace --no-fail-fast 2>&1 | tee "$said"
    local status=$?
    tests=$(sed -n 's/^test \(.*\) \.\.\. FAILED$/\1/p' "$said")
    return $status
}
step "cargo test" cargo_test
step "pjdfstest" scripts/pjdfstest.sh
step "conformance" scripts/conformance.sh
step "torture: kills and faults" scripts/torture.sh --quick
step "torture: power cuts" scripts/cuts.sh --quick
step "whole systems" scripts/boot.sh --quick

echo
if [ -s "$skips" ]; then
    echo "== Left out"
    sort -u "$skips"
    [ "$(id -u)" = 0 ] || echo "(as root most of these would run)"
else
    echo "== Nothing was left out"
fi
if [ -n "$failed" ]; then
    echo "== FAILED: ${failed#, }"
    [ -z "$tests" ] || printf '%s\n' "$tests" | sed 's/^/   /'
    exit 1
fi
echo "== All tests passed"
