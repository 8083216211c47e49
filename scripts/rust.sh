#!/bin/sh
# Says which Rust is needed where this one is too old: cargo itself would complain of
# a file that it cannot read. CARGO: which cargo.
set -u
cd "$(dirname "$0")/.." || exit 1

cargo=${CARGO:-cargo}
needed=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
way="A newer one comes from https://rustup.rs, or from Debian's package rustup (rustup default stable)."
if ! has=$("$cargo" --version 2>/dev/null); then
    echo "mini_fo needs Rust $needed or newer; there is no $cargo here. $way" >&2
    exit 1
fi
has=$(echo "$has" | sed 's/^[^ ]* \([0-9]*\.[0-9]*\).*/\1/')
oldest=$(printf '%s\n%s\n' "$needed" "$has" | sort -t. -k1,1n -k2,2n | head -n 1)
if [ "$oldest" != "$needed" ]; then
    echo "mini_fo needs Rust $needed or newer; $cargo is of Rust $has. $way" >&2
    exit 1
fi
