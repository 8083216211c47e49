#!/bin/sh
# Checks that the oldest Rust which Cargo.toml names can build the program. Needs rustup,
# which fetches that one.
set -eu
cd "$(dirname "$0")/.."

oldest=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
if ! command -v rustup >/dev/null 2>&1; then
    echo "SKIPPED the check with Rust $oldest: there is no rustup"
    exit 0
fi
if ! rustup run "$oldest" rustc --version >/dev/null 2>&1 &&
    ! rustup toolchain install "$oldest" --profile minimal --no-self-update >/dev/null 2>&1; then
    echo "SKIPPED the check with Rust $oldest: it cannot be fetched"
    exit 0
fi
CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target}/msrv rustup run "$oldest" \
    cargo check --quiet --locked -p mini_fo -p mini_fo_core -p fuse_server
echo "Rust $oldest builds it"
