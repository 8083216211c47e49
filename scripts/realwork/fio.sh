#!/bin/bash
# fio with verify=crc32c: every block carries its checksum. Engines mmap, psync,
# libaio (O_DIRECT) and io_uring (both), on new files and on files of the base.
. "$(dirname "$0")/common.sh"
needs fio

size=16M
# Name, engine and further options of each way to do it.
ways="mmap:mmap: psync:psync:--fsync=64 sync:sync:--sync=dsync libaio:libaio:--direct=1,--iodepth=16
    uring:io_uring:--iodepth=16 uring-direct:io_uring:--direct=1,--iodepth=16 vsync:vsync:"

# Runs fio on the file $2 by way $1 with the options after them.
way() {
    local name=$1 file=$2 engine options
    shift 2
    IFS=: read -r _ engine options <<< "$(tr -s ' \n' '\n' <<< "$ways" | grep "^$name:")"
    # shellcheck disable=SC2086  # a list of words on purpose
    fio --name="$name" --filename="$file" --size="${bytes:-$size}" --bs=4k --ioengine="$engine" ${options//,/ } \
        --verify=crc32c --verify_fatal=1 --verify_state_save=0 --randseed=7 --output-format=terse --minimal "$@" > /dev/null
}

# Blocks in random order, and read again. Few of them where each is synced.
size_of() { if [ "$1" = sync ]; then echo 1M; else echo "$size"; fi; }
write_random() { bytes=$(size_of "$1") way "$1" "$2" --rw=randwrite --do_verify=1; }
verify_only() { bytes=$(size_of "$1") way "$1" "$2" --rw=randwrite --verify_only=1; }
read_sequential() { way "$1" "$2" --rw=read; }
# Reads and writes beside each other, by two jobs on halves of one file.
mixed() { bytes=8M way "$1" "$2" --rw=randrw --rwmixread=50 --numjobs=2 --offset_increment=8M --do_verify=1; }

names=$(tr -s ' \n' '\n' <<< "$ways" | sed -n 's/:.*//p')

prepare fio
for name in $names; do
    (cd "$base" && write_random psync "read-$name" && write_random psync "write-$name" &&
        [ ! -e "read-$name.state" ]) || left_out "fio does not work on a plain directory"
done
scene
possible=''
for name in $names; do
    if ! (cd "$plain" && write_random "$name" probe) > "$scene/log/plain" 2>&1; then
        say skipped "$name: not possible on the plain directory: $(grep -v '^$' "$scene/log/plain" | tail -n 1)"
        continue
    fi
    possible="$possible $name"
    both "$name: a new file" write_random "$name" "new-$name"
    # Its mapping of half a file fails on a plain directory too.
    [ "$name" = mmap ] || both "$name: reading and writing by two" mixed "$name" "mixed-$name"
    both "$name: a file of the base is read" read_sequential "$name" "read-$name"
    both "$name: a file of the base is written" write_random "$name" "write-$name"
done
remount cold
# What one way has written is read by the others.
all_files() {
    local name file
    for name in $possible; do
        for file in new write read; do
            [ "$name/$file" = sync/new ] || read_sequential "$1" "$file-$name"
        done
    done
}
for name in $possible; do
    only "after a remount: all files read by $name" all_files "$name"
    only "after a remount: new-$name verified as it was written" verify_only "$name" "new-$name"
done
rm -f "$plain/probe"
same_tree "the files are the same size" "$plain" "$mnt" '' '^[0-9a-f]{64}  '
end_scene
finish
