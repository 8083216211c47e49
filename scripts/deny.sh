#!/bin/sh
# Looks at what the dependencies are: licences, sources, doubles, and advisories. Fetches
# cargo-deny where it is missing.
set -eu
cd "$(dirname "$0")/.."

tools=${CARGO_TARGET_DIR:-target}/tools
PATH=$PATH:$tools/bin
if ! command -v cargo-deny >/dev/null 2>&1; then
    echo "Building cargo-deny, for this alone, in $tools"
    # Its speed does not matter.
    if ! cargo install --quiet --locked --debug --root "$tools" cargo-deny; then
        echo "SKIPPED the check of dependencies: cargo-deny cannot be had"
        exit 0
    fi
fi
cargo deny --log-level error check --hide-inclusion-graph bans licenses sources
if cargo deny --log-level off fetch db >/dev/null 2>&1; then
    cargo deny --log-level error check --hide-inclusion-graph advisories
else
    echo "SKIPPED the advisories: their database cannot be fetched"
fi
