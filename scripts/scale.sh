#!/bin/bash
# Big directories and big trees: prints the tables of docs/BENCHMARKS.md.
# MINI_FO and SCALE are the programs; SCALE_DIR is where files are made,
# SCALE_FILES how many the big tree has (10,000,000), SCALE_ENTRIES how many the
# largest directory has (1,000,000).
set -eu

dir=${SCALE_DIR:-${TMPDIR:-/tmp}}
files=${SCALE_FILES:-10000000}
work=$(mktemp -d "$dir/mini_fo-scale.XXXXXX")
mounted=
loop=

clean() {
    cd /
    [ -z "$mounted" ] || "$MINI_FO" umount "$work/mnt" || umount -l "$work/mnt" || true
    [ -z "$loop" ] || umount "$work/base" || umount -l "$work/base" || true
    rm -rf --one-file-system "$work"
}
trap clean EXIT

"$SCALE" "$work" "${SCALE_ENTRIES:-1000000}"

[ "$(id -u)" = 0 ] || { echo "The big tree is measured by root only." >&2; exit 0; }

# An image that is mostly a hole: inode tables are written as they are used.
mkdir "$work/base" "$work/storage" "$work/mnt"
image=$work/image
truncate -s $((files / 1000 * 1024 * 1024 + (1 << 30))) "$image"
mkfs.ext4 -q -I 128 -N $((files + files / 500 + 10000)) -O ^has_journal -E lazy_itable_init=1 "$image"
mount -o loop,noatime "$image" "$work/base"
loop=1
"$SCALE" tree "$work/base" "$files"

milliseconds() { echo $(($(date +%s%N) / 1000000)); }
resident() { awk '/^VmRSS/ { print $2 }' "/proc/$1/status"; }

begun=$(milliseconds)
"$MINI_FO" mount "$work/base" "$work/mnt" --storage "$work/storage"
mounted=1
echo
echo "Base of $files files: mounted in $(($(milliseconds) - begun)) ms."
# The list is one line of JSON: the entry with our mountpoint, its number.
daemon=$("$MINI_FO" list --json | tr '{' '\n' | grep -F "$work/mnt" | sed 's/.*"pid":\([0-9]*\).*/\1/')
echo "Resident: $(resident "$daemon") KiB."

begun=$(milliseconds)
found=$(find "$work/mnt" -printf '%s\n' | wc -l)
took=$(($(milliseconds) - begun))
echo "find with attributes of $found: $took ms, $((took * 1000 / found)) us each;" \
    "resident $(resident "$daemon") KiB."
begun=$(milliseconds)
count=0
for _ in 1 2 3; do
    for i in $(seq 1 37 999); do
        stat "$work/mnt/$((i % (files / 1000)))/$i" >"$work/out"
        : >"$work/mnt/$((i % (files / 1000)))/new-$i"
        count=$((count + 1))
    done
done
echo "stat and create all over it: $((($(milliseconds) - begun) * 1000 / count)) us each," \
    "processes included."
