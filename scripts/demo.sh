#!/bin/bash
# The demonstration: a real read-only image becomes writable. It installs what
# it needs, builds, works in a directory of its own, and cleans up after itself.
set -euo pipefail
cd "$(dirname "$0")/.."

bold=; plain=
if [ -t 1 ]; then bold=$(printf '\033[1m'); plain=$(printf '\033[0m'); fi
tell() { printf '\n%s%s%s\n' "$bold" "$*" "$plain"; }
show() { printf '  $ %s\n' "$*"; bash -c "$*" 2>&1 | sed 's/^/    /'; }

scripts/setup.sh demo

tell "Building mini_fo (the first time takes a minute)"
cargo build --release --quiet -p mini_fo
program=${CARGO_TARGET_DIR:-$PWD/target}/release/mini_fo
export PATH="$(dirname "$program"):$PATH"

work=$(mktemp -d "${TMPDIR:-/tmp}/mini_fo-demo-XXXXXX")
cleanup() {
    status=$?
    trap - EXIT
    cd /
    mini_fo umount "$work/tree" 2>/dev/null || mini_fo umount --lazy "$work/tree" 2>/dev/null || true
    if mountpoint -q "$work/cd" 2>/dev/null; then umount "$work/cd" || umount -l "$work/cd" || true; fi
    # A stand-in for the image is write-protected, and so is what was copied up from it.
    chmod -R u+rwX "$work" 2>/dev/null || true
    rm -rf --one-file-system "$work" || status=1
    [ $status = 0 ] || echo "demo: ended early with status $status; all has been cleaned up" >&2
    exit $status
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

if ! [ -e /dev/fuse ]; then
    echo "demo: there is no /dev/fuse here (try 'modprobe fuse'); nothing can be mounted" >&2
    exit 1
fi

cd "$work"
chmod 755 .
mkdir cd storage tree
source=/usr/share/doc
[ -d "$source/bash" ] || source=/etc
left_out=

tell "1. A real read-only image: $source as squashfs"
if [ "$(id -u)" = 0 ] && command -v mksquashfs >/dev/null &&
    mksquashfs "$source" image.squashfs -quiet -no-progress -noappend >/dev/null 2>&1 &&
    mount -o loop,ro image.squashfs cd 2>/dev/null; then
    show "ls -sh image.squashfs"
    show "touch cd/new || true"
    fingerprint="sha256sum image.squashfs"
else
    # Without the right to mount an image: a copy, made read-only, is the "CD".
    left_out="a squashfs image (mounting one needs root and mksquashfs); a write-protected copy stood in for it"
    cp -r "$source/." cd/ 2>/dev/null || true
    chmod -R a-w cd
    fingerprint="find cd -type f -exec sha256sum {} + | sort | sha256sum"
    echo "    (not possible for this user: a write-protected copy of $source instead)"
fi
before=$(bash -c "$fingerprint")
show "$fingerprint"
# The first directory that has a text file, and another directory.
file=$(cd cd && find . -mindepth 2 -maxdepth 2 -type f -size +0 ! -name '*.gz' | sort | head -1 || true)
file=${file#./}
dir=${file%%/*}
other=$(cd cd && find . -mindepth 1 -maxdepth 1 -type d ! -name "$dir" | sort | tail -1 || true)
other=${other#./}

tell "2. mini_fo makes it writable: the image is the base, an empty directory the storage"
if ! show "mini_fo mount cd tree --storage storage"; then
    echo "demo: this system does not let $(id -un) mount, so nothing more can be shown; try it as root" >&2
    exit 1
fi
show "mini_fo list"
# A user's copy keeps its write protection, as it should.
[ -z "$left_out" ] || chmod u+w tree "tree/$dir" "tree/$file" "tree/$other"

tell "3. Change, create, delete, rename: an ordinary tree"
show "echo 'a line of mine' >> tree/$file && tail -n 1 tree/$file"
show "mkdir tree/mine && echo hello > tree/mine/hello.txt && ls tree/mine"
show "mv tree/$dir tree/renamed && ls tree | grep -c . && ls tree/renamed | head -3"
show "rm -rf tree/$other && ls -d tree/$other || true"

tell "4. All of that lies in the storage, and nowhere else"
show "find storage -type f ! -name 'META*' | head"
show "cat storage/META_dAfFgHE39ktF3HD2sr"
echo "    (D: hidden here.  R: this directory shows that one of the base."
echo "     Small letters: notes that a reader of the 2005 format skips.)"

tell "5. The image is untouched"
show "$fingerprint"
[ "$(bash -c "$fingerprint")" = "$before" ] || { echo "THE BASE HAS CHANGED"; exit 1; }
show "ls -d cd/$dir cd/$other; grep -c 'a line of mine' cd/$file || true"

tell "6. Changes persist: unmount, mount again"
show "mini_fo umount tree && ls tree | wc -l"
show "mini_fo mount cd tree --storage storage"
show "cat tree/mine/hello.txt && tail -n 1 tree/renamed/${file##*/} && ls -d tree/$other || true"
[ "$(cat tree/mine/hello.txt)" = hello ]
[ -d tree/renamed ] && ! [ -e "tree/$other" ]

tell "7. Factory defaults: empty the storage while it is unmounted"
show "mini_fo umount tree && find storage -mindepth 1 -delete"
show "mini_fo mount cd tree --storage storage"
show "diff -r --no-dereference cd tree && echo 'the tree is the base again'"
! [ -e tree/mine ]
show "mini_fo umount tree"
[ "$(bash -c "$fingerprint")" = "$before" ] || { echo "THE BASE HAS CHANGED"; exit 1; }

tell "Done; the demonstration cleans up after itself."
if [ -n "$left_out" ]; then echo "Left out: $left_out."; fi
echo "Next: mini_fo mount --help, and docs/RECIPES.md."
