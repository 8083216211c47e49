#!/bin/bash
# cargo: this project's own core crate is built, built again, changed, tested,
# with sources and target directory in the mount. Both places are shown under
# one path in turn, because rustc writes paths into what it makes.
. "$(dirname "$0")/common.sh"
needs cargo

bench=$place/bench
export CARGO_NET_OFFLINE=true CARGO_TERM_COLOR=never
unset CARGO_TARGET_DIR RUSTFLAGS
# Incremental builds are not the same byte by byte, even on a plain directory.
export CARGO_INCREMENTAL=0 CARGO_PROFILE_DEV_OPT_LEVEL=0

# Runs the function $1 in the present directory, shown at $bench.
at_one_path() {
    mkdir -p "$bench"
    mount --bind . "$bench"
    cd "$bench"
    "$@"
    cd /
    umount "$bench"
}

# What cargo did, without times.
quiet_build() { cargo build -p mini_fo_core "$@" 2>&1 | grep -E '^ *(Compiling|Fresh|Dirty|error|warning)' | sort; }

first() { quiet_build; outputs; }

# The compiled libraries byte by byte; the names of all that was made.
outputs() {
    find target/debug -name '*.rlib' -type f -print0 | sort -z | xargs -0 sha256sum
    find target/debug/deps target/debug/.fingerprint target/debug/build | sed 's/-[0-9a-z]\{10,\}//' | sort
}

nothing_to_do() { quiet_build -v | grep -v Fresh || true; }

add() { printf '\n/// Only a test of the build.\n#[must_use]\npub fn answer%s() -> u32 { 42 }\n' "$1" >> crates/core/src/lib.rs; }

change() {
    add 1
    quiet_build
    outputs
}

# Incremental builds keep a directory of hard links and locks of their own.
incremental() {
    export CARGO_INCREMENTAL=1
    quiet_build
    add 2
    quiet_build
    quiet_build -v | grep -v Fresh || true
    find target/debug/incremental -type f | wc -l
    rm -r target/debug/incremental
    cargo clean -q -p mini_fo_core
}

clean() {
    cargo clean -q
    [ ! -e target ]
}

prepare cargo
(cd "$here/../.." && cp -a --parents Cargo.toml Cargo.lock crates "$base") || exit 1
rm -rf "$base"/crates/*/target
(cd "$base" && cargo metadata --format-version 1 > /dev/null 2>&1) ||
    (cd "$base" && CARGO_NET_OFFLINE=false cargo fetch -q 2>/dev/null) ||
    left_out "the crates it depends on are not here"
scene
both "a first build" at_one_path first
both "a second build has nothing to do" at_one_path nothing_to_do
both "a build after a change" at_one_path change
both "incremental builds" at_one_path incremental
both "and back" at_one_path first
remount cold
both "after a remount nothing is to be built" at_one_path nothing_to_do
both "and all outputs are the same" at_one_path outputs
both "cargo clean" at_one_path clean
same_tree "the trees are the same" "$plain" "$mnt"
end_scene
finish
