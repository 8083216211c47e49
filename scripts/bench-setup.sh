#!/bin/bash
# Fetches what the benchmarks compare and work with: fuse-overlayfs 2.0.0 and a
# tree of source code, below target/peers, and some Debian packages. Never fails
# for want of them: the benchmarks leave out what is missing, or do without.
#
#   scripts/bench-setup.sh            for the conformance suite: fuse-overlayfs only
#   scripts/bench-setup.sh --bench    and what `make bench` works with
#   scripts/bench-setup.sh --bench --full    and the large tree
set -u
cd "$(dirname "$0")/.." || exit 1

version=2.0.0
peers=target/peers
program=$peers/bin/fuse-overlayfs
bench=
full=
quick=
for word in "$@"; do
    case $word in
        --bench) bench=yes ;;
        --full) full=yes ;;
        --quick) quick=yes ;;
        # Everything else is for the benchmark itself.
    esac
done

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
    local package
    # One by one: what cannot be had must not keep the others away.
    for package in "$@"; do
        $root env DEBIAN_FRONTEND=noninteractive \
            apt-get -qq -y --no-install-recommends install "$package" >/dev/null ||
            say "$package could not be installed"
    done
}

needed=
command -v cc >/dev/null 2>&1 || needed="$needed gcc libc6-dev"
# Users who are not root mount with it.
command -v fusermount3 >/dev/null 2>&1 || needed="$needed fuse3"
if [ -n "$bench" ]; then
    command -v fio >/dev/null 2>&1 || needed="$needed fio"
    command -v git >/dev/null 2>&1 || needed="$needed git"
    command -v unionfs-fuse >/dev/null 2>&1 || needed="$needed unionfs-fuse"
    command -v xz >/dev/null 2>&1 || needed="$needed xz-utils"
fi
# shellcheck disable=SC2086  # a list of words on purpose
[ -z "$needed" ] || packages $needed

newest_sources() {
    apt-cache depends linux-source 2>/dev/null |
        sed -n 's/.*Depends: \(linux-source-[0-9.]*\)$/\1/p' | head -1
}

# Parts of Debian's kernel sources, as archives of about 4,000 files (70 MB)
# and of about 23,000 (740 MB). Without them the benchmark generates files.
sources() {
    local small=$peers/sources.tar large=$peers/sources-full.tar
    [ -e $small ] && { [ -z "$full" ] || [ -e $large ]; } && return
    command -v apt-get >/dev/null 2>&1 && command -v dpkg-deb >/dev/null 2>&1 || return
    local package work
    package=$(newest_sources)
    # The lists of packages may never have been fetched.
    [ -n "$package" ] || { packages xz-utils && package=$(newest_sources); }
    [ -n "$package" ] || { say "no package linux-source: files are generated"; return; }
    mkdir -p $peers
    work=$(mktemp -d "$PWD/$peers/sources.XXXXXX") || return
    say "fetching $package (140 MB)"
    if (cd "$work" && apt-get -qq download "$package") >/dev/null 2>&1 &&
        dpkg-deb --fsys-tarfile "$work"/*.deb |
        tar -x -C "$work" --wildcards --strip-components=3 '*.tar.xz'; then
        say "unpacking a part of it"
        local few="fs mm kernel lib block ipc init crypto"
        local many="$few net include drivers/gpu drivers/net"
        local chosen=$few
        [ -z "$full" ] || chosen=$many
        mkdir "$work/src"
        # shellcheck disable=SC2046,SC2086  # lists of words on purpose
        tar -xf "$work"/*.tar.xz -C "$work/src" --strip-components=1 \
            $(printf "$package/%s " $chosen)
        # shellcheck disable=SC2086
        tar -cf "$work/small.tar" -C "$work/src" $few && mv "$work/small.tar" $small
        # shellcheck disable=SC2086
        [ -z "$full" ] || { tar -cf "$work/large.tar" -C "$work/src" $many && mv "$work/large.tar" $large; }
    else
        say "$package cannot be fetched: files are generated"
    fi
    rm -rf "$work"
}
[ -z "$bench" ] || [ -n "$quick" ] || sources

if [ -x "$program" ] && "$program" --version 2>/dev/null | grep -qF "$version"; then
    exit 0
fi
if ! cargo info "fuse-overlayfs@$version" >/dev/null 2>&1; then
    say "fuse-overlayfs $version cannot be found by cargo: it is left out"
    exit 0
fi
install() {
    cargo install --quiet --locked --root $peers --target-dir target/peers-build \
        fuse-overlayfs --version "$version"
}
say "building fuse-overlayfs $version"
if ! install; then
    say "once more with libfuse's headers"
    packages pkg-config libfuse3-dev
    install || say "fuse-overlayfs $version could not be built: it is left out"
fi
exit 0
