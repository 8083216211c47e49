#!/bin/bash
# Installs the peer that the benchmarks compare with: fuse-overlayfs 2.0.0, below
# target/peers. Never fails for want of it: the benchmarks leave out what is missing.
set -u
cd "$(dirname "$0")/.." || exit 1

version=2.0.0
program=target/peers/bin/fuse-overlayfs

say() { echo "bench-setup: $*"; }

# Debian packages, when the right to install them is there.
packages() {
    local root=
    if [ "$(id -u)" != 0 ]; then
        if ! command -v sudo >/dev/null 2>&1 || ! sudo -n true 2>/dev/null; then
            say "not root and no sudo without a password; an administrator can do it: apt-get install $*"
            return 0
        fi
        root="sudo -n"
    fi
    command -v apt-get >/dev/null 2>&1 || { say "no apt-get; missing: $*"; return 0; }
    $root apt-get -qq update || true
    $root env DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends install "$@" >/dev/null ||
        say "some packages could not be installed: $*"
}

needed=
command -v cc >/dev/null 2>&1 || needed="$needed gcc libc6-dev"
# Users who are not root mount with it.
command -v fusermount3 >/dev/null 2>&1 || needed="$needed fuse3"
# shellcheck disable=SC2086  # a list of words on purpose
[ -z "$needed" ] || packages $needed

if [ -x "$program" ] && "$program" --version 2>/dev/null | grep -qF "$version"; then
    exit 0
fi
if ! cargo info "fuse-overlayfs@$version" >/dev/null 2>&1; then
    say "fuse-overlayfs $version cannot be found by cargo: it is left out"
    exit 0
fi
install() {
    cargo install --quiet --locked --root target/peers --target-dir target/peers-build \
        fuse-overlayfs --version "$version"
}
say "building fuse-overlayfs $version"
if ! install; then
    say "once more with libfuse's headers"
    packages pkg-config libfuse3-dev
    install || say "fuse-overlayfs $version could not be built: it is left out"
fi
exit 0
